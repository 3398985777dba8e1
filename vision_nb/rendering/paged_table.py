"""Long tables with pages and filters, for notebooks and for HTML pages.

In a notebook, the filters and pages are style rules and need no script. While a notebook is not trusted, Jupyter
removes them, and the controls stay hidden: the pages after the first are folded, and every row can still be read.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from vision_nb.rendering.page import PAGE_CSS, html_page
from vision_nb.rendering.sanitize import escape_text


@dataclass(frozen=True)
class RowGroup:
    """Rows that stay together, such as those about one image.

    Attributes:
        html: The ``tr`` elements.
        marks: Which filters select the group, such as "failed".
        column: If the whole group belongs to one of the table's ``columns``, its index.
    """

    html: str
    marks: tuple[str, ...] = ()
    column: int | None = None


@dataclass(frozen=True)
class PagedTable:
    """A table, its filters and its pages.

    Attributes:
        head: The ``tr`` element of the head.
        groups: The rows.
        noun: What a group is, in the plural, such as "images".
        filters: The marks that the reader can filter by, if any group has them.
        columns: The names that can be hidden, such as models. Cells of column 2 have the class ``vnb-c2``.
        page_size: The number of groups on a page.
        style: The style of the ``table`` element.
        stacked_below: In a narrower place, in em, the cells of a row are stacked; 0 never stacks them.
    """

    head: str
    groups: Sequence[RowGroup]
    noun: str
    filters: Sequence[str]
    columns: Sequence[str]
    page_size: int
    style: str
    stacked_below: int = 0

    def to_output(self, above: str, below: str) -> str:
        """Return the table as notebook output.

        Args:
            above: HTML above the table.
            below: HTML below it.
        """
        pages = [self.groups[first : first + self.page_size] for first in range(0, len(self.groups), self.page_size)]
        tables = [self._table(page) for page in pages] or [self._table([])]
        html = f'<div class="vnb-page vnb-page-0">{tables[0]}</div>'
        for number, table in enumerate(tables[1:], 1):
            summary = f"{self.noun.capitalize()} {self._range(number)}"
            html += f'<details class="vnb-page vnb-page-{number}"><summary>{summary}</summary>{table}</details>'
        bar = f'<div class="vnb-bar" style="display:none">{self._controls(len(tables))}</div>'
        rules = self._rules(len(tables))
        own = f"vnb-{hashlib.sha256(rules.encode()).hexdigest()[:8]}"  # styles apply to the whole notebook
        style = f"<style>{_asset('paged_table.css')}{rules.replace('.vnb-gallery', f'.{own}')}</style>"
        return f'<div class="vnb-gallery {own}">{style}{above}{bar}{html}{below}</div>'

    def to_page(self, title: str, above: str, below: str) -> str:
        """Return the table as an HTML page that loads nothing and runs only its own script.

        Args:
            title: The page's title.
            above: HTML above the table.
            below: HTML below it.
        """
        style = _asset("paged_table.css") + _asset("paged_table_page.css") + PAGE_CSS + self._rules(1)
        body = _BODY.format(
            title=escape(title),
            above=above,
            controls=self._controls(1),
            noun=self.noun,
            page_size=self.page_size,
            table=self._table(self.groups),
            below=below,
        )
        return html_page(title, body, style=style, script=_asset("paged_table.js"))

    def _table(self, groups: Sequence[RowGroup]) -> str:
        bodies = ""
        for group in groups:
            classes = [f"vnb-{mark}" for mark in group.marks]
            classes += [] if group.column is None else [f"vnb-c{group.column}"]
            attribute = f' class="{" ".join(classes)}"' if classes else ""
            bodies += f"<tbody{attribute}>{group.html}</tbody>"
        return (
            f'<div style="overflow-x:auto"><table class="vnb-rows" style="border-collapse:collapse;{self.style}">'
            f"<thead>{self.head}</thead>{bodies}</table></div>"
        )

    def _range(self, page: int) -> str:
        return f"{page * self.page_size + 1:,} to {min((page + 1) * self.page_size, len(self.groups)):,}"

    def _counts(self) -> dict[str, int]:
        """Return the filters that select any group, each with the number of groups."""
        counts = {mark: sum(mark in group.marks for group in self.groups) for mark in self.filters}
        return {mark: count for mark, count in counts.items() if count}

    def _controls(self, pages: int) -> str:
        token, counts = f"vnb-static-{secrets.token_hex(6)}", self._counts()  # radio buttons are grouped by their names
        html = ""
        if counts:
            labels = {
                "all": f"all {len(self.groups):,}",
                **{mark: f"{mark} {count:,}" for mark, count in counts.items()},
            }
            html += _choices("Show", "radiogroup", [
                (f'type="radio" name="{token}-show" class="vnb-show-{mark}" value="{mark}"', label, mark == "all")
                for mark, label in labels.items()
            ])  # fmt: skip
        if len(self.columns) > 1:
            html += _choices("Models", "group", [
                (f'type="checkbox" class="vnb-column-{number}" value="{number}"', escape_text(name), True)
                for number, name in enumerate(self.columns)
            ])  # fmt: skip
        if pages > 1:
            html += _choices(self.noun.capitalize(), "radiogroup", [
                (f'type="radio" name="{token}-page" class="vnb-go-{number}"', self._range(number), number == 0)
                for number in range(pages)
            ])  # fmt: skip
        return html

    def _rules(self, pages: int) -> str:
        """Return the style rules of the filters, the columns and the pages."""
        counts = self._counts()
        rules = [
            f".vnb-gallery:has(.vnb-column-{number}:not(:checked)) .vnb-c{number}{{display:none!important}}"
            for number in range(len(self.columns) if len(self.columns) > 1 else 0)
        ]
        if pages > 1:
            for mark in counts:
                shown = f".vnb-gallery:has(.vnb-show-{mark}:checked)"
                rules.append(f"{shown}>.vnb-page:not(:has(.vnb-{mark})){{display:none}}")
                rules.append(f"{shown} .vnb-pages{{display:none}}")
            unfiltered = ":has(.vnb-show-all:checked)" if counts else ""
            for number in range(pages):
                chosen = f".vnb-gallery{unfiltered}:has(.vnb-go-{number}:checked)"
                rules.append(f"{chosen}>.vnb-page:not(.vnb-page-{number}){{display:none}}")
        for mark in counts:
            rules.append(f".vnb-gallery:has(.vnb-show-{mark}:checked) tbody:not(.vnb-{mark}){{display:none}}")
        if self.stacked_below:
            table = ".vnb-gallery .vnb-rows"
            rows = f"{table},{table}>tbody,{table}>tbody>tr,{table}>tbody>tr>td"
            stacked = f"{rows}{{display:block;min-width:0!important}}{table}>thead{{display:none}}"
            for number, name in enumerate(self.columns):  # they are no longer below their heads
                stacked += f"{table} .vnb-c{number}::before{{content:{_css_string(name)};{_NAME}}}"
            rules.append(f"@container (max-width:{self.stacked_below}em){{{stacked}}}")
        return "@supports selector(::details-content) and selector(:has(*)){" + "".join(rules) + "}"


_NAME = "display:block;font-weight:600"
_BODY = """<main class="vnb-gallery" data-noun="{noun}" data-page-size="{page_size}">
<h1>{title}</h1>
{above}
<div class="vnb-bar">{controls}
<div class="vnb-choices" hidden><label>Search <input type="search"></label></div>
<div class="vnb-choices" hidden><button type="button" class="vnb-previous">Previous</button>
<span role="status"></span> <button type="button" class="vnb-next">Next</button></div></div>
{table}
{below}
</main>"""


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _choices(title: str, role: str, inputs: Sequence[tuple[str, str, bool]]) -> str:
    """Return radio buttons or checkboxes, each given by its attributes, its label as HTML, and whether it is chosen."""
    labels = [
        f"<label><input {attributes}{' checked' if is_chosen else ''}> {label}</label>"
        for attributes, label, is_chosen in inputs
    ]
    kind = " vnb-pages" if "vnb-go-0" in inputs[0][0] else ""
    content = f"<span>{title}:</span> {' '.join(labels)}"
    return f'<div class="vnb-choices{kind}" role="{role}" aria-label="{title}">{content}</div>'


def _css_string(text: str) -> str:
    """Return a text as a CSS string, with special characters escaped."""
    return '"' + "".join(one if one.isascii() and one.isalnum() else f"\\{ord(one):x} " for one in text) + '"'
