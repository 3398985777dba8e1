"""The fields of a review form: what the page displays, and the data that it sends back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.schema.fields import Field, flatten, unflatten

FormValue = Any
"""A field's value on the page, as JSON. None is null; otherwise it depends on the field's kind.

An enumeration is the index of its choice, a boolean is true or false, and a list is a list of form values, or of
objects that map paths to form values. Everything else is text, including JSON, and numbers because JavaScript would
round them.
"""

_CONTROLS = {"enum": "choice", "object": "json", "any": "json", "duration": "text"}
_MAX_SUMMARY = 60


def form_fields(fields: Sequence[Field]) -> list[dict[str, Any]]:
    """Return what the page needs to know about fields."""
    return [
        {
            "path": replace_surrogates(field.path),
            "control": _CONTROLS.get(field.kind, field.kind),
            "optional": _may_be_null(field),
            "choices": [_choice_text(choice) for choice in field.choices],
            "description": replace_surrogates(field.description),
            "items": form_fields(_items(field)) if field.kind == "list" else [],
        }
        for field in fields
    ]


def _may_be_null(field: Field) -> bool:
    return field.is_optional or bool(field.nullable_parents)


def _items(field: Field) -> Sequence[Field]:
    return field.items or (Field("", "any"),)


def _is_plain(field: Field) -> bool:
    """Return whether the items of a list are values rather than objects."""
    return [item.path for item in _items(field)] == [""]


def _choice_text(choice: Any) -> str:
    return replace_surrogates(choice if isinstance(choice, str) else json.dumps(choice, ensure_ascii=False))


def form_value(value: Any, field: Field) -> FormValue:
    """Return JSON data as the page displays it; data that does not fit the field's kind is None.

    A list that may not be null is empty instead.

    >>> form_value(12.0, Field("total", "number")), form_value(["a"], Field("tags", "list", items=(Field("", "text"),)))
    ('12', ['a'])
    """
    if value is None:
        return [] if field.kind == "list" and not _may_be_null(field) else None
    match field.kind:
        case "boolean":
            return value if isinstance(value, bool) else None
        case "enum":
            return next((index for index, choice in enumerate(field.choices) if _is_same(choice, value)), None)
        case "list":
            if not isinstance(value, list):
                return None
            if _is_plain(field):
                return [form_value(item, _items(field)[0]) for item in value]
            return [form_values(flatten(item, field.items), field.items) for item in value]
        case "object" | "any":
            return replace_surrogates(json.dumps(value, ensure_ascii=False, indent=1))
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return replace_surrogates(str(value))


def _is_same(choice: Any, value: Any) -> bool:
    return bool(choice == value) and isinstance(choice, bool) == isinstance(value, bool)  # True == 1 in Python


def form_values(values: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, FormValue]:
    """Return the values of fields as the page displays them, by path."""
    return {field.path: form_value(values.get(field.path), field) for field in fields}


def clean_value(sent: Any, field: Field) -> FormValue:
    """Return what a page sent as a form value; any other shape becomes None."""
    match field.kind:
        case "boolean":
            return sent if isinstance(sent, bool) else None
        case "enum":
            is_index = isinstance(sent, int) and not isinstance(sent, bool)
            return sent if is_index and 0 <= sent < len(field.choices) else None
        case "list":
            if not isinstance(sent, list):
                return None
            if _is_plain(field):
                return [clean_value(item, _items(field)[0]) for item in sent]
            return [clean_values(item, field.items) for item in sent]
    return replace_surrogates(sent) if isinstance(sent, str) else None


def clean_values(sent: Any, fields: Sequence[Field]) -> dict[str, FormValue]:
    """Return what a page sent as form values by path; fields that are missing are None."""
    values = sent if isinstance(sent, Mapping) else {}
    return {field.path: clean_value(values.get(field.path), field) for field in fields}


def read_value(value: FormValue, field: Field, path: str, errors: dict[str, str]) -> Any:
    """Return the JSON data of a clean form value.

    Args:
        value: The form value.
        field: Its field.
        path: Its path in the whole form, such as "items[0].price".
        errors: Gets a sentence for each text that cannot be read, by path.
    """
    if value is None:
        return None
    match field.kind:
        case "enum":
            return field.choices[value]
        case "list" if _is_plain(field):
            return [read_value(one, _items(field)[0], f"{path}[{n}]", errors) for n, one in enumerate(value)]
        case "list":
            return [_read_object(one, field.items, f"{path}[{number}].", errors) for number, one in enumerate(value)]
        case "integer" | "number" | "decimal" | "object" | "any" | "date" | "datetime" | "time":
            try:
                return _READERS[field.kind](value)
            except (ValueError, RecursionError):
                errors[path] = _COMPLAINTS[field.kind]
                return None
    return value


def _read_object(
    values: Mapping[str, FormValue], fields: Sequence[Field], prefix: str, errors: dict[str, str]
) -> dict[str, Any]:
    data = {field.path: read_value(values[field.path], field, prefix + field.path, errors) for field in fields}
    return unflatten(data, fields)


def _finite(text: str) -> int | float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    try:
        return int(text)  # large ones exactly
    except ValueError:
        return number


def _decimal(text: str) -> str:
    _finite(text)
    return text.strip()


def _complete(text: str) -> str:
    if not text:  # what the page sends for a date without a month, for example
        raise ValueError(text)
    return text


def _json(text: str) -> Any:
    return json.loads(text, parse_constant=_finite) if text.strip() else None


_READERS: dict[str, Any] = {
    "integer": int,
    "number": _finite,
    "decimal": _decimal,
    "object": _json,
    "any": _json,
    **dict.fromkeys(("date", "datetime", "time"), _complete),
}
_COMPLAINTS = {
    "integer": "is not a whole number",
    "number": "is not a number: write it as 1234.5",
    "decimal": "is not a number: write it as 1234.50",
    "object": "is not valid JSON",
    "any": "is not valid JSON",
    **dict.fromkeys(("date", "datetime", "time"), "is not complete"),
}


def summary(value: Any) -> str:
    """Return JSON data as a short text on one line."""
    if value is None:
        return "no value"
    if isinstance(value, list):
        text = ", ".join(summary(item) for item in value[:20]) or "empty list"
    elif isinstance(value, dict):
        text = " ".join(summary(item) for item in value.values() if item is not None)
    else:
        text = (value or "empty text") if isinstance(value, str) else json.dumps(value).removesuffix(".0")
    text = replace_surrogates(" ".join(text.split()))
    return text if len(text) <= _MAX_SUMMARY else f"{text[: _MAX_SUMMARY - 1]}\u2026"
