"""Server-sent events, from bytes. Pure.

The replicate client has a decoder of its own. It turns a text that begins with ``https://`` or ``data:`` into a
file, drops an event that comes without an id, and loses what follows a U+2028 in a line (replicate 1.0.7 over
httpx 0.28, tried 2026-11). Here text stays text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")  # what follows a carriage return at the end may be its line feed


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        kind: "output", "logs", "error" or "done", or whatever else the server calls it.
        data: Its text, lines joined.
    """

    kind: str
    data: str


class EventDecoder:
    """Takes in bytes as they come and gives the events that are whole."""

    def __init__(self) -> None:
        self._buffer = b""
        self._kind = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that these bytes complete."""
        *lines, self._buffer = _LINE_END.split(self._buffer + data)
        for line in lines:
            yield from self._line(line.decode("utf-8", "replace"))

    def _line(self, line: str) -> Iterator[Event]:
        if not line:
            if self._data:
                yield Event(self._kind or "message", "\n".join(self._data))
            self._kind, self._data = "", []
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
