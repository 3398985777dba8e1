"""What the labels say: means with n, agreement between annotators, and a picture of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from typing import TYPE_CHECKING, Any

from vision_nb.comparison.grid import Row
from vision_nb.notebook.display import new_figure, show_figure
from vision_nb.notebook.ipython import in_notebook
from vision_nb.rendering import html
from vision_nb.store import Label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASPECTS = ("correctness", "relevance")


def mean(values: Iterable[int | float | None]) -> float | None:
    """The mean of the values that are there, or None where there are none."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


@dataclass(frozen=True)
class ModelScores:
    """What one model did.

    Attributes:
        model: The model.
        answered: Rows with an answer.
        failed: Rows with an error.
        correctness: Mean of the correctness scores, or None.
        relevance: Mean of the relevance scores, or None.
        labels: How many labels the means rest on.
        latency_s: Mean seconds an answer, or None.
        input_tokens: Of all answers, or None where a server did not say.
        output_tokens: Of all answers, or None where a server did not say.
        usd: Of all answers, or None where the price is not known.
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


@dataclass(frozen=True)
class Summary:
    """A `ModelScores` for each model; a table in a notebook."""

    models: tuple[ModelScores, ...]

    def to_dataframe(self) -> Any:
        """The summary as a pandas DataFrame, a row a model."""
        import pandas as pd

        return pd.DataFrame([vars(one) for one in self.models])

    def _repr_markdown_(self) -> str:
        head = (
            "model",
            "answered",
            "failed",
            "correctness",
            "relevance",
            "labels",
            "mean s",
            "tokens in",
            "out",
            "USD",
        )
        rows = [
            (
                one.model,
                f"{one.answered:,}",
                f"{one.failed:,}",
                _known(one.correctness, ".2f"),
                _known(one.relevance, ".2f"),
                f"{one.labels:,}",
                _known(one.latency_s, ".2f"),
                _known(one.input_tokens, ","),
                _known(one.output_tokens, ","),
                _known(one.usd, ".4f"),
            )
            for one in self.models
        ]
        return html.markdown_table(head, rows)

    def __str__(self) -> str:
        return self._repr_markdown_()


@dataclass(frozen=True)
class Agreement:
    """How far two annotators agree about one aspect.

    Attributes:
        annotators: The two.
        aspect: "correctness" or "relevance".
        n: Answers that both have scored.
        percent: Same scores, in per cent.
        kappa: Cohen's kappa, or None where scikit-learn is missing or it is not defined.
    """

    annotators: tuple[str, str]
    aspect: str
    n: int
    percent: float
    kappa: float | None


def summarize(rows: Sequence[Row], labels: Mapping[str, Sequence[Label]]) -> Summary:
    """Sum rows and labels up by model, in the order of the models."""
    return Summary(tuple(_model_scores(model, rows, labels) for model in dict.fromkeys(row.model for row in rows)))


def _model_scores(model: str, rows: Sequence[Row], labels: Mapping[str, Sequence[Label]]) -> ModelScores:
    own = [row for row in rows if row.model == model]
    answered = [row for row in own if row.finished]
    given = [label for row in answered for label in labels.get(row.key, ())]
    return ModelScores(
        model,
        len(answered),
        sum(row.error is not None for row in own),
        mean(label.correctness for label in given),
        mean(label.relevance for label in given),
        len(given),
        mean(row.latency_s for row in answered),
        _total([row.input_tokens for row in answered]),
        _total([row.output_tokens for row in answered]),
        _total([row.usd for row in answered]),
    )


def _total(values: Sequence[Any]) -> Any:
    return None if not values or None in values else sum(values)


def _known(value: Any, form: str) -> str:
    return "unknown" if value is None else format(value, form)


def agreements(labels: Mapping[str, Sequence[Label]]) -> list[Agreement]:
    """Compare each two annotators on the answers that both have scored."""
    given: dict[tuple[str, str], dict[str, int]] = {}
    for key, of_answer in labels.items():
        for label in of_answer:
            for aspect in ASPECTS:
                score = getattr(label, aspect)
                if score is not None:
                    given.setdefault((label.annotator, aspect), {})[key] = score
    found = []
    for aspect in ASPECTS:
        annotators = sorted(who for who, what in given if what == aspect)
        for one, other in combinations(annotators, 2):
            first, second = given[one, aspect], given[other, aspect]
            both = sorted(first.keys() & second.keys())
            if both:
                pair = [first[key] for key in both], [second[key] for key in both]
                same = sum(a == b for a, b in zip(*pair, strict=True))
                found.append(Agreement((one, other), aspect, len(both), 100 * same / len(both), _kappa(*pair)))
    return found


def _kappa(first: list[int], second: list[int]) -> float | None:
    try:
        from sklearn.metrics import cohen_kappa_score
    except ImportError:
        return None
    if len({*first, *second}) < 2:
        return None  # with one score only, chance agreement is complete and kappa has no value
    return float(cohen_kappa_score(first, second))


def plot(rows: Sequence[Row], labels: Mapping[str, Sequence[Label]]) -> Figure:
    """Each label as a dot, the mean with its standard deviation, and n, by model and aspect."""
    models = list(dict.fromkeys(row.model for row in rows))
    figure = new_figure(figsize=(2.4 + 1.6 * len(models), 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, aspect in zip(axes, ASPECTS, strict=True):
        for place, model in enumerate(models):
            keys = [row.key for row in rows if row.model == model and row.finished]
            given = [getattr(label, aspect) for key in keys for label in labels.get(key, ())]
            _draw_scores(axis, place, [score for score in given if score is not None])
        axis.set_title(aspect)
        axis.set_xticks(range(len(models)), models, rotation=20, ha="right")
        axis.set_xlim(-0.6, len(models) - 0.4)
        axis.set_ylim(0.5, 5.8)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("score, 1 to 5")
    if in_notebook():
        show_figure(figure)
    return figure


def _draw_scores(axis: Any, place: int, scores: list[int]) -> None:
    axis.annotate(f"n = {len(scores)}", (place, 5.45), ha="center", fontsize=8)
    if not scores:
        return
    for score in set(scores):
        count = scores.count(score)
        offsets = [place + (number - (count - 1) / 2) * 0.07 for number in range(count)]
        axis.plot(offsets, [score] * count, "o", color="#7aa6c2", markersize=4, alpha=0.8)
    spread = statistics.stdev(scores) if len(scores) > 1 else 0
    axis.errorbar(place, statistics.fmean(scores), yerr=spread, fmt="D", color="#1f4e79", capsize=5)
