"""A comparison as a gallery: a picture and a question to the left, one column a model."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vision_nb.comparison.grid import Grid, Row
from vision_nb.errors import ImageError
from vision_nb.images.document import ImageDocument
from vision_nb.rendering.format import format_usd
from vision_nb.rendering.html import MUTED_STYLE
from vision_nb.rendering.markdown.html import markdown_to_html

PICTURES_SHOWN = 20
"""So many pictures are shown; the whole is in the DataFrame."""

_THUMBNAIL_SIDE = 150
_THUMBNAIL_BYTES = 9_000  # 20 of them stay under 250 kB as base64
_ANSWER_CHARACTERS = 1_200
_ANSWERS_BYTES = 180_000
_PROMPT_CHARACTERS = 400
_LARGEST = 480_000  # bytes of all rows; pictures that would pass it are left to the DataFrame
_CELL = "vertical-align:top;text-align:left;padding:6px 10px;border-top:1px solid var(--jp-border-color2,#ccc)"


def html(grid: Grid, rows: Sequence[Row], incomplete: str | None) -> str:
    """The gallery as HTML without scripts, under 500 kB."""
    pictures = min(len(grid.documents), PICTURES_SHOWN)
    cells = pictures * len(grid.prompts) * len(grid.models)
    length = max(80, min(_ANSWER_CHARACTERS, _ANSWERS_BYTES // max(1, cells)))
    head = "".join(f'<th scope="col" style="{_CELL}">{escape(str(model))}</th>' for model in grid.models)
    made: list[str] = []
    for place in range(pictures):
        made.append(_picture_rows(grid, rows, place, length))
        if sum(map(len, made)) > _LARGEST:
            made.pop()
            break
    body, remarks = "".join(made), _remarks(grid, rows, len(made), incomplete)
    return (
        f'<table style="border-collapse:collapse;width:100%;table-layout:fixed"><thead><tr>'
        f'<th scope="col" style="{_CELL};width:{_THUMBNAIL_SIDE + 20}px">image</th>'
        f'<th scope="col" style="{_CELL};width:18%">prompt</th>{head}</tr></thead><tbody>{body}</tbody></table>'
        f'<div style="{MUTED_STYLE}">{escape(remarks)}</div>'
    )


def _picture_rows(grid: Grid, rows: Sequence[Row], picture: int, length: int) -> str:
    made = []
    for prompt, question in enumerate(grid.prompts):
        shown = (
            f'<td rowspan="{len(grid.prompts)}" style="{_CELL}">{_thumbnail(grid.documents[picture])}</td>'
            if prompt == 0
            else ""
        )
        answers = "".join(
            f'<td style="{_CELL};overflow-wrap:anywhere">{_answer(rows[place], length)}</td>'
            for place in (grid.index(model, prompt, picture) for model in range(len(grid.models)))
        )
        cells = f'{shown}<td style="{_CELL}">{escape(question[:_PROMPT_CHARACTERS])}</td>{answers}'
        made.append(f'<tr style="background:transparent">{cells}</tr>')
    return "".join(made)


def _thumbnail(document: ImageDocument) -> str:
    name = escape(document.title)
    try:
        source = document.thumbnail(_THUMBNAIL_SIDE, max_bytes=_THUMBNAIL_BYTES)
    except ImageError:
        return f'&#9888; <span style="{MUTED_STYLE}">{name}</span>'
    return f'<img src="{source}" alt="{name}" style="max-width:100%"><div style="{MUTED_STYLE}">{name}</div>'


def _answer(row: Row, length: int) -> str:
    if row.error is not None:
        return f"&#9888; {escape(row.error[:length])}"
    if row.response is None:
        return f'<span style="{MUTED_STYLE}">not asked</span>'
    text = row.response if len(row.response) <= length else row.response[:length].rstrip() + " ..."
    facts = ["&#9888; cut off at the length limit"] if row.finish_reason == "length" else []
    if row.latency_s is not None:
        facts.append(f"{row.latency_s:.1f} s")
    if row.usd:
        facts.append(format_usd(row.usd))
    if row.from_store:
        facts.append("from the store")
    return f'{markdown_to_html(text)}<div style="{MUTED_STYLE}">{" &middot; ".join(facts)}</div>'


def _remarks(grid: Grid, rows: Sequence[Row], pictures: int, incomplete: str | None) -> str:
    finished, failed = sum(row.finished for row in rows), sum(row.error is not None for row in rows)
    said = [f"{len(rows):,} rows, {finished:,} answered, {failed:,} failed."]
    if incomplete:
        said.append(f"Incomplete: {incomplete}.")
    if pictures < len(grid.documents):
        said.append(f"The first {pictures} of {len(grid.documents):,} pictures; all rows are in to_dataframe().")
    return " ".join(said)
