"""Scores of answers: the rubric, means by model, agreement between annotators, and a plot."""

from __future__ import annotations

import getpass
import operator
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from typing import TYPE_CHECKING, Any

from vision_nb.comparison.grid import Row
from vision_nb.errors import SettingsError
from vision_nb.notebook.figures import new_figure, show_figure
from vision_nb.notebook.ipython import in_notebook
from vision_nb.rendering import html
from vision_nb.rendering.data_frame import without_formulas
from vision_nb.rendering.format import format_usd
from vision_nb.rendering.terminal import Report, TerminalDisplay, TerminalPart, TextTable
from vision_nb.storage.annotations import Label
from vision_nb.user_warnings import warn_user

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASPECTS = ("correctness", "relevance")

_NUMBERS = ("latency_s", "input_tokens", "output_tokens", "usd")  # of an answer, in the order of `ModelScores`

RUBRIC = {
    5: "answers the question perfectly",
    4: "answers the question with minor mistakes",
    3: "answers the question partly",
    2: "answers the question wrongly",
    1: "does not answer, or makes something up",
}
"""The meaning of the scores, for correctness and relevance alike (after the Replicate walkthrough)."""


def check_score(score: Any, aspect: str) -> int:
    """Return a score as an int; numpy's integers are accepted.

    Raises:
        SettingsError: The score is not an integer from 1 to 5.
    """
    try:
        value = operator.index(score)
    except TypeError:
        value = 0
    if isinstance(score, bool) or value not in RUBRIC:
        raise SettingsError(f"{aspect} must be an integer from 1 to 5: got {score!r:.80}.")
    return value


def default_annotator() -> str:
    """Return the user's name on this machine, or "me" if it is not known."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "me"


def mean(values: Iterable[int | float | None]) -> float | None:
    """Return the mean of the values that are not None, or None if there are none."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


@dataclass(frozen=True, repr=False)
class ModelScores:
    """The results of one model.

    Attributes:
        model: The model's name.
        answered: The number of rows with an answer.
        failed: The number of rows with an error.
        correctness: The mean correctness score, or None.
        relevance: The mean relevance score, or None.
        labels: The number of labels that the means are based on.
        latency_s: The mean latency of an answer in seconds, or None.
        input_tokens: The total of all answers, or None if a server did not report it.
        output_tokens: The total of all answers, or None if a server did not report it.
        usd: The price of all answers in US dollars, or None if a price is not known.
    """

    model: str
    answered: int
    failed: int
    correctness: float | None
    relevance: float | None
    labels: int
    latency_s: float | None
    input_tokens: int | None
    output_tokens: int | None
    usd: Decimal | None

    def __repr__(self) -> str:
        values = ", ".join(
            f"{title} {_format(getattr(self, name), spec)}" for title, name, spec in _SUMMARY_COLUMNS[1:]
        )
        return f"ModelScores({self.model}: {values})"


_SUMMARY_COLUMNS = (  # title, attribute of ModelScores, format
    ("model", "model", ""),
    ("answered", "answered", ","),
    ("failed", "failed", ","),
    ("correctness", "correctness", ".2f"),
    ("relevance", "relevance", ".2f"),
    ("labels", "labels", ","),
    ("mean latency (s)", "latency_s", ".2f"),
    ("input tokens", "input_tokens", ","),
    ("output tokens", "output_tokens", ","),
    ("price", "usd", ""),
)


@dataclass(frozen=True, repr=False)
class Summary(Report):
    """A `ModelScores` for each model; displays as a table."""

    models: tuple[ModelScores, ...]

    def to_dataframe(self) -> Any:
        """Return the summary as a pandas DataFrame with a row per model."""
        import pandas as pd

        return without_formulas(pd.DataFrame([vars(one) for one in self.models]))

    def _table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        head = [title for title, _, _ in _SUMMARY_COLUMNS]
        rows = [[_format(getattr(one, name), spec) for _, name, spec in _SUMMARY_COLUMNS] for one in self.models]
        return head, rows

    def _repr_markdown_(self) -> str:
        return f'<div style="overflow-x:auto">\n\n{html.markdown_table(*self._table())}\n\n</div>\n'

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        head, rows = self._table()
        if not any(one.labels for one in self.models):  # leave more room for the other columns
            kept = [place for place, title in enumerate(head) if title not in (*ASPECTS, "labels")]
            head, rows = [head[place] for place in kept], [[row[place] for place in kept] for row in rows]
        head = ["latency_s" if title.startswith("mean latency") else title for title in head]  # shorter
        return [TextTable(head, rows, numbers_from=1)]


@dataclass(frozen=True)
class Agreement(TerminalDisplay):
    """The agreement of two annotators on one aspect.

    Attributes:
        annotators: The names of the two annotators.
        aspect: "correctness" or "relevance".
        n: The number of answers that both have scored.
        percent: The percentage of equal scores.
        kappa: Cohen's kappa, or None if scikit-learn is not installed or kappa is not defined.
    """

    annotators: tuple[str, str]
    aspect: str
    n: int
    percent: float
    kappa: float | None

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        kappa = "" if self.kappa is None else f", Cohen's kappa {self.kappa:.2f}"
        yield f"{' and '.join(self.annotators)}, {self.aspect}: {self.percent:.0f}% of {self.n:,} are equal{kappa}"


def summarize(rows: Iterable[Row], labels: Mapping[str, Sequence[Label]]) -> Summary:
    """Summarize rows and labels by model, in the order of the models; the rows are not kept."""
    totals: dict[str, _Totals] = {}
    for row in rows:
        totals.setdefault(row.model, _Totals()).add(row, labels.get(row.key, ()) if row.finished else ())
    return Summary(tuple(one.scores(model) for model, one in totals.items()))


class _Totals:
    """Adds up the results of one model."""

    def __init__(self) -> None:
        self._answered = self._failed = 0
        self._labels: list[Label] = []
        self._numbers: dict[str, list[Any]] = {name: [] for name in _NUMBERS}

    def add(self, row: Row, labels: Sequence[Label]) -> None:
        """Add a row and the labels of its answer."""
        self._failed += row.error is not None
        if row.finished:
            self._answered += 1
            self._labels += labels
            for name, numbers in self._numbers.items():
                numbers.append(getattr(row, name))

    def scores(self, model: str) -> ModelScores:
        """Return the results."""
        latencies, *others = self._numbers.values()
        return ModelScores(
            model,
            self._answered,
            self._failed,
            mean(label.correctness for label in self._labels),
            mean(label.relevance for label in self._labels),
            len(self._labels),
            mean(latencies),
            *map(_total, others),
        )


def _total(values: Sequence[Any]) -> Any:
    return None if not values or None in values else sum(values)


def _format(value: Any, spec: str) -> str:
    if isinstance(value, Decimal):
        return format_usd(value) if value else "free"
    return "unknown" if value is None else format(value, spec)


def agreements(labels: Mapping[str, Sequence[Label]]) -> list[Agreement]:
    """Compare each pair of annotators on the answers that both have scored; warn if there is no such pair."""
    scores: dict[tuple[str, str], dict[str, int]] = {}  # by aspect and annotator, then by answer
    for key, answer_labels in labels.items():
        for label in answer_labels:
            for aspect in ASPECTS:
                score = getattr(label, aspect)
                if score is not None:
                    scores.setdefault((aspect, label.annotator), {})[key] = score
    found = []
    for aspect in ASPECTS:
        annotators = sorted(annotator for scored_aspect, annotator in scores if scored_aspect == aspect)
        for one, other in combinations(annotators, 2):
            common = sorted(scores[aspect, one].keys() & scores[aspect, other].keys())
            if common:
                first, second = ([scores[aspect, annotator][key] for key in common] for annotator in (one, other))
                equal = sum(map(operator.eq, first, second))
                percent = 100 * equal / len(common)
                found.append(Agreement((one, other), aspect, len(common), percent, _kappa(first, second)))
    if not found:
        names = ", ".join(sorted({annotator for _, annotator in scores})) or "nobody"
        warn_user(
            f"No answer was scored by two annotators (so far: {names:.100}): each scores with label(annotator=NAME)."
        )
    return found


def _kappa(first: list[int], second: list[int]) -> float | None:
    try:
        from sklearn.metrics import cohen_kappa_score
    except ImportError:
        return None
    if len({*first, *second}) < 2:
        return None  # with a single score, agreement by chance is complete and kappa is not defined
    return float(cohen_kappa_score(first, second))


def plot(answers: Iterable[tuple[str, str]], models: Sequence[str], labels: Mapping[str, Sequence[Label]]) -> Figure:
    """Plot each label as a dot, the mean with its standard deviation, and n, by model and aspect.

    Args:
        answers: The model and the key of each answer.
        models: The models.
        labels: The labels by key.
    """
    found = [(model, label) for model, key in answers for label in labels.get(key, ())]
    figure = new_figure(figsize=(2.4 + 1.6 * len(models), 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, aspect in zip(axes, ASPECTS, strict=True):
        for position, model in enumerate(models):
            scores = [getattr(label, aspect) for labeled, label in found if labeled == model]
            _draw_scores(axis, position, [score for score in scores if score is not None])
        axis.set_title(aspect)
        axis.set_xticks(range(len(models)), models, rotation=20, ha="right", parse_math=False)
        axis.set_xlim(-0.6, len(models) - 0.4)
        axis.set_ylim(-0.1, 6.6)  # a mean and its standard deviation lie between 0 and 6
        axis.set_yticks(range(1, 6))
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("score, 1 to 5")
    if in_notebook():
        show_figure(figure, alt="Scores of the models")
    return figure


def _draw_scores(axis: Any, position: int, scores: list[int]) -> None:
    axis.annotate(f"n = {len(scores)}", (position, 6.15), ha="center", fontsize=8)
    if not scores:
        return
    for score in set(scores):
        count = scores.count(score)
        offsets = [position + (number - (count - 1) / 2) * 0.07 for number in range(count)]
        axis.plot(offsets, [score] * count, "o", color="#7aa6c2", markersize=4, alpha=0.8)
    spread = statistics.stdev(scores) if len(scores) > 1 else 0
    axis.errorbar(position, statistics.fmean(scores), yerr=spread, fmt="D", color="#1f4e79", capsize=5)
