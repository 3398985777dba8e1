"""`OpenAIMultiModal`: a model of OpenAI or of a compatible server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.numbers import check_seconds
from vision_nb.cost.call_gate import admit_again
from vision_nb.cost.image_rules import fewest_tokens, rule_for, sent_size, view_of
from vision_nb.cost.model_reference import check_model_name
from vision_nb.cost.rate_limit import RateLimit
from vision_nb.cost.request_gate import aadmit_again
from vision_nb.errors import MalformedResponseError, SettingsError, UploadNotFoundError
from vision_nb.images.detail import Detail
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.images.uploaded import UploadedFile, UploadedImage
from vision_nb.messages import ChatMessage, user_message
from vision_nb.notebook.wait_line import asleep, sleep
from vision_nb.privacy.api_keys import hidden_headers, hide
from vision_nb.privacy.urls import redact_url
from vision_nb.providers.addresses import check_address
from vision_nb.providers.call import Images, Request
from vision_nb.providers.deadline import answer_deadline
from vision_nb.providers.openai.chat_completions import CHAT_COMPLETIONS, default_timeout, length_limit_name
from vision_nb.providers.openai.chunk_stream import AsyncChunkStream, ChunkStream
from vision_nb.providers.openai.connection import OpenAIConnection
from vision_nb.providers.openai.errors import map_error, refuses, refuses_schema
from vision_nb.providers.openai.parameters import check_parameters, without_surrogates
from vision_nb.providers.openai.responses_api import RESPONSES, asks_for_summary, wire_format_of
from vision_nb.providers.openai.wire_format import WireFormat, token_count
from vision_nb.providers.outgoing_image import OutgoingImage, counted
from vision_nb.providers.retries import ASKED_TO_WAIT
from vision_nb.providers.streaming import Delta
from vision_nb.services.table import SERVICES
from vision_nb.user_warnings import to_thread

if TYPE_CHECKING:
    import httpx2

    from vision_nb.providers.batches import Batches
    from vision_nb.providers.openai.uploads import Uploads

Api = Literal["chat", "responses"]
"""The APIs of OpenAI that answer questions."""

_FORMATS: Mapping[str, WireFormat] = {"chat": CHAT_COMPLETIONS, "responses": RESPONSES}


@checks_arguments
class OpenAIMultiModal(OpenAIConnection):
    """A model of OpenAI, or of a server with a compatible Chat Completions API.

    Args:
        model: The model's name; it is not checked against a list.
        api_key: API key; default: OPENAI_API_KEY.
        api_base: Base URL of the server, ending in /v1; default: OPENAI_BASE_URL, or OpenAI itself.
        max_new_tokens: The maximum number of tokens in an answer; None leaves it to the server.
        temperature: Sampling temperature; None leaves it to the server.
        image_detail: "auto", "low", "high" or "original", for images that do not set their own level.
        max_retries: The maximum number of retries after a rate limit, a server failure or a failed connection. A
            request is not retried if it timed out, because it may be billed, or if it cannot succeed.
        timeout: Seconds to wait for the next part of the answer; default: 60, or 600 for models that reason before they
            answer.
        total_timeout: Seconds that the whole answer may take; default: ten times ``timeout``.
        additional_kwargs: More request parameters, passed on unchanged.
        inline_urls: Whether to download images behind URLs and send their data, for servers that cannot reach them.
            URLs in private networks are refused unless VISION_NB_ALLOW_PRIVATE_URLS=1 is set in the environment.
        max_side: The longest side at which images are sent, in pixels. By default, the size that the model sees at the
            detail level; for a model without a known rule, 2,048, or all pixels at detail "original".
        api: "chat" for the Chat Completions API, or "responses" for the Responses API. By default, it is the Chat
            Completions API, except for what only the Responses API can do: uploaded images, detail "original", and
            summaries of the reasoning, which ``reasoning={"summary": "auto"}`` asks for. Requests to the Responses API
            have ``store=False`` unless you set it yourself: OpenAI then does not store the answer for later requests.
        rate_limit: A `RateLimit`: calls wait so that no 60 seconds have more requests or tokens, whichever method makes
            them. All models with the same name, server and key in this process count together.
        default_headers: HTTP headers of every request.
        http_client: An ``httpx2.Client`` with your proxies and certificates; it stays open when the model is closed.
            Redirects are not followed. ``total_timeout`` also applies to headers that arrive byte by byte, but only if
            the client's transport is an ``httpx2.HTTPTransport``.
        async_http_client: An ``httpx2.AsyncClient``, which the asynchronous methods need if ``http_client`` is given.

    Raises:
        MissingKeyError: The API key is missing.
        SettingsError: An argument is invalid.

    >>> llm = vn.OpenAIMultiModal("gpt-4o", max_new_tokens=300)  # the key is in OPENAI_API_KEY
    >>> answer = llm.complete("How large is it?", [vn.samples.path("chart")])
    >>> answer.usage.input_tokens > 85
    True
    >>> "".join(r.delta for r in llm.stream_complete("How large is it?", [vn.samples.path("chart")])) == answer.text
    True
    """

    provider = "openai"
    image_limit: int | None = SERVICES["openai"].max_images
    _batch_prefix = "/v1"

    def __init__(
        self,
        model: str = "gpt-4o",
        api_key: str | None = None,
        api_base: str | None = None,
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        image_detail: Detail | None = None,
        max_retries: int = 3,
        timeout: float | None = None,
        total_timeout: float | None = None,
        additional_kwargs: Mapping[str, Any] | None = None,
        inline_urls: bool = False,
        max_side: int | None = None,
        rate_limit: RateLimit | None = None,
        api: Api | None = None,
        default_headers: Mapping[str, str] | None = None,
        http_client: httpx2.Client | None = None,
        async_http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        # First of all: a traceback may show the arguments.
        api_key, api_base, default_headers = hide(api_key, is_key=True), hide(api_base), hide(default_headers)
        additional_kwargs = hide(additional_kwargs)
        check_model_name(model)
        super().__init__(
            model,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            image_detail=image_detail,
            max_retries=max_retries,
            timeout=default_timeout(model) if timeout is None else timeout,
            additional_kwargs=additional_kwargs,
            inline_urls=inline_urls,
            max_side=max_side,
            rate_limit=rate_limit,
        )
        self.api = self._check_api(api)
        self.api_base = check_address(api_base, "api_base")
        self.total_timeout = check_seconds(total_timeout, "total_timeout", default=10 * self.timeout)
        self._default_headers = hidden_headers(default_headers)
        self._http_client, self._async_http_client = http_client, async_http_client
        self._api_key = self._find_key(api_key)
        self._sends_stream_options = True
        self._needs_completion_limit = False

    def _call(self, request: Request) -> Any:
        retries = 0
        while True:
            try:
                return self._create(request)
            except Exception as error:
                pause = self._pause_before_retry(error, retries)
                if pause is None:
                    request = self._drop_unsupported(request, error)
            if pause is not None:
                sleep(pause, ASKED_TO_WAIT)
                retries += 1
            admit_again()

    async def _acall(self, request: Request) -> Any:
        retries = 0
        while True:
            try:
                return await self._acreate(request)
            except Exception as error:
                pause = self._pause_before_retry(error, retries)
                if pause is None:
                    request = self._drop_unsupported(request, error)
            if pause is not None:
                await asleep(pause, ASKED_TO_WAIT)
                retries += 1
            await aadmit_again()

    def _pause_before_retry(self, error: Exception, retries: int) -> float | None:
        from vision_nb.providers.openai.retries import pause_before_retry  # needed after an error only

        mapped = self._map_error(error, "")
        return pause_before_retry(error, mapped, retries=retries, max_retries=self.max_retries)

    def _stream(self, request: Request) -> Iterator[Any]:
        return ChunkStream(self._call(request))

    async def _astream(self, request: Request) -> AsyncIterator[Any]:
        return AsyncChunkStream(await self._acall(request))

    def _drop_unsupported(self, request: Request, error: Exception) -> Request:
        """Return the request without the parameter that the server rejected, or with its newer name.

        Any other error is raised again.
        """
        if "max_tokens" in request and refuses(error, "max_completion_tokens"):  # a reasoning model by another name
            self._needs_completion_limit = True
            return {"max_completion_tokens" if name == "max_tokens" else name: value for name, value in request.items()}
        if "stream_options" not in request or not refuses(error, "stream_options"):
            raise error
        self._sends_stream_options = False
        return {name: value for name, value in request.items() if name != "stream_options"}

    def _request(
        self,
        messages: list[ChatMessage],
        images: Mapping[ImageDocument, OutgoingImage],
        settings: Mapping[str, Any],
        *,
        stream: bool,
    ) -> Request:
        check_parameters(settings)
        wire_format = self._wire_format(images.values(), settings)
        parameters = {name: value for name, value in settings.items() if name not in ("image_detail", "max_new_tokens")}
        if "max_new_tokens" in settings:
            parameters[self._length_limit_name()] = settings["max_new_tokens"]
        request = {"model": self._requested_model(), **wire_format.request(messages, images, parameters)}
        if stream:
            request["stream"] = True
            if wire_format.stream_options is not None and self._sends_stream_options:
                request.setdefault("stream_options", dict(wire_format.stream_options))
        cleaned: Request = without_surrogates(wire_format.move_unknown_parameters(request))
        return cleaned

    def _wire_format(self, images: Iterable[OutgoingImage], settings: Mapping[str, Any]) -> WireFormat:
        """Return the format of a request: that of the model's API, or of the one that can do what is asked."""
        if self.api is not None:
            return _FORMATS[self.api]
        if asks_for_summary(settings) or any(image.file is not None for image in images):
            self._check_responses()
            return RESPONSES
        is_original = any(image.detail == "original" for image in images) and rule_for(self.counted_model) is not None
        return RESPONSES if is_original and self._lacks_responses is None else CHAT_COMPLETIONS

    def _check_api(self, api: Any) -> Api | None:
        """Return the API's name; raise SettingsError if it does not exist, or if the service does not have it."""
        if api is not None and api not in get_args(Api):
            raise SettingsError(f'api must be "chat" or "responses", not {api!r:.80}.')
        if api == "responses":
            self._check_responses()
        return api  # type: ignore[no-any-return]  # one of the literals

    def _check_responses(self) -> None:
        if self._lacks_responses is not None:
            raise SettingsError(self._lacks_responses)

    @property
    def _lacks_responses(self) -> str | None:
        """Why the Responses API cannot be used, or None if it can."""
        return None if self._row.takes_responses else f"{self._row.title} is not known to have the Responses API."

    @property
    def identity(self) -> dict[str, Any]:
        """What an answer depends on besides the question: model, server, parameters, and the API if it is set."""
        return super().identity if self.api is None else {**super().identity, "api": self.api}

    @property
    def batches(self) -> Batches:
        """The batch API of OpenAI; see `MultiModalLLM.batches`."""
        if not self._row.takes_batches:
            self._refuse_batches()
        from vision_nb.providers.openai.batches import OpenAIBatches  # not needed for single calls

        return OpenAIBatches(self, self._batch_prefix)

    @cached_property
    def _uploads(self) -> Uploads:
        from vision_nb.providers.openai.uploads import Uploads  # not needed for images in the request

        return Uploads(self)

    def upload(self, document: ImageSource) -> UploadedImage:
        """Upload an image, to refer to it in many requests; `ImageDocument.upload` calls this.

        Args:
            document: The image: a document, path, URL, array or other source.

        Raises:
            SettingsError: The model's service does not take uploads.
            ImageError: The image cannot be used.
            ProviderError: The server did not accept the file.
        """
        return self._uploads.upload(self._prepare_upload(document))

    async def aupload(self, document: ImageSource) -> UploadedImage:
        """Upload an image; the asynchronous version of `upload`."""
        return await self._uploads.aupload(await to_thread(self._prepare_upload, document))

    def _prepare_upload(self, document: ImageSource) -> OutgoingImage:
        self._check_responses()
        if self.api == "chat":
            raise SettingsError(f'{self} has api="chat", which cannot refer to uploads: omit api=.')
        image = super()._prepare_image(ImageDocument.of(document), self.settings(), inline_urls=True)
        image.warn_of_losses()
        return image

    def close(self) -> None:
        """Delete the uploaded images, and close the model's connections; a later call opens new ones.

        Leaving a ``with`` block does the same. Asynchronous connections are closed by their own event loop the
        next time it runs: `aclose` waits for that.
        """
        if "_uploads" in vars(self):
            self._uploads.delete_all()
        super().close()

    async def aclose(self) -> None:
        """Delete the uploaded images, and close the model's connections; a later call opens new ones.

        Leaving an ``async with`` block does the same.
        """
        if "_uploads" in vars(self):
            await self._uploads.adelete_all()
        await super().aclose()

    def _prepare_image(
        self, document: ImageDocument, settings: Mapping[str, Any], count: int = 1, *, inline_urls: bool = False
    ) -> OutgoingImage:
        detail = self._detail_of(document, settings)
        file = self._file_for(document, detail)
        if file is None:
            return super()._prepare_image(document, settings, count, inline_urls=inline_urls)
        view = view_of(file.size, self.counted_model, detail)
        fewest = fewest_tokens(file.size, self.counted_model, detail)
        return OutgoingImage(document, None, detail, *counted(view, fewest), file)

    def _file_for(self, document: ImageDocument, detail: Detail | None) -> UploadedFile | None:
        """Return the uploaded file to send in place of an image, or None to send the image.

        Raises:
            UploadNotFoundError: The file was deleted.
        """
        if not isinstance(document, UploadedImage) or self.api == "chat" or document.file.account != self.account:
            return None
        file = document.file
        if file.is_deleted:
            raise UploadNotFoundError(f"The upload of {document.title} was deleted: upload the image again.")
        needed = sent_size(document.size, self.counted_model, detail, self.max_side)
        is_current = document.is_remote or document.fingerprint() == file.fingerprint
        return file if is_current and needed[0] <= file.size[0] and needed[1] <= file.size[1] else None

    def _requested_model(self) -> str:
        return self.model

    def _length_limit_name(self) -> str:
        return "max_completion_tokens" if self._needs_completion_limit else length_limit_name(self.counted_model)

    def _parse_response(self, raw: Any, request: Request) -> Delta:
        return wire_format_of(request).parse_response(raw, self.service)

    def _parse_chunk(self, raw: Any, request: Request) -> Delta:
        return wire_format_of(request).parse_chunk(raw, self.service)

    def _refuses_schema(self, error: BaseException) -> bool:
        return refuses_schema(error)

    def _map_error(self, error: Exception, partial_text: str) -> Exception:
        server = None if self.server is None else redact_url(self.server)
        return map_error(
            error,
            service=self.service,
            server=server,
            model=self._requested_model(),
            timeout=self.timeout,
            partial_text=partial_text,
        )

    def count_input_tokens(self, prompt: str, image_documents: Images = ()) -> int:
        """Return OpenAI's own count of a question's input tokens, without running the model.

        The images are uploaded to be counted, free of charge.

        Args:
            prompt: The question.
            image_documents: Its images.

        Raises:
            ImageError: An image cannot be used.
            ProviderError: The server cannot count tokens, or did not answer.
        """
        message = user_message(prompt, image_documents)
        images = self._prepare_images(message.image_documents, self.settings())
        question: Any = RESPONSES.items([message], images)
        with self._mapping_errors(), answer_deadline(self.total_timeout):
            counted = self.client.responses.input_tokens.count(model=self._requested_model(), input=question)
        tokens = token_count(counted, "input_tokens")
        if tokens is None:
            raise MalformedResponseError(
                f"The response from {self.service} has no token count: check that the base URL ends in /v1, or ask "
                "again.",
                may_be_billed=False,
            )
        return tokens
