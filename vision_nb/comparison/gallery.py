"""Answers as HTML tables with a column per model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from vision_nb.comparison.disagreement import disputed_fields
from vision_nb.comparison.grid import Grid, Row
from vision_nb.errors import ImageError
from vision_nb.images.document import ImageDocument
from vision_nb.rendering.demo_badge import BADGE_HTML
from vision_nb.rendering.html import MUTED_STYLE, muted_text
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.rendering.sanitize import escape_text
from vision_nb.rendering.values import value_html
from vision_nb.responses import Response
from vision_nb.schema.fields import flatten
from vision_nb.schema.schema import Schema

MAX_IMAGES = 20
"""The maximum number of images in a gallery; the DataFrame has all rows."""

_THUMBNAIL_SIDE = 150
_THUMBNAIL_BYTES = 9_000  # 20 thumbnails are under 250 kB as base64
_MAX_ANSWER = 1_200  # characters
_MAX_ANSWERS = 180_000  # characters of all answers together
_MAX_PROMPT = 400  # characters
_MAX_HTML = 480_000  # characters; images beyond it are only in the DataFrame
_CELL_STYLE = (
    "vertical-align:top;text-align:left;padding:6px 10px;overflow-wrap:anywhere;"
    "border-top:1px solid var(--jp-border-color2,#ccc)"
)
_DISPUTED = ' <b title="the models disagree" aria-label="the models disagree">&ne;</b>'


def answer_table(models: Sequence[str], rows: Iterable[str], *, leading: Sequence[tuple[str, str]] = ()) -> str:
    """Return a table with a column per model.

    Args:
        models: The names of the models.
        rows: The cells of each row, as returned by `cell`.
        leading: The name and CSS width of each column to the left of the models.
    """
    head = "".join(f'<th scope="col" style="{_CELL_STYLE};width:{width}">{name}</th>' for name, width in leading)
    head += "".join(f'<th scope="col" style="{_CELL_STYLE}">{escape_text(model)}</th>' for model in models)
    body = "".join(f'<tr style="background:transparent">{row}</tr>' for row in rows)
    return (
        '<table style="border-collapse:collapse;width:100%;table-layout:fixed">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def badge_html(rows: Iterable[Row]) -> str:
    """Return the demo's badge for the foot of a table, or "" if other models answered every row."""
    return BADGE_HTML if any(row.is_demo for row in rows) else ""


def cell(content: str, *, rowspan: int = 1) -> str:
    """Return a table cell with HTML content."""
    return f'<td rowspan="{rowspan}" style="{_CELL_STYLE}">{content}</td>'


def answer_html(text: str, *, facts: Sequence[str], remark: str | None = None) -> str:
    """Return an answer as HTML, with a remark and facts below it.

    Args:
        text: The answer as Markdown; it is sanitized.
        facts: Short texts, such as those from `answer_facts`.
        remark: A note about how the answer ended, or None.
    """
    note = f"<p><b>Note:</b> {escape_text(remark)}</p>" if remark else ""
    return markdown_to_html(text) + note + muted_text(", ".join(facts))


def error_html(message: str) -> str:
    """Return an error as HTML, to show instead of an answer."""
    return f"&#9888; {escape_text(message)}"


def comparison_html(grid: Grid, rows: Sequence[Row], incomplete: str | None) -> str:
    """Return the gallery of a comparison: HTML without scripts, under 500 kB."""
    images = min(len(grid.documents), MAX_IMAGES)
    answers = images * len(grid.prompts) * len(grid.models)
    max_answer = max(80, min(_MAX_ANSWER, _MAX_ANSWERS // max(1, answers)))
    lines: list[str] = []
    shown = length = 0
    for document in range(images):
        image_lines = _image_rows(grid, rows, document, max_answer)
        length += sum(map(len, image_lines))
        if length > _MAX_HTML:
            break
        lines += image_lines
        shown += 1
    leading = (("image", f"{_THUMBNAIL_SIDE + 20}px"), ("prompt", "18%"))
    table = answer_table([model.label for model in grid.models], lines, leading=leading)
    return table + muted_text(_summary(grid, rows, shown, incomplete)) + badge_html(rows)


def _image_rows(grid: Grid, rows: Sequence[Row], document: int, max_answer: int) -> list[str]:
    lines = []
    for prompt, text in enumerate(grid.prompts):
        thumbnail = thumbnail_html(grid.documents[document], _THUMBNAIL_SIDE, _THUMBNAIL_BYTES)
        image = cell(thumbnail, rowspan=len(grid.prompts)) if prompt == 0 else ""
        indices = (grid.index(model, prompt, document) for model in range(len(grid.models)))
        answered = [rows[index] for index in indices]
        if grid.schema is None:
            answers = [_answer(row, max_answer) for row in answered]
        else:
            answers = _structured_answers(answered, grid.schema, max_answer)
        lines.append(image + cell(escape_text(text[:_MAX_PROMPT])) + "".join(map(cell, answers)))
    return lines


def _structured_answers(rows: Sequence[Row], schema: Schema, max_answer: int) -> list[str]:
    """Return each model's fields; a sign marks those on which the models disagree."""
    values = [flatten(schema.dump(row.parsed), schema.fields) if row.finished else None for row in rows]
    disputed = disputed_fields([value for value in values if value is not None], schema.fields)
    return [
        _answer(row, max_answer)
        if value is None
        else _fields_html(value, disputed) + muted_text(", ".join(row.facts()))
        for row, value in zip(rows, values, strict=True)
    ]


def _fields_html(values: Mapping[str, Any], disputed: Collection[str]) -> str:
    lines = [
        f'<div><span style="{MUTED_STYLE}">{escape_text(path)}:</span> {value_html(value)}'
        f"{_DISPUTED if path in disputed else ''}</div>"
        for path, value in values.items()
    ]
    return "".join(lines)


def thumbnail_html(document: ImageDocument, side: int = _THUMBNAIL_SIDE, max_bytes: int = _THUMBNAIL_BYTES) -> str:
    """Return an image's thumbnail above its name, or a warning sign if it cannot be read.

    Args:
        document: The image.
        side: The largest width and height in pixels.
        max_bytes: The largest file in bytes, before base64.
    """
    name, alt = escape_text(document.title), escape(document.title)
    try:
        source = document.thumbnail(side, max_bytes=max_bytes)
    except ImageError:
        return f'&#9888; <span style="{MUTED_STYLE}">{name}</span>'
    return f'<img src="{source}" alt="{alt}" style="max-width:100%"><div style="{MUTED_STYLE}">{name}</div>'


def _answer(row: Row, max_answer: int) -> str:
    if row.error is not None:
        return error_html(row.error[:max_answer])
    if row.response is None:
        return f'<span style="{MUTED_STYLE}">call not made</span>'
    text = row.response if len(row.response) <= max_answer else row.response[:max_answer].rstrip() + " ..."
    remark = Response(row.response, finish_reason=row.finish_reason).remark
    return answer_html(text, facts=row.facts(), remark=remark)


def _summary(grid: Grid, rows: Sequence[Row], shown: int, incomplete: str | None) -> str:
    finished, failed = sum(row.finished for row in rows), sum(row.error is not None for row in rows)
    sentences = [f"{len(rows):,} rows, {finished:,} answered, {failed:,} failed."]
    sentences += [f"{note}." for note in grid.notes(rows)]
    if incomplete:
        sentences.append(f"Incomplete: {incomplete}.")
    if grid.schema is not None and len(grid.models) > 1:
        sentences.append("≠ marks fields on which the models disagree.")
    if shown < len(grid.documents):
        sentences.append(f"Shown: the first {shown} of {len(grid.documents):,} images; to_dataframe() has all rows.")
    return " ".join(sentences)
