"""Score the answers of models against the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from vision_nb.checks.attributes import read_only
from vision_nb.checks.spelling import similar
from vision_nb.comparison.accuracy import (
    Accuracy,
    AccuracySummary,
    ModelAccuracy,
    effective_size,
    format_usd_per_1000,
    interval,
    mean_price,
    percent,
)
from vision_nb.comparison.accuracy_plot import plot_accuracy
from vision_nb.comparison.canonical_values import as_text
from vision_nb.comparison.judgments import Judgment, Prediction, judge
from vision_nb.comparison.matching import Matching
from vision_nb.comparison.mistakes import Mistakes
from vision_nb.comparison.truth import Truth, read_truth
from vision_nb.errors import SettingsError
from vision_nb.rendering import html
from vision_nb.rendering.data_frame import without_formulas
from vision_nb.rendering.format import pluralize
from vision_nb.rendering.sanitize import escape_text, terminal_text
from vision_nb.rendering.terminal import TerminalDisplay, TerminalPart, TextTable
from vision_nb.schema.fields import Field

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ALL_FIELDS = "all fields"

_NOT_SCORED: dict[str, Any] = {}


def score_predictions(
    predictions: Iterable[Prediction],
    truth: Any,
    fields: Sequence[Field],
    *,
    tolerance: float = 0.0,
    text: Literal["normalized", "exact"] | float = "normalized",
    lists: Literal["set", "ordered"] = "set",
    ignore_unknown: bool = False,
) -> Score:
    """Compare the answers of models with the truth.

    Only fields that the truth and the schema both have are compared; `Score.notes` lists the others. None is correct
    where the truth is None. A failed answer is wrong in every field. Empty text and empty lists count as None. A date
    equals its ISO text, and a time with a time zone equals the same time without one. A list is correct if all of its
    items are; for objects in lists, only the keys in the truth are compared.

    Args:
        predictions: The answers.
        truth: A `Truth`, or anything that `read_truth` accepts.
        fields: The fields of the schema.
        tolerance: The largest accepted difference from the true number, relative to it: 0.01 accepts 1% more or less.
        text: "normalized" ignores case, white space and Unicode form; "exact" does not; a number from 0 to 100 accepts
            texts whose rapidfuzz ratio, after normalizing, is at least this.
        lists: "set" ignores the order of a list's items, but not repetitions; "ordered" also requires the same order.
        ignore_unknown: Ignore images in the truth that no model was asked about, instead of raising an error.

    Raises:
        SettingsError: An option is invalid, or the truth does not fit the images or the fields; see `read_truth`.

    >>> chart = vn.ImageDocument.of(vn.samples.path("chart"))
    >>> answer = Prediction("demo", chart, {"bars": 5}, None, None, 1)
    >>> score_predictions([answer], {"chart": {"bars": 5}}, [Field("bars", "integer", False, (), "", ())])
    Score of 1 model on 1 image: demo is right in 100% of 1 value (95% interval 21% to 100%).
    """
    matching = Matching(tolerance, text, lists)
    if not isinstance(truth, Truth):
        predictions = tuple(predictions)
        documents = tuple({id(one.document): one.document for one in predictions}.values())
        truth = read_truth(truth, documents, fields, ignore_unknown=ignore_unknown)
    values = {id(truth.documents[place]): known for place, known in truth.values.items()}
    judgments: list[Judgment] = []
    kept: list[Prediction] = []
    for prediction in predictions:
        known = values.get(id(prediction.document))
        if known is not None and (prediction.value is not None or prediction.error is not None):
            judgments += judge(prediction, known, fields, matching)
        elif known is None and prediction.value is not None:
            prediction = replace(prediction, value=_NOT_SCORED)
        kept.append(prediction)
    return Score(tuple(kept), tuple(judgments), tuple(fields), truth, matching)


@read_only()
@dataclass(frozen=True, repr=False)
class Score(TerminalDisplay):
    """The answers of models, compared with the truth; displays as tables.

    With several prompts, each model is scored with each prompt.

    Attributes:
        predictions: All answers; the values of those about images that are not in the truth are empty.
        judgments: The comparison of each value that has a true value.
        fields: The fields of the schema.
        truth: The true values.
        matching: The rules of the comparison.

    >>> schema = {"type": "object", "properties": {"width": {"type": "integer"}}}
    >>> sizes = vn.extract([vn.samples.path("chart")], schema, model="demo", progress=False)
    >>> sizes.score({"chart": {"width": 1000}}).to_dataframe()[["field", "n", "correct"]].values.tolist()
    [['width', 1, 1], ['all fields', 1, 1]]
    """

    predictions: tuple[Prediction, ...]
    judgments: tuple[Judgment, ...]
    fields: tuple[Field, ...]
    truth: Truth
    matching: Matching

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas DataFrame with a row per model and field, and a row "all fields" per model.

        The columns are those of `Accuracy`: model, field, n, correct, accuracy, low, high, wrong, missing, invented
        and failed. ``low`` and ``high`` are the ends of the 95% Wilson interval. For all fields, the interval takes
        into account that the values of one image are not independent; see `effective_size`.
        """
        import pandas as pd

        columns = [field.name for field in fields(Accuracy)]
        table = pd.DataFrame.from_records([vars(one) for one in self._accuracies.values()], columns=columns)
        return without_formulas(table.astype({"accuracy": "float64"}))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.model for one in self.predictions))

    @cached_property
    def scored_fields(self) -> tuple[Field, ...]:
        """The fields that the truth contains."""
        known = {path for values in self.truth.values.values() for path in values}
        return tuple(field for field in self.fields if field.path in known)

    @cached_property
    def _by_answer(self) -> dict[int, list[Judgment]]:
        answers: dict[int, list[Judgment]] = {}
        for judgment in self.judgments:
            answers.setdefault(id(judgment.prediction), []).append(judgment)
        return answers

    @cached_property
    def _accuracies(self) -> dict[tuple[str, str], Accuracy]:
        """The accuracy by model and field; each model's fields are followed by all fields together."""
        counters = {
            (model, path): Counter[Any]()
            for model in self._names
            for path in (*(field.path for field in self.scored_fields), ALL_FIELDS)
        }
        clusters: dict[str, list[tuple[int, int]]] = {model: [] for model in self._names}
        for judgments in self._by_answer.values():
            model = judgments[0].prediction.model
            clusters[model].append((sum(one.outcome == "correct" for one in judgments), len(judgments)))
            for one in judgments:
                counters[model, one.field.path][one.outcome] += 1
                counters[model, ALL_FIELDS][one.outcome] += 1
        return {
            (model, path): Accuracy.of(
                model, path, counts, effective_size(clusters[model]) if path == ALL_FIELDS else None
            )
            for (model, path), counts in counters.items()
        }

    @cached_property
    def models(self) -> AccuracySummary:
        """The accuracy, the number of fully correct images and the price of each model."""
        return AccuracySummary(tuple(self._model(name) for name in self._names))

    def _model(self, name: str) -> ModelAccuracy:
        own = [one for one in self.predictions if one.model == name]
        scored = [(one, self._by_answer[id(one)]) for one in own if id(one) in self._by_answer]
        total = self._accuracies[name, ALL_FIELDS]
        return ModelAccuracy(
            name,
            len(scored),
            sum(all(judgment.outcome == "correct" for judgment in judgments) for _, judgments in scored),
            total.accuracy,
            total.low,
            total.high,
            total.n,
            sum(one.value is None for one, _ in scored),
            sum(one.value is not None and one.attempts > 1 for one, _ in scored),
            mean_price((one.usd, one.value is not None) for one in own),
        )

    @property
    def best(self) -> ModelAccuracy | None:
        """The model with the highest accuracy (of equal models, the cheapest); None if nothing was scored."""
        scored = [one for one in self.models if one.accuracy is not None]
        free_last = [(one.accuracy, one.usd_per_1000 is not None, -(one.usd_per_1000 or 0)) for one in scored]
        return scored[free_last.index(max(free_last))] if scored else None

    @property
    def conclusion(self) -> str:
        """One to three sentences: which model is most often right, and whether the difference may be due to chance."""
        best = self.best
        if best is None:
            return "No answers were scored: none of the images with a truth was answered."
        others = [one for one in self.models if one is not best and one.accuracy is not None]
        equal = " and ".join(one.model for one in others if one.accuracy == best.accuracy)
        most = f" as often as {equal}:" if equal else " most often:" if others else ""
        values = pluralize(best.n, "value")
        facts = f"in {percent(best.accuracy)} of {values} (95% interval {interval(best)})"
        if others and not best.accuracy:
            return f"None is right: {facts.removeprefix('in ')}."
        sentences = [f"{best.model} is right{most} {facts}."]
        close = [one for one in others if one.high >= best.low]
        behind = [one for one in close if one.accuracy != best.accuracy]
        if behind:
            names = " and ".join(f"{one.model} ({percent(one.accuracy)})" for one in behind)
            overlap = "overlaps" if len(behind) == 1 else "overlap"
            interval_of = "interval" if len(behind) == 1 else "intervals"
            sentences.append(f"The {interval_of} of {names} {overlap} with it: the difference may be chance.")
        if close:
            priced = [one for one in (best, *close) if one.usd_per_1000 is not None]
            cheapest = min(priced, key=lambda one: one.usd_per_1000 or 0, default=None)
            if cheapest is not None and len({one.usd_per_1000 for one in priced}) > 1:
                unit = " per 1,000 images" if cheapest.usd_per_1000 else ""
                price = f"{format_usd_per_1000(cheapest.usd_per_1000)}{unit}"
                sentences.append(f"Cheapest of these: {cheapest.model} ({price}).")
        elif others:
            overlap = "The intervals do" if len(others) > 1 else "The other interval does"
            sentences.append(f"{overlap} not overlap with it: the difference is unlikely to be chance.")
        return " ".join(sentences)

    @property
    def notes(self) -> list[str]:
        """Sentences that state what was not scored."""
        known, total = len(self.truth.values), len(self.truth.documents)
        notes = [] if known == total else [f"Truth for {known:,} of {total:,} images; the others are not scored."]
        scored = {field.path for field in self.scored_fields}
        absent = [field.path for field in self.fields if field.path not in scored]
        left_out = {"not in the truth": absent, "not in the schema": self.truth.left_out}
        if any(left_out.values()):
            parts = [f"{', '.join(names)} ({reason})" for reason, names in left_out.items() if names]
            notes.append(f"Not scored: {'; '.join(parts)}.")
        not_made = sum(one.value is None and one.error is None for one in self.predictions)
        if not_made:
            calls = pluralize(not_made, "call was not made, and is", "calls were not made, and are")
            notes.append(f"{calls} not scored.")
        return notes

    def confusion(self, field: str, model: str | None = None) -> pd.DataFrame:
        """Count how often each true value of an enum or boolean got each answer.

        Args:
            field: The field's path.
            model: A model's name; None counts all models together.

        Returns:
            A DataFrame of counts with a row per true value and a column per answer. Values are text: "true" and
            "false" for booleans, "(no value)" for None, "(failed)" for answers that failed.

        Raises:
            SettingsError: The field or model does not exist, or the field is neither an enum nor a boolean.
        """
        import pandas as pd

        found = self._field(field)
        if found.kind not in ("enum", "boolean"):
            raise SettingsError(
                f"{field!r:.80} is neither an enum nor a boolean (kind: {found.kind}): use errors({field!r:.80})."
            )
        judgments = [one for one in self._judgments_of(model) if one.field is found]
        truths = [_label(one.truth) for one in judgments]
        answers = ["(failed)" if one.outcome == "failed" else _label(one.answer) for one in judgments]
        choices = [_label(choice) for choice in found.choices] if found.kind == "enum" else ["true", "false"]
        rows = list(dict.fromkeys([*choices, *sorted(truths)]))
        columns = list(dict.fromkeys([*rows, *sorted(answers)]))
        table = pd.crosstab(*(pd.Series(labels, dtype=object) for labels in (truths, answers)))
        table = table.reindex(index=rows, columns=columns, fill_value=0)
        return without_formulas(table.rename_axis(index="truth", columns="answer"))

    def errors(self, field: str | None = None, model: str | None = None) -> Mistakes:
        """Return the values that are not correct, with their images.

        Args:
            field: A field's path; None for all fields.
            model: A model's name; None for all models.

        Raises:
            SettingsError: The field or model does not exist.
        """
        chosen = None if field is None else self._field(field)
        wrong = [one for one in self._judgments_of(model) if one.outcome != "correct" and chosen in (None, one.field)]
        places = {id(document): place for place, document in enumerate(self.truth.documents)}
        wrong.sort(key=lambda one: places[id(one.prediction.document)])
        return Mistakes(tuple(wrong), self.matching, len(self._names) > 1 and model is None, field is None)

    def plot(self) -> Figure:
        """Plot the accuracy of each model with its 95% interval against the price of 1,000 images."""
        return plot_accuracy(self.models)

    def _field(self, path: str) -> Field:
        paths = [field.path for field in self.scored_fields]
        if path not in paths:
            near = similar(str(path), paths)
            advice = f"Did you mean {near!r}?" if near else f"The scored fields are {', '.join(paths)[:150]}."
            raise SettingsError(f"{path!r:.80} is not a scored field. {advice}")
        return self.scored_fields[paths.index(path)]

    def _judgments_of(self, model: str | None) -> list[Judgment]:
        if model is not None and model not in self._names:
            raise SettingsError(f"{model!r:.80} is not one of the models: {', '.join(self._names)[:150]}.")
        return [one for one in self.judgments if model in (None, one.prediction.model)]

    def _table_by_field(self) -> tuple[list[str], list[list[str]]]:
        paths = [field.path for field in self.scored_fields]
        rows = [[path, *(str(self._accuracies[model, path]) for model in self._names)] for path in paths]
        return ["field", *self._names], rows

    def _repr_html_(self) -> str:
        tables = html.html_table(*self.models.table()) + html.html_table(*self._table_by_field())
        notes = "".join(map(html.muted_text, self.notes))
        return f"<p><b>{escape_text(self.conclusion)}</b></p>{tables}{notes}"

    def __repr__(self) -> str:
        prompts = len({one.prompt for one in self.predictions})
        number = len(self._names) // max(1, prompts)
        models = pluralize(number, "model")
        models += f" with {prompts} prompts" if prompts > 1 else ""
        images = pluralize(len(self.truth.values), "image")
        return terminal_text(f"Score of {models} on {images}: {' '.join([self.conclusion, *self.notes])}")

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        summary, by_field = TextTable(*self.models.table(), numbers_from=1), TextTable(*self._table_by_field())
        return [self.conclusion, "", summary, "", by_field, *(["", *self.notes] if self.notes else [])]


def _label(value: Any) -> str:
    return "(no value)" if value is None else as_text(value)
