"""The values that models got wrong, with their images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from vision_nb.checks.indices import Items, item_at
from vision_nb.comparison.answer_cells import answer_table, cell, error_html, thumbnail_html
from vision_nb.comparison.canonical_values import as_text
from vision_nb.comparison.judgments import Judgment
from vision_nb.comparison.matching import Matching
from vision_nb.rendering.data_frame import without_formulas
from vision_nb.rendering.format import pluralize
from vision_nb.rendering.html import MUTED_STYLE, muted_text
from vision_nb.rendering.sanitize import escape_text, name_text, replace_surrogates, terminal_text

if TYPE_CHECKING:
    import pandas as pd

_MAX_IMAGES = 20
_MAX_VALUE = 600  # characters
_MAX_VALUES = 150_000  # characters of all values together
_MAX_HTML = 480_000  # characters
_COLUMNS = ("model", "image", "field", "outcome", "truth", "answer", "error")


@dataclass(frozen=True, repr=False)
class Mistakes(Items[Judgment]):
    """The values that are not correct, ordered by image; displays as a table with thumbnails.

    Attributes:
        judgments: The values.
        matching: The rules of the comparison.
        several_models: Whether to show the model of each value.
        several_fields: Whether to show the field of each value.
    """

    judgments: tuple[Judgment, ...]
    matching: Matching
    several_models: bool
    several_fields: bool

    def __len__(self) -> int:
        return len(self.judgments)

    def __getitem__(self, index: Any) -> Any:
        return item_at(self.judgments, index, "mistake")

    def __iter__(self) -> Iterator[Judgment]:
        return iter(self.judgments)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas DataFrame with a row per value: model, image, field, outcome, truth, answer and error."""
        import pandas as pd

        records = [
            (
                one.prediction.model,
                replace_surrogates(one.prediction.document.name),
                one.field.path,
                one.outcome,
                one.truth,
                one.answer,
                one.prediction.error,
            )
            for one in self.judgments
        ]
        return without_formulas(pd.DataFrame.from_records(records, columns=list(_COLUMNS)))

    def _repr_html_(self) -> str:
        if not self.judgments:
            return muted_text("Every value is correct.")
        groups = [list(group) for _, group in groupby(self.judgments, lambda one: id(one.prediction.document))]
        longest = max(60, min(_MAX_VALUE, _MAX_VALUES // (2 * sum(map(len, groups[:_MAX_IMAGES])))))
        lines: list[str] = []
        shown = length = 0
        for group in groups[:_MAX_IMAGES]:
            if self.several_fields:
                group = _failures_once(group)
            image = cell(thumbnail_html(group[0].prediction.document), rowspan=len(group))
            rows = [(image if number == 0 else "") + self._row(one, longest) for number, one in enumerate(group)]
            length += sum(map(len, rows))
            if length > _MAX_HTML:
                break
            lines += rows
            shown += 1
        names = [("model", self.several_models), ("field", self.several_fields)]
        leading = [("image", 8), *((name, 7) for name, is_shown in names if is_shown), ("result", 5)]
        values = pluralize(len(self), "value is", "values are")
        summary = f"{values} not correct."
        if shown < len(groups):
            summary += f" Shown: the first {shown} of {len(groups):,} images; to_dataframe() has all values."
        return answer_table(["truth", "answer"], lines, leading=leading) + muted_text(summary)

    def _row(self, one: Judgment, longest: int) -> str:
        cells = [cell(name_text(one.prediction.model))] if self.several_models else []
        if one.outcome == "failed" and self.several_fields:
            error = cell(error_html((one.prediction.error or "")[:longest]))
            return "".join([*cells, cell("all fields"), cell("failed"), cell(""), error])
        cells += [cell(escape_text(one.field.path))] if self.several_fields else []
        truth, answer = self._texts(one)
        error = error_html((one.prediction.error or "")[:longest])
        shown = error if one.outcome == "failed" else _value(answer, longest)
        return "".join([*cells, cell(escape_text(one.outcome)), cell(_value(truth, longest)), cell(shown)])

    def _texts(self, one: Judgment) -> tuple[str, str]:
        """Return both values as text; of two lists, the items that differ."""
        if one.field.kind != "list" or not (isinstance(one.truth, list) and isinstance(one.answer, list)):
            return _text(one.truth), _text(one.answer)
        pairs = self.matching.matched_items(one.truth, one.answer, one.field)
        equal = f"... and {pluralize(len(pairs), 'equal item')}" if pairs else ""
        matched = set(pairs.values())
        truth = [item for place, item in enumerate(one.truth) if place not in pairs]
        answer = [item for place, item in enumerate(one.answer) if place not in matched]
        return _text(truth, equal), _text(answer, equal)

    def __repr__(self) -> str:
        lines = [f"Mistakes({pluralize(len(self), 'value')})"]
        for one in self.judgments[:_MAX_IMAGES]:
            truth, answer = (text.replace("\n", "; ")[:80] for text in self._texts(one))
            name = f"{one.prediction.document.title}, {one.prediction.model}, {one.field.path}"
            lines.append(f"{name}: {one.outcome}, truth: {truth or None}, answer: {answer or None}")
        return terminal_text("\n".join(lines))


def _failures_once(judgments: Sequence[Judgment]) -> list[Judgment]:
    """Omit all but the first field of an answer that failed."""
    failed = set()
    kept = []
    for one in judgments:
        if one.outcome != "failed" or id(one.prediction) not in failed:
            kept.append(one)
        if one.outcome == "failed":
            failed.add(id(one.prediction))
    return kept


def _text(value: Any, last: str = "") -> str:
    """Return a value as text, with a line for each item of a list."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    return replace_surrogates("\n".join([*map(_item_text, items), *([last] if last else [])]))


def _item_text(item: Any) -> str:
    if isinstance(item, Mapping):
        return ", ".join(f"{key}: {_item_text(value)}" for key, value in item.items())
    if isinstance(item, list):
        return "; ".join(map(_item_text, item))
    return "none" if item is None else as_text(item)


def _value(text: str, longest: int) -> str:
    if not text:
        return f'<span style="{MUTED_STYLE}">no value</span>'
    shown = text if len(text) <= longest else f"{text[:longest].rstrip()} ..."
    return f'<span style="white-space:pre-wrap">{escape_text(shown)}</span>'
