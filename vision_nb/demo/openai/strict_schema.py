"""The subset of JSON schema that OpenAI's strict structured outputs accept (Structured Outputs guide, read 2026-11)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_REFUSED = ("allOf", "oneOf", "not", "dependentRequired", "dependentSchemas", "if", "then", "else", "patternProperties")
_MAX_DEPTH = 10
_MAX_PROPERTIES = 5000


def schema_problem(schema: Any) -> str:
    """Return why a schema cannot be used in strict mode, in the API's words, or an empty string if it can."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        found = schema.get("type") if isinstance(schema, dict) else None
        return f"""schema must be a JSON Schema of 'type: "object"', got 'type: "{found}"'."""
    properties = 0
    for context, part in _parts(schema, ()):
        where = f"In context={context}"
        if len([name for name in context if name == "properties"]) > _MAX_DEPTH:
            return f"{where}, the schema is nested deeper than {_MAX_DEPTH} levels."
        problem = _problem_of(part)
        if problem:
            return f"{where}, {problem}"
        properties += len(part.get("properties", {}))
    if properties > _MAX_PROPERTIES:
        return f"the schema has {properties} properties, which is more than {_MAX_PROPERTIES}."
    return ""


def _problem_of(schema: Mapping[str, Any]) -> str:
    for name in _REFUSED:
        if name in schema:
            return f"'{name}' is not permitted."
    if "$ref" in schema:
        others = sorted(set(schema) - {"$ref"})
        return f"$ref cannot have keywords {set(others)}." if others else ""
    if not {"type", "anyOf", "enum", "const"} & set(schema):
        return "schema must have a 'type' key."
    kinds = schema.get("type")
    if "array" in (kinds if isinstance(kinds, list) else [kinds]) and "items" not in schema:
        return "array schema missing items."
    if "object" not in (kinds if isinstance(kinds, list) else [kinds]):
        return ""
    if schema.get("additionalProperties") is not False:
        return "'additionalProperties' is required to be supplied and to be false."
    required = schema.get("required")
    missing = [name for name in schema.get("properties", {}) if name not in (required or ())]
    if missing:
        text = "'required' is required to be supplied and to be an array including every key in properties."
        return f"{text} Missing '{missing[0]}'."
    return ""


def _parts(schema: Any, context: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Yield a schema and all schemas in it, each with its place."""
    if not isinstance(schema, dict):
        return
    yield context, schema
    for group in ("properties", "$defs", "definitions"):
        for name, part in (schema.get(group) or {}).items():
            yield from _parts(part, (*context, group, name))
    yield from _parts(schema.get("items"), (*context, "items"))
    for index, part in enumerate(schema.get("anyOf") or ()):
        yield from _parts(part, (*context, "anyOf", str(index)))
