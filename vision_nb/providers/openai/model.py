"""`OpenAIMultiModal`: a model of OpenAI or of a compatible server."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from vision_nb.errors import MissingKeyError, SettingsError
from vision_nb.images.detail import Detail
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage, user_message
from vision_nb.privacy.api_keys import Secret, TokenProvider, hidden_headers, hide, make_secret
from vision_nb.privacy.redaction import redact_logs
from vision_nb.privacy.urls import redact_url
from vision_nb.providers.addresses import Address, check_address, is_on_this_machine
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.call import Images, Request
from vision_nb.providers.openai.chat_completions import (
    default_timeout,
    length_limit_name,
    move_unknown_parameters,
    parse_chunk,
    parse_response,
    write_message,
)
from vision_nb.providers.openai.chunk_stream import AsyncChunkStream, ChunkStream
from vision_nb.providers.openai.deadline import answer_deadline
from vision_nb.providers.openai.errors import map_error, refuses, refuses_schema
from vision_nb.providers.openai.retries import pause_before_retry
from vision_nb.providers.outgoing_image import OutgoingImage
from vision_nb.providers.streaming import Delta
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.services import SERVICES

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI, OpenAI

    from vision_nb.providers.openai.transport import Hooks

_MAX_DEPTH = 100  # levels of a request's parameters


class OpenAIMultiModal(MultiModalLLM):
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
    service = SERVICES["openai"].title
    """How error messages call the server."""
    _address_argument: ClassVar[str] = "api_base"
    _row = SERVICES["openai"]

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
        default_headers: Mapping[str, str] | None = None,
        http_client: httpx2.Client | None = None,
        async_http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        # First of all: a traceback may show the arguments.
        api_key, api_base, default_headers = hide(api_key, is_key=True), hide(api_base), hide(default_headers)
        additional_kwargs = hide(additional_kwargs)
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
        )
        self.api_base: Address | None = check_address(api_base, "api_base")
        self.total_timeout = 10 * self.timeout if total_timeout is None else total_timeout
        self._default_headers = hidden_headers(default_headers)
        self._http_client, self._async_http_client = http_client, async_http_client
        self._api_key = self._find_key(api_key)
        self._sends_stream_options = True
        self._needs_completion_limit = False

    def _find_key(self, api_key: Any) -> Secret | None:
        title, variable = self._row.title, self._row.key_variable
        key = make_secret(api_key, name=f"The API key for {title}", variable=variable or "")
        if key is None and variable is not None:
            raise MissingKeyError(
                f"The API key for {title} is missing: set {variable} or pass api_key=. "
                'To try without one, use the model "demo".'
            )
        return key or Secret("EMPTY", name="No key")

    @cached_property
    def client(self) -> OpenAI:
        """The openai package's client, created on first use."""
        from openai import DefaultHttpxClient

        from vision_nb.providers.openai.transport import ClientTransport, limit_reads

        own = self._http_client
        options = self._http_options() if own is None else {"transport": ClientTransport(own), "trust_env": False}
        http_client = DefaultHttpxClient(event_hooks=self._hooks().sync(), **options)
        limit_reads(own or http_client)
        return self._client_classes()[0](http_client=http_client, **self._client_options())

    @property
    def async_client(self) -> AsyncOpenAI:
        """The openai package's client for the running event loop, created on first use."""
        client: AsyncOpenAI = self._async_clients.get()
        return client

    def _make_async_client(self) -> AsyncOpenAI:
        from openai import DefaultAsyncHttpxClient

        from vision_nb.providers.openai.transport import AsyncClientTransport

        if self._http_client is not None and self._async_http_client is None:
            raise SettingsError(
                "http_client= cannot be used by asynchronous methods: pass an httpx2.AsyncClient as async_http_client=."
            )
        own = self._async_http_client
        options = self._http_options() if own is None else {"transport": AsyncClientTransport(own), "trust_env": False}
        http_client = DefaultAsyncHttpxClient(event_hooks=self._hooks().asynchronous(), **options)
        return self._client_classes()[1](http_client=http_client, **self._client_options())

    def _hooks(self) -> Hooks:
        from vision_nb.providers.openai.transport import Hooks

        redact_logs()
        return Hooks(
            server=str(self.server or self._row.base_url),
            service=self.service,
            argument=self._address_argument,
            total_timeout=self.total_timeout,
            secrets=(self._credential, self._default_headers, self._login),
        )

    @property
    def _credential(self) -> Secret | TokenProvider | None:
        """The key or token that authenticates requests."""
        return self._api_key

    @property
    def _login(self) -> Secret | None:
        """The user name and password in the server's address."""
        return getattr(self.server, "login", None)

    def __getstate__(self) -> dict[str, Any]:
        if self._http_client is not None or self._async_http_client is not None:
            raise SettingsError(
                "A model with http_client= or async_http_client= cannot be sent to another process: create the model "
                "in that process."
            )
        return super().__getstate__()

    def _client_classes(self) -> tuple[type[OpenAI], type[AsyncOpenAI]]:
        from openai import AsyncOpenAI, OpenAI

        return OpenAI, AsyncOpenAI

    def _client_options(self) -> dict[str, Any]:
        from vision_nb.providers.openai.transport import ACCEPTED_ENCODINGS

        login = {} if self._login is None else {"Authorization": f"Basic {self._login.token}"}
        return {
            **self._endpoint_options(),
            "max_retries": self.max_retries,
            "timeout": self.timeout,
            "default_headers": {"Accept-Encoding": ACCEPTED_ENCODINGS, **login, **self._default_headers},
        }

    def _http_options(self) -> dict[str, Any]:
        # A proxy would send images off this machine.
        return {"trust_env": False} if is_on_this_machine(self.server) else {}

    def _endpoint_options(self) -> dict[str, Any]:
        """Return the client's arguments for the server's address and the token of the key."""
        return {"api_key": None if self._credential is None else self._credential.token, "base_url": self.server}

    @property
    def server(self) -> str | None:
        """The base URL, or None if it is OpenAI's own."""
        return self.api_base or check_address(os.environ.get("OPENAI_BASE_URL"), "OPENAI_BASE_URL")

    def _call(self, request: Request) -> Any:
        retries = 0
        while True:
            try:
                return self._create(request)
            except Exception as error:
                pause = self._pause_before_retry(error, retries)
                if pause is None:
                    request = self._drop_unsupported(request, error)
                    continue
            time.sleep(pause)
            retries += 1

    async def _acall(self, request: Request) -> Any:
        retries = 0
        while True:
            try:
                return await self._acreate(request)
            except Exception as error:
                pause = self._pause_before_retry(error, retries)
                if pause is None:
                    request = self._drop_unsupported(request, error)
                    continue
            await asyncio.sleep(pause)
            retries += 1

    def _create(self, request: Request) -> Any:
        """Send a request once."""
        with answer_deadline(self.total_timeout):
            return self.client.with_options(max_retries=0).chat.completions.create(**request)

    async def _acreate(self, request: Request) -> Any:
        """Send a request once."""
        async with asyncio.timeout(self.total_timeout):
            return await self.async_client.with_options(max_retries=0).chat.completions.create(**request)

    def _pause_before_retry(self, error: Exception, retries: int) -> float | None:
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
        _check_parameters(settings)
        request = {
            "model": self._requested_model(),
            "messages": [write_message(message, images) for message in messages],
            **{name: value for name, value in settings.items() if name not in ("image_detail", "max_new_tokens")},
        }
        if "max_new_tokens" in settings:
            request[self._length_limit_name()] = settings["max_new_tokens"]
        if stream:
            request["stream"] = True
            if self._sends_stream_options:
                request.setdefault("stream_options", {"include_usage": True})
        cleaned: Request = _without_surrogates(move_unknown_parameters(request))
        return cleaned

    def _requested_model(self) -> str:
        return self.model

    def _length_limit_name(self) -> str:
        return "max_completion_tokens" if self._needs_completion_limit else length_limit_name(self.counted_model)

    def _parse_response(self, raw: Any) -> Delta:
        return parse_response(raw, self.service)

    def _parse_chunk(self, raw: Any) -> Delta:
        return parse_chunk(raw, self.service)

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
        parts: list[dict[str, Any]] = []
        for part in user_message(prompt, image_documents).parts:
            if isinstance(part, str):
                parts.append({"type": "input_text", "text": part})
            else:
                image = self._prepare_image(part, self.settings())
                parts.append({"type": "input_image", "image_url": image.url, "detail": image.detail or "auto"})
        question: Any = [{"role": "user", "content": parts}]
        with self._mapping_errors(), answer_deadline(self.total_timeout):
            counted = self.client.responses.input_tokens.count(model=self._requested_model(), input=question)
            return int(counted.input_tokens)


def _check_parameters(settings: Mapping[str, Any]) -> None:
    """Raise SettingsError for parameters that would make a request differ from the one counted and priced."""
    more = settings.get("extra_body")
    for name in ("model", "messages"):
        if name in settings or (isinstance(more, Mapping) and name in more):
            raise SettingsError(f"{name}= cannot be passed to a call: the call would be counted and priced wrongly.")
    timeout = settings.get("timeout")
    if isinstance(timeout, (int, float)) and not 0 < timeout < math.inf:
        raise SettingsError(f"timeout must be a positive number of seconds, not {timeout!r:.80}.")


def _without_surrogates(value: Any, depth: int = 0) -> Any:
    """Replace lone surrogates, which cannot be sent, in every text of the request parameters."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if depth > _MAX_DEPTH:
        raise SettingsError("The request's parameters are nested too deeply: pass fewer levels.")
    if isinstance(value, Mapping):
        return {_without_surrogates(key): _without_surrogates(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"A request parameter is {value}: it must be a finite number.")
    return value
