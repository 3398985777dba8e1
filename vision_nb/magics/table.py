"""A table or text that a subcommand gives: Markdown in a notebook, plain text in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vision_nb.rendering import html


@dataclass(frozen=True)
class Table:
    """What a subcommand found out.

    Attributes:
        head: The names of the columns; empty for a report of remarks alone.
        rows: The cells of each row.
        remarks: Lines below the table.
    """

    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    remarks: Sequence[str] = ()

    def _repr_markdown_(self) -> str:
        table = [html.markdown_table(self.head, self.rows, numbers_from=len(self.head))] if self.rows else []
        return "\n\n".join([*table, *self.remarks]) + "\n"

    def __repr__(self) -> str:
        lines = [self.head, *self.rows] if self.rows else []
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.head))] if lines else []
        table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([*table, *([""] if table and self.remarks else []), *self.remarks])
