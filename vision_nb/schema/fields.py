"""The fields of a JSON schema as flat columns: names, types and choices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from vision_nb.checks.spelling import similar
from vision_nb.errors import SettingsError

Kind = Literal[
    "text",
    "integer",
    "number",
    "decimal",
    "boolean",
    "date",
    "datetime",
    "time",
    "duration",
    "enum",
    "list",
    "object",
    "any",
]
"""The kind of a field's values; "any" for a union of several kinds."""

_FORMATS: dict[str, Kind] = {
    "decimal": "decimal",
    "date": "date",
    "date-time": "datetime",
    "time": "time",
    "duration": "duration",
}
_TYPES: dict[str, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "array": "list",
    "object": "object",
}


@dataclass(frozen=True)
class Field:
    """A field of a schema, or the items of a list.

    Attributes:
        path: Such as "total.currency"; empty for the items of a list that are not objects.
        kind: The kind of its values.
        is_optional: Whether it may be null or omitted.
        choices: The allowed values of an enum, except null; empty for other kinds.
        description: The schema's description, or "".
        items: What a list contains: the fields of its objects, or one field with an empty path.
        nullable_parents: The paths of the objects around the field that may be null.
    """

    path: str
    kind: Kind
    is_optional: bool = False
    choices: tuple[Any, ...] = ()
    description: str = ""
    items: tuple[Field, ...] = ()
    nullable_parents: tuple[str, ...] = ()


def fields_of(json_schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """Return the fields of a JSON schema of an object, in order; nested objects become dotted paths.

    Args:
        json_schema: The schema. Its references must point into itself.

    >>> schema = {"properties": {"total": {"properties": {"currency": {"type": "string"}}, "required": ["currency"]}}}
    >>> fields_of(schema)[0].path
    'total.currency'
    """
    return tuple(_fields(json_schema, json_schema, "", (), ()))


def resolve(schema: Any, root: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Follow the references of a part of a schema.

    Returns:
        The part with the keywords next to its reference, and the references that were followed.

    Raises:
        KeyError: A reference points nowhere, or to itself.
    """
    part: dict[str, Any] = dict(schema) if isinstance(schema, Mapping) else {}
    followed: tuple[str, ...] = ()
    while isinstance(part.get("$ref"), str):
        reference = part.pop("$ref")
        if reference in followed:
            raise KeyError(reference)
        followed = (*followed, reference)
        part = {**look_up(reference, root), **part}
    return part, followed


def look_up(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a schema that a reference points to.

    Raises:
        KeyError: There is no such part.
    """
    start, *steps = reference.split("/")
    found: Any = root
    for step in steps:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    if start != "#" or not isinstance(found, Mapping):
        raise KeyError(reference)
    return found


def is_null(schema: Any) -> bool:
    """Return whether a schema allows null and nothing else."""
    return isinstance(schema, Mapping) and (schema.get("type") == "null" or schema.get("const", "") is None)


def _fields(
    schema: Any, root: Mapping[str, Any], prefix: str, nullable: tuple[str, ...], within: tuple[str, ...]
) -> Iterator[Field]:
    """Yield the fields of an object.

    Args:
        schema: The object's schema.
        root: The whole schema.
        prefix: The path of the object.
        nullable: The paths of the objects around it, itself included, that may be null.
        within: The references that led here.
    """
    part, followed = resolve(schema, root)
    required = part.get("required", ())
    for name, value in (part.get("properties") or {}).items():
        path = f"{prefix}.{name}" if prefix else str(name)
        field, nested, references = _field(value, root, path, (*within, *followed))
        may_be_omitted = name not in required and not _has_default(value)
        field = replace(field, is_optional=field.is_optional or may_be_omitted, nullable_parents=nullable)
        if nested is None:
            yield field
        else:
            parents = (*nullable, path) if field.is_optional else nullable
            yield from _fields(nested, root, path, parents, references)


def _has_default(schema: Any) -> bool:
    return isinstance(schema, Mapping) and "default" in schema


def _field(
    schema: Any, root: Mapping[str, Any], path: str, within: tuple[str, ...]
) -> tuple[Field, Mapping[str, Any] | None, tuple[str, ...]]:
    """Return a field, the object's schema if it is an object, and the references followed."""
    part, followed = resolve(schema, root)
    references = (*within, *followed)
    if set(followed) & set(within):
        return Field(path, "any", description=str(part.get("description", ""))), None, references
    choices = part.get("anyOf") or part.get("oneOf")
    if choices:
        return _union(part, choices, root, path, references)
    description = str(part.get("description", ""))
    kinds = part.get("type", "object" if "properties" in part else None)
    kinds = list(kinds) if isinstance(kinds, list) else [kinds]
    is_optional = "null" in kinds
    kinds = [kind for kind in kinds if kind != "null"]
    if "enum" in part or "const" in part:
        values = part["enum"] if "enum" in part else [part["const"]]
        is_optional = is_optional or None in values
        allowed = tuple(value for value in values if value is not None)
        return Field(path, "enum", is_optional, allowed, description), None, references
    if len(kinds) != 1 or kinds[0] not in _TYPES:
        return Field(path, "any", is_optional, (), description), None, references
    kind = _FORMATS.get(part.get("format", ""), "text") if kinds[0] == "string" else _TYPES[kinds[0]]
    if kind == "object":
        nested = part if part.get("properties") else None
        return Field(path, "object", is_optional, (), description), nested, references
    items = _items(part.get("items", {}), root, references) if kind == "list" else ()
    return Field(path, kind, is_optional, (), description, items), None, references


def _union(
    part: Mapping[str, Any], choices: Sequence[Any], root: Mapping[str, Any], path: str, within: tuple[str, ...]
) -> tuple[Field, Mapping[str, Any] | None, tuple[str, ...]]:
    """Return the field of a union: that of its kind if it has only one."""
    kinds = [_field(choice, root, path, within) for choice in choices if not is_null(choice)]
    is_optional = len(kinds) < len(choices) or any(field.is_optional for field, _, _ in kinds)
    description = str(part.get("description", ""))
    if len(kinds) == 1:
        field, nested, references = kinds[0]
        description = description or field.description
        return replace(field, is_optional=is_optional, description=description), nested, references
    names = {field.kind for field, _, _ in kinds}
    if names == {"integer", "number"}:
        return Field(path, "number", is_optional, (), description), None, within
    if names == {"enum"}:
        values = tuple(dict.fromkeys(value for field, _, _ in kinds for value in field.choices))
        return Field(path, "enum", is_optional, values, description), None, within
    return Field(path, "any", is_optional, (), description), None, within


def _items(schema: Any, root: Mapping[str, Any], within: tuple[str, ...]) -> tuple[Field, ...]:
    field, nested, references = _field(schema, root, "", within)
    if nested is not None and not field.is_optional:
        return tuple(_fields(nested, root, "", (), references))
    return (field,)


def flatten(data: Any, fields: Sequence[Field]) -> dict[str, Any]:
    """Return the value of each field of a JSON object, by path; None where there is none.

    Args:
        data: The object.
        fields: Its fields.

    >>> flatten({"total": {"currency": "EUR"}}, [Field("total.currency", "text"), Field("date", "date")])
    {'total.currency': 'EUR', 'date': None}
    """
    return {field.path: _value_at(data, field.path) for field in fields}


def _value_at(data: Any, path: str) -> Any:
    for step in path.split("."):
        data = data.get(step) if isinstance(data, Mapping) else None
    return data


def unflatten(flat: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
    """Return an object of JSON data from the values of its fields: the reverse of `flatten`.

    A nested object that may be null is null if all of its values are None.

    Args:
        flat: The values by path; a missing one is None.
        fields: The fields of the object.

    >>> unflatten({"total.currency": "EUR"}, [Field("total.currency", "text"), Field("date", "date")])
    {'total': {'currency': 'EUR'}, 'date': None}
    """
    absent = {
        parent
        for field in fields
        for parent in field.nullable_parents
        if all(flat.get(other.path) is None for other in fields if parent in other.nullable_parents)
    }
    data: dict[str, Any] = {}
    for field in fields:
        outermost = next((parent for parent in field.nullable_parents if parent in absent), None)
        target, steps = data, (field.path if outermost is None else outermost).split(".")
        for step in steps[:-1]:
            target = target.setdefault(step, {})
        target[steps[-1]] = flat.get(field.path) if outermost is None else None
    return data


def with_changes(data: Mapping[str, Any], changes: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
    """Return JSON data with new values of some of its fields.

    Args:
        data: The object; if it is empty, the result has only the changes.
        changes: The new values, by the path of a field or the name of an object around it.
        fields: The fields of the object.

    Raises:
        SettingsError: There is no such field.

    >>> fields = [Field("total.currency", "text"), Field("date", "date")]
    >>> with_changes({"total": {"currency": "EUR"}, "date": None}, {"total.currency": "USD"}, fields)
    {'total': {'currency': 'USD'}, 'date': None}
    """
    old = flatten(data, fields)
    known = [*old, *data, *(path.partition(".")[0] for path in old)]
    for name in changes if fields else ():
        if name not in known:
            near = similar(str(name), known)
            advice = f"Did you mean {near!r:.60}?" if near else f"The fields are {', '.join(old)[:120]}."
            raise SettingsError(f"{name!r:.60} is not a field of the schema. {advice}")
    if not data:
        return dict(changes)
    by_path = {name: changes[name] for name in changes if name in old}
    others = {name: changes[name] for name in changes if name not in old}
    return {**data, **unflatten(old | by_path, fields), **others}
