"""The canonical form in which the values of answers and of the truth are compared."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from vision_nb.checks.spelling import similar
from vision_nb.schema.fields import Field

_NO_VALUE = {"", "none", "null", "nan", "nat", "<na>"}  # how CSV files and pandas write a missing number or date
_TRUE, _FALSE = {"true", "t", "yes", "y", "1"}, {"false", "f", "no", "n", "0"}
_PLAIN = {type(None), bool, int, float, str, list, dict, Decimal}
NUMBERS = ("integer", "number", "decimal")


def as_data(value: Any) -> Any:
    """Return a pydantic object or dataclass as a dict, and any other value unchanged."""
    if hasattr(value, "model_dump"):
        return value.model_dump(by_alias=True)
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def flat_values(data: Mapping[str, Any], fields: Sequence[Field], left_out: set[str] | None = None) -> dict[str, Any]:
    """Return the values of the fields that are present in nested or flat data, by path.

    Args:
        data: The data, with a key for each field or for each object that contains fields.
        fields: The fields.
        left_out: The paths of keys that belong to no field are added to this set; None ignores them.

    Raises:
        KeyError: A key looks like a misspelled field, a value is not the object that its fields need, or no key belongs
            to a field. The exception's argument is the path.
    """
    found, paths = {}, {field.path for field in fields}
    unknown: list[str] = []

    def collect(part: Mapping[Any, Any], prefix: str) -> None:
        for key, value in part.items():
            path = f"{prefix}{key}"
            if path in paths:
                found[path] = value
                continue
            below = [field.path for field in fields if field.path.startswith(f"{path}.")]
            value = as_data(value)
            if below and isinstance(value, Mapping):
                collect(value, f"{path}.")
            elif below and is_missing(value):
                found.update(dict.fromkeys(below))
            else:
                unknown.append(path)

    collect(data, "")
    if left_out is not None:
        absent = paths - found.keys()
        for path in unknown:
            is_object = any(other.startswith(f"{path}.") for other in paths)
            if not found or is_object or similar(path, absent, cutoff=0.75):
                raise KeyError(path)
        left_out.update(unknown)
    return found


def is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, NaT or pandas' NA."""
    if value is None or type(value).__name__ == "NAType":
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, (float, date, timedelta)) and value != value


def canonical(value: Any, field: Field, left_out: set[str] | None = None) -> Any:
    """Return a value in its field's canonical form, in which values are compared.

    None, NaN, empty text and empty lists become None; numbers become Decimal; dates, times and durations become the
    objects of the datetime module; the value of an enum becomes the choice that it names; a list becomes a list of
    such values, or of dicts from the items' fields to such values.

    Args:
        value: JSON data, a Python object, a value from numpy or pandas, or text from a CSV file.
        field: The field.
        left_out: Keys of the list's objects that are not fields are added to this set, as in "items.price"; None
            ignores them.

    Raises:
        ValueError: The value does not have the field's type; the message is a phrase such as "is not a number".
    """
    value = _plain(value)
    if is_missing(value):
        return None
    no_value = {""} if field.kind in ("text", "enum", "any") else _NO_VALUE
    if isinstance(value, str) and value.strip().casefold() in no_value:
        return None
    try:
        return _list(value, field, left_out) if field.kind == "list" else _CONVERTERS[field.kind](value, field)
    except (TypeError, ArithmeticError, OverflowError) as error:
        raise ValueError(f"is not {_EXPECTED[field.kind]}") from error


def _plain(value: Any) -> Any:
    """Return the Python value of an enum's member, or of an array or scalar of numpy or pandas."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, enum.Enum):
        value = value.value
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    if kind is None or isinstance(value, (date, timedelta)):
        return as_data(value)
    if hasattr(value, "tolist") and getattr(value, "ndim", False):
        return list(value)
    if kind == "f":
        return float(str(value))  # the number 0.1, which in 32 bits is 0.10000000149
    return None if str(value) == "NaT" else str(value) if kind == "M" else value.item()


def _number(value: Any, field: Field) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise TypeError
    return Decimal(repr(value) if isinstance(value, float) else value)


def _boolean(value: Any, field: Field) -> bool:
    word = as_text(value).strip().casefold()
    if word not in _TRUE | _FALSE:
        raise ValueError("is not true or false")
    return word in _TRUE


def _datetime(value: Any, field: Field) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    try:
        return datetime.fromisoformat(value.strip())
    except (AttributeError, ValueError):
        raise ValueError(f"is not {_EXPECTED[field.kind]}") from None


def _time(value: Any, field: Field) -> time:
    if isinstance(value, datetime):
        return value.timetz()
    try:
        return value if isinstance(value, time) else time.fromisoformat(value.strip())
    except (AttributeError, ValueError):
        raise ValueError(f"is not {_EXPECTED[field.kind]}") from None


def _duration(value: Any, field: Field) -> timedelta:
    from pydantic import ValidationError

    try:
        duration: timedelta = _duration_adapter().validate_python(value)
    except ValidationError:
        raise ValueError(f"is not {_EXPECTED[field.kind]}") from None
    return duration


@lru_cache(1)
def _duration_adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(timedelta)


def _choice(value: Any, field: Field) -> Any:
    for spelling in (as_text, lambda one: normalized(as_text(one))):
        fitting = [choice for choice in field.choices if choice is not None and spelling(choice) == spelling(value)]
        if len(fitting) == 1:
            return fitting[0]
    raise ValueError(f"is not one of {', '.join(map(as_text, field.choices))}")


def _list(value: Any, field: Field, left_out: set[str] | None) -> list[Any] | None:
    if isinstance(value, str):
        value = _from_json(value)
    if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
        raise TypeError
    return [_item(_plain(item), field, left_out) for item in value] or None


def _item(item: Any, field: Field, left_out: set[str] | None) -> Any:
    if len(field.items) == 1 and not field.items[0].path:
        return canonical(item, field.items[0], left_out)
    if not field.items:
        return _anything(item, field)
    if item is None:
        return None
    if not isinstance(item, Mapping):
        raise TypeError
    by_path = {one.path: one for one in field.items}
    try:
        unknown: set[str] | None = None if left_out is None else set()
        values = flat_values(item, field.items, unknown)
    except KeyError as error:
        raise ValueError(f"has the unknown key {error.args[0]!r:.60}") from None
    if left_out is not None and unknown:
        left_out.update(f"{field.path}.{path}" for path in unknown)
    return {path: canonical(value, by_path[path], left_out) for path, value in values.items()}


def _object(value: Any, field: Field) -> Any:
    value = _from_json(value) if isinstance(value, str) else value
    if not isinstance(value, Mapping):
        raise TypeError
    return _anything(value, field)


def _anything(value: Any, field: Field) -> Any:
    """Return JSON data with numbers as Decimal, and without keys that have no value."""
    value = _plain(value)
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    if isinstance(value, Mapping):
        items = {str(key): _anything(one, field) for key, one in value.items()}
        return {key: one for key, one in items.items() if one is not None}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_anything(one, field) for one in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not is_missing(value):
        return _number(value, field)
    return None if is_missing(value) else value


def _from_json(text: str) -> Any:
    import ast

    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text.strip())  # how pandas writes a list to a CSV file
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise TypeError from None


_CONVERTERS: dict[str, Callable[[Any, Field], Any]] = {
    "text": lambda value, field: as_text(value),
    **dict.fromkeys(NUMBERS, _number),
    "boolean": _boolean,
    "date": lambda value, field: _datetime(value, field).date(),
    "datetime": _datetime,
    "time": _time,
    "duration": _duration,
    "enum": _choice,
    "object": _object,
    "any": _anything,
}
_EXPECTED = {
    "text": "text",
    **dict.fromkeys(NUMBERS, "a number: write it as in 1234.5"),
    "boolean": "true or false",
    "date": "a date: write it as in 2026-03-09",
    "datetime": "a date and time: write it as in 2026-03-09T17:45",
    "time": "a time: write it as in 17:45",
    "duration": "a duration: write it as in 01:30:00",
    "enum": "one of the choices",
    "list": "a list: write it as JSON",
    "object": "an object: write it as JSON",
    "any": "JSON data",
}


def as_text(value: Any) -> str:
    """Return a value as text: 3.0 as "3", True as "true", a date as in "2026-03-09".

    >>> as_text(3.0), as_text(True), as_text(Decimal("2.50"))
    ('3', 'true', '2.50')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if isinstance(value, (date, time)) else str(value)


@lru_cache(4096)  # each item of a list is compared with each of another
def normalized(text: str) -> str:
    r"""Return text without differences of case, white space and Unicode form.

    >>> normalized(" Cafe\u0301  CORNER\n")
    'café corner'
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return re.sub(r"\s+", " ", folded).strip()
