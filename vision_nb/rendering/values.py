"""Values of structured answers as short HTML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vision_nb.rendering.html import MUTED_STYLE
from vision_nb.rendering.sanitize import escape_text

_MAX_VALUE = 200  # characters
_MAX_ITEMS = 6  # of a list of objects
_MAX_DEPTH = 4  # of values in values


def value_html(value: Any) -> str:
    """Return a value of a field as HTML: a dash for None, and a list of objects as a list."""
    if value is None:
        return f'<span style="{MUTED_STYLE}">&ndash;</span>'
    if not _is_list_of_objects(value):
        return _short_html(value_text(value))
    items = "".join(f"<li>{_short_html(item)}</li>" for item in _items(value))
    return f'<ul style="margin:0;padding-left:1.2em">{items}</ul>'


def value_lines(value: Any, shorten: Callable[[str], str] = str) -> str:
    r"""Return a value of a field as text, with a line for each of the first objects of a list.

    Args:
        value: JSON data.
        shorten: Shortens a line.

    >>> value_lines([{"name": "Tea", "price": 2.5}, {"name": "Bun", "price": 1.0}])
    '- name: Tea, price: 2.5\n- name: Bun, price: 1'
    """
    if not _is_list_of_objects(value):
        return shorten(value_text(value))
    return "\n".join(f"- {shorten(item)}" for item in _items(value))


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, (Mapping, list)) for one in value)


def _items(value: list[Any]) -> list[str]:
    more = len(value) - _MAX_ITEMS
    return [value_text(one, 1) for one in value[:_MAX_ITEMS]] + ([f"and {more:,} more"] if more > 0 else [])


def _short_html(text: str) -> str:
    return escape_text(text if len(text) <= _MAX_VALUE else f"{text[:_MAX_VALUE].rstrip()} ...")


def value_text(value: Any, depth: int = 0) -> str:
    """Return a value of a field as text on one line, and 34.0 as "34".

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
        return ("; " if _is_list_of_objects(value) else ", ").join(value_text(one, depth + 1) for one in value)
    if isinstance(value, float):
        return str(value).removesuffix(".0")
    return "" if value is None else str(value)
