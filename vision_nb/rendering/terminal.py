"""Values as text for terminals: IPython, plain Python, logs and, if it is installed, rich."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vision_nb.checks.public_object import PublicObject
from vision_nb.notebook.ipython import in_notebook
from vision_nb.rendering.sanitize import name_parts, replace_surrogates, terminal_text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

_NOTEBOOK_WIDTH = 100  # columns: the text is saved, so it must not depend on where the kernel was started
_LEAST_WIDTH = 8  # of a column that is wrapped
_GAP = "  "


@dataclass(frozen=True)
class TextTable:
    """A table for a terminal; cells that are too long for it are wrapped, and can have several lines.

    Attributes:
        head: The column names; empty for none.
        rows: The cells of each row.
        numbers_from: The first of the right-aligned columns; None if all are left-aligned.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers_from: int | None = None

    def text(self, width: int) -> str:
        """Return the table as lines of text, without control characters.

        Args:
            width: The number of columns of the terminal.
        """
        rows = [[_lines(cell) for cell in row] for row in ([self.head] if self.head else []) + list(self.rows)]
        if not rows:
            return ""
        columns = [[line for cell in column for line in cell] for column in zip(*rows, strict=True)]
        words = [[word for line in column for word in line.split(" ")] for column in columns]
        parts = [[part for word in column for part in name_parts(word)] for column in words]
        widths, *floors = ([max(map(_width, column)) for column in texts] for texts in (columns, words, parts))
        widths = _fitted(widths, floors, width)
        return "\n".join(line for row in rows for line in self._wrapped(row, widths))

    def _wrapped(self, row: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
        cells = [
            [part for line in cell for part in _wrap(line, width)] for cell, width in zip(row, widths, strict=True)
        ]
        for number in range(max(map(len, cells))):
            parts = [cell[number] if number < len(cell) else "" for cell in cells]
            padded = map(self._pad, parts, widths, range(len(widths)))
            yield _GAP.join(padded).rstrip()

    def _pad(self, text: str, width: int, column: int) -> str:
        spaces = " " * (width - _width(text))
        return spaces + text if self.numbers_from is not None and column >= self.numbers_from else text + spaces

    def rich(self) -> RenderableType:
        """Return the table for rich, which does not interpret markup in its cells."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(self.head))
        columns = self.head or ([""] * len(self.rows[0]) if self.rows else [])
        for number, name in enumerate(columns):
            is_number = self.numbers_from is not None and number >= self.numbers_from
            table.add_column(Text(_single_line(name)), justify="right" if is_number else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text("\n".join(_lines(cell))) for cell in row))
        return table


class MarkdownText(str):
    """Markdown of a model: rich renders it, other terminals show it as it is."""


TerminalPart = str | TextTable


class TerminalDisplay(PublicObject):
    """A mixin of values that have a longer text in terminals than their ``repr``.

    IPython and rich show the text for a value on its own, and the ``repr`` for one in a list. ``str(value)`` is the
    text too, unless the subclass has another one.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._repr_pretty_ = TerminalDisplay._repr_pretty_  # type: ignore[method-assign]  # IPython prefers a class's own repr

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        """Return the paragraphs and tables to show."""
        raise NotImplementedError

    def __str__(self) -> str:
        return joined_parts(self._terminal_parts())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        is_nested = cycle or len(getattr(printer, "stack", ())) > 1
        for number, line in enumerate((repr(self) if is_nested else joined_parts(self._terminal_parts())).split("\n")):
            if number:
                printer.break_()
            printer.text(line)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.markdown import Markdown
        from rich.text import Text

        for part in self._terminal_parts():
            if isinstance(part, TextTable):
                yield part.rich()
            elif isinstance(part, MarkdownText):
                yield Markdown(_printable(part), hyperlinks=False)  # a link could hide its address
            else:
                yield Text(_printable(part))


class Report(TerminalDisplay):
    """A mixin of values whose ``repr`` is their text for terminals too."""

    def __repr__(self) -> str:
        return str(self)


def joined_parts(parts: Iterable[TerminalPart]) -> str:
    """Return paragraphs and tables as text for a terminal, with no blank line before a table."""
    width = _NOTEBOOK_WIDTH if in_notebook() else shutil.get_terminal_size().columns
    return "\n".join(part.text(width) if isinstance(part, TextTable) else _printable(part) for part in parts)


def short_text(text: str, limit: int = 60) -> str:
    r"""Return the beginning of a text on one line, without control characters.

    >>> short_text("One\ntwo three", 7)
    'One two...'
    """
    line = _single_line(text[: 4 * limit])
    return line if len(line) <= limit and len(text) <= 4 * limit else f"{line[:limit].rstrip()}..."


def _printable(text: str) -> str:
    return terminal_text(replace_surrogates(text))


def _single_line(text: str) -> str:
    return _printable(" ".join(text.split()))


def _lines(cell: str) -> list[str]:
    return [_single_line(line) for line in cell.split("\n")]


def _width(text: str) -> int:
    """Return how many columns a text takes: most characters of Chinese and Japanese take two."""
    return len(text) if text.isascii() else sum(1 + (unicodedata.east_asian_width(one) in "WF") for one in text)


def _wrap(text: str, width: int) -> list[str]:
    """Return the lines of a text; a word that is longer than a line is broken, after its punctuation if it has any."""
    lines = [""]
    for word in text.split(" "):
        gap = " " if lines[-1] else ""
        for part in [word] if _width(word) <= width else _parts(word, width):
            if lines[-1] and _width(lines[-1] + gap + part) > width:
                lines.append(part)
            else:
                lines[-1] += gap + part
            gap = ""
    return lines


def _parts(word: str, width: int) -> Iterator[str]:
    for part in name_parts(word):
        while _width(part) > width:
            end = next((end for end in range(min(len(part), width), 1, -1) if _width(part[:end]) <= width), 1)
            yield part[:end]
            part = part[end:]
        yield part


def _fitted(widths: list[int], floors_of_steps: Sequence[Sequence[int]], total: int) -> list[int]:
    """Return the columns' widths, the widest ones reduced until the table fits; words are broken only if they must."""
    for floors in (*floors_of_steps, [min(_LEAST_WIDTH, width) for width in widths]):
        while (excess := sum(widths) + len(_GAP) * (len(widths) - 1) - total) > 0:
            places = [place for place, floor in enumerate(floors) if widths[place] > floor]
            if not places:
                break
            widest = max(widths[place] for place in places)
            lowered = [place for place in places if widths[place] == widest]
            lower = max([floors[place] for place in lowered] + [width for width in widths if width < widest])
            step = min(widest - lower, -(-excess // len(lowered)))
            for place in lowered:
                widths[place] -= step
    return widths
