"""JSON data from a model as a small HTML table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vision_nb.rendering.html import MUTED_STYLE
from vision_nb.rendering.sanitize import inline_text, replace_surrogates
from vision_nb.rendering.values import value_text

_MAX_ROWS = 50
_MAX_COLUMNS = 12
_MAX_TEXT = 300
_MAX_DEPTH = 4  # of tables in tables
_NONE = f'<span style="{MUTED_STYLE}">none</span>'


def data_table(data: Any, depth: int = 0) -> str:
    """Return JSON data as an HTML table: a row for each field, and for each object of a list.

    The table has no line breaks, so that it can be embedded in Markdown. All text is escaped, formulas included.

    Args:
        data: JSON data, which may be incomplete.
        depth: How many tables it is in.
    """
    if isinstance(data, Mapping) and data:
        rows = [(_cell("th", name), _cell("td", value, depth)) for name, value in flat_fields(data)]
        return _rows(rows)
    if isinstance(data, Sequence) and not isinstance(data, str) and any(isinstance(item, Mapping) for item in data):
        objects = [item for item in data if isinstance(item, Mapping)]
        names = list(dict.fromkeys(name for item in objects for name, _ in flat_fields(item)))
        kept = names[:_MAX_COLUMNS]
        head = [tuple(_cell("th", name) for name in kept)]
        return _rows(head + [_record(item, kept, depth) for item in data])
    return _text(data, depth)


def _record(item: Any, names: Sequence[str], depth: int) -> tuple[str, ...]:
    """Return the cells of one object of a list."""
    values = dict(flat_fields(item)) if isinstance(item, Mapping) else {names[0]: item}
    return tuple(_cell("td", values.get(name, ""), depth, in_column=True) for name in names)


def flat_fields(data: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the fields of an object; those of nested objects under dotted names."""
    for name, value in data.items():
        if isinstance(value, Mapping) and value and depth < _MAX_DEPTH:
            yield from flat_fields(value, f"{prefix}{name}.", depth + 1)
        else:
            yield f"{prefix}{name}", value


def _rows(rows: Sequence[tuple[str, ...]]) -> str:
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows[:_MAX_ROWS])
    more = len(rows) - _MAX_ROWS
    note = f'<div style="{MUTED_STYLE}">and {more:,} more</div>' if more > 0 else ""
    return f"<table>{body}</table>{note}"


def _cell(tag: str, value: Any, depth: int = 0, *, in_column: bool = False) -> str:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    align = "right" if is_number and in_column else "left"
    return f'<{tag} style="text-align:{align};vertical-align:top">{_content(value, depth)}</{tag}>'


def _content(value: Any, depth: int) -> str:
    is_nested = isinstance(value, (Mapping, Sequence)) and not isinstance(value, str)
    if is_nested and depth < _MAX_DEPTH and any(isinstance(item, (Mapping, list)) for item in _items(value)):
        return data_table(value, depth + 1)
    return _text(value, depth)


def _items(value: Any) -> Sequence[Any]:
    return list(value.values()) if isinstance(value, Mapping) else value


def _text(value: Any, depth: int) -> str:
    """Return a value as escaped text."""
    if value is None:
        return _NONE
    if isinstance(value, Mapping):
        return "..." if value else _NONE
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not value:
            return _NONE
        parts = [_item_text(item, depth + 1) if depth < _MAX_DEPTH else "..." for item in value[:_MAX_ROWS]]
        return ", ".join(parts) + (", ..." if len(value) > _MAX_ROWS else "")
    text = replace_surrogates(value_text(value))
    return inline_text(text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}...")


def _item_text(item: Any, depth: int) -> str:
    text = _text(item, depth)
    return f"({text})" if isinstance(item, list) else text
