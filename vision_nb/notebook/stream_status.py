"""`StreamStatus`: a line that shows that a long answer is still arriving."""

from __future__ import annotations

import time

from vision_nb.notebook.progress import LiveOutput
from vision_nb.rendering.format import format_duration
from vision_nb.rendering.html import muted_text

INTERVAL = 1.0
"""Seconds after which the line is updated, and without a change of the answer after which it is first shown."""

_LAST_WORDS = 70  # characters
_ENVELOPE = 200  # bytes of a message without its line


class StreamStatus:
    """The last words of a long answer, how much of it has arrived, and for how long.

    A long answer is redrawn seldom, because each update sends all of it. The line is an output of its own, below the
    answer, whose updates send a few hundred bytes: together at most about the length of the answer.

    Attributes:
        started: When the answer began, by `time.monotonic`.
    """

    def __init__(self) -> None:
        self._output = LiveOutput()
        self.started = time.monotonic()
        self._shown_at, self._sent = 0.0, 0

    def show(self, text: str, received: int, *, drawn_at: float) -> None:
        """Update the line, unless it or the answer was updated a moment ago.

        Args:
            text: The part of the answer that is arriving: its text, or its reasoning.
            received: How many characters of the answer have arrived, reasoning included.
            drawn_at: When the answer was drawn, by `time.monotonic`.
        """
        now = time.monotonic()
        if now - max(drawn_at, self._shown_at) < INTERVAL or self._sent > received:
            return
        end = text[-_LAST_WORDS:]
        words = " ".join((end.partition(" ")[2] or end).split())
        line = f"\N{HORIZONTAL ELLIPSIS} {words} ({received:,} characters, {format_duration(now - self.started)})"
        html = muted_text(line)
        self._output.show(line, html)
        self._shown_at, self._sent = now, self._sent + len(line) + len(html) + _ENVELOPE

    def clear(self) -> None:
        """Empty the line."""
        self._output.clear()
