"""`RequestSender`: send requests, map errors and record the cost, once for all providers and methods."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeAlias

from vision_nb.cost.call_gate import CallGate
from vision_nb.cost.rate_limit import RateLimit, how_to_limit
from vision_nb.cost.request_gate import active_gate
from vision_nb.cost.request_window import SlidingWindow, shared_window
from vision_nb.errors import SettingsError, VisionError
from vision_nb.privacy.redaction import redact, redact_exception
from vision_nb.providers.call import Call
from vision_nb.providers.provider import Provider
from vision_nb.providers.retries import MAX_WAIT
from vision_nb.providers.streaming import (
    AskAgainError,
    AsyncResponseStream,
    Delta,
    R,
    ResponseAccumulator,
    ResponseStream,
)
from vision_nb.providers.structured import Question

_StreamParts: TypeAlias = tuple[
    Callable[[Any], Delta], ResponseAccumulator[R], Callable[[Exception, str], Exception], Callable[[R], None]
]


class RequestSender(Provider):
    """Sends the requests of a question until there is an answer that can be used.

    Args:
        rate_limit: The limit on the requests to the model; None for no limit.
    """

    def __init__(self, rate_limit: RateLimit | None = None) -> None:
        super().__init__()
        if rate_limit is not None and not isinstance(rate_limit, RateLimit):
            raise SettingsError(f"rate_limit={rate_limit!r:.80} is not a RateLimit: write {how_to_limit(rate_limit)}.")
        self.rate_limit = rate_limit
        self._schema_in_prompt = self.schema_support == "prompt"

    def redacted(self, text: str) -> str:
        """Return a text with everything that is or looks like an API key replaced.

        Args:
            text: A text, such as a server's error message.
        """
        return redact(text)

    @abstractmethod
    def _prepare(self, question: Question[R], *, stream: bool) -> Call[R]:
        """Prepare a request.

        Args:
            question: The question.
            stream: Whether the answer is to be streamed.
        """

    @abstractmethod
    async def _aprepare(self, question: Question[R], *, stream: bool) -> Call[R]:
        """Prepare a request without blocking the event loop."""

    def _answer(self, question: Question[R], response: R | None = None) -> R:
        """Ask until an answer can be used; a response is the first answer, which was streamed."""
        accepted = None
        while accepted is None:
            with question.attempt(), self._gate():
                accepted = question.accept(response or self._send(question))
                response = None
        return accepted

    async def _aanswer(self, question: Question[R], response: R | None = None) -> R:
        accepted = None
        while accepted is None:
            with question.attempt(), self._async_gate():
                accepted = question.accept(response or await self._asend(question))
                response = None
        return accepted

    def _send(self, question: Question[R]) -> R:
        """Send one request, or another if the server refuses its form."""
        while True:
            call = self._prepare(question, stream=False)
            call.accounting.reserve()
            with self._sending(call):
                call.accumulator.add(self._parse_response(self._call(call.request), call.request), last=True)
                call.accounting.note_accepted()
                return call.settle()

    async def _asend(self, question: Question[R]) -> R:
        while True:
            call = await self._aprepare(question, stream=False)
            await call.accounting.areserve()
            with self._sending(call):
                call.accumulator.add(self._parse_response(await self._acall(call.request), call.request), last=True)
                call.accounting.note_accepted()
                return call.settle()

    def _start_stream(self, question: Question[R]) -> ResponseStream[R]:
        finish = partial(self._answer, question) if question.is_structured else None
        while True:
            with self._gate():
                call = self._prepare(question, stream=True)
                call.accounting.reserve()
                with self._sending(call):
                    chunks = self._stream(call.request)
                    call.accounting.note_accepted()
                    return ResponseStream(chunks, *self._stream_parts(call), finish)

    async def _astart_stream(self, question: Question[R]) -> AsyncResponseStream[R]:
        finish = partial(self._aanswer, question) if question.is_structured else None
        while True:
            with self._async_gate():
                call = await self._aprepare(question, stream=True)
                await call.accounting.areserve()
                with self._sending(call):
                    chunks = await self._astream(call.request)
                    call.accounting.note_accepted()
                    return AsyncResponseStream(chunks, *self._stream_parts(call), finish)

    def window(self) -> SlidingWindow:
        """Return the requests of the last minute to the model with the same account, in this process."""
        return shared_window(str(self), self.account)

    def _gate(self) -> AbstractContextManager[Any]:
        """Apply the rate limits of the model and its server in a ``with`` block."""
        return CallGate(str(self), self.rate_limit, self.window, max_wait=MAX_WAIT).active()

    def _async_gate(self) -> AbstractContextManager[Any]:
        """Apply the rate limits, unless the call belongs to a run, which applies them itself."""
        return self._gate() if active_gate.get() is None else nullcontext()

    @contextmanager
    def _sending(self, call: Call[Any]) -> Iterator[None]:
        """Map errors, and settle the call if it fails; suppress the error if the request has to take another form."""
        call.accumulator.start()
        try:
            with self._mapping_errors():
                yield
        except BaseException as error:
            call.accounting.note_failure(error)
            call.settle()
            if not self._takes_other_form(call, error.__cause__):
                raise

    def _takes_other_form(self, call: Call[Any], error: BaseException | None) -> bool:
        """Ask for schemas in the prompt from now on if the server refused one as a parameter."""
        if not call.sends_schema or error is None or not self._refuses_schema(error):
            return False
        self._schema_in_prompt = True
        return True

    def _stream_parts(self, call: Call[R]) -> _StreamParts[R]:
        """Return what reads a stream's chunks, collects its answer, maps its errors and settles it."""

        def parse(chunk: Any) -> Delta:
            return self._parse_chunk(chunk, call.request)

        def map_error(error: Exception, partial_text: str) -> Exception:
            mapped = self._mapped(error, partial_text)
            call.accounting.note_failure(mapped)
            is_retried = not partial_text and self._takes_other_form(call, error)
            return AskAgainError(str(mapped)) if is_retried else mapped

        return parse, call.accumulator, map_error, call.accounting.settle

    @contextmanager
    def _mapping_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            mapped = self._mapped(error, "")
            if mapped is error:
                raise
            raise mapped from mapped.__cause__ or error

    def _mapped(self, error: Exception, partial_text: str) -> Exception:
        """Map a vendor exception to ours, and remove API keys from both."""
        redact_exception(error)
        if isinstance(error, VisionError):
            return error
        outer: BaseException = error
        while outer.__cause__ is not None:
            inner = outer.__cause__
            if isinstance(inner, VisionError):  # raised by a hook of the HTTP client, whose frames are left out
                outer.__cause__ = outer.__context__ = None
                return inner.with_traceback(None)
            outer = inner
        return self._map_error(error, partial_text)
