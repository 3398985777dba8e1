"""Find the schema that ``--schema`` names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vision_nb.magics.usage_errors import UsageError, truncate, unknown
from vision_nb.schema.schema import Schema


def load_schema_arg(name: str | None, variables: Mapping[str, Any]) -> Schema | None:
    """Return the schema of a class or JSON schema in the notebook, or None if no name is given.

    Args:
        name: The value of ``--schema``.
        variables: The notebook's variables.

    Raises:
        UsageError: There is no variable of this name.
        SettingsError: The variable is not a schema.
    """
    if name is None:
        return None
    if name not in variables:
        names = schema_variables(variables)
        if not names:
            raise UsageError(f"There is no variable {truncate(name)!r}: define a class with the fields first.")
        raise unknown("variable", name, names)
    return Schema.of(variables[name])


def schema_variables(variables: Mapping[str, Any]) -> list[str]:
    """Return the names of variables that appear to hold a class with fields or a JSON schema."""
    return [name for name, value in variables.items() if not name.startswith("_") and _may_be_schema(value)]


def _may_be_schema(value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("type") == "object" and "properties" in value
    marks = ("model_fields", "__dataclass_fields__", "__total__")  # of pydantic, dataclasses and TypedDict
    return isinstance(value, type) and any(hasattr(value, mark) for mark in marks)
