"""Read the true values of images from a table, a CSV file or a dict."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_nb.checks.spelling import similar
from vision_nb.comparison.canonical_values import as_data, as_text, canonical, flat_values, is_missing
from vision_nb.errors import SettingsError
from vision_nb.images.document import ImageDocument
from vision_nb.paths import expand_path
from vision_nb.rendering.format import pluralize
from vision_nb.schema.fields import Field

KEY = "image"
"""The column that names the image of each row."""

_PREFIX = "value."  # of the columns of fields that have the name of another column
_RESULT_COLUMNS = {  # columns of an Extraction's or Comparison's table: a corrected table can be used as the truth
    "model",
    "prompt",
    "response",
    "error",
    "attempts",
    "latency_s",
    "input_tokens",
    "output_tokens",
    "usd",
    "reviewer",
    "reviewed_at",
    "correctness",
    "relevance",
}


@dataclass(frozen=True)
class Truth:
    """The true values of images.

    Attributes:
        documents: All images.
        values: The values by field path, for the index of each image that has any. A path that is absent is not
            scored; a value of None says that the image does not show the field.
        left_out: The columns and keys that are not fields of the schema.
    """

    documents: tuple[ImageDocument, ...]
    values: Mapping[int, Mapping[str, Any]]
    left_out: tuple[str, ...] = ()

    @classmethod
    def of_places(cls, values: Mapping[int, Any], documents: Sequence[ImageDocument], fields: Sequence[Field]) -> Truth:
        """Return the truth from a value for the index of each image that has one; see `read_truth` for the values.

        Raises:
            SettingsError: A value does not fit the fields.
        """
        by_path = {field.path: field for field in fields}
        left_out: set[str] = set()
        known = {place: _values(value, by_path, documents[place].title, left_out) for place, value in values.items()}
        return cls(tuple(documents), known, tuple(sorted(left_out)))


def read_truth(
    truth: Any, documents: Sequence[ImageDocument], fields: Sequence[Field], *, ignore_unknown: bool = False
) -> Truth:
    """Read the true values of images.

    Args:
        truth: A pandas or polars DataFrame, or the path of a CSV file, with a column for each field and the image in
            the column "image" or the index of pandas; or a dict from image to value; or a list of dicts with the key
            "image"; or a list of values in the order of the images; or an `Extraction` or `ReviewPanel` with reviewed
            images. A value is a dict, nested or by field path, a pydantic object or a dataclass, or the bare value if
            there is one field. An image is named by its path, the end of its path, or its file name with or without the
            ending. Empty cells, NaN and None say that the image does not show the field; fields that are absent are not
            scored, and columns and keys that are not fields are left out. If a column "reviewer" has a name in some
            rows, as in a table of an extraction with ``reviewed=True``, the other rows are left out.
        documents: The images.
        fields: The fields of the schema.
        ignore_unknown: Ignore images that are not among the documents, instead of raising an error.

    Raises:
        SettingsError: An image is unknown, ambiguous or named twice, a column or key looks like a misspelled field, no
            column or key is a field, a value does not have its field's type, or there is no truth.

    >>> chart = ImageDocument.of(vn.samples.path("chart"))
    >>> total = Field("total", "number", False, (), "", ())
    >>> read_truth({"chart.png": {"total": "12.50"}}, [chart], [total]).values
    {0: {'total': Decimal('12.50')}}
    """
    if isinstance(truth, Truth):
        return truth
    if hasattr(type(truth), "truth"):
        truth = truth.truth() if callable(truth.truth) else truth.truth
    names = _ImageNames(documents)
    by_path = {field.path: field for field in fields}
    found: dict[int, dict[str, Any]] = {}
    named: dict[int, str] = {}
    left_out: set[str] = set()
    unknown = []
    for key, value in _entries(truth, names, fields):
        places = [key] if isinstance(key, _Place) else names.find(key)
        name = documents[places[0]].title if isinstance(key, _Place) else key
        if not places:
            unknown.append(key)
        values = _values(value, by_path, name, left_out) if places else {}
        for place in places:
            if found.get(place, values) != values:
                raise SettingsError(
                    "The truth names an image twice with different values, "
                    f"as {named[place]!r:.80} and {name!r:.80}: keep one."
                )
            named[place] = name
            found[place] = values
    if unknown and not ignore_unknown:
        raise SettingsError(
            f"The truth names {pluralize(len(unknown), 'image')} that no model was asked about: "
            f"{', '.join(repr(name)[:60] for name in unknown[:3])}{' ...' if len(unknown) > 3 else ''}. "
            "Remove them, or pass ignore_unknown=True."
        )
    if not found:
        raise SettingsError("The truth is empty: it needs the true values of at least one of the images.")
    return Truth(tuple(documents), found, tuple(sorted(left_out)))


class _Place(int):
    """The index of an image, in a truth that does not name its images."""


class _ImageNames:
    """Finds images by path, the end of a path, file name or stem."""

    def __init__(self, documents: Sequence[ImageDocument]) -> None:
        self.documents = documents
        self._names: dict[str, list[int]] = {}
        self._stems: dict[str, list[int]] = {}
        for place, document in enumerate(documents):
            full = {document.name, document.title}
            if document.image_path is not None:
                full.add(os.path.abspath(document.image_path))  # noqa: PTH100 - Path.resolve reads the disk
            ends = {end for name in full for end in _ends(_simple(name))}
            stems = {end.rpartition(".")[0] for end in ends if "." in end.rpartition("/")[2]}
            for table, keys in ((self._names, ends), (self._stems, stems)):
                for key in keys:
                    table.setdefault(key, []).append(place)

    def find(self, name: str) -> list[int]:
        """Return the index of an image, or those of one image that was passed several times, or an empty list."""
        simple = _simple(name)
        whole = _simple(os.path.abspath(simple))  # noqa: PTH100 - as above
        tables = [(table, key) for key in (simple, whole) for table in (self._names, self._stems)]
        places = next((table[key] for table, key in tables if key in table), [])
        found = [self.documents[place] for place in places]
        paths = list(dict.fromkeys(document.name for document in found))
        if len(paths) > 1 or (len(found) > 1 and found[0].image is not None):
            raise SettingsError(
                f"The truth names {name!r:.60}, which could be {len(places)} images: {' or '.join(paths[:2])}. "
                "Name them by their paths."
            )
        return places


def _simple(name: str) -> str:
    """Return a name with slashes and composed letters, because file systems differ in both."""
    return unicodedata.normalize("NFC", name.replace("\\", "/")).removeprefix("./")


def _ends(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _entries(truth: Any, names: _ImageNames, fields: Sequence[Field]) -> list[tuple[Any, Any]]:
    """Return the images of the truth, as names or places, with their values."""
    if isinstance(truth, (str, Path)):
        return _table_entries(*_read_csv(Path(truth)), fields)
    if hasattr(truth, "to_frame") and hasattr(truth, "index"):  # a pandas Series
        truth = truth.to_frame(fields[0].path if len(fields) == 1 else truth.name)
    if hasattr(truth, "iter_rows"):  # a polars DataFrame
        return _table_entries(truth.columns, truth.rows(), fields)
    if hasattr(truth, "columns") and hasattr(truth, "to_dict"):  # a pandas DataFrame
        columns = [str(column) for column in truth.columns]
        narrow = truth.select_dtypes(["float16", "float32"]).columns
        truth = truth.astype(dict.fromkeys(narrow, str)).astype(dict.fromkeys(narrow, float))  # 0.1, not 0.10000000149
        rows = [list(row) for row in truth.itertuples(index=False, name=None)]
        is_numbered = all(type(label) is int for label in truth.index.tolist()) and truth.index.name != KEY
        if KEY not in columns and not is_numbered:
            columns, rows = [KEY, *columns], [[label, *row] for label, row in zip(truth.index, rows, strict=True)]
        return _table_entries(columns, rows, fields)
    if isinstance(truth, Mapping):
        return [(_image_name(key), value) for key, value in truth.items()]
    if not isinstance(truth, Iterable):
        kind = type(truth).__name__
        raise SettingsError(
            f"The truth cannot be of type {kind}: pass a DataFrame, a CSV file, a dict by image name or a list."
        )
    values = [as_data(value) for value in truth]
    is_field = any(field.path == KEY for field in fields)
    if values and not is_field and all(isinstance(value, Mapping) and KEY in value for value in values):
        return [(_image_name(value[KEY]), {k: v for k, v in value.items() if k != KEY}) for value in values]
    if len(values) != len(names.documents):
        raise SettingsError(
            f"Without image names, the truth needs one value for each of the {len(names.documents):,} images, in their "
            f'order: got {len(values):,}. Add the key "{KEY}", or pass a dict by image name.'
        )
    return [(_Place(place), value) for place, value in enumerate(values)]


def _read_csv(path: Path) -> tuple[list[str], list[list[Any]]]:
    try:
        with expand_path(path).open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)  # spreadsheets in many countries write semicolons
            rows = [row for row in csv.reader(file, delimiter=delimiter) if any(row)]
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"The truth {str(path)!r:.120} cannot be read ({reason}): check its path.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"The truth {str(path)!r:.120} is not a CSV file in UTF-8: save it as one.") from error
    columns = [column.strip() for column in rows[0]] if rows else []
    for number, row in enumerate(rows, 1):
        if len(row) > len(columns):
            raise SettingsError(
                f"Row {number} of {path.name} has {len(row)} cells for {len(columns)} columns: put quotation marks "
                "around a text or list that contains the separator."
            )
    return columns, [row + [""] * (len(columns) - len(row)) for row in rows[1:]]


def _table_entries(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], fields: Sequence[Field]
) -> list[tuple[Any, Any]]:
    if columns and KEY not in columns:
        raise SettingsError(
            f'The truth does not name its images: it needs a column "{KEY}" with their file names. '
            f"Its columns are {', '.join(columns)[:100]}."
        )
    paths = [field.path for field in fields]
    for column, count in Counter(columns).items():
        if count > 1:
            raise SettingsError(f"The truth has {count} columns named {column!r:.80}: keep one.")
    used = {}
    for place, column in enumerate(columns):
        prefixed = column.removeprefix(_PREFIX)
        is_data = column not in _RESULT_COLUMNS and column and not column.startswith("Unnamed: ")
        if prefixed != column and prefixed in paths:
            used[place] = prefixed
        elif column != KEY and f"{_PREFIX}{column}" not in columns and (column in paths or is_data):
            used[place] = column
    reviewer = columns.index("reviewer") if "reviewer" in columns else None
    if reviewer is not None and reviewer not in used:  # the other rows of a reviewed table are a model's answers
        rows = [row for row in rows if not is_missing(row[reviewer]) and row[reviewer] != ""] or rows
    key = columns.index(KEY) if columns else 0
    return [
        (_image_name(row[key], number), {path: row[place] for place, path in used.items()})
        for number, row in enumerate(rows, 1)
    ]


def _image_name(key: Any, row: int | None = None) -> str:
    if isinstance(key, ImageDocument):
        return key.name
    name = "" if is_missing(key) else as_text(key).strip()
    if not name:
        raise SettingsError(f"{'The truth' if row is None else f'Row {row} of the truth'} does not name its image.")
    return name


def _values(value: Any, by_path: Mapping[str, Field], image: str, left_out: set[str]) -> dict[str, Any]:
    value = as_data(value)
    if isinstance(value, Mapping):
        try:
            values = flat_values(value, tuple(by_path.values()), left_out)
        except KeyError as error:
            raise _not_a_field(error.args[0], list(by_path), image) from None
    elif len(by_path) == 1:
        values = dict.fromkeys(by_path, value)
    elif is_missing(value):
        values = dict.fromkeys(by_path)
    else:
        raise SettingsError(f"The truth of {image!r:.60} is {value!r:.60}: pass a dict with the fields as keys.")
    found = {}
    for path, one in values.items():
        try:
            found[path] = canonical(one, by_path[path], left_out)
        except ValueError as error:
            raise SettingsError(f"The truth of {path!r:.60} for {image!r:.60} {error}: got {one!r:.60}.") from None
    return found


def _not_a_field(name: str, paths: Sequence[str], image: str) -> SettingsError:
    near = similar(name, paths)
    advice = f"Did you mean {near!r}?" if near else f"The fields are {', '.join(paths)[:120]}."
    return SettingsError(f"The truth of {image!r:.60} has {name!r:.60}, which is not a field of the schema. {advice}")
