"""Find values that pydantic would accept as something else: true as 1, and 2024 as 34 minutes after the start of 1970.

A JSON schema refuses them, and so a model that answers with them did not follow the schema that it was given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vision_nb.schema.fields import resolve
from vision_nb.schema.prompts import shortened

_MOMENTS = ("date", "date-time", "time")
_NUMBERS = {"integer", "number"}


def misread_values(
    data: Any, schema: Any, root: Mapping[str, Any], path: tuple[Any, ...] = ()
) -> dict[tuple[Any, ...], str]:
    """Return a sentence for each value that would be misread, by its path.

    Args:
        data: JSON data.
        schema: The part of the type's JSON schema that describes it.
        root: The whole JSON schema.
        path: The names and indexes that lead to the data.
    """
    members = list(_members(schema, root))
    if not isinstance(data, (dict, list)):
        sentence = _misread(data, members)
        return {} if sentence is None else {path: sentence}
    kind = "object" if isinstance(data, dict) else "array"
    found = [_in_parts(data, member, root, path) for member in members if member.get("type", kind) == kind]
    return min(found, key=len, default={})


def _members(schema: Any, root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the members of a union, or the schema itself."""
    part, _ = resolve(schema, root)
    choices = part.get("anyOf") or part.get("oneOf") or part.get("allOf")
    if not choices:
        yield part
    for choice in choices or ():
        yield from _members(choice, root)


def _in_parts(
    data: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: tuple[Any, ...]
) -> dict[tuple[Any, ...], str]:
    first, rest = schema.get("prefixItems", ()), schema.get("items")
    named, others = schema.get("properties", {}), schema.get("additionalProperties")
    found: dict[tuple[Any, ...], str] = {}
    if isinstance(data, dict):
        parts = [(step, value, named.get(step, others)) for step, value in data.items()]
    else:
        parts = [(step, value, [*first, rest][min(step, len(first))]) for step, value in enumerate(data)]
    for step, value, part in parts:
        found |= misread_values(value, part, root, (*path, step))
    return found


def _misread(value: Any, members: list[Mapping[str, Any]]) -> str | None:
    """Return what is wrong with a single value, if its type would be changed into that of one of the members."""
    kinds = {member.get("type") for member in members}
    if None in kinds:
        return None
    if isinstance(value, bool):
        numbers = sorted(kind for kind in kinds if kind in _NUMBERS)
        return f"should be of type {numbers[0]}, not {shortened(value)}" if numbers and "boolean" not in kinds else None
    is_number = isinstance(value, (int, float))
    if not is_number and not (isinstance(value, str) and _is_numeric(value)):
        return None
    formats = [member.get("format") for member in members if member.get("type") == "string"]
    takes_value = bool(kinds & _NUMBERS) or any(name not in _MOMENTS for name in formats)
    return None if takes_value or not formats else f"should be a valid {formats[0]}, not {shortened(value)}"


def _is_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
