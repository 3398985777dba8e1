"""The accuracy of models: counts, confidence intervals, and a summary by model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

from vision_nb.checks.indices import item_at
from vision_nb.rendering import html
from vision_nb.rendering.data_frame import without_formulas
from vision_nb.rendering.format import format_usd
from vision_nb.rendering.sanitize import terminal_text
from vision_nb.rendering.terminal import Report, TerminalPart, TextTable

if TYPE_CHECKING:
    import pandas as pd

Outcome = Literal["correct", "wrong", "missing", "invented", "failed"]
"""How a value compares with the truth.

A missing value is None where the truth has a value, an invented one is a value where the truth is None, and a failed
one belongs to an answer that ended in an error.
"""

_Z = NormalDist().inv_cdf(0.975)


def wilson_interval(correct: float, n: float) -> tuple[float, float]:
    """Return the 95% confidence interval of a proportion; from 0 to 1 if there are no observations.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927), pages 209-212.

    >>> [round(end, 3) for end in wilson_interval(9, 10)]
    [0.596, 0.982]
    """
    if n <= 0:
        return 0.0, 1.0
    rate = correct / n
    center = (rate + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * (rate * (1 - rate) / n + _Z**2 / (4 * n**2)) ** 0.5
    return max(0.0, min(center - half, rate)), min(1.0, max(center + half, rate))


def effective_size(clusters: Sequence[tuple[int, int]]) -> float:
    """Return how many independent observations contain as much information as clustered ones.

    The fields of one image are often wrong together, for example if it is blurred, so their number overstates what is
    known. Source: L. Kish, "Survey Sampling" (1965), sections 5.4 and 6.5: the number of observations divided by the
    design effect, which is estimated with the variance of a ratio.

    Args:
        clusters: The correct values and all values of each image.

    >>> effective_size([(7, 7), (0, 7), (7, 7), (7, 7)])
    3.0
    """
    n = sum(size for _, size in clusters)
    correct = sum(right for right, _ in clusters)
    if not 0 < correct < n or len(clusters) < 2:
        return float(n)  # without variance, there is nothing to estimate the design effect from
    rate = correct / n
    residuals = sum((right - rate * size) ** 2 for right, size in clusters)
    variance = len(clusters) / (len(clusters) - 1) * residuals / n**2
    return min(float(n), rate * (1 - rate) / variance) if variance else float(n)


@dataclass(frozen=True, repr=False)
class Accuracy:
    """The outcomes of one model in one field, or in all fields.

    Attributes:
        model: The model's name.
        field: The field's path, or "all fields".
        n: The number of values that were compared.
        correct: The number of correct values.
        accuracy: The proportion of correct values, from 0 to 1, or None if n is 0.
        low: The lower end of the 95% confidence interval.
        high: The upper end of the 95% confidence interval.
        wrong: The number of values that differ from the true value.
        missing: The number of values that are None, but should not be.
        invented: The number of values that should be None.
        failed: The number of values for which there is no answer, because the call or its validation failed.
    """

    model: str
    field: str
    n: int
    correct: int
    accuracy: float | None
    low: float
    high: float
    wrong: int
    missing: int
    invented: int
    failed: int

    @classmethod
    def of(cls, model: str, field: str, counts: Mapping[Outcome, int], effective_n: float | None = None) -> Accuracy:
        """Return the accuracy for the count of each outcome.

        Args:
            model: The model's name.
            field: The field's path.
            counts: How often each outcome occurred.
            effective_n: The number of independent observations, if it is not the number of values.
        """
        n, correct = sum(counts.values()), counts.get("correct", 0)
        rate = correct / n if n else None
        size = n if effective_n is None else effective_n
        low, high = wilson_interval((rate or 0) * size, size)
        others: tuple[Outcome, ...] = ("wrong", "missing", "invented", "failed")
        return cls(model, field, n, correct, rate, low, high, *(counts.get(outcome, 0) for outcome in others))

    def __repr__(self) -> str:
        return terminal_text(f"Accuracy({self.model}, {self.field}: {self})")

    def __str__(self) -> str:
        """Return the accuracy with its counts, as in "92% (11 of 12, 1 missing)"."""
        if self.accuracy is None:
            return "not scored"
        counts = {name: getattr(self, name) for name in ("wrong", "missing", "invented", "failed")}
        others = "".join(f", {count} {name}" for name, count in counts.items() if count)
        return f"{percent(self.accuracy)} ({self.correct:,} of {self.n:,}{others})"


@dataclass(frozen=True, repr=False)
class ModelAccuracy:
    """The results of one model.

    Attributes:
        model: The model's name.
        images: The number of answers that were scored.
        exact: The number of answers in which every field is correct.
        accuracy: The proportion of correct values in all fields, from 0 to 1, or None if no answer was scored.
        low: The lower end of its 95% confidence interval.
        high: The upper end of its 95% confidence interval.
        n: The number of values that were compared.
        failed: The number of scored calls that ended in an error.
        repaired: The number of scored answers that took more than one attempt.
        usd_per_1000: The mean price of 1,000 images in US dollars, or None if it is not known.
    """

    model: str
    images: int
    exact: int
    accuracy: float | None
    low: float
    high: float
    n: int
    failed: int
    repaired: int
    usd_per_1000: Decimal | None

    def __repr__(self) -> str:
        values = ", ".join(f"{title} {text}" for title, text in zip(_HEAD[1:], _summary_row(self)[1:], strict=True))
        return f"ModelAccuracy({self.model}: {values})"


_HEAD = ["model", "values right", "95% interval", "images right", "failed", "repaired", "per 1,000 images"]


@dataclass(frozen=True, repr=False)
class AccuracySummary(Report):
    """A `ModelAccuracy` for each model; displays as a table."""

    models: tuple[ModelAccuracy, ...]

    def __iter__(self) -> Iterator[ModelAccuracy]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)

    def __getitem__(self, index: int) -> ModelAccuracy:
        found: ModelAccuracy = item_at(self.models, index, "model")
        return found

    def to_dataframe(self) -> pd.DataFrame:
        """Return the summary as a pandas DataFrame with a row per model; an unknown price is None."""
        import pandas as pd

        records = [vars(one) for one in self.models]
        return without_formulas(
            pd.DataFrame.from_records(records, columns=[field.name for field in fields(ModelAccuracy)])
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the head and rows of the summary's table."""
        return _HEAD, [_summary_row(one) for one in self.models]

    def _repr_html_(self) -> str:
        return html.html_table(*self.table())

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        return [TextTable(*self.table(), numbers_from=1)]


def _summary_row(one: ModelAccuracy) -> list[str]:
    return [
        one.model,
        percent(one.accuracy),
        interval(one) if one.n else "unknown",
        f"{one.exact:,} of {one.images:,}",
        f"{one.failed:,}",
        f"{one.repaired:,}",
        format_usd_per_1000(one.usd_per_1000),
    ]


def percent(rate: float | None) -> str:
    """Return a proportion as a percentage, or "unknown" for None; only 0 and 1 become 0% and 100%.

    >>> percent(0.917), percent(0.998), percent(None)
    ('92%', '99.8%', 'unknown')
    """
    if rate is None:
        return "unknown"
    return f"{100 * rate:.0f}%" if 0.01 <= rate <= 0.99 or rate in (0, 1) else f"{100 * rate:.1f}%"


def interval(one: Accuracy | ModelAccuracy) -> str:
    """Return a confidence interval as in "74% to 98%"."""
    return f"{percent(one.low)} to {percent(one.high)}"


def format_usd_per_1000(amount: Decimal | None) -> str:
    """Return the price of 1,000 images, "free" for 0, or "unknown" for None."""
    if amount is None:
        return "unknown"
    return format_usd(amount) if amount else "free"


def mean_price(prices: Iterable[tuple[Decimal | None, bool]]) -> Decimal | None:
    """Return the mean price of 1,000 calls in US dollars, or None if it is not known.

    Args:
        prices: The price of each call, and whether it has an answer. A call that failed without a price, such as one
            for an unreadable image, is left out; an answer without a price makes the mean unknown.
    """
    known = []
    for usd, answered in prices:
        if usd is not None:
            known.append(usd)
        elif answered:
            return None
    return 1000 * sum(known, Decimal(0)) / len(known) if known else None
