"""Answers that are still arriving: iterate them, and read what has come so far at any time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from vision_nb.errors import MalformedResponseError
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.responses import Response, Usage

R = TypeVar("R", bound=Response)

_END: Any = object()


@dataclass(frozen=True)
class Delta:
    """What one chunk of a stream says, or a whole answer.

    Attributes:
        text: The text in it.
        usage: The tokens it reports, or None.
        finish_reason: Why the answer ended, where it says so.
        model: The model that answered, where it says so.
        raw: The vendor client's own object.
    """

    text: str = ""
    usage: Usage | None = None
    finish_reason: str | None = None
    model: str = ""
    raw: Any = None


class ResponseAccumulator(Generic[R]):
    """Turns pieces into responses, each with all of the text so far.

    Args:
        empty: A response with everything that is known before the first piece.
        trim: Text that the server puts round its answers: leading characters to drop, endings to drop.
    """

    def __init__(self, empty: R, trim: tuple[str, tuple[str, ...]] = ("", ())) -> None:
        self.response = empty
        self._started = time.perf_counter()
        self._leading, self._endings = trim
        self._held = self._half = ""

    def expect(self, sent_tokens: int) -> None:
        """Note how many input tokens are sent at least: a server that reports far fewer did not count."""
        self.response = replace(self.response, sent_tokens=sent_tokens)

    def add(self, piece: Delta, *, last: bool = False) -> R:
        """The response after one more piece."""
        last = last or piece.finish_reason is not None
        delta = self._trimmed(self._joined(piece.text, last), last)
        so_far = self.response
        self.response = replace(
            so_far,
            text=so_far.text + delta,
            delta=delta,
            raw=piece.raw if piece.raw is not None else so_far.raw,
            usage=piece.usage or so_far.usage,
            model=piece.model or so_far.model,
            finish_reason=piece.finish_reason or so_far.finish_reason,
            latency=time.perf_counter() - self._started,
        )
        return self.response

    def _joined(self, text: str, last: bool) -> str:
        """Join the halves of a surrogate pair that arrive in two pieces, and replace a half that stays alone."""
        text, self._half = self._half + text, ""
        if not last and "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return replace_surrogates(text)

    def _trimmed(self, text: str, last: bool) -> str:
        """Drop what is to be trimmed, holding back what may turn out to be the beginning of an ending."""
        if not self._leading and not self._endings:
            return text
        text, self._held = self._held + text, ""
        if not self.response.text:
            text = text.lstrip(self._leading)
        if last:
            for ending in self._endings:
                text = text.removesuffix(ending)
            return text
        for ending in self._endings:
            for length in range(min(len(ending), len(text)), 0, -1):
                if text.endswith(ending[:length]):
                    text, self._held = text[:-length], text[-length:]
                    return text
        return text

    @property
    def held(self) -> bool:
        """Whether some text is held back that the stream may end with."""
        return bool(self._held or self._half)


_INTERRUPTED = Delta(finish_reason="interrupted")


class ResponseStream(Generic[R]):
    """A streamed answer: an iterator over responses whose ``.text`` grows and whose ``.delta`` is new.

    It closes its connection at its end, on an error, on an interrupt, and when it is left as a context
    manager. What has arrived stays in ``.text`` and ``.response``.
    """

    def __init__(
        self,
        chunks: Iterator[Any],
        read: Callable[[Any], Delta],
        accumulator: ResponseAccumulator[R],
        translate: Callable[[Exception, str], Exception],
        settle: Callable[[R], None],
    ) -> None:
        self._source, self._chunks = chunks, iter(chunks)
        self._read, self._accumulator, self._translate, self._settle = read, accumulator, translate, settle

    @property
    def response(self) -> R:
        """The response as far as it has arrived."""
        return self._accumulator.response

    @property
    def text(self) -> str:
        """The text as far as it has arrived."""
        return self.response.text

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        try:
            while (chunk := next(self._chunks, _END)) is not _END:
                piece = self._read(chunk)
                if _says_something(piece):
                    return self._accumulator.add(piece)
            if self._accumulator.held:
                return self._accumulator.add(Delta(), last=True)
            _refuse_nothing(self.response)
        except Exception as error:
            self.close()
            own = self._translate(error, self.text)
            if own is error:
                raise
            raise own from error
        except BaseException:
            self._accumulator.add(_INTERRUPTED, last=True)
            self.close()
            raise
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Close the connection; what has arrived stays."""
        self._settle(self.response)
        close = getattr(self._source, "close", None)
        if close is not None:
            close()

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncResponseStream(Generic[R]):
    """The asynchronous twin of `ResponseStream`."""

    def __init__(
        self,
        chunks: AsyncIterator[Any],
        read: Callable[[Any], Delta],
        accumulator: ResponseAccumulator[R],
        translate: Callable[[Exception, str], Exception],
        settle: Callable[[R], None],
    ) -> None:
        self._source, self._chunks = chunks, aiter(chunks)
        self._read, self._accumulator, self._translate, self._settle = read, accumulator, translate, settle

    @property
    def response(self) -> R:
        """The response as far as it has arrived."""
        return self._accumulator.response

    @property
    def text(self) -> str:
        """The text as far as it has arrived."""
        return self.response.text

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        try:
            while (chunk := await anext(self._chunks, _END)) is not _END:
                piece = self._read(chunk)
                if _says_something(piece):
                    return self._accumulator.add(piece)
            if self._accumulator.held:
                return self._accumulator.add(Delta(), last=True)
            _refuse_nothing(self.response)
        except Exception as error:
            await self.aclose()
            own = self._translate(error, self.text)
            if own is error:
                raise
            raise own from error
        except BaseException:
            self._accumulator.add(_INTERRUPTED, last=True)
            await self.aclose()
            raise
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the connection; what has arrived stays."""
        self._settle(self.response)
        close = getattr(self._source, "aclose", None) or getattr(self._source, "close", None)
        if close is not None:
            await close()

    def __del__(self) -> None:
        # The connection is the vendor's to close; the call is written down all the same.
        self._settle(self.response)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _says_something(piece: Delta) -> bool:
    return bool(piece.text or piece.usage or piece.finish_reason)


def _refuse_nothing(response: Response) -> None:
    """A stream that ends without a word, a reason or a count was no answer."""
    if not (response.text or response.finish_reason):
        raise MalformedResponseError("The stream ended without an answer: ask again, or ask without streaming.")
