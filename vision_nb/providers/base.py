"""What every provider has: eight methods, written once over four primitives."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from vision_nb.cost.accounting import CallAccounting
from vision_nb.cost.prices import has_set_price, price
from vision_nb.errors import SettingsError, VisionError
from vision_nb.images.detail import Detail, check_detail
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.images.prepare import Prepared
from vision_nb.messages import ChatMessage, user_message
from vision_nb.providers.async_clients import ClientPerLoop
from vision_nb.providers.streaming import AsyncResponseStream, Delta, ResponseAccumulator, ResponseStream
from vision_nb.responses import ChatResponse, CompletionResponse, Response, Usage
from vision_nb.user_warnings import to_thread

R = TypeVar("R", bound=Response)
Messages = Iterable[ChatMessage | Mapping[str, Any]]
Request = dict[str, Any]

_SECRET = re.compile(r"\b(?:sk|r8)[-_][\w*-]{6,}|(?<=Bearer )\S+")


class MultiModalLLM(ABC):
    """A model that answers questions about pictures.

    A dialect gives the four primitives (`_call`, `_acall`, `_stream`, `_astream`) and the pure functions
    beside them (`_request`, `_read`, `_read_chunk`, `_translate`). The eight methods are the same for all:
    ``complete`` and ``chat``, ``stream_`` for answers that arrive piece by piece, ``a`` for async.

    Keyword arguments of a call win over the model's own settings for that call: ``max_new_tokens`` (tokens),
    ``temperature``, ``image_detail``, and whatever else the provider's API takes, by its own name.

    Attributes:
        model: The model's name.
        max_new_tokens: The most tokens of an answer; None leaves it to the server.
        temperature: How freely the model picks its words; None leaves it to the server.
        image_detail: The detail level of pictures that name none; None leaves it to the server.
        max_retries: How often the vendor's client repeats a request that failed in passing.
        timeout: Seconds that a request may take.
        additional_kwargs: Request parameters that are passed on as they are.
    """

    provider: ClassVar[str]
    image_limit: ClassVar[int | None] = None
    """The most pictures a request may hold, or None where there is no limit."""

    def __init__(
        self,
        model: str,
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        image_detail: Detail | None = None,
        max_retries: int = 3,
        timeout: float = 60.0,
        additional_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        if image_detail is not None:
            check_detail(image_detail)
        self.model = model
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.image_detail = image_detail
        self.max_retries = max_retries
        self.timeout = timeout
        self.additional_kwargs = dict(additional_kwargs or {})
        self._async_clients = ClientPerLoop(self._make_async_client, self._aclose_client)

    def complete(
        self, prompt: str, image_documents: ImageSource | Iterable[ImageSource] = (), **overrides: Any
    ) -> CompletionResponse:
        """Answer a prompt about pictures.

        Args:
            prompt: The question or instruction.
            image_documents: Pictures to look at: documents, or anything that `ImageDocument.of` takes.
            **overrides: Request parameters for this call alone.

        Raises:
            SettingsError: An argument cannot be used.
            ImageError: A picture cannot be used.
            ProviderError: The model did not answer.
        """
        return self._once(CompletionResponse, [user_message(prompt, image_documents)], overrides)

    def chat(self, messages: Messages, **overrides: Any) -> ChatResponse:
        """Answer the last of a list of messages; pictures are inside the messages.

        Args:
            messages: `ChatMessage` objects or ``{"role": ..., "content": ...}`` mappings, oldest first.
            **overrides: Request parameters for this call alone.

        Raises:
            SettingsError: An argument cannot be used.
            ImageError: A picture cannot be used.
            ProviderError: The model did not answer.
        """
        return self._once(ChatResponse, messages, overrides)

    def stream_complete(
        self, prompt: str, image_documents: ImageSource | Iterable[ImageSource] = (), **overrides: Any
    ) -> ResponseStream[CompletionResponse]:
        """Answer a prompt about pictures piece by piece; arguments and errors as `complete`.

        Returns:
            An iterator over responses: ``.delta`` is the new piece, ``.text`` all of it so far.
        """
        return self._streamed(CompletionResponse, [user_message(prompt, image_documents)], overrides)

    def stream_chat(self, messages: Messages, **overrides: Any) -> ResponseStream[ChatResponse]:
        """Answer the last of a list of messages piece by piece; arguments and errors as `chat`."""
        return self._streamed(ChatResponse, messages, overrides)

    async def acomplete(
        self, prompt: str, image_documents: ImageSource | Iterable[ImageSource] = (), **overrides: Any
    ) -> CompletionResponse:
        """The asynchronous twin of `complete`."""
        return await self._aonce(CompletionResponse, [user_message(prompt, image_documents)], overrides)

    async def achat(self, messages: Messages, **overrides: Any) -> ChatResponse:
        """The asynchronous twin of `chat`."""
        return await self._aonce(ChatResponse, messages, overrides)

    async def astream_complete(
        self, prompt: str, image_documents: ImageSource | Iterable[ImageSource] = (), **overrides: Any
    ) -> AsyncResponseStream[CompletionResponse]:
        """The asynchronous twin of `stream_complete`: awaited first, then iterated with ``async for``."""
        return await self._astreamed(CompletionResponse, [user_message(prompt, image_documents)], overrides)

    async def astream_chat(self, messages: Messages, **overrides: Any) -> AsyncResponseStream[ChatResponse]:
        """The asynchronous twin of `stream_chat`: awaited first, then iterated with ``async for``."""
        return await self._astreamed(ChatResponse, messages, overrides)

    def close(self) -> None:
        """Close the model's connections; a later call opens new ones.

        Leaving a ``with`` block does the same. Asynchronous connections are closed by their own event loop the
        next time it runs: `aclose` waits for that.
        """
        client = self.__dict__.pop("client", None)
        if client is not None:
            self._close_client(client)
        self._async_clients.close()

    async def aclose(self) -> None:
        """Close the model's connections and wait until they are closed; a later call opens new ones.

        Leaving an ``async with`` block does the same.
        """
        await self._async_clients.aclose()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @abstractmethod
    def _make_async_client(self) -> Any:
        """Create the vendor's asynchronous client; called on the event loop that will use it."""

    def _close_client(self, client: Any) -> None:
        """Close the vendor's synchronous client, which subclasses keep as the cached property ``client``."""
        client.close()

    async def _aclose_client(self, client: Any) -> None:
        """Close an asynchronous client of the vendor's, on its own event loop."""
        await client.close()

    @abstractmethod
    def _call(self, request: Request) -> Any:
        """Send a request and wait for the vendor's response."""

    @abstractmethod
    async def _acall(self, request: Request) -> Any:
        """Send a request and wait for the vendor's response."""

    @abstractmethod
    def _stream(self, request: Request) -> Iterator[Any]:
        """Send a request and give the vendor's chunks; has ``close`` where there is something to close."""

    @abstractmethod
    async def _astream(self, request: Request) -> AsyncIterator[Any]:
        """Send a request and give the vendor's chunks; has ``aclose`` or an async ``close``."""

    @abstractmethod
    def _request(self, messages: list[ChatMessage], settings: dict[str, Any], *, stream: bool) -> Request:
        """Build the request's parameters; reads and prepares the pictures."""

    @abstractmethod
    def _read(self, raw: Any) -> Delta:
        """Read a whole response."""

    @abstractmethod
    def _read_chunk(self, raw: Any) -> Delta:
        """Read one chunk of a stream."""

    @abstractmethod
    def _translate(self, error: Exception, partial_text: str) -> Exception:
        """The error of ours that says what the vendor's error means; one that is no vendor's stays itself."""

    @abstractmethod
    def outgoing(self, document: ImageDocument) -> Prepared | None:
        """A picture as it would be sent, or None where only its URL is.

        Args:
            document: The picture.

        Raises:
            ImageError: It cannot be used.
        """

    @property
    def counted_model(self) -> str:
        """The model whose token rule and price apply."""
        return self.model

    @property
    def server(self) -> str | None:
        """The server's address where it is not the provider's own."""
        return None

    @property
    def is_free(self) -> bool:
        """Whether an answer costs no money: true only where that is certain."""
        return False

    @property
    def identity(self) -> dict[str, Any]:
        """What decides an answer beside the question: the model, its server and the request's parameters."""
        return {"model": str(self), "server": self.server, "parameters": self._merged({})}

    def price(self, usage: Usage) -> Decimal | None:
        """The price of some usage in US dollars, or None where it is not known.

        Args:
            usage: Tokens in and out.
        """
        if self.is_free and not has_set_price(self.counted_model):
            return Decimal(0)
        return price(usage, provider=self.provider, model=self.counted_model)

    def settings(self) -> dict[str, Any]:
        """The request's settings as they are without anything that a call sets."""
        return self._merged({})

    def count_input_tokens(self, prompt: str, image_documents: ImageSource | Iterable[ImageSource] = ()) -> int:
        """The provider's own count of a question's input tokens, without asking it.

        Args:
            prompt: The question.
            image_documents: Its pictures.

        Raises:
            SettingsError: The provider has no such counter.
        """
        raise SettingsError(f"{self} has no counter of its own: leave exact=True out for an estimate.")

    def _secrets(self) -> tuple[str, ...]:
        return ()

    _trim: ClassVar[tuple[str, tuple[str, ...]]] = ("", ())

    def _once(self, kind: type[R], messages: Messages, overrides: dict[str, Any]) -> R:
        accumulator = self._accumulator(kind)
        request, account = self._opened(*self._checked(messages, overrides), stream=False)
        accumulator.expect(account.sent_tokens)
        with self._settling(account, accumulator), self._translating():
            return accumulator.add(self._read(self._call(request)), last=True)

    async def _aonce(self, kind: type[R], messages: Messages, overrides: dict[str, Any]) -> R:
        accumulator = self._accumulator(kind)
        request, account = await self._aopened(messages, overrides, stream=False)
        accumulator.expect(account.sent_tokens)
        with self._settling(account, accumulator), self._translating():
            return accumulator.add(self._read(await self._acall(request)), last=True)

    def _streamed(self, kind: type[R], messages: Messages, overrides: dict[str, Any]) -> ResponseStream[R]:
        accumulator = self._accumulator(kind)
        request, account = self._opened(*self._checked(messages, overrides), stream=True)
        accumulator.expect(account.sent_tokens)
        try:
            with self._translating():
                chunks = self._stream(request)
        except BaseException:
            account.settle(None)
            raise
        return ResponseStream(chunks, self._read_chunk, accumulator, self._own_error, account.settle)

    async def _astreamed(self, kind: type[R], messages: Messages, overrides: dict[str, Any]) -> AsyncResponseStream[R]:
        accumulator = self._accumulator(kind)
        request, account = await self._aopened(messages, overrides, stream=True)
        accumulator.expect(account.sent_tokens)
        try:
            with self._translating():
                chunks = await self._astream(request)
        except BaseException:
            account.settle(None)
            raise
        return AsyncResponseStream(chunks, self._read_chunk, accumulator, self._own_error, account.settle)

    def _opened(
        self, messages: list[ChatMessage], settings: dict[str, Any], *, stream: bool
    ) -> tuple[Request, CallAccounting]:
        """Build the request, and admit it to the ledger."""
        request, account = self._built(messages, settings, stream=stream)
        account.admit()
        return request, account

    def _built(
        self, messages: list[ChatMessage], settings: dict[str, Any], *, stream: bool
    ) -> tuple[Request, CallAccounting]:
        return self._request(messages, settings, stream=stream), CallAccounting(self, messages, settings)

    async def _aopened(
        self, messages: Messages, overrides: dict[str, Any], *, stream: bool
    ) -> tuple[Request, CallAccounting]:
        """As `_opened`, off the event loop where pictures have to be read."""
        checked, settings = self._checked(messages, overrides)
        if any(message.image_documents for message in checked):
            request, account = await to_thread(self._built, checked, settings, stream=stream)
        else:
            request, account = self._built(checked, settings, stream=stream)
        account.admit()  # not in the thread, which a cancelled call would leave to reserve for nobody
        return request, account

    @contextmanager
    def _settling(self, account: CallAccounting, accumulator: ResponseAccumulator[R]) -> Iterator[None]:
        """Write a call down when it has ended, well or not."""
        try:
            yield
        finally:
            account.settle(accumulator.response)

    def _checked(self, messages: Messages, overrides: dict[str, Any]) -> tuple[list[ChatMessage], dict[str, Any]]:
        if "image_documents" in overrides:
            raise SettingsError(
                "A chat takes its pictures inside the messages: use "
                "generate_openai_multi_modal_chat_message(prompt=..., image_documents=...)."
            )
        if "stream" in overrides:
            raise SettingsError("stream= is no parameter here: stream_complete() and stream_chat() stream.")
        if isinstance(messages, (str, ChatMessage, Mapping)):
            raise SettingsError("A chat takes a list of messages: for a single prompt there is complete().")
        checked = [ChatMessage.of(message) for message in messages]
        if not checked:
            raise SettingsError("There is no message to answer: the list is empty.")
        self._check_pictures(checked)
        return checked, self._merged(overrides)

    def _check_pictures(self, messages: list[ChatMessage]) -> None:
        count = sum(len(message.image_documents) for message in messages)
        if self.image_limit is not None and count > self.image_limit:
            raise SettingsError(
                f"{self} takes {self.image_limit} picture{'s' if self.image_limit > 1 else ''} a request and got "
                f"{count}: send fewer at a time."
            )

    def _merged(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of one call: the model's own, then additional_kwargs, then the call's."""
        settings: dict[str, Any] = {
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "image_detail": self.image_detail,
        }
        for layer in (self.additional_kwargs, overrides):
            settings = {**self._without_displaced(settings, layer), **layer}
        settings = {name: value for name, value in settings.items() if value is not None}
        if "image_detail" in settings:
            check_detail(settings["image_detail"])
        return settings

    def _without_displaced(self, settings: dict[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
        """The settings without those that a later layer sets under another name."""
        return settings

    def _detail_of(self, document: ImageDocument, settings: Mapping[str, Any]) -> Detail | None:
        return document.detail or settings.get("image_detail")

    def _accumulator(self, kind: type[R]) -> ResponseAccumulator[R]:
        return ResponseAccumulator(kind(model=self.model, pricing=self.price), self._trim)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            own = self._own_error(error, "")
            if own is error:
                raise
            raise own from error

    def _own_error(self, error: Exception, partial_text: str) -> Exception:
        """Translate an error, and take every key out of it and of the error behind it."""
        if isinstance(error, VisionError):
            return error
        error.args = tuple(self.redacted(arg) if isinstance(arg, str) else arg for arg in error.args)
        own = self._translate(error, partial_text)
        if own is not error:
            own.args = tuple(self.redacted(arg) if isinstance(arg, str) else arg for arg in own.args)
        return own

    def redacted(self, text: str) -> str:
        """A text without anything that is or looks like a key.

        Args:
            text: Such as a server's error message.
        """
        for secret in self._secrets():
            text = text.replace(secret, "***")
        return _SECRET.sub("***", text)

    def __repr__(self) -> str:
        settings = {name: getattr(self, name) for name in ("max_new_tokens", "temperature", "image_detail")}
        shown = "".join(f", {name}={value!r}" for name, value in settings.items() if value is not None)
        return f"{type(self).__name__}(model={self.model!r}{shown})"

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}"
