"""Streams of the openai client that also report how they ended.

The client swallows the end marker, ``data: [DONE]``: with it, a stream that has no finish reason is complete, and
without it the connection may have been lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from vision_nb.providers.sse import EventDecoder

RECORD = "vision_nb.body"
"""The response's extension that holds what is known about its body."""


ANSWER_BEGAN = "vision_nb.answer_began"
"""The request's extension that says that an answer began to arrive."""


@dataclass(frozen=True)
class StreamEnd:
    """The end of a stream, which follows its last chunk.

    Attributes:
        has_end_marker: Whether the server sent the end marker.
        body: An answer that was not a stream of events.
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


def read_answer(body: bytes, kind: Callable[[], Any]) -> Any:
    """Return the whole answer of a server that did not stream it, or None.

    Args:
        body: What the server sent in place of events.
        kind: Returns the openai client's class for whole answers.
    """
    answer = _read_object(body)
    return None if answer is None else kind().model_construct(**answer)


def read_chunks(text: str) -> list[Any]:
    """Return the chunks and the end of a stream that was sent in place of a whole answer; empty if it is not one.

    Args:
        text: The stream, as `EventRewriter` writes it.
    """
    from openai.types.chat import ChatCompletionChunk

    events = [event.data for event in EventDecoder().feed(text.encode("utf-8", "replace"))]
    chunks = [ChatCompletionChunk.model_construct(**data) for event in events if (data := _read_object(event))]
    return [*chunks, StreamEnd(any(event.startswith("[DONE]") for event in events), b"")] if chunks else []


def _read_object(text: str | bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _end_of(stream: Any) -> StreamEnd:
    record = stream.response.extensions.get(RECORD)
    if record is None:  # the user replaced the HTTP client
        return StreamEnd(has_end_marker=False, body=b"")
    return StreamEnd(record.has_end_marker, record.whole)
