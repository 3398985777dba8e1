"""`WaitLine`: a line that says why a call waits, and for how long."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Self

from vision_nb.checks.context_values import context_value
from vision_nb.notebook.progress import LiveOutput
from vision_nb.rendering.format import format_duration
from vision_nb.rendering.html import muted_text

SHORTEST = 2.0
"""Seconds; a shorter wait is not shown."""

_INTERVAL = 1.0  # seconds between two updates

show_wait: ContextVar[Callable[[str], None] | None] = ContextVar("show_wait", default=None)
"""Shows the line, or "" at the end, in place of an output below the cell; a chat panel shows it itself."""


class WaitLine:
    """A line that counts down while a call waits, and then disappears; a log keeps its first state."""

    def __init__(self) -> None:
        self._output = LiveOutput()
        self._show = show_wait.get() or self._show_below
        self._shown_at = -math.inf
        self._is_shown = False

    def update(self, seconds: float, reason: str) -> None:
        """Show how long the call still waits, unless it is short or was shown a moment ago.

        Args:
            seconds: The seconds; infinite if they are not known.
            reason: Why it waits, as a sentence.
        """
        now = time.monotonic()
        if (seconds < SHORTEST and not self._is_shown) or now - self._shown_at < _INTERVAL:
            return
        length = "" if math.isinf(seconds) else f" {format_duration(math.ceil(seconds))}"
        self._show(f"Waiting{length}: {reason}")
        self._shown_at, self._is_shown = now, True

    def _show_below(self, line: str) -> None:
        if not line:
            self._output.clear()
        elif self._output.is_live or not self._is_shown:
            self._output.show(line, muted_text(line), last=not self._output.is_live)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_shown:
            self._show("")


def sleep(seconds: float, reason: str) -> None:
    """Wait in this thread, and show the line.

    Args:
        seconds: How long.
        reason: Why, as a sentence.
    """
    with WaitLine() as shown:
        for left, pause in _countdown(seconds):
            shown.update(left, reason)
            time.sleep(pause)


async def asleep(seconds: float, reason: str) -> None:
    """Wait, and show the line; the asynchronous version of `sleep`."""
    with WaitLine() as shown:
        for left, pause in _countdown(seconds):
            shown.update(left, reason)
            await asyncio.sleep(pause)


def _countdown(seconds: float) -> Iterator[tuple[float, float]]:
    """Yield the seconds that are left, and for how many to wait until the line is updated."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        yield left, min(left, _INTERVAL)


def hidden_waits() -> AbstractContextManager[None]:
    """Show no lines in a ``with`` block: the progress of a run shows what waits."""
    return context_value(show_wait, lambda _: None)
