"""What the calls of this process have cost, and a limit on what they may."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

from vision_nb.cost.prices import parse_usd
from vision_nb.errors import BudgetExceededError
from vision_nb.rendering import html
from vision_nb.rendering.format import format_count, format_usd
from vision_nb.responses import Usage

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Entry:
    """One call.

    Attributes:
        model: The model, as ``str(llm)`` names it.
        usage: The tokens that the server reported, or estimated ones.
        is_estimate: Whether the tokens are estimated, as the server reported none or nonsense.
        expected_tokens: Input tokens as estimated before the call, or None.
        pricing: Gives the price of some usage.
        latency: Seconds that the call took.
        time: When it ended, in seconds since 1970.
    """

    model: str
    usage: Usage
    is_estimate: bool
    expected_tokens: int | None
    pricing: Callable[[Usage], Decimal | None] = field(repr=False)
    latency: float
    time: float = field(default_factory=time.time)

    @cached_property
    def usd(self) -> Decimal | None:
        """The price in US dollars, worked out when first asked for; None where it is not known."""
        return self.pricing(self.usage)

    @property
    def difference(self) -> int | None:
        """Reported minus expected input tokens, or None where either is not known."""
        if self.is_estimate or self.usage.input_tokens is None or self.expected_tokens is None:
            return None
        return self.usage.input_tokens - self.expected_tokens


class Ledger:
    """A list of the calls, with their price, and a budget that is kept before each call. Safe with threads.

    A retry that the vendor's client makes by itself is part of its call, and an answer that comes from the
    store is no call.

    >>> vn.ledger.reset()
    >>> answer = vn.connect("demo").complete("How large is it?", [vn.samples.path("chart")])
    >>> vn.ledger
    1 call, 0 USD
    >>> vn.ledger.budget = 0.50  # US dollars: a call that could pass it is not sent
    >>> vn.ledger.budget = None
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()
        self._budget: Decimal | None = None
        self._reserved = Decimal(0)

    @property
    def entries(self) -> list[Entry]:
        """The calls, oldest first."""
        with self._lock:
            return list(self._entries)

    @property
    def total(self) -> Decimal:
        """US dollars of all calls whose price is known; `unpriced` counts the others."""
        return sum((entry.usd for entry in self.entries if entry.usd is not None), Decimal(0))

    @property
    def unpriced(self) -> int:
        """How many calls have no known price."""
        return sum(entry.usd is None for entry in self.entries)

    @property
    def budget(self) -> Decimal | None:
        """US dollars that all calls together may cost, or None for no limit.

        A call that could pass it is refused before it is sent. So is a call whose price is not known.
        """
        return self._budget

    @budget.setter
    def budget(self, amount: float | str | Decimal | None) -> None:
        self._budget = None if amount is None else parse_usd(amount, "budget")

    def reserve(self, model: str, worst: Callable[[], Decimal | None]) -> Decimal:
        """Set aside what a call may cost at most, for the time in which it is under way.

        Args:
            model: The model, for the message.
            worst: Gives the price at most in US dollars, or None; asked only where there is a budget.

        Raises:
            BudgetExceededError: The call could pass the budget.
        """
        if self._budget is None:
            return Decimal(0)
        amount = worst()
        if amount is None:
            raise BudgetExceededError(
                f"The price of {model} is not known, so a call could pass the budget of {self._budget:f} USD: "
                "vn.set_price(...) says it, and vn.ledger.budget = None lifts the limit."
            )
        with self._lock:
            spent = sum((entry.usd for entry in self._entries if entry.usd is not None), Decimal(0))
            if self._budget is not None and spent + self._reserved + amount > self._budget:
                under_way = f" and {format_usd(self._reserved)} under way" if self._reserved else ""
                raise BudgetExceededError(
                    f"A call to {model} could cost {format_usd(amount)}, and the budget is {self._budget:f} USD, "
                    f"of which {format_usd(spent)} is spent{under_way}: raise vn.ledger.budget, or ask for less.",
                    may_pass_later=spent + amount <= self._budget,
                )
            self._reserved += amount
        return amount

    def settle(self, reserved: Decimal, entry: Entry | None) -> None:
        """Take back what was set aside for a call, and write down what it was; None where it failed."""
        with self._lock:
            self._reserved -= reserved
            if entry is not None:
                self._entries.append(entry)

    def by_model(self) -> dict[str, tuple[int, Usage, Decimal | None]]:
        """For each model: its calls, its tokens, and its price, or None where a part of it is not known."""
        found: dict[str, tuple[int, Usage, Decimal | None]] = {}
        for entry in self.entries:
            calls, usage, usd = found.get(entry.model, (0, Usage(0, 0), Decimal(0)))
            known = None if usd is None or entry.usd is None else usd + entry.usd
            found[entry.model] = (calls + 1, usage + entry.usage, known)
        return found

    def to_dataframe(self) -> pd.DataFrame:
        """A pandas DataFrame with a row for each call: estimate and bill side by side, with the difference."""
        import pandas as pd

        columns = [
            "time",
            "model",
            "expected_tokens",
            "input_tokens",
            "difference",
            "output_tokens",
            "is_estimate",
            "usd",
            "latency_s",
        ]
        records = [
            {
                "time": pd.Timestamp(entry.time, unit="s"),
                "model": entry.model,
                "expected_tokens": entry.expected_tokens,
                "input_tokens": entry.usage.input_tokens,
                "difference": entry.difference,
                "output_tokens": entry.usage.output_tokens,
                "is_estimate": entry.is_estimate,
                "usd": None if entry.usd is None else float(entry.usd),
                "latency_s": entry.latency,
            }
            for entry in self.entries
        ]
        return pd.DataFrame.from_records(records, columns=columns)

    def reset(self) -> None:
        """Forget all calls; the budget stays, and counts anew."""
        with self._lock:
            self._entries.clear()

    def _repr_html_(self) -> str:
        head = ("model", "calls", "tokens in", "expected", "difference", "tokens out", "price")
        entries = self.entries
        rows = []
        for model, (calls, usage, usd) in self.by_model().items():
            own = [entry for entry in entries if entry.model == model]
            expected = [entry.expected_tokens for entry in own]
            differences = [entry.difference for entry in own]
            mark = " (partly estimated)" if any(entry.is_estimate for entry in own) else ""
            rows.append(
                (
                    model,
                    f"{calls:,}",
                    f"{format_count(usage.input_tokens)}{mark}",
                    _sum(expected),
                    _sum(differences),
                    format_count(usage.output_tokens),
                    format_usd(usd, decimals=6),
                )
            )
        return html.html_table(head, rows) + f"<div>{escape(str(self))}</div>"

    def __str__(self) -> str:
        unknown = f" and {_calls(self.unpriced)} of unknown price" if self.unpriced else ""
        of = f" of a budget of {self._budget:f} USD" if self._budget is not None else ""
        return f"{_calls(len(self.entries))}, {format_usd(self.total, decimals=6)}{unknown}{of}"

    __repr__ = __str__


def _sum(values: list[int | None]) -> str:
    """The sum of what is known, and a word where some is not."""
    known = [value for value in values if value is not None]
    if not known:
        return "unknown"
    return f"{sum(known):,}" if len(known) == len(values) else f"{sum(known):,} and unknown"


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"


ledger = Ledger()
"""The ledger of this process: every provider writes to it."""
