"""Streams that end without one word: some servers fail so, and say why only where nothing is streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Self


class QuestionedStream:
    """Chunks of a stream, and a question to the server where they hold no word.

    llama.cpp's server ends a stream that fails before its first word with status 200 and nothing in it, and
    LiteLLM makes an empty answer of that. Asked the same unstreamed, both raise the true error.

    Args:
        chunks: The vendor client's stream.
        says: Whether a chunk holds text.
        ask: Asks the same unstreamed, and raises what is wrong.
    """

    def __init__(self, chunks: Iterator[Any], says: Callable[[Any], bool], ask: Callable[[], object]) -> None:
        self._chunks, self._says, self._ask, self._done = chunks, says, ask, False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            if not self._done:
                self._done = True
                self._ask()
            raise
        self._done = self._done or self._says(chunk)
        return chunk

    def close(self) -> None:
        """Close the connection."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()


class AsyncQuestionedStream:
    """The asynchronous twin of `QuestionedStream`."""

    def __init__(
        self, chunks: AsyncIterator[Any], says: Callable[[Any], bool], ask: Callable[[], Awaitable[object]]
    ) -> None:
        self._chunks, self._says, self._ask, self._done = chunks, says, ask, False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            if not self._done:
                self._done = True
                await self._ask()
            raise
        self._done = self._done or self._says(chunk)
        return chunk

    async def close(self) -> None:
        """Close the connection."""
        close = getattr(self._chunks, "aclose", None) or getattr(self._chunks, "close", None)
        if close is not None:
            await close()
