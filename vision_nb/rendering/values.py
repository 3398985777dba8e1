"""Values of structured answers as short HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vision_nb.rendering.html import MUTED_STYLE
from vision_nb.rendering.sanitize import escape_text

_MAX_VALUE = 200  # characters
_MAX_DEPTH = 4  # of values in values


def value_html(value: Any) -> str:
    """Return a value of a field as HTML: a dash for None, and lists on one line.

    >>> value_html([{"name": "Tea", "price": 2.5}, {"name": "Bun", "price": 1}])
    'name: Tea, price: 2.5; name: Bun, price: 1'
    """
    if value is None:
        return f'<span style="{MUTED_STYLE}">&ndash;</span>'
    text = value_text(value)
    return escape_text(text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE].rstrip()} ...")


def value_text(value: Any, depth: int = 0) -> str:
    """Return a value of a field as text, with lists on one line.

    Args:
        value: JSON data.
        depth: The number of lists and objects that contain the value.
    """
    if depth > _MAX_DEPTH:
        return "..."
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {value_text(one, depth + 1)}" for name, one in value.items())
    if isinstance(value, list):
        nested = any(isinstance(one, (Mapping, list)) for one in value)
        return ("; " if nested else ", ").join(value_text(one, depth + 1) for one in value)
    return "" if value is None else str(value)
