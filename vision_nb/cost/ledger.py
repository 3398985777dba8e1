"""The ledger: the cost of the calls in this process, and a budget for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from vision_nb.cost.budget import Budget
from vision_nb.cost.prices import parse_usd, price_version
from vision_nb.rendering import html
from vision_nb.rendering.data_frame import without_formulas
from vision_nb.rendering.format import format_count, format_price, format_usd, pluralize
from vision_nb.rendering.sanitize import escape_text, terminal_text
from vision_nb.rendering.terminal import TerminalDisplay, TerminalPart, TextTable
from vision_nb.responses import Usage

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Entry:
    """One call in the ledger.

    Attributes:
        model: The model's name, ``str(llm)``; "... (demo)" if the demo answered.
        usage: The tokens that the server reported, or an estimate.
        is_estimate: Whether the tokens are an estimate because the server reported none, or implausible ones. For a
            call that timed out or was interrupted before any of its answer arrived, they are the maximum that it can
            have used.
        expected_tokens: Input tokens as counted before the call, or None if they were unknown.
        pricing: Returns the price of some usage; it must not refer to the model object.
        latency: Seconds from the request to the end of the answer.
        reported_usd: The price in US dollars that the service itself reported, or None.
        expected_is_estimate: Whether the expected tokens contain estimates of the tokens of images.
        time: When the call ended, in seconds since 1970.
        is_demo: Whether the demo answered: its price is what the model would cost.
    """

    model: str
    usage: Usage
    is_estimate: bool
    expected_tokens: int | None
    pricing: Callable[[Usage], Decimal | None] = field(repr=False)
    latency: float
    reported_usd: Decimal | None = None
    expected_is_estimate: bool = False
    time: float = field(default_factory=time.time)
    is_demo: bool = False

    @property
    def usd(self) -> Decimal | None:
        """The price in US dollars: as reported, or computed on first access and after `set_price`; None if unknown."""
        if self.reported_usd is not None:
            return self.reported_usd
        computed: tuple[int, Decimal | None] | None = vars(self).get("_computed")
        if computed is None or computed[0] != price_version():
            computed = price_version(), self.pricing(self.usage)
            object.__setattr__(self, "_computed", computed)  # the dataclass is frozen
        return computed[1]

    def __repr__(self) -> str:
        expected = f" (expected {self.expected_tokens:,})" if self.expected_tokens is not None else ""
        tokens = f"{format_count(self.usage.input_tokens, is_estimate=self.is_estimate)} tokens in{expected}"
        price = format_price(self.usd, is_reported=self.reported_usd is not None, is_demo=self.is_demo)
        out = f"{format_count(self.usage.output_tokens)} out"
        return terminal_text(f"Entry({self.model}: {tokens}, {out}, {price}, {self.latency:.1f} s)")

    @property
    def difference(self) -> int | None:
        """Reported minus expected input tokens, or None if either is unknown."""
        if self.is_estimate or self.usage.input_tokens is None or self.expected_tokens is None:
            return None
        return self.usage.input_tokens - self.expected_tokens


class Spending(Budget):
    """The budget of a ledger: running totals of its calls, which follow the prices that the user sets."""

    def __init__(self) -> None:
        super().__init__(name="vn.ledger.budget")
        self._calls: list[tuple[Entry, Decimal]] = []  # with the reservations
        self._counted = self._unpriced = 0
        self._unknown = Decimal(0)  # the reservations that count as spent
        self._version = price_version()

    @property
    def entries(self) -> list[Entry]:
        """The calls, oldest first."""
        return [entry for entry, _ in self._calls]

    @property
    def known(self) -> Decimal:
        """US dollars of the calls whose price is known."""
        with self._lock:
            self._update()
            return self._spent - self._unknown

    @property
    def unpriced(self) -> int:
        """The number of calls whose price is unknown."""
        with self._lock:
            self._update()
            return self._unpriced

    def add(self, entry: Entry, reserved: Decimal) -> None:
        """Add a call. Never blocks, as `settle`, because the totals are updated when they are next needed."""
        self._calls.append((entry, reserved))

    def reset(self) -> None:
        """Forget the calls that have ended; reservations of calls in progress remain."""
        with self._lock:
            self._update()
            del self._calls[: self._counted]
            self._counted = 0
            self._count([])

    def _update(self) -> None:
        super()._update()
        if self._version != price_version():
            self._version = price_version()
            self._count(self._calls[: self._counted])
        while self._counted < len(self._calls):
            entry, reserved = self._calls[self._counted]
            usd = entry.usd
            self._counted += 1
            self._reserved -= reserved
            self._add(usd, reserved)

    def _count(self, calls: Sequence[tuple[Entry, Decimal]]) -> None:
        """Count the totals from the beginning."""
        self._spent, self._unknown, self._unpriced = Decimal(0), Decimal(0), 0
        for entry, reserved in calls:
            self._add(entry.usd, reserved)

    def _add(self, usd: Decimal | None, reserved: Decimal) -> None:
        self._spent += reserved if usd is None else usd
        if usd is None:
            self._unknown += reserved
            self._unpriced += 1


class Ledger(TerminalDisplay):
    """The calls of this process with their prices, and a budget for them.

    The budget is checked before each call. The ledger is safe to use from several threads. Retries by the provider's
    client count as part of their call, and answers that come from the store do not count.

    >>> vn.ledger.reset()
    >>> answer = vn.connect("demo").complete("How large is it?", [vn.samples.path("chart")])
    >>> vn.ledger
    1 call, 0 USD
    >>> vn.ledger.budget = 0.50  # US dollars: a call that could exceed it is not sent
    >>> vn.ledger.budget = None
    """

    spending: Spending

    def __init__(self) -> None:
        self.spending = Spending()  # the running totals behind `budget`, `total` and `unpriced`

    @property
    def entries(self) -> list[Entry]:
        """The calls, oldest first."""
        return self.spending.entries

    @property
    def total(self) -> Decimal:
        """US dollars of all calls whose price is known; `unpriced` counts the others."""
        return self.spending.known

    @property
    def unpriced(self) -> int:
        """The number of calls whose price is unknown."""
        return self.spending.unpriced

    @property
    def budget(self) -> Decimal | None:
        """US dollars that all calls together may cost, or None for no limit.

        A call that could exceed the budget, or whose price is unknown, is refused before it is sent.
        """
        return self.spending.limit

    @budget.setter
    def budget(self, amount: float | str | Decimal | None) -> None:
        self.spending.limit = None if amount is None else parse_usd(amount, "vn.ledger.budget")
        if amount is not None:
            _ = self.spending.spent  # price the earlier calls now rather than before the next call

    def record(self, entry: Entry, reserved: Decimal = Decimal(0)) -> None:
        """Add a call that has ended. Never blocks: see `Spending.add`.

        Args:
            entry: The call.
            reserved: The amount reserved for it in `spending`.
        """
        self.spending.add(entry, reserved)

    def by_model(self) -> dict[str, tuple[int, Usage, Decimal | None]]:
        """Return each model's number of calls, tokens, and price or None if unknown."""
        found: dict[str, tuple[int, Usage, Decimal | None]] = {}
        for entry in self.entries:
            calls, usage, usd = found.get(entry.model, (0, Usage(0, 0), Decimal(0)))
            known = None if usd is None or entry.usd is None else usd + entry.usd
            found[entry.model] = (calls + 1, usage + entry.usage, known)
        return found

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas DataFrame with one row per call."""
        import pandas as pd

        columns = (
            "time model expected_tokens expected_is_estimate input_tokens difference output_tokens is_estimate usd "
            "usd_is_reported latency_s"
        ).split()
        records = [
            (
                pd.Timestamp(entry.time, unit="s"),
                entry.model,
                entry.expected_tokens,
                entry.expected_is_estimate,
                entry.usage.input_tokens,
                entry.difference,
                entry.usage.output_tokens,
                entry.is_estimate,
                None if entry.usd is None else float(entry.usd),
                entry.reported_usd is not None,
                entry.latency,
            )
            for entry in self.entries
        ]
        return without_formulas(pd.DataFrame.from_records(records, columns=columns))

    def reset(self) -> None:
        """Delete all entries, and reset the amount spent; the budget stays."""
        self.spending.reset()

    def _repr_html_(self) -> str:
        table = html.html_table(*self._table()) if self.entries else ""
        return f"{table}<div>{escape_text(str(self))}</div>"

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        return [*([TextTable(*self._table(), numbers_from=1)] if self.entries else []), str(self)]

    def _table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        head = ("model", "calls", "tokens in", "expected", "difference", "tokens out", "price")
        entries = self.entries
        rows = []
        for model, (calls, usage, usd) in self.by_model().items():
            own = [entry for entry in entries if entry.model == model]
            expected = [entry.expected_tokens for entry in own]
            differences = [entry.difference for entry in own]
            mark = " (partly estimated)" if any(entry.is_estimate for entry in own) else ""
            reported = sum(entry.reported_usd is not None for entry in own)
            source = "" if not reported else " (reported)" if reported == len(own) else " (partly reported)"
            rows.append(
                (
                    model,
                    f"{calls:,}",
                    f"{format_count(usage.input_tokens)}{mark}",
                    _sum(expected, is_estimate=any(entry.expected_is_estimate for entry in own)),
                    _sum(differences),
                    format_count(usage.output_tokens),
                    format_price(usd, is_demo=own[0].is_demo) + source,
                )
            )
        return head, rows

    def __str__(self) -> str:
        unknown = f" and {pluralize(self.unpriced, 'call')} of unknown price" if self.unpriced else ""
        of = f" of a budget of {format_usd(self.budget)}" if self.budget is not None else ""
        total = self.total
        by_demo = sum((entry.usd or Decimal(0) for entry in self.entries if entry.is_demo), Decimal(0))
        price = format_usd(total)
        if by_demo:
            demo = f"would cost {format_usd(by_demo)}"
            price = demo if by_demo == total else f"{price}, of which the demo's answers {demo}"
        return f"{pluralize(len(self.entries), 'call')}, {price}{unknown}{of}"

    __repr__ = __str__


def _sum(values: list[int | None], *, is_estimate: bool = False) -> str:
    """Return the sum of the known values as text, and whether some are unknown."""
    known = [value for value in values if value is not None]
    if not known:
        return "unknown"
    return format_count(sum(known), is_estimate=is_estimate) + (" and unknown" if len(known) < len(values) else "")


ledger = Ledger()
"""The ledger of this process: every provider writes to it."""
