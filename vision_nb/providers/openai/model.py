"""OpenAI, Azure OpenAI and every server that speaks OpenAI's protocol: one dialect."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import urlsplit

from vision_nb.cost.model_names import base_name
from vision_nb.errors import MalformedResponseError, MissingKeyError, SettingsError
from vision_nb.images.detail import Detail
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.images.download import redact_url
from vision_nb.messages import ChatMessage, user_message
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.call import Request
from vision_nb.providers.openai.errors import map_error, refuses
from vision_nb.providers.outgoing_image import OutgoingImage
from vision_nb.providers.streaming import Delta
from vision_nb.responses import Usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

LENGTH_LIMIT_NAMES: Mapping[str, str] = {
    "o1": "max_completion_tokens",
    "o3": "max_completion_tokens",
    "o4": "max_completion_tokens",
    "gpt-5": "max_completion_tokens",
    "gpt-6": "max_completion_tokens",
}
"""What the length limit is called, by the beginning of the model's name; "max_tokens" for all others.

The reasoning families refuse ``max_tokens`` (OpenAI, Chat Completions reference, read 2026-11), and many
compatible servers know nothing else.
"""

_SHORTEST_KEY = 8


class OpenAIMultiModal(MultiModalLLM):
    """A model of OpenAI's, or of any server that speaks its Chat Completions protocol.

    Args:
        model: The model's name; there is no list of allowed ones.
        api_key: The key; None takes it from OPENAI_API_KEY.
        api_base: The server's base URL, ending in /v1; None takes it from OPENAI_BASE_URL, or OpenAI itself.
        max_new_tokens: The most tokens of an answer; None leaves it to the server.
        temperature: How freely the model picks its words; None leaves it to the server.
        image_detail: "auto", "low", "high" or "original" for pictures that name none.
        max_retries: How often the openai client repeats a request that failed in passing.
        timeout: Seconds that a request may take, as the openai client counts them.
        additional_kwargs: Request parameters that are passed on as they are.
        inline_urls: Download pictures behind URLs and send them along, for servers that cannot reach them.
        default_headers: HTTP headers for every request.

    Raises:
        MissingKeyError: There is no key.

    >>> llm = vn.OpenAIMultiModal("gpt-4o", max_new_tokens=300)  # the key is in OPENAI_API_KEY
    >>> answer = llm.complete("How large is it?", [vn.samples.path("chart")])
    >>> answer.usage.input_tokens > 85
    True
    >>> "".join(r.delta for r in llm.stream_complete("How large is it?", [vn.samples.path("chart")])) == answer.text
    True
    """

    provider: ClassVar[str] = "openai"
    image_limit: ClassVar[int | None] = 1500  # a request (OpenAI, Images and vision guide, read 2026-11)
    service: ClassVar[str] = "OpenAI"
    """What to call the server in an error."""

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
        timeout: float = 60.0,
        additional_kwargs: Mapping[str, Any] | None = None,
        inline_urls: bool = False,
        default_headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            model,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            image_detail=image_detail,
            max_retries=max_retries,
            timeout=timeout,
            additional_kwargs=additional_kwargs,
            inline_urls=inline_urls,
        )
        self.api_base = checked_address(api_base, "api_base")
        self._default_headers = default_headers
        self._api_key = self._find_key(api_key)
        self._reports_stream_usage = True

    def _find_key(self, api_key: str | None) -> str | None:
        key = api_key or os.environ.get("OPENAI_API_KEY")
        if not key:
            raise MissingKeyError(
                "There is no API key for OpenAI: set OPENAI_API_KEY or pass api_key=. "
                'To try without one, name the model "demo", which answers from the pixels.'
            )
        return key

    def _client_options(self) -> dict[str, Any]:
        return {"api_key": self._api_key, "base_url": self.api_base, **self._shared_client_options()}

    def _shared_client_options(self) -> dict[str, Any]:
        return {"max_retries": self.max_retries, "timeout": self.timeout, "default_headers": self._default_headers}

    def _make_client(self) -> OpenAI:
        from openai import DefaultHttpxClient, OpenAI

        return OpenAI(**self._client_options(), **client_without_proxy(self.server, DefaultHttpxClient))

    def _make_async_client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        return AsyncOpenAI(**self._client_options(), **client_without_proxy(self.server, DefaultAsyncHttpxClient))

    @cached_property
    def client(self) -> OpenAI:
        """The openai package's client, created on first use."""
        return self._make_client()

    @property
    def async_client(self) -> AsyncOpenAI:
        """The openai package's asynchronous client for the running event loop, created on first use."""
        client: AsyncOpenAI = self._async_clients.get()
        return client

    @property
    def server(self) -> str | None:
        """The base URL, where it is not OpenAI's own."""
        return self.api_base or os.environ.get("OPENAI_BASE_URL")

    def _secrets(self) -> tuple[str, ...]:
        # A short one is no secret but a placeholder, and may stand in any sentence.
        return (self._api_key,) if self._api_key and len(self._api_key) >= _SHORTEST_KEY else ()

    def _call(self, request: Request) -> Any:
        while True:
            try:
                return self.client.chat.completions.create(**request)
            except Exception as error:
                request = self._drop_unsupported(request, error)

    async def _acall(self, request: Request) -> Any:
        while True:
            try:
                return await self.async_client.chat.completions.create(**request)
            except Exception as error:
                request = self._drop_unsupported(request, error)

    def _stream(self, request: Request) -> Iterator[Any]:
        return cast("Iterator[Any]", self._call(request))

    async def _astream(self, request: Request) -> AsyncIterator[Any]:
        return cast("AsyncIterator[Any]", await self._acall(request))

    def _drop_unsupported(self, request: Request, error: Exception) -> Request:
        """The request without what the server refuses and can do without; any other error is raised."""
        if "stream_options" not in request or not refuses(error, "stream_options"):
            raise error
        self._reports_stream_usage = False
        return {name: value for name, value in request.items() if name != "stream_options"}

    def _request(
        self,
        messages: list[ChatMessage],
        images: Mapping[ImageDocument, OutgoingImage],
        settings: Mapping[str, Any],
        *,
        stream: bool,
    ) -> Request:
        request = {
            "model": self._requested_model(),
            "messages": [_message(message, images) for message in messages],
            **{name: value for name, value in settings.items() if name not in ("image_detail", "max_new_tokens")},
        }
        if "max_new_tokens" in settings:
            request[self._length_limit_name()] = settings["max_new_tokens"]
        if stream:
            request["stream"] = True
            if self._reports_stream_usage:
                request.setdefault("stream_options", {"include_usage": True})
        return _with_extra_body(request)

    def _requested_model(self) -> str:
        return self.model

    def _length_limit_name(self) -> str:
        name = base_name(self.counted_model)
        return next((limit for family, limit in LENGTH_LIMIT_NAMES.items() if name.startswith(family)), "max_tokens")

    def _parse_response(self, raw: Any) -> Delta:
        choices = getattr(raw, "choices", None)
        if not isinstance(choices, list) or not choices or not hasattr(getattr(choices[0], "message", None), "content"):
            raise MalformedResponseError(
                f"{self.service} gave an answer without choices: check that the base URL ends in /v1, or ask again."
            )
        message = choices[0].message
        text = _text(message.content or getattr(message, "refusal", None), self.service)
        return Delta(text, _usage(raw), _word(choices[0].finish_reason) or "stop", _word(raw.model), raw)

    def _parse_chunk(self, raw: Any) -> Delta:
        choices = getattr(raw, "choices", None) or []
        if not choices:  # the usage comes last, with no choice
            return Delta(usage=_usage(raw), model=_word(getattr(raw, "model", None)), raw=raw)
        delta = getattr(choices[0], "delta", None)
        said = None if delta is None else getattr(delta, "content", None) or getattr(delta, "refusal", None)
        reason = _word(getattr(choices[0], "finish_reason", None)) or None
        return Delta(_text(said, self.service), _usage(raw), reason, _word(raw.model), raw)

    def count_input_tokens(self, prompt: str, image_documents: ImageSource | Iterable[ImageSource] = ()) -> int:
        """OpenAI's own count of a question's input tokens; the pictures are sent to be counted, for free.

        Args:
            prompt: The question.
            image_documents: Its pictures.

        Raises:
            ProviderError: The server has no counter, or did not answer.
        """
        parts: list[dict[str, Any]] = []
        for part in user_message(prompt, image_documents).parts:
            if isinstance(part, str):
                parts.append({"type": "input_text", "text": part})
            else:
                image = self._prepare_image(part, self.settings())
                parts.append({"type": "input_image", "image_url": image.url, "detail": image.detail or "auto"})
        question: Any = [{"role": "user", "content": parts}]
        with self._mapping_errors():
            counted = self.client.responses.input_tokens.count(model=self._requested_model(), input=question)
            return int(counted.input_tokens)

    def _map_error(self, error: Exception, partial_text: str) -> Exception:
        server = None if self.server is None else redact_url(self.server)
        return map_error(error, service=self.service, server=server, model=self.model, partial_text=partial_text)


def _message(message: ChatMessage, images: Mapping[ImageDocument, OutgoingImage]) -> dict[str, Any]:
    if isinstance(message.content, str):
        return {"role": message.role.value, "content": message.content}
    parts = [
        {"type": "text", "text": part} if isinstance(part, str) else _image_part(images[part])
        for part in message.content
    ]
    return {"role": message.role.value, "content": parts}


def _image_part(image: OutgoingImage) -> dict[str, Any]:
    image_url = {"url": image.url} if image.detail is None else {"url": image.url, "detail": image.detail}
    return {"type": "image_url", "image_url": image_url}


def is_on_this_machine(url: str | None) -> bool:
    """Whether a server's address is one of this machine's own."""
    return urlsplit(url or "").hostname in ("localhost", "127.0.0.1", "::1", "host.docker.internal")


def client_without_proxy(url: str | None, make: Callable[..., Any]) -> dict[str, Any]:
    """A client that asks no proxy, for a server on this machine: pictures for it are not to leave it."""
    return {"http_client": make(trust_env=False)} if is_on_this_machine(url) else {}


@cache
def _client_parameters() -> frozenset[str]:
    from openai.resources.chat.completions import Completions

    return frozenset(inspect.signature(Completions.create).parameters)


def _with_extra_body(request: Request) -> Request:
    """Move what the openai client has no argument for, such as vLLM's ``top_k``, to where it passes it on."""
    extra = {name: value for name, value in request.items() if name not in _client_parameters()}
    if not extra:
        return request
    known = {name: value for name, value in request.items() if name not in extra}
    return {**known, "extra_body": {**extra, **(known.get("extra_body") or {})}}


def _usage(raw: Any) -> Usage | None:
    usage = getattr(raw, "usage", None)
    if usage is None:
        return None
    tokens_in, tokens_out = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    cached = _count(getattr(usage, "prompt_tokens_details", None), "cached_tokens") or 0
    return Usage(tokens_in, tokens_out, min(cached, tokens_in or 0))


def _count(counts: Any, name: str) -> int | None:
    """A count that a server reports, or None where it reports no count: some report text or negative numbers."""
    value = getattr(counts, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _text(said: Any, service: str) -> str:
    if said is not None and not isinstance(said, str):
        raise MalformedResponseError(f"{service} gave an answer that is no text: check the model and the base URL.")
    return said or ""


def checked_address(address: str | None, argument: str) -> str | None:
    """Return an address, or raise SettingsError unless it starts with http:// or https://."""
    if address and not address.lower().startswith(("http://", "https://")):
        raise SettingsError(f"{argument}={address!r} is no address: it begins with http:// or https://.")
    return address
