"""The tables of comparisons and extractions, filled row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from vision_nb.checks.spelling import similar
from vision_nb.comparison.field_table import Values, column_names, typed_column
from vision_nb.comparison.grid import Row
from vision_nb.comparison.labels import ASPECTS, mean
from vision_nb.errors import SettingsError
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.schema.fields import Field, flatten
from vision_nb.schema.schema import Schema
from vision_nb.storage.annotations import Label, Review

if TYPE_CHECKING:
    import pandas as pd

_CALL = ("model", "prompt", "response")
_RESULT = ("image", "error", "latency_s", "input_tokens", "output_tokens", "usd")
EXTRACTED = ("error", "attempts", "model", "input_tokens", "output_tokens", "usd")
"""The columns after the fields of an extraction."""

_NUMBERS = {"latency_s", "usd"}
_GIVEN = {"model", "prompt", "image"}  # texts that may not be encodable, such as the name of a file from another system
_INTEGERS = {"input_tokens", "output_tokens", "attempts"}


@dataclass
class Record:
    """A row of a comparison, with what belongs to it in a table.

    Attributes:
        row: The row.
        schema: The schema of the answers, or None.
        labels: The labels of its answer.
        review: The review of its image, or None.
    """

    row: Row
    schema: Schema | None = None
    labels: Sequence[Label] = ()
    review: Review | None = None

    @cached_property
    def values(self) -> Values | None:
        """The reviewed values, or otherwise the answer's, by field path; None if there are none."""
        if self.schema is None:
            return None
        if self.review is not None:
            return flatten(self.review.value, self.schema.fields)
        return flatten(self.schema.dump(self.row.parsed), self.schema.fields) if self.row.finished else None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its name.
        cell: Returns its value for a record.
        convert: Turns its values into something that a DataFrame takes.
        kind: "text", "integer" or "number" if that is the type of all values that are not None; otherwise None.
    """

    name: str
    cell: Callable[[Record], Any]
    convert: Callable[[list[Any]], Any] = list
    kind: str | None = None


def frame(columns: Sequence[Column], records: Iterable[Record]) -> pd.DataFrame:
    """Return a DataFrame with a row per record; the records are not kept.

    Args:
        columns: Its columns.
        records: Its rows.
    """
    import pandas as pd

    cells = [(column.cell, list[Any]()) for column in columns]
    count = 0
    for record in records:
        count += 1
        for cell, values in cells:
            values.append(cell(record))
    converted = {column.name: column.convert(values) for column, (_, values) in zip(columns, cells, strict=True)}
    return pd.DataFrame(converted, index=pd.RangeIndex(count))


def frames(columns: Sequence[Column], records: Iterable[Record], size: int) -> Iterator[pd.DataFrame]:
    """Iterate over DataFrames of up to ``size`` rows; there is at least one."""
    iterator = iter(records)
    batch = list(islice(iterator, size))
    yield frame(columns, batch)
    while batch := list(islice(iterator, size)):
        yield frame(columns, batch)


def chosen(columns: Sequence[Column], names: Sequence[str] | None) -> list[Column]:
    """Return the columns with some names, in the order of the names; None chooses all.

    Raises:
        SettingsError: There is no column with this name.
    """
    if names is None:
        return list(columns)
    by_name = {column.name: column for column in columns}
    check_names(list(by_name), names)
    return [by_name[name] for name in dict.fromkeys(names)]


def check_names(known: Sequence[str], names: Sequence[str]) -> None:
    """Check the names of columns.

    Raises:
        SettingsError: The names are not a list of strings, or one of them is not a column.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise SettingsError(f"columns must be a list of column names: got {names!r:.80}.")
    for name in names:
        if name not in known:
            near = similar(name, known)
            advice = f"Did you mean {near!r:.80}?" if near else f"The columns are {', '.join(known)[:150]}."
            raise SettingsError(f"{name!r:.80} is not a column of the table. {advice}")


def comparison_columns(schema: Schema | None) -> list[Column]:
    """Return the columns of a comparison: with a schema, also those of its fields and the number of attempts."""
    names = (*_CALL, *_RESULT, *ASPECTS)
    fields = [] if schema is None else _field_columns(schema.fields, (*names, "attempts"))
    attempts = [] if schema is None else [_attribute("attempts")]
    return [*map(_attribute, _CALL), *fields, *map(_attribute, _RESULT), *map(_aspect, ASPECTS), *attempts]


def extraction_columns(fields: Sequence[Field], *, reviewed: bool) -> list[Column]:
    """Return the columns of an extraction.

    Args:
        fields: The fields of the schema.
        reviewed: Whether to add the reviewer and the time of the review.
    """
    extra = ("reviewer", "reviewed_at") if reviewed else ()
    reviews = [
        Column("reviewer", lambda one: one.review and one.review.reviewer, _series("string"), "text"),
        Column("reviewed_at", lambda one: one.review and one.review.time, _times),
    ]
    image = replace(_attribute("image"), convert=_series("string"))
    values = _field_columns(fields, ("image", *EXTRACTED, *extra))
    return [image, *values, *map(_attribute, EXTRACTED), *(reviews if reviewed else [])]


def field_names(fields: Sequence[Field], *, reviewed: bool) -> Mapping[str, str]:
    """Return the column of each field of an extraction, by the field's path."""
    return column_names(fields, ("image", *EXTRACTED, *(("reviewer", "reviewed_at") if reviewed else ())))


def _field_columns(fields: Sequence[Field], taken: Sequence[str]) -> list[Column]:
    names = column_names(fields, taken)
    return [Column(names[field.path], _field_cell(field.path), _field_converter(field)) for field in fields]


def _field_cell(path: str) -> Callable[[Record], Any]:
    return lambda one: None if one.values is None else one.values.get(path)


def _field_converter(field: Field) -> Callable[[list[Any]], Any]:
    return lambda values: typed_column(values, field)


def _attribute(name: str) -> Column:
    if name == "error":
        return Column(name, lambda one: None if one.review else one.row.shown_error or None, kind="text")
    if name in _GIVEN:
        return Column(name, lambda one: replace_surrogates(getattr(one.row, name)), kind="text")
    if name in _INTEGERS:
        return Column(name, lambda one: getattr(one.row, name), _series("Int64"), "integer")
    if name in _NUMBERS:
        return Column(name, lambda one: _float(getattr(one.row, name)), _series("float64"), "number")
    return Column(name, lambda one: getattr(one.row, name), kind="text")


def _float(value: float | Decimal | None) -> float | None:
    return None if value is None else float(value)


def _aspect(name: str) -> Column:
    def scores(one: Record) -> float | None:
        return mean(getattr(label, name) for label in one.labels) if one.labels else None

    return Column(name, scores, _series("float64"), "number")


def _series(dtype: str) -> Callable[[list[Any]], Any]:
    def convert(values: list[Any]) -> Any:
        import pandas as pd

        return pd.Series(values, dtype=dtype)

    return convert


def _times(values: list[Any]) -> Any:
    import pandas as pd

    return pd.to_datetime(pd.Series(values, dtype="float64"), unit="s", utc=True)
