"""`Table`: the output of a subcommand, as Markdown or plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vision_nb.rendering import html
from vision_nb.rendering.markdown.blocks import safe_markdown
from vision_nb.rendering.terminal import Report, TerminalPart, TextTable


@dataclass(frozen=True, repr=False)
class Table(Report):
    """A table with lines of text below it.

    Attributes:
        head: The column names; empty if there are only remarks.
        rows: The cells of each row.
        remarks: Lines of Markdown below the table.
    """

    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    remarks: Sequence[str] = ()

    def _repr_markdown_(self) -> str:
        table = [html.markdown_table(self.head, self.rows, numbers_from=len(self.head))] if self.rows else []
        remarks = map(safe_markdown, self.remarks)  # a server or a file may have sent a name in them
        return "\n\n".join([*table, *remarks]) + "\n"

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        if self.rows:
            yield TextTable(self.head, self.rows)
        yield from ["", *self.remarks] if self.rows and self.remarks else self.remarks
