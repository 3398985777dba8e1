"""Streams of the openai client that also report how they ended.

The client swallows the end marker, ``data: [DONE]``: with it, a stream that has no finish reason is complete, and
without it the connection may have been lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

RECORD = "vision_nb.body"
"""The response's extension that holds what is known about its body."""


ANSWER_BEGAN = "vision_nb.answer_began"
"""The request's extension that says that an answer began to arrive."""


@dataclass(frozen=True)
class StreamEnd:
    """The end of a stream, which follows its last chunk.

    Attributes:
        has_end_marker: Whether the server sent the end marker.
        body: The beginning of an answer that was not a stream of events.
    """

    has_end_marker: bool
    body: bytes


class ChunkStream:
    """The chunks of a stream, followed by a `StreamEnd`.

    Args:
        stream: The openai client's stream.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._stream)
        except StopIteration:
            if self._is_over:
                raise
        self._is_over = True
        return _end_of(self._stream)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()


class AsyncChunkStream:
    """The asynchronous version of `ChunkStream`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await anext(self._stream)
        except StopAsyncIteration:
            if self._is_over:
                raise
        self._is_over = True
        return _end_of(self._stream)

    async def close(self) -> None:
        """Close the connection."""
        await self._stream.close()


def _end_of(stream: Any) -> StreamEnd:
    record = stream.response.extensions.get(RECORD)
    if record is None:  # the user replaced the HTTP client
        return StreamEnd(has_end_marker=False, body=b"")
    return StreamEnd(record.has_end_marker, record.start)
