"""The gallery of a comparison: each image beside the answers of the models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from vision_nb.comparison.answer_cells import (
    error_html,
    fields_html,
    folded_answer_html,
    thumbnail_html,
)
from vision_nb.comparison.disagreement import disputed_fields
from vision_nb.comparison.grid import Grid, Row
from vision_nb.comparison.page_export import PageOptions
from vision_nb.comparison.rows import Rows
from vision_nb.rendering.demo_badge import BADGE_HTML
from vision_nb.rendering.format import pluralize
from vision_nb.rendering.html import MUTED_STYLE, muted_text
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.rendering.page import answer_html as formula_html
from vision_nb.rendering.paged_table import PagedTable, RowGroup
from vision_nb.rendering.sanitize import escape_text, name_text
from vision_nb.schema.fields import flatten

MAX_IMAGES = 100
"""The maximum number of images in a gallery; `Comparison.to_html` and the DataFrame have all of them."""

MAX_PROMPTS = 50
"""The maximum number of questions in a gallery."""

MAX_HTML = 300_000
"""The maximum length of a gallery in a notebook, in characters."""

PAGE = 10
"""Images on a page of a gallery."""

FILTERS = ("failed", "disagreeing")

_CELL = "vertical-align:top;text-align:left;padding:6px 10px"
_ROW = "background:transparent;border-top:1px solid rgba(128,128,128,0.4)"
_COLUMN = 110  # pixels of the column of images
_PAGE_COLUMN = 200  # the same in an exported page
_ANSWER_WIDTH = 13  # least width of an answer, in em
_MAX_ANSWER = 1_200  # characters
_MAX_ANSWERS = 90_000  # characters of all answers together
_THUMBNAILS = 60_000  # bytes of all thumbnails together, as long as each one has enough
_MAX_PROMPT = 400  # characters
_READ_TOGETHER = 1_000  # rows
_SHORT_ANSWER = 60  # characters; longer texts of several models always differ


@dataclass(frozen=True)
class _Layout:
    """The sizes of images and answers, and how answers are rendered.

    Attributes:
        column: The width of the column of images in pixels.
        side: The largest width and height of an image in pixels.
        image_bytes: The largest file of an image, before base64.
        answer: The largest number of characters of an answer; None for all.
        to_html: Renders an answer as safe HTML.
    """

    column: int
    side: int
    image_bytes: int
    answer: int | None
    to_html: Callable[[str], str]


def badge_html(rows: Rows) -> str:
    """Return the demo's badge for the foot of a table, or "" if other models answered every row."""
    return BADGE_HTML if rows.tally().demo else ""


def comparison_html(grid: Grid, rows: Rows, incomplete: str | None) -> str:
    """Return the gallery as notebook output of at most `MAX_HTML` characters, or the error of all rows.

    If there are too many images, those with failed or disagreeing answers come first. In a comparison whose answers
    are read from the store, only those with failed answers do. Of many questions, those with failed answers come first.
    """
    if (failure := rows.common_failure()) is not None:
        return error_html(failure)
    failed = [grid.place(row) for row in rows.failed_indices()]
    prompts = sorted(_first((prompt for _, prompt, _ in failed), len(grid.prompts), MAX_PROMPTS))
    all_places = range(len(grid.documents))
    places = _first((place for _, _, place in failed), len(all_places), MAX_IMAGES) if rows.is_large else all_places
    found = dict(_answers(grid, rows, places, prompts))
    marks = {document: _marks(grid, answered) for document, answered in found.items()}
    chosen = sorted(places, key=lambda document: not marks[document])[:MAX_IMAGES]
    answers = len(chosen) * len(prompts) * len(grid.models)
    layout = _Layout(
        column=_COLUMN,
        side=2 * (_COLUMN - 20),  # for screens with two pixels per CSS pixel
        image_bytes=min(6_000, max(1_500, _THUMBNAILS // len(chosen))),
        answer=max(80, min(_MAX_ANSWER, _MAX_ANSWERS // answers)),
        to_html=markdown_to_html,
    )
    groups: dict[int, RowGroup] = {}
    length = 0
    for document in chosen:
        group = RowGroup(_image_rows(grid, document, prompts, found[document], layout), marks[document])
        length += len(group.html)
        if length > MAX_HTML - 40_000:  # the rest is for the head, the style rules and the foot
            break
        groups[document] = group
    table = _table(grid, [groups[document] for document in sorted(groups)], layout, page_size=PAGE)
    below = muted_text(_summary(grid, rows, len(groups), len(prompts), incomplete))
    return table.to_output(_questions(grid, prompts), below) + badge_html(rows)


def comparison_page(grid: Grid, rows: Rows, incomplete: str | None, options: PageOptions) -> str:
    """Return the gallery of all images, with whole answers, as an HTML page."""
    layout = _Layout(
        column=_PAGE_COLUMN,
        side=options.image_side,
        image_bytes=options.image_bytes,
        answer=None,
        to_html=formula_html,
    )
    prompts = range(len(grid.prompts))
    groups = [
        RowGroup(_image_rows(grid, document, prompts, answered, layout), _marks(grid, answered))
        for document, answered in _answers(grid, rows, range(len(grid.documents)), prompts)
    ]
    table = _table(grid, groups, layout, page_size=options.page_size)
    below = muted_text(_summary(grid, rows, len(groups), len(prompts), incomplete)) + badge_html(rows)
    return table.to_page(options.title, _questions(grid, prompts), below)


def _first(preferred: Iterable[int], count: int, limit: int) -> list[int]:
    """Return up to ``limit`` of the numbers below ``count``, the preferred ones first."""
    return list(dict.fromkeys([*preferred, *range(min(count, limit))]))[:limit]


def _answers(
    grid: Grid, rows: Rows, documents: Sequence[int], prompts: Sequence[int]
) -> Iterator[tuple[int, list[list[Row]]]]:
    """Iterate over images with their rows: a list for each question, with a row for each model."""
    models = len(grid.models)
    at_once = max(1, _READ_TOGETHER // (models * len(prompts)))
    for start in range(0, len(documents), at_once):
        some = documents[start : start + at_once]
        found = iter(
            rows.select(
                [
                    grid.index(model, prompt, document)
                    for document in some
                    for prompt in prompts
                    for model in range(models)
                ]
            )
        )
        for document in some:
            yield document, [[next(found) for _ in range(models)] for _ in prompts]


def _table(grid: Grid, groups: Sequence[RowGroup], layout: _Layout, *, page_size: int) -> PagedTable:
    names = [model.label for model in grid.models]
    head = f'<th scope="col" style="{_CELL};width:{layout.column}px">image</th>'
    head += f'<th scope="col" style="{_CELL};width:2em" title="question">no.</th>' if len(grid.prompts) > 1 else ""
    head += "".join(
        f'<th scope="col" class="vnb-c{number}" style="{_CELL}">{name_text(name)}</th>'
        for number, name in enumerate(names)
    )
    width = layout.column // 14 + _ANSWER_WIDTH * len(names)
    return PagedTable(
        f"<tr>{head}</tr>",
        groups,
        noun="images",
        filters=FILTERS,
        columns=names,
        page_size=page_size,
        style=f"table-layout:fixed;overflow-wrap:anywhere;width:100%;min-width:{width}em",
        stacked_below=width,
    )


def _questions(grid: Grid, prompts: Sequence[int]) -> str:
    """Return questions, to show once above the table; several are numbered."""
    given = [grid.prompts[prompt] for prompt in prompts]
    texts = [escape_text(text if len(text) <= _MAX_PROMPT else f"{text[:_MAX_PROMPT]} ...") for text in given]
    if len(grid.prompts) == 1:
        return f'<p style="overflow-wrap:anywhere"><b>{texts[0]}</b></p>'
    items = ""
    for place, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        number = "" if prompt == place else f' value="{prompt + 1}"'
        items += f"<li{number}><b>{text}</b></li>"
    return f'<ol style="overflow-wrap:anywhere">{items}</ol>'


def _marks(grid: Grid, by_prompt: Sequence[Sequence[Row]]) -> tuple[str, ...]:
    """Return the filters that select an image with some rows."""
    found = {
        "failed": any(row.error is not None for answered in by_prompt for row in answered),
        "disagreeing": any(_disagree(grid, answered) for answered in by_prompt),
    }
    return tuple(mark for mark in FILTERS if found[mark])


def _disagree(grid: Grid, rows: Sequence[Row]) -> bool:
    """Return whether answers to one question about one image differ, in a field or as short texts."""
    if grid.schema is not None:
        return bool(_disputed(grid, rows))
    texts = [" ".join(re.findall(r"\w+", row.response.casefold())) for row in rows if row.response is not None]
    return len(set(texts)) > 1 and all(len(text) <= _SHORT_ANSWER for text in texts)


def _disputed(grid: Grid, rows: Sequence[Row]) -> set[str]:
    if grid.schema is None:
        return set()
    schema = grid.schema
    values = [flatten(schema.dump(row.parsed), schema.fields) for row in rows if row.finished]
    return disputed_fields(values, schema.fields) if values else set()


def _image_rows(
    grid: Grid, document: int, prompts: Sequence[int], by_prompt: Sequence[Sequence[Row]], layout: _Layout
) -> str:
    """Return an image's rows, one for each question."""
    html = ""
    for prompt, answered in zip(prompts, by_prompt, strict=True):
        cells = ""
        if not html:
            image = thumbnail_html(grid.documents[document], layout.side, layout.image_bytes)
            cells = f'<td rowspan="{len(prompts)}" style="{_CELL}">{image}</td>'
        if len(grid.prompts) > 1:
            cells += f'<td style="{_CELL}">{prompt + 1}.</td>'
        disputed = _disputed(grid, answered)
        for model, row in enumerate(answered):
            answer = _answer(grid, row, disputed, layout)
            cells += f'<td class="vnb-c{model}" style="{_CELL}">{answer}</td>'
        html += f'<tr style="{_ROW}">{cells}</tr>'
    return html


def _answer(grid: Grid, row: Row, disputed: set[str], layout: _Layout) -> str:
    if row.error is not None:
        return error_html(row.shown_error[: layout.answer])
    if row.response is None:
        return f'<span style="{MUTED_STYLE}">{row.open_state if row.batch else "call not made"}</span>'
    if grid.schema is not None:
        values = flatten(grid.schema.dump(row.parsed), grid.schema.fields)
        return fields_html(values, disputed) + muted_text(", ".join(row.facts()))
    text = row.response
    if layout.answer is not None and len(text) > layout.answer:
        text = text[: layout.answer].rstrip() + " ..."
    return folded_answer_html(text, facts=row.facts(), remark=row.remark, to_html=layout.to_html)


def _summary(grid: Grid, rows: Rows, images: int, prompts: int, incomplete: str | None) -> str:
    """Return the counts and notes below the table, which shows some images and prompts."""
    sentences = [f"{pluralize(len(rows), 'row')}, {rows.answered:,} answered, {rows.failed:,} failed."]
    sentences += [f"{note}." for note in rows.notes()]
    if incomplete:
        sentences.append(f"Incomplete: {incomplete}.")
    if grid.schema is not None and len(grid.models) > 1:
        sentences.append("≠ marks fields on which the models disagree.")
    parts = [(images, len(grid.documents), "images"), (prompts, len(grid.prompts), "questions")]
    shown = " and ".join(f"{some:,} of {count:,} {name}" for some, count, name in parts if some < count)
    if shown:
        which = "failed ones" if rows.is_large or images == len(grid.documents) else "failed and disagreeing ones"
        sentences.append(
            f"Shown: {shown}, the {which} first; to_html() writes a page with all, and to_dataframe() has all rows."
        )
    return " ".join(sentences)
