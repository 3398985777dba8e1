"""Decoder for server-sent events, from bytes.

The vendors' clients have their own decoders, but these lose parts of answers. The replicate client's turns text that
starts with ``https://`` or ``data:`` into a file, drops events without an ID, and loses the rest of a line after a
U+2028 (replicate 1.0.7 with httpx 0.28, tested in 2026-11). For the openai client's, see `openai/event_stream`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")  # a line feed may still follow a carriage return at the end


@dataclass(frozen=True)
class Event:
    """A server-sent event.

    Attributes:
        type: "output", "logs", "error", "done" or another type.
        data: The text, lines joined.
    """

    type: str
    data: str


class EventDecoder:
    """Decode events from chunks of bytes of any size."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._type = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that these bytes complete."""
        self._pieces.append(data)
        if not any(end in piece for piece in self._pieces[-2:] for end in (b"\r", b"\n")):
            return  # joining the pieces of a long line only once
        *lines, rest = _LINE_END.split(b"".join(self._pieces))
        self._pieces = [rest]
        for line in lines:
            yield from self._decode(line.decode("utf-8", "replace"))

    def finish(self) -> Iterator[Event]:
        """Yield the event at the end of the stream that no blank line has completed; it may be a part of one."""
        yield from self.feed(b"\n\n")

    def _decode(self, line: str) -> Iterator[Event]:
        line = line.lstrip("\ufeff")  # a byte order mark, which belongs to no field
        if not line:
            if self._data:
                yield Event(self._type or "message", "\n".join(self._data))
            self._type, self._data = "", []
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
