"""A digest of what a schema asks for, without the names of its classes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from vision_nb.schema.fields import look_up

_GROUPS = ("$defs", "definitions")


def digest_of(schema: Mapping[str, Any]) -> str:
    """Return a hexadecimal digest that depends on the fields and their order, but not on the names of classes.

    Args:
        schema: A JSON schema whose references point into itself.
    """
    definitions: dict[str, int] = {}
    parts = [_canonical(schema, definitions)]
    while len(parts) <= len(definitions):  # each part may refer to others
        reference = list(definitions)[len(parts) - 1]
        parts.append(_canonical(look_up(reference, schema), definitions))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def without_generated_titles(schema: Any, *, name: str = "", is_class: bool = True) -> Any:
    """Return a schema without the titles that repeat a class's or a field's name.

    Args:
        schema: The schema, or a part of it.
        name: The name of the field that it describes.
        is_class: Whether it describes a class: the root, or a definition.
    """
    if not isinstance(schema, Mapping):
        return schema
    kept: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "title" and (is_class or _letters(str(value)) == _letters(name)):
            continue
        if keyword == "properties":
            value = {key: without_generated_titles(part, name=key, is_class=False) for key, part in value.items()}
        elif keyword in _GROUPS:
            value = {key: without_generated_titles(part) for key, part in value.items()}
        elif keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
            value = [without_generated_titles(part, is_class=False) for part in value]
        elif keyword == "items":
            value = without_generated_titles(value, is_class=False)
        kept[keyword] = value
    return kept


def _letters(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def _canonical(schema: Any, definitions: dict[str, int]) -> Any:
    """Return a part of a schema with numbered references, and its properties as pairs, so that their order counts."""
    if isinstance(schema, list):
        return [_canonical(part, definitions) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    result: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _GROUPS:
            continue
        if keyword == "$ref":
            value = definitions.setdefault(str(value), len(definitions))
        elif keyword == "properties":
            value = [[name, _canonical(part, definitions)] for name, part in value.items()]
        elif keyword == "discriminator":
            value = value.get("propertyName") if isinstance(value, Mapping) else value  # its mapping names classes
        elif keyword not in ("enum", "const", "default", "examples"):
            value = _canonical(value, definitions)
        result[keyword] = value
    return result
