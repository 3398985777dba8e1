"""The numbers of a comparison's rows."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from vision_nb.comparison.grid import Row
from vision_nb.rendering.format import format_price


@dataclass
class Tally:
    """The numbers of a comparison's rows, and the price of those that were paid for in this run.

    Attributes:
        answered: Rows with an answer.
        failed: Rows with an error.
        repaired: Rows whose answer had to be repaired.
        demo: Rows that the demo answered.
        paid: Rows with at least one request in this run.
        paid_demo: Those of them that the demo answered.
        usd: Their price in US dollars, as far as it is known.
        unpriced: Those of them whose price is not known.
    """

    answered: int = 0
    failed: int = 0
    repaired: int = 0
    demo: int = 0
    paid: int = 0
    paid_demo: int = 0
    usd: Decimal = Decimal(0)
    unpriced: int = 0

    @property
    def price(self) -> str:
        """The price of the paid rows, for display."""
        usd = None if self.unpriced else self.usd
        return format_price(usd, is_demo=self.paid == self.paid_demo) if self.paid else "nothing spent"

    def add(self, row: Row) -> None:
        """Count a row."""
        self.answered += row.finished
        self.failed += row.error is not None
        self.repaired += row.finished and row.attempts > 1
        self.demo += row.is_demo
        if row.attempts and not row.from_store:
            self.paid += 1
            self.paid_demo += row.is_demo
            self.usd += row.usd or 0
            self.unpriced += row.usd is None
