"""Detection of errors that a server hides behind an empty stream.

llama.cpp's server ends a stream that fails before its first token with status 200 and no content, and LiteLLM turns
that into an empty answer. The same request without streaming raises the real error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Self


class EmptyStreamCheck:
    """Pass on the chunks of a stream; if none has text, repeat the request to raise the hidden error.

    Args:
        chunks: The vendor's stream.
        has_text: Returns whether a chunk has text.
        repeat: Sends the same request without streaming.
    """

    def __init__(self, chunks: Any, has_text: Callable[[Any], bool], repeat: Callable[[], object]) -> None:
        self._chunks, self._has_text, self._repeat = chunks, has_text, repeat
        self._is_checked = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            if not self._is_checked:
                self._is_checked = True
                self._repeat()
            raise
        self._is_checked = self._is_checked or self._has_text(chunk)
        return chunk

    def close(self) -> None:
        """Close the connection."""
        self._chunks.close()


class AsyncEmptyStreamCheck:
    """Asynchronous version of `EmptyStreamCheck`."""

    def __init__(self, chunks: Any, has_text: Callable[[Any], bool], repeat: Callable[[], Awaitable[object]]) -> None:
        self._chunks, self._has_text, self._repeat = chunks, has_text, repeat
        self._is_checked = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            if not self._is_checked:
                self._is_checked = True
                await self._repeat()
            raise
        self._is_checked = self._is_checked or self._has_text(chunk)
        return chunk

    async def close(self) -> None:
        """Close the connection."""
        await self._chunks.close()
