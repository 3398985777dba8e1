"""The progress bar of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

from vision_nb.comparison.grid import Row


class Progress:
    """A bar with the number of finished and failed rows, and the cost so far.

    Args:
        total: The number of rows.
        title: What the bar says before the numbers.
        enabled: Whether to show the bar.
    """

    def __init__(self, total: int, title: str, *, enabled: bool) -> None:
        self._total, self._title, self._enabled = total, title, enabled
        self._bar: Any = None
        self._done = self._failed = self._elsewhere = 0
        self._spent = Decimal(0)

    def __enter__(self) -> Self:
        if self._enabled:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._total, unit="call", desc=self._title)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()

    def recount(self, rows: Sequence[Row], spent: Decimal) -> None:
        """Update the bar from all rows."""
        self._done = sum(row.finished or row.error is not None for row in rows)
        self._failed = sum(row.error is not None for row in rows)
        self._spent = spent
        self._update()

    def add(self, row: Row, spent: Decimal) -> None:
        """Update the bar after one more row."""
        self._done += 1
        self._failed += row.error is not None
        self._spent = spent
        self._update()

    def show_elsewhere(self, count: int) -> None:
        """Show how many answers another notebook or program has requested; the run waits for them last."""
        if count != self._elsewhere:
            self._elsewhere = count
            self._update()
            if self._bar is not None:
                self._bar.refresh()

    def _update(self) -> None:
        if self._bar is not None:
            self._bar.n = self._done
            elsewhere = f", {self._elsewhere} being answered elsewhere" if self._elsewhere else ""
            self._bar.set_postfix_str(f"{self._failed} failed, ${self._spent:.4f}{elsewhere}", refresh=False)
            self._bar.update(0)
