"""`RedrawTimer`: limits how often a widget is redrawn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from vision_nb.notebook.display import UPDATES_PER_SECOND


class RedrawTimer:
    """Redraws a widget now, or after a short delay if the last redraw was very recent.

    Args:
        redraw: The function that redraws the widget.

    Attributes:
        drawn_at: The end of the last redraw, as ``time.monotonic()``.
        seconds: How long it took.
    """

    def __init__(self, redraw: Callable[[], None]) -> None:
        self.drawn_at = self.seconds = 0.0
        self._redraw = redraw
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_due(self) -> bool:
        """Whether a redraw is pending."""
        return self._timer is not None

    def soon(self, *, is_growing: bool) -> None:
        """Redraw now or a little later.

        Args:
            is_growing: Whether an answer is growing; redraws then take at most a fifth of the time.
        """
        pause = 1 / UPDATES_PER_SECOND
        if is_growing:
            pause = max(pause, 4 * self.seconds)
        delay = self.drawn_at + pause - time.monotonic()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # without an event loop, redraw now
            delay = 0
        if delay <= 0:
            self.now()
        else:
            self.cancel()
            self._timer = loop.call_later(delay, self.now)

    def now(self) -> None:
        """Redraw."""
        self.cancel()
        started_at = time.monotonic()
        self._redraw()
        self.drawn_at = time.monotonic()
        self.seconds = self.drawn_at - started_at

    def cancel(self) -> None:
        """Cancel the pending redraw."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
