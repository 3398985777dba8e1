"""An extraction as HTML: a table of images and their fields, without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Protocol

from vision_nb.comparison.answer_cells import error_html, thumbnail_html
from vision_nb.comparison.disagreement import disputed_fields
from vision_nb.comparison.field_table import Values
from vision_nb.comparison.gallery import badge_html
from vision_nb.comparison.grid import Row
from vision_nb.comparison.page_export import PageOptions
from vision_nb.comparison.result import Comparison
from vision_nb.comparison.row_tables import demo_notes
from vision_nb.images.document import ImageDocument
from vision_nb.rendering.demo_badge import demo_label
from vision_nb.rendering.format import format_price, pluralize
from vision_nb.rendering.html import MUTED_STYLE, muted_text
from vision_nb.rendering.paged_table import PagedTable, RowGroup
from vision_nb.rendering.sanitize import escape_text, name_text
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
_CELL_STYLE = "vertical-align:top;text-align:left;padding:4px 6px;border-top:1px solid var(--jp-border-color2,#ccc);"
_SHORT_STYLE = _CELL_STYLE + "white-space:nowrap"
_NUMBER_STYLE = _SHORT_STYLE + ";text-align:right"
_LONG_KINDS = {"text": 7, "list": 11, "object": 11, "any": 9}  # least widths in em; values of other kinds do not wrap
_MODEL_WIDTH = 7


class ExtractedRows(Protocol):
    """The part of an `Extraction` that is shown."""

    comparison: Comparison

    @property
    def fields(self) -> Sequence[Field]:
        """The fields of the schema."""

    def values(self, index: int) -> Values | None:
        """Return a row's values by field path, or None for a row without an answer."""

    def document(self, index: int) -> ImageDocument:
        """Return a row's image."""


def extraction_html(extraction: ExtractedRows) -> str:
    """Return the rows as a table under 500 kB, failed rows first, in pages of 20, or the error of all rows."""
    rows = extraction.comparison.rows
    if (failure := rows.common_failure()) is not None:
        return error_html(failure)
    failed = dict.fromkeys(rows.failed_indices())
    order = chain(failed, (index for index in range(len(rows)) if index not in failed))
    table = _table(extraction, order, PAGE, _SIDE, _THUMBNAIL_BYTES, max_html=_MAX_HTML)
    return table.to_output("", _below(extraction, len(table.groups)))


def extraction_page(extraction: ExtractedRows, options: PageOptions) -> str:
    """Return all rows, in their order, as an HTML page."""
    count = len(extraction.comparison)
    table = _table(extraction, range(count), options.page_size, options.image_side, options.image_bytes)
    return table.to_page(options.title, "", _below(extraction, count))


def _table(
    extraction: ExtractedRows,
    order: Iterable[int],
    page_size: int,
    side: int,
    image_bytes: int,
    *,
    max_html: int | None = None,
) -> PagedTable:
    """Return the rows as a table, as many as fit into a number of characters."""
    models = [str(model) for model in extraction.comparison.grid.models]
    head = [(name, _CELL_STYLE) for name in (["image", "model"] if len(models) > 1 else ["image"])]
    head += [*((field.path, _style(field)) for field in extraction.fields), ("result", _CELL_STYLE)]
    head_html = "".join(f'<th scope="col" style="{style}">{name_text(name)}</th>' for name, style in head)
    groups: list[RowGroup] = []
    length = 0
    for group in _groups(extraction, order, models, side, image_bytes):
        length += len(group.html)
        if max_html is not None and length > max_html:
            break
        groups.append(group)
    return PagedTable(
        f"<tr>{head_html}</tr>",
        groups,
        noun="rows",
        filters=FILTERS,
        columns=models,
        page_size=page_size,
        style="",
    )


def _groups(
    extraction: ExtractedRows, order: Iterable[int], models: Sequence[str], side: int, image_bytes: int
) -> Iterator[RowGroup]:
    """Yield each row with the filters that select it."""
    rows, fields, values = extraction.comparison.rows, extraction.fields, extraction.values
    with_model = len(models) > 1

    @cache
    def is_disputed(place: int) -> bool:
        found = [values(index) for index, _, _ in rows.grid.rows_of(place)]
        return bool(disputed_fields([value for value in found if value is not None], fields))

    for index in order:
        row, document = rows[index], extraction.document(index)
        found = {
            "failed": row.error is not None,
            "repaired": row.finished and row.attempts > 1,
            "disagreeing": with_model and is_disputed(rows.grid.place(index)[2]),
        }
        html = _row_html(row, values(index), document, fields, side, image_bytes, with_model=with_model)
        yield RowGroup(html, tuple(mark for mark in FILTERS if found[mark]), models.index(row.model))


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
    html = f'<td style="{_CELL_STYLE}min-width:7em;max-width:{2 * _SIDE}px;overflow-wrap:anywhere">{image}</td>'
    model = demo_label(row.model) if row.is_demo else row.model
    html += f'<td style="{_wrapping(_MODEL_WIDTH)}">{name_text(model)}</td>' if with_model else ""
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
            html += f'<td style="{_style(field)}">{value_html(values.get(field.path))}</td>'
    return f'<tr style="background:transparent">{html}<td style="{_SHORT_STYLE}">{_result(row)}</td></tr>'


def _style(field: Field) -> str:
    """Return the style of a cell of a field."""
    if field.kind in _LONG_KINDS:
        return _wrapping(_LONG_KINDS[field.kind])
    return _NUMBER_STYLE if field.kind in ("number", "integer") else _SHORT_STYLE


def _wrapping(width: int) -> str:
    """Return the style of a cell with text that wraps."""
    return f"{_CELL_STYLE}min-width:{width}em;max-width:{3 * width}em;overflow-wrap:anywhere"


def _result(row: Row) -> str:
    facts = ["failed" if row.error else "repaired" if row.finished and row.attempts > 1 else ""]
    facts += [Response(row.response or "", finish_reason=row.finish_reason).remark or "" if row.finished else ""]
    facts += [format_price(row.usd, is_demo=row.is_demo)] if row.attempts else []
    facts += ["from the store"] if row.from_store else []
    return f'<span style="{MUTED_STYLE}">{"<br>".join(escape_text(fact) for fact in facts if fact)}</span>'


def _below(extraction: ExtractedRows, shown: int) -> str:
    """Return the summary and the demo's badge, as HTML."""
    comparison = extraction.comparison
    rows = comparison.rows
    tally = rows.tally()
    counts = f"{tally.answered:,} answered, {tally.failed:,} failed, {tally.repaired:,} repaired"
    sentences = [f"{pluralize(len(rows), 'row')}, {counts}; {tally.price}."]
    sentences += [f"{note}." for note in [*rows.notes(), *demo_notes(rows, extraction.values)]]
    if comparison.incomplete:
        sentences.append(f"Incomplete: {comparison.incomplete}.")
    if shown < len(rows):
        sentences.append(f"Shown: {shown:,} of {len(rows):,} rows; to_dataframe() has all.")
    return muted_text(" ".join(sentences)) + badge_html(rows)
