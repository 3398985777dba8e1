"""A bar with what is done, what failed and what it has cost."""

from __future__ import annotations

from decimal import Decimal
from types import TracebackType
from typing import Any, Self

from vision_nb.comparison.grid import Row


class Progress:
    """Shows how far a run has come.

    Args:
        total: How many rows there are.
        shown: Whether to show anything.
    """

    def __init__(self, total: int, *, shown: bool) -> None:
        self._total, self._shown = total, shown
        self._bar: Any = None
        self._done = self._failed = 0

    def __enter__(self) -> Self:
        if self._shown:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._total, unit="call", desc="asking")
        return self

    def show(self, rows: list[Row], spent: Decimal, *, settled: int | None = None) -> None:
        """Bring the bar up to date: after one row, or after a look at all of them."""
        if settled is None:
            self._done = sum(row.finished or row.error is not None for row in rows)
            self._failed = sum(row.error is not None for row in rows)
        else:
            self._done += 1
            self._failed += rows[settled].error is not None
        if self._bar is not None:
            self._bar.n = self._done
            self._bar.set_postfix_str(f"{self._failed} failed, ${spent:.4f}", refresh=False)
            self._bar.update(0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
