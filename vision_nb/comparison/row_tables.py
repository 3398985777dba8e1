"""The rows of comparisons and extractions as tables for terminals."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from vision_nb.comparison.field_table import Values
from vision_nb.comparison.grid import Grid, Row
from vision_nb.comparison.rows import Rows
from vision_nb.rendering.demo_badge import BADGE
from vision_nb.rendering.format import pluralize
from vision_nb.rendering.terminal import TerminalPart, TextTable, short_text
from vision_nb.rendering.values import value_lines
from vision_nb.schema.fields import Field

_MAX_ROWS = 40
_SIZE = re.compile("width|height|size", re.IGNORECASE)  # the names of fields that the demo measures in pixels
_MAX_ANSWER = 160  # characters


def comparison_parts(grid: Grid, rows: Rows, incomplete: str | None) -> Iterator[TerminalPart]:
    """Yield a comparison for a terminal: a table with a row per call, and a summary."""
    if (failure := rows.common_failure()) is not None:
        yield failure
        return
    several_prompts = len(grid.prompts) > 1
    if not several_prompts:
        yield f"{short_text(grid.prompts[0], 200)}\n"
    head = ["image", *(["prompt"] if several_prompts else []), "model", "answer", ""]
    lines = [
        [
            row.image_title,
            *([short_text(row.prompt)] if several_prompts else []),
            row.model_label,
            _answer(row),
            ", ".join(replace(row, latency_s=None).facts()),  # times would change the layout of saved notebooks
        ]
        for row in rows[:_MAX_ROWS]
    ]
    yield from _table_parts(head, lines, rows, rows.notes(), incomplete)


def extraction_parts(
    grid: Grid,
    rows: Rows,
    values: Callable[[int], Values | None],
    fields: Sequence[Field],
    incomplete: str | None,
) -> Iterator[TerminalPart]:
    """Yield an extraction for a terminal: a table with a column per field, and a summary.

    Args:
        grid: The models, prompts and images.
        rows: The rows of the extraction.
        values: Returns a row's values by field path, or None for a row without an answer.
        fields: The fields of the schema.
        incomplete: Why some calls were not made, or None.
    """
    if (failure := rows.common_failure()) is not None:
        yield failure
        return
    with_model = len(grid.models) > 1
    paths = [field.path for field in fields]
    has_notes = any(not row.finished or row.attempts > 1 for row in rows[:_MAX_ROWS])
    lines = []
    for index, row in enumerate(rows[:_MAX_ROWS]):
        found = values(index)
        cells = [""] * len(paths) if found is None else [_value(found.get(path)) for path in paths]
        note = _answer(row) if found is None else "repaired" if row.attempts > 1 else ""
        model = [row.model_label] if with_model else []
        lines.append([row.image_title, *model, *cells, *([note] if has_notes else [])])
    head = ["image", *(["model"] if with_model else []), *paths, *([""] if has_notes else [])]
    yield from _table_parts(head, lines, rows, [*rows.notes(), *demo_notes(rows, values)], incomplete)


def demo_notes(rows: Rows, values: Callable[[int], Values | None]) -> list[str]:
    """Return what the demo's values in the first rows of an extraction mean, where they could be taken for data.

    Args:
        rows: The rows of the extraction.
        values: Returns a row's values by field path, or None for a row without an answer.
    """
    first = [index for index in range(min(len(rows), _MAX_ROWS)) if rows[index].is_demo]
    found = [values(index) or {} for index in first]
    scaled = any(one.size != one.seen_size for index in first for one in rows[index].sent_images)
    notes = {
        '0 and "unknown" stand for what the demo does not measure': any(
            value == "unknown" or (value == 0 and value is not False) for row in found for value in row.values()
        ),
        "The demo's sizes are those of the images as sent": scaled
        and any(_SIZE.search(path) for row in found for path in row),
    }
    return [note for note, applies in notes.items() if applies]


def _table_parts(
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    rows: Rows,
    notes: Sequence[str],
    incomplete: str | None,
) -> Iterator[TerminalPart]:
    yield TextTable(head, lines)
    yield ""
    if len(rows) > len(lines):
        yield f"and {len(rows) - len(lines):,} more rows: to_dataframe() has all"
    tally = rows.tally()
    counts = f"{tally.answered:,} answered, {tally.failed:,} failed"
    yield f"{pluralize(len(rows), 'row')}, {counts}; {tally.price}"
    yield from notes
    if incomplete:
        yield f"Incomplete: {incomplete}"
    if tally.demo:
        yield f"({BADGE})"


def _answer(row: Row) -> str:
    if row.response is not None:
        return short_text(row.response, _MAX_ANSWER)
    if not row.error:
        return row.open_state
    # Without the folders of the path: this text is saved in notebooks too.
    return short_text(row.shown_error, _MAX_ANSWER)


def _value(value: object) -> str:
    return "-" if value is None else value_lines(value, lambda text: short_text(text, _MAX_ANSWER))
