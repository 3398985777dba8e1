"""Table cells with images and answers as HTML, for galleries and other tables of answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from html import escape, unescape
from typing import Any

from vision_nb.errors import ImageError
from vision_nb.images.document import ImageDocument
from vision_nb.rendering.html import MUTED_STYLE, muted_text
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.rendering.sanitize import escape_text, name_text
from vision_nb.rendering.values import value_html

CELL_STYLE = (
    "vertical-align:top;text-align:left;padding:6px 10px;overflow-wrap:anywhere;"
    "border-top:1px solid var(--jp-border-color2,#ccc)"
)
_THUMBNAIL_SIDE = 150  # pixels
_THUMBNAIL_BYTES = 9_000
_ANSWER_WIDTH = 8  # least width of an answer, in em
_PADDING = 2  # of a cell, on both sides, in em
_CLAMPED = 320  # characters; a longer text is folded
_PREVIEW = 200  # characters of a folded text that are always visible
_MAX_FIELDS = 8  # of a structured answer; more are folded
_TAG = re.compile(r"<[^>]*>")
DISPUTED = ' <b title="the models disagree" aria-label="the models disagree">&ne;</b>'
"""The sign of a value on which the models disagree."""


def answer_table(models: Sequence[str], rows: Iterable[str], *, leading: Sequence[tuple[str, int]] = ()) -> str:
    """Return a table with a column per model, which scrolls where it is too narrow for its answers.

    Args:
        models: The names of the models.
        rows: The cells of each row, as returned by `cell`.
        leading: The name, and the width in em, of each column to the left of the models.
    """
    head = "".join(f'<th scope="col" style="{CELL_STYLE};width:{width}em">{name}</th>' for name, width in leading)
    head += "".join(f'<th scope="col" style="{CELL_STYLE}">{name_text(model)}</th>' for model in models)
    body = "".join(f'<tr style="background:transparent">{row}</tr>' for row in rows)
    least = sum(width + _PADDING for _, width in leading) + _ANSWER_WIDTH * len(models)
    return (
        f'<div style="overflow-x:auto"><table style="border-collapse:collapse;width:100%;min-width:{least}em;'
        f'table-layout:fixed"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def cell(content: str, *, rowspan: int = 1) -> str:
    """Return a table cell with HTML content."""
    return f'<td rowspan="{rowspan}" style="{CELL_STYLE}">{content}</td>'


def thumbnail_html(document: ImageDocument, side: int = _THUMBNAIL_SIDE, max_bytes: int = _THUMBNAIL_BYTES) -> str:
    """Return an image's thumbnail above its name, or a warning sign if it cannot be read.

    Args:
        document: The image.
        side: The largest width and height in pixels.
        max_bytes: The largest file in bytes, before base64.
    """
    name, alt = name_text(document.title), escape(document.title)
    try:
        source = document.thumbnail(side, max_bytes=max_bytes, mimetype="image/webp")
    except ImageError:
        return f'&#9888; <span style="{MUTED_STYLE}">{name}</span>'
    return f'<img src="{source}" alt="{alt}" style="max-width:100%"><div style="{MUTED_STYLE}">{name}</div>'


def answer_html(text: str, *, facts: Sequence[str], remark: str | None = None) -> str:
    """Return an answer as HTML, with a remark and facts below it.

    Args:
        text: The answer as Markdown; it is sanitized.
        facts: Short texts, such as those from `Row.facts`.
        remark: A note about how the answer ended, or None.
    """
    return markdown_to_html(text) + _below(facts, remark)


def folded_answer_html(
    text: str,
    *,
    facts: Sequence[str],
    remark: str | None = None,
    to_html: Callable[[str], str] = markdown_to_html,
) -> str:
    """Return an answer as HTML; a long one is folded and shows its first words.

    Args:
        text: The answer as Markdown; it is sanitized.
        facts: Short texts, such as those from `Row.facts`.
        remark: A note about how the answer ended, or None.
        to_html: Renders untrusted Markdown as safe HTML.
    """
    html = to_html(text)
    plain = " ".join(unescape(_TAG.sub(" ", html)).split())
    if len(plain) > _CLAMPED:
        preview = plain[:_PREVIEW].rsplit(" ", 1)[0]
        html = folded(f"{escape_text(preview)} ...", html)
    return html + _below(facts, remark)


def folded(preview: str, content: str) -> str:
    """Return HTML that shows a preview, and the content after a click.

    Args:
        preview: Safe HTML without block elements.
        content: Safe HTML.
    """
    less = '<u class="vnb-less" style="display:none">less</u>'  # for a page with style rules
    summary = f'<span class="vnb-more">{preview} <u>more</u></span>{less}'
    return f'<details class="vnb-fold"><summary style="cursor:pointer">{summary}</summary>{content}</details>'


def _below(facts: Sequence[str], remark: str | None) -> str:
    note = f"<p><b>Note:</b> {escape_text(remark)}</p>" if remark else ""
    return note + muted_text(", ".join(facts))


def fields_html(values: Mapping[str, Any], disputed: Collection[str]) -> str:
    """Return the fields of a structured answer as lines; all but the first ones are folded.

    Args:
        values: The values by field path.
        disputed: The paths of the fields on which the models disagree.
    """
    lines = {
        path: f'<div><span style="{MUTED_STYLE}">{escape_text(path)}:</span> {value_html(value)}'
        f"{DISPUTED if path in disputed else ''}</div>"
        for path, value in values.items()
    }
    if len(lines) <= _MAX_FIELDS + 1:
        return "".join(lines.values())
    first, rest = list(lines)[:_MAX_FIELDS], list(lines)[_MAX_FIELDS:]
    sign = DISPUTED if any(path in disputed for path in rest) else ""
    return "".join(lines[path] for path in first) + folded(
        f"{len(rest)} fields{sign}", "".join(lines[path] for path in rest)
    )


def error_html(message: str) -> str:
    """Return an error as HTML, to show instead of an answer."""
    return f"&#9888; {escape_text(message)}"
