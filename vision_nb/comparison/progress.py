"""The progress of a comparison: one output, which ends as one plain line."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import islice
from typing import Self

from vision_nb.comparison.grid import Row
from vision_nb.notebook.progress import LiveOutput
from vision_nb.rendering.format import format_duration, format_price, format_usd
from vision_nb.rendering.html import MUTED_STYLE, muted_text
from vision_nb.rendering.sanitize import escape_text

_MIN_INTERVAL = 0.25  # seconds between two updates
_TICK = 1.0  # seconds after which the times are updated, even if no answer arrives
_NAMED = 3  # questions under way that are named


class Progress:
    """The number of finished and failed rows, the rate, the time left, the cost, and the questions under way.

    Args:
        total: The number of rows.
        title: What the line says before the numbers.
        enabled: Whether to show anything.
        is_free: Whether no model of the comparison costs anything.
    """

    def __init__(self, total: int, title: str, *, enabled: bool, is_free: bool = False) -> None:
        self._total, self._title = total, title
        self._is_free = is_free
        self._output = LiveOutput(enabled=enabled)
        self._done = self._failed = self._stored = self._asked = self._by_demo = self._elsewhere = 0
        self._has_unknown_price = False
        self._spent = Decimal(0)
        self._started = time.monotonic()
        self._first_call: float | None = None
        self._drawn_at = 0.0
        self._scheduled: asyncio.TimerHandle | None = None
        self._asking: dict[int, Callable[[], str]] = {}
        self._pauses: dict[str, float] = {}
        self._waiting: Counter[str] = Counter()  # requests that wait, by model
        self.notes: Sequence[str] = ()

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
        line = ", ".join([*self._counts(), format_duration(time.monotonic() - self._started), self._price()])
        shown = ". ".join([f"{self._title}: {line}", *self.notes])
        self._output.show(shown, muted_text(shown), last=True)

    async def keep_current(self) -> None:
        """Update the times every second, until it is canceled."""
        while True:
            await asyncio.sleep(_TICK)
            self._update()

    @contextmanager
    def asking(self, row: int, name: Callable[[], str]) -> Iterator[None]:
        """Show a question as under way while the block runs.

        Args:
            row: The row's index.
            name: Returns the image and the model; it is called for the few questions that are named.
        """
        if self._first_call is None:
            self._first_call = time.monotonic()
        self._asking[row] = name
        self._update()
        try:
            yield
        finally:
            del self._asking[row]

    @contextmanager
    def waiting(self, row: int, model: str) -> Iterator[None]:
        """Show that a question waits for the rate limit of its model while the block runs.

        Args:
            row: The row's index.
            model: The model's name.
        """
        name = self._asking.pop(row)
        self._waiting[model] += 1
        self._update()
        try:
            yield
        finally:
            self._waiting[model] -= 1
            self._asking[row] = name
            self._update()

    def show_pause(self, model: str, seconds: float) -> None:
        """Show that a model is not asked for some seconds after a rate limit error."""
        self._pauses[model] = time.monotonic() + seconds
        self._update()

    def recount(self, *, answered: int, failed: int, stored: int, spent: Decimal) -> None:
        """Update the numbers of rows with an answer, with an error, and with an answer from the store."""
        self._done, self._failed, self._stored, self._spent = answered + failed, failed, stored, spent
        self._update()

    def add(self, row: Row) -> None:
        """Count a call that has ended."""
        self._asked += 1
        self._by_demo += row.is_demo
        self._has_unknown_price |= row.finished and row.usd is None
        self._update()

    def show_elsewhere(self, count: int) -> None:
        """Show how many answers another notebook or program has requested; the run waits for them last."""
        if count != self._elsewhere:
            self._elsewhere = count
            self._update()

    def _counts(self) -> list[str]:
        counts = [f"{self._done:,} of {self._total:,}"]
        named = (
            (self._failed, "failed"),
            (self._stored, "from the store"),
            (self._elsewhere, "being answered elsewhere"),
        )
        return counts + [f"{count:,} {name}" for count, name in named if count]

    def _speed(self) -> list[str]:
        """Return the rate and the time left, as far as they are known."""
        if self._first_call is None or not self._asked:
            return []
        rate = self._asked / max(time.monotonic() - self._first_call, 0.001)
        left = format_duration((self._total - self._done) / rate)
        speed = f"{rate:.1f} calls/s" if rate >= 1 else f"{60 * rate:.1f} calls/min"
        return [speed, *([f"about {left} left"] if self._done < self._total else [])]

    def _price(self) -> str:
        if self._has_unknown_price:
            return f"{format_usd(self._spent)} and calls of unknown price" if self._spent else "price unknown"
        if self._is_free:
            return "free"
        is_demo = self._by_demo > 0 and self._by_demo + self._failed >= self._asked
        return format_price(self._spent, is_demo=True) if is_demo and self._spent else format_usd(self._spent)

    def _now(self) -> str:
        """Return which questions are under way, and which models pause or have reached their rate limit."""
        now = time.monotonic()
        parts = [
            f"{model} pauses for {format_duration(until - now)} (rate limit)"
            for model, until in self._pauses.items()
            if until > now
        ]
        parts += [f"waiting for the rate limit of {model}" for model, count in self._waiting.items() if count]
        if self._asking:
            names = [name() for name in islice(self._asking.values(), _NAMED)]
            more = f" and {len(self._asking) - _NAMED:,} more" if len(self._asking) > _NAMED else ""
            parts.append(f"asking {', '.join(names)}{more}")
        return "; ".join(parts)

    def _update(self) -> None:
        """Show the current state now, or shortly after the last update."""
        if self._scheduled is None:
            wait = max(0.0, self._drawn_at + _MIN_INTERVAL - time.monotonic())
            self._scheduled = asyncio.get_running_loop().call_later(wait, self._draw)

    def _draw(self) -> None:
        self._scheduled, self._drawn_at = None, time.monotonic()
        line, now = f"{self._title}: {', '.join([*self._counts(), *self._speed(), self._price()])}", self._now()
        self._output.show(f"{line}; {now}" if now else line, self._html(line, now))

    def _html(self, line: str, now: str) -> str:
        """Return the lines below a bar, as wide as the cell; the second one does not wrap, to keep the height."""
        one_line = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
        return (
            f'<div style="max-width:40em"><progress aria-label="{self._title}" value="{self._done}" '
            f'max="{max(self._total, 1)}" style="width:100%"></progress>'
            f'<div style="{MUTED_STYLE};overflow-wrap:anywhere">{escape_text(line)}</div>'
            f'<div style="{MUTED_STYLE};{one_line}">{escape_text(now) or "&nbsp;"}</div></div>'
        )
