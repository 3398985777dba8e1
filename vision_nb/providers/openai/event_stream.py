"""Streams of events in the form that the openai client reads without loss.

The client (3.52, tested in 2026-11) fails at an event without data, such as ``event: ping``, after an ``id`` even at a
comment, at a byte order mark, and at bytes that are not UTF-8; it drops an event that no blank line ends.
"""

from __future__ import annotations

import json

from vision_nb.providers.sse import Event, EventDecoder

_END_MARKER = "[DONE]"
_FIRST_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")


class EventRewriter:
    """Rewrite a stream of events.

    Attributes:
        has_events: Whether there has been an event.
        has_end_marker: Whether the end marker has been received.
    """

    def __init__(self) -> None:
        self._decoder = EventDecoder()
        self.has_events = self.has_end_marker = False

    def feed(self, data: bytes, *, last: bool = False) -> bytes:
        """Return the events that these bytes complete.

        Args:
            data: The next bytes.
            last: Whether these are the last bytes.
        """
        rewritten = [self._rewrite(event) for event in self._decoder.feed(data)]
        if last:
            rewritten += [self._rewrite(event, is_ended=False) for event in self._decoder.finish()]
        return b"".join(rewritten)

    def _rewrite(self, event: Event, *, is_ended: bool = True) -> bytes:
        lines = [line for line in (line.strip("\ufeff ") for line in event.data.split("\n")) if line]
        if not is_ended and not _is_complete(event.data):
            lines = [line for line in lines if _is_complete(line)]
        name = "" if event.type == "message" else f"event: {event.type}\n"
        self.has_events = self.has_events or bool(lines)
        self.has_end_marker = self.has_end_marker or any(line.startswith(_END_MARKER) for line in lines)
        if len(lines) > 1 and all(map(_is_complete, lines)):  # a server that puts no blank line between its events
            return "".join(f"{name}data: {line}\n\n" for line in lines).encode()
        data = "".join(f"data: {line}\n" for line in lines)
        return f"{name}{data}\n".encode() if lines else b""


def _is_complete(data: str) -> bool:
    """Return whether the data of an event is complete."""
    if data.startswith(_END_MARKER):
        return True
    try:
        json.loads(data.strip("\ufeff "))
    except (ValueError, RecursionError):
        return False
    return True


def begins_events(start: bytes) -> bool:
    """Return whether an answer is a stream of events, whatever its content type says.

    Args:
        start: Its first bytes, without white space.
    """
    return start.startswith(_FIRST_FIELDS)
