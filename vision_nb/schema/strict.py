"""The strict form in which a JSON schema is sent: the vendor's conversion, and what strict mode refuses.

Strict mode is described in OpenAI's Structured Outputs guide (read 2026-11).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vision_nb.errors import SettingsError
from vision_nb.schema.fields import is_null, look_up, resolve

DECIMAL_PATTERN = r"^[+-]?[0-9]+([.][0-9]+)?$"
"""How a decimal number is written in an answer; pydantic's own pattern has look-around, which strict mode refuses."""

_KEPT = frozenset(
    "type properties required additionalProperties items anyOf enum const $ref $defs definitions title description "
    "pattern format multipleOf minimum maximum exclusiveMinimum exclusiveMaximum minItems maxItems".split()
)
_FORMATS = frozenset("date-time time date duration email hostname ipv4 ipv6 uuid".split())
_REFUSED = {
    "prefixItems": "is a tuple: use list[...], or a class with a field for each part",
    "patternProperties": "names its properties by a pattern: use a list of objects with fields such as name and value",
    "not": 'uses "not": describe the allowed values instead',
    "if": 'uses "if": use a union of classes, or anyOf',
    "dependentRequired": 'uses "dependentRequired": use a union of classes, or anyOf',
    "dependentSchemas": 'uses "dependentSchemas": use a union of classes, or anyOf',
}
_UNSUPPORTED_PATTERN = re.compile(r"\(\?(?!:)|\\[1-9]|\\[AZzG]")  # look-around, flags, back-references


def check_expressible(schema: Mapping[str, Any], name: str) -> None:
    """Raise SettingsError if strict mode cannot express a schema; the error names the field and what to change.

    Args:
        schema: The JSON schema of an object.
        name: The name of the schema in the error message.
    """
    _Check(schema, name).check(schema, "", ())


class _Check:
    def __init__(self, root: Mapping[str, Any], name: str) -> None:
        self._root, self._name = root, name

    def check(self, schema: Any, path: str, within: tuple[str, ...]) -> None:
        """Check a part of the schema.

        Args:
            schema: The part.
            path: The field that it describes.
            within: The references that led here.
        """
        try:
            part, followed = resolve(schema, self._root)
        except KeyError as error:
            self._refuse(path, f"refers to {str(error.args[0])!r:.60}, which is not in the schema")
        if set(followed) & set(within):
            return
        within = (*within, *followed)
        for keyword, reason in _REFUSED.items():
            if keyword in part:
                self._refuse(path, reason)
        if len(part.get("allOf", ())) > 1:
            self._refuse(path, 'uses "allOf" with several parts: merge them into one object')
        choices = part.get("anyOf") or part.get("oneOf") or part.get("allOf")
        if not choices and not {"type", "enum", "const", "properties"} & set(part):
            self._refuse(path, "allows any value: give it a type")
        for choice in choices or ():
            self.check(choice, path, within)
        self._check_object(part, path, within)
        if "array" in (part.get("type") or ()) and "items" not in part:
            self._refuse(path, "is a list of anything: give its items a type, as in list[str]")
        if "items" in part:
            self.check(part["items"], f"{path}[]", within)

    def _check_object(self, part: Mapping[str, Any], path: str, within: tuple[str, ...]) -> None:
        properties = part.get("properties") or {}
        is_open = part.get("additionalProperties") not in (None, False)
        if not properties and "object" in (part.get("type") or ()):
            free = "is a dict with any keys: use a list of objects with fields such as name and value, or a class"
            self._refuse(path, free if is_open else "has no fields: add at least one")
        for name, value in properties.items():
            if "." in str(name):
                self._refuse(path, f"has a field named {str(name)!r:.60}: a name cannot contain a dot")
            self.check(value, f"{path}.{name}" if path else str(name), within)

    def _refuse(self, path: str, reason: str) -> None:
        about = f"Field {path[:80]!r} of {self._name}" if path else f"The schema {self._name}"
        raise SettingsError(f"{about} {reason}.")


def to_strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema as sent: every field required, no other properties, and only what strict mode accepts.

    A field that may be omitted and has no default may be null instead.

    Args:
        schema: A schema that `check_expressible` accepts.
    """
    from openai.lib._pydantic import _ensure_strict_json_schema  # private: tests/test_schema.py pins what it does

    prepared: dict[str, Any] = copy.deepcopy(dict(schema))
    _for_each_part(prepared, lambda part: _prepare(part, prepared))
    strict = _ensure_strict_json_schema(prepared, path=(), root=prepared)
    _for_each_part(strict, _reduce)
    return strict


def _for_each_part(schema: Any, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a schema and all schemas in it, the outer ones first."""
    if not isinstance(schema, dict):
        return
    change(schema)
    for group in ("properties", "$defs", "definitions"):
        for part in (schema.get(group) or {}).values():
            _for_each_part(part, change)
    for part in (schema.get("items"), *(schema.get("anyOf") or ()), *(schema.get("allOf") or ())):
        _for_each_part(part, change)


def _prepare(part: dict[str, Any], root: Mapping[str, Any]) -> None:
    """Rewrite what the vendor's conversion does not handle."""
    if "oneOf" in part:
        part["anyOf"] = part.pop("oneOf")
    if "properties" in part:
        part.setdefault("type", "object")
        part["additionalProperties"] = False
        properties, required = part["properties"], part.get("required", ())
        omitted = [name for name in properties if _may_be_omitted(name, properties, required, root)]
        properties.update({name: _nullable(properties[name]) for name in omitted})
    if part.get("format") == "decimal":
        part["pattern"] = DECIMAL_PATTERN
        for limit in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"):
            part.pop(limit, None)
    if "$ref" in part and part is not root and len(part) > 1 and _is_recursive(part["$ref"], root):
        # Inlining it would not end.
        part["anyOf"] = [{"$ref": part.pop("$ref")}]


def without_omitted(data: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """Return data without the nulls that represent omitted fields.

    Args:
        data: JSON data.
        schema: The part of the original schema that describes the data.
        root: The whole original schema.
    """
    if not isinstance(data, (dict, list)):
        return data
    part, _ = resolve(schema, root)
    for choice in part.get("anyOf") or part.get("oneOf") or part.get("allOf") or ():
        data = without_omitted(data, choice, root)
    if isinstance(data, list):
        return [without_omitted(item, part["items"], root) for item in data] if "items" in part else data
    properties, required = part.get("properties") or {}, part.get("required", ())
    return {
        name: without_omitted(value, properties.get(name), root)
        for name, value in data.items()
        if not (value is None and _may_be_omitted(name, properties, required, root))
    }


def _may_be_omitted(name: str, properties: Mapping[str, Any], required: Sequence[str], root: Mapping[str, Any]) -> bool:
    """Return whether null represents an omitted field, because the field's own schema does not allow null."""
    if name not in properties or name in required or "default" in properties[name]:
        return False
    return not _allows_null(properties[name], root)


def _nullable(schema: Any) -> dict[str, Any]:
    described = {name: value for name, value in schema.items() if name in ("description", "title")}
    inner = {name: value for name, value in schema.items() if name not in described}
    if set(inner) == {"anyOf"}:
        return {"anyOf": [*inner["anyOf"], {"type": "null"}], **described}
    return {"anyOf": [inner, {"type": "null"}], **described}


def _allows_null(schema: Any, root: Mapping[str, Any]) -> bool:
    part, _ = resolve(schema, root)
    kinds = part.get("type", ())
    choices = part.get("anyOf") or part.get("oneOf") or ()
    return (
        is_null(part)
        or (isinstance(kinds, list) and "null" in kinds)
        or None in part.get("enum", ())
        or any(is_null(choice) for choice in choices)
    )


def _is_recursive(reference: str, root: Mapping[str, Any]) -> bool:
    """Return whether a part of a schema refers to itself, directly or through others."""
    seen: set[str] = set()
    todo = [reference]

    def collect(part: dict[str, Any]) -> None:
        if isinstance(part.get("$ref"), str):
            todo.append(part["$ref"])

    while todo:
        current = todo.pop()
        if current in seen:
            if current == reference:
                return True
            continue
        seen.add(current)
        _for_each_part(dict(look_up(current, root)), collect)
    return False


def is_recursive(schema: Mapping[str, Any]) -> bool:
    """Return whether any part of a schema refers to itself."""
    references: list[str] = []
    _for_each_part(dict(schema), lambda part: references.append(part["$ref"]) if "$ref" in part else None)
    return any(_is_recursive(reference, schema) for reference in set(references))


def _reduce(part: dict[str, Any]) -> None:
    """Remove what strict mode refuses; the answer is validated against all of it."""
    for keyword in set(part) - _KEPT:
        del part[keyword]
    if part.get("format") not in _FORMATS:
        part.pop("format", None)
    if _UNSUPPORTED_PATTERN.search(part.get("pattern", "")):
        del part["pattern"]
