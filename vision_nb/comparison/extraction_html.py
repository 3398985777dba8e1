"""An extraction as HTML: a table of images and their fields, without scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from vision_nb.comparison.answer_cells import thumbnail_html
from vision_nb.comparison.disagreement import disputed_fields
from vision_nb.comparison.field_table import Values
from vision_nb.comparison.gallery import badge_html
from vision_nb.comparison.grid import Row
from vision_nb.comparison.page_export import PageOptions
from vision_nb.images.document import ImageDocument
from vision_nb.rendering.demo_badge import demo_label
from vision_nb.rendering.format import format_price
from vision_nb.rendering.html import MUTED_STYLE, muted_text
from vision_nb.rendering.paged_table import PagedTable, RowGroup
from vision_nb.rendering.sanitize import escape_text
from vision_nb.rendering.values import value_html
from vision_nb.responses import Response
from vision_nb.schema.fields import Field

FILTERS = ("failed", "repaired", "disagreeing")

PAGE = 20
"""Rows of a page; the first page is open, and the others are collapsed."""

_SIDE = 72  # pixels of a thumbnail
_THUMBNAIL_BYTES = 2_200
_MAX_HTML = 480_000  # characters
_MAX_ERROR = 300
_CELL_STYLE = "vertical-align:top;text-align:left;padding:4px 8px;border-top:1px solid var(--jp-border-color2,#ccc);"
_SHORT_STYLE = _CELL_STYLE + "white-space:nowrap"
_LONG_KINDS = {"text": 8, "list": 14, "object": 14, "any": 10}  # least widths in em; values of other kinds do not wrap


def extraction_html(
    rows: Sequence[Row],
    values: Callable[[int], Values | None],
    document: Callable[[int], ImageDocument],
    fields: Sequence[Field],
    incomplete: str | None,
    notes: Sequence[str] = (),
) -> str:
    """Return the rows as a table under 500 kB, failed rows first, in pages of 20.

    Args:
        rows: The rows of the extraction.
        values: Returns a row's values by field path, or None for a row without an answer.
        document: Returns a row's image.
        fields: The fields of the schema.
        incomplete: Why some calls were not made, or None.
        notes: Notes about duplicates, to show below the table.
    """
    order = sorted(range(len(rows)), key=lambda index: rows[index].error is None)
    table = _table(rows, values, document, fields, order, PAGE, _SIDE, _THUMBNAIL_BYTES, max_html=_MAX_HTML)
    below = muted_text(_summary(rows, len(table.groups), incomplete, notes)) + badge_html(rows)
    return table.to_output("", below)


def extraction_page(
    rows: Sequence[Row],
    values: Callable[[int], Values | None],
    document: Callable[[int], ImageDocument],
    fields: Sequence[Field],
    incomplete: str | None,
    notes: Sequence[str],
    options: PageOptions,
) -> str:
    """Return all rows, in their order, as an HTML page; the other arguments are those of `extraction_html`."""
    sizes = (options.page_size, options.image_side, options.image_bytes)
    table = _table(rows, values, document, fields, range(len(rows)), *sizes)
    below = muted_text(_summary(rows, len(rows), incomplete, notes)) + badge_html(rows)
    return table.to_page(options.title, "", below)


def _table(
    rows: Sequence[Row],
    values: Callable[[int], Values | None],
    document: Callable[[int], ImageDocument],
    fields: Sequence[Field],
    order: Sequence[int],
    page_size: int,
    side: int,
    image_bytes: int,
    *,
    max_html: int | None = None,
) -> PagedTable:
    """Return the rows as a table, as many as fit into a number of characters."""
    models = list(dict.fromkeys(row.model for row in rows))
    with_model = len(models) > 1
    head = ["image", *(["model"] if with_model else []), *(field.path for field in fields), "result"]
    head_html = "".join(f'<th scope="col" style="{_CELL_STYLE}">{escape_text(name)}</th>' for name in head)
    disputed = _disputed_images(values, document, fields, len(rows)) if with_model else set()
    groups: list[RowGroup] = []
    length = 0
    for index in order:
        row = rows[index]
        found = {
            "failed": row.error is not None,
            "repaired": row.finished and row.attempts > 1,
            "disagreeing": id(document(index)) in disputed,
        }
        html = _row_html(row, values(index), document(index), fields, side, image_bytes, with_model=with_model)
        length += len(html)
        if max_html is not None and length > max_html:
            break
        groups.append(RowGroup(html, tuple(mark for mark in FILTERS if found[mark]), models.index(row.model)))
    return PagedTable(
        f"<tr>{head_html}</tr>",
        groups,
        noun="rows",
        filters=FILTERS,
        columns=models,
        page_size=page_size,
        style="",
    )


def _disputed_images(
    values: Callable[[int], Values | None],
    document: Callable[[int], ImageDocument],
    fields: Sequence[Field],
    count: int,
) -> set[int]:
    """Return the ids of the images on which the models disagree."""
    answers: dict[int, list[Values]] = {}
    for index in range(count):
        value = values(index)
        if value is not None:
            answers.setdefault(id(document(index)), []).append(value)
    return {image for image, found in answers.items() if disputed_fields(found, fields)}


def _row_html(
    row: Row,
    values: Values | None,
    document: ImageDocument,
    fields: Sequence[Field],
    side: int,
    image_bytes: int,
    *,
    with_model: bool,
) -> str:
    image = thumbnail_html(document, side, image_bytes)
    html = f'<td style="{_CELL_STYLE}min-width:{_SIDE}px;max-width:{2 * _SIDE}px;overflow-wrap:anywhere">{image}</td>'
    model = demo_label(row.model) if row.is_demo else row.model
    html += f'<td style="{_wrapping(8)}">{escape_text(model)}</td>' if with_model else ""
    if values is None:
        reason = row.shown_error
        problem = (
            f"&#9888; {escape_text(reason[:_MAX_ERROR])}"
            if reason
            else row.open_state
            if row.batch
            else "call not made"
        )
        html += f'<td colspan="{len(fields)}" style="{_wrapping(14)}">{problem}</td>' if fields else ""
    else:
        for field in fields:
            style = _wrapping(_LONG_KINDS[field.kind]) if field.kind in _LONG_KINDS else _SHORT_STYLE
            html += f'<td style="{style}">{value_html(values.get(field.path))}</td>'
    return f'<tr style="background:transparent">{html}<td style="{_SHORT_STYLE}">{_result(row)}</td></tr>'


def _wrapping(width: int) -> str:
    """Return the style of a cell with text that wraps."""
    return f"{_CELL_STYLE}min-width:{width}em;max-width:{3 * width}em;overflow-wrap:anywhere"


def _result(row: Row) -> str:
    facts = ["failed" if row.error else "repaired" if row.finished and row.attempts > 1 else ""]
    facts += [Response(row.response or "", finish_reason=row.finish_reason).remark or "" if row.finished else ""]
    facts += [format_price(row.usd, is_demo=row.is_demo)] if row.attempts else []
    facts += ["from the store"] if row.from_store else []
    return f'<span style="{MUTED_STYLE}">{"<br>".join(escape_text(fact) for fact in facts if fact)}</span>'


def _summary(rows: Sequence[Row], shown: int, incomplete: str | None, notes: Sequence[str]) -> str:
    finished, failed = sum(row.finished for row in rows), sum(row.error is not None for row in rows)
    repaired = sum(row.finished and row.attempts > 1 for row in rows)
    paid = [row for row in rows if row.attempts and not row.from_store]
    prices = [row.usd for row in paid]
    total = sum((price for price in prices if price is not None), Decimal(0))
    spent = format_price(None if None in prices else total, is_demo=all(row.is_demo for row in paid))
    sentences = [f"{len(rows):,} rows, {finished:,} read, {failed:,} failed, {repaired:,} repaired; {spent}."]
    sentences += [f"{note}." for note in notes]
    if incomplete:
        sentences.append(f"Incomplete: {incomplete}.")
    if shown < len(rows):
        sentences.append(f"Shown: {shown:,} of {len(rows):,} rows; to_dataframe() has all.")
    return " ".join(sentences)
