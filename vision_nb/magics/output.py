"""How the answer of a cell is shown: while it arrives, when it is whole, and what is noted beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from vision_nb.errors import MalformedResponseError
from vision_nb.magics import parsers
from vision_nb.notebook.display import StreamingDisplay
from vision_nb.notebook.ipython import in_notebook
from vision_nb.rendering import html
from vision_nb.rendering.format import format_price
from vision_nb.rendering.markdown.blocks import safe_markdown
from vision_nb.responses import Response, response_details

FROM_STORE = "Answered from the store, at no cost: the same was asked before. --no-cache asks again."


@dataclass(frozen=True)
class OutputFormat:
    """A form in which answers are shown.

    Attributes:
        mimetype: The type of what is shown.
        show: Makes it of the text.
        read: Makes the cell's value of the text; None where the value is the response.
    """

    mimetype: str
    show: Callable[[str], str]
    read: Callable[[str], Any] | None = None


OUTPUT_FORMATS = {
    "markdown": OutputFormat("text/markdown", safe_markdown),
    "text": OutputFormat("text/plain", str),
    "html": OutputFormat("text/html", parsers.html_of),
    "code": OutputFormat("text/markdown", safe_markdown),
    "json": OutputFormat("text/markdown", safe_markdown, parsers.json_of),
    "math": OutputFormat("text/markdown", lambda text: safe_markdown(parsers.formula_of(text))),
    "dataframe": OutputFormat("text/markdown", safe_markdown, parsers.table_of),
}


class AnswerView(StreamingDisplay):
    """Shows the answer of a cell.

    Args:
        form: In which form.
        notes: What to say below it.
        from_store: Whether it was there already.
        with_cost: Whether to name its price.
        silent: Whether to show nothing, and only read the answer.

    Attributes:
        value: What the form reads in the answer, such as the parsed JSON.
        problem: Why it could not be read, or None.
    """

    def __init__(
        self,
        form: OutputFormat,
        notes: Sequence[str] = (),
        *,
        from_store: bool = False,
        with_cost: bool = False,
        silent: bool = False,
    ) -> None:
        super().__init__()
        self.form, self.notes = form, notes
        self.from_store, self.with_cost, self.silent = from_store, with_cost, silent
        self.value: Any = None
        self.problem: MalformedResponseError | None = None

    def bundle(self, response: Response, *, finished: bool) -> dict[str, str]:
        """The answer in its form, with notes and facts below it when it is whole."""
        is_read = finished and self.form.read is not None and self.problem is None
        text = "" if is_read else self.form.show(response.text)  # a value that was read is shown as the cell's own
        below = self._below(response) if finished else ""
        if self.form.mimetype == "text/plain":  # as HTML too: of plain text, pages make links as they like
            return {"text/html": f"<pre>{escape(text + below)}</pre>", "text/plain": text + below}
        return {self.form.mimetype: text + below, "text/plain": response.text}

    def metadata(self, response: Response) -> dict[str, Any]:
        """What made the answer, for who reads the saved notebook."""
        return {"vision_nb": facts_of(response, from_store=self.from_store)}

    def show(self, response: Response) -> None:
        """Show the answer as far as it has come."""
        if not self.silent:
            super().show(response)

    def finish(self, response: Response) -> None:
        """Show the whole answer, and read it where its form has a value."""
        if self.form.read is not None and response.finish_reason != "interrupted":
            try:
                self.value = self.form.read(response.text)
            except MalformedResponseError as problem:
                self.problem = problem
        if self.silent and self.problem is None:
            return
        super().finish(response)
        if not in_notebook():
            for note in self._remarks(response):
                print(f"({note})")  # noqa: T201 - a terminal shows text alone

    def _write(self, response: Response) -> None:
        if self.form.read is None or self.problem is not None:
            super()._write(response)

    def _remarks(self, response: Response) -> list[str]:
        cost = "unknown" if response.cost is None else format_price(response.cost, decimals=6)
        price = [f"Cost: {cost}."] if self.with_cost else []
        store = [FROM_STORE] if self.from_store else []
        return [*([response.remark] if response.remark else []), *store, *price, *self.notes]

    def _below(self, response: Response) -> str:
        remarks = self._remarks(response)
        if self.form.mimetype == "text/plain":
            return "".join(f"\n\n({remark})" for remark in remarks)
        if self.form.mimetype == "text/html":
            shown = "".join(f"<blockquote><b>Note:</b> {escape(remark)}</blockquote>" for remark in remarks)
        else:
            shown = "".join(f"\n\n> **Note:** {_as_markdown(remark)}" for remark in remarks)
        return shown + html.footnote(response_details(response))


def facts_of(response: Response, *, from_store: bool) -> dict[str, Any]:
    """Model, tokens and price of an answer, as plain values."""
    usage, cost = response.usage, response.cost
    return {
        "model": response.model,
        "input_tokens": usage and usage.input_tokens,
        "output_tokens": usage and usage.output_tokens,
        "usd": None if cost is None else float(cost),
        "from_store": from_store,
    }


def _as_markdown(remark: str) -> str:
    """A remark of ours, its options and magics as code."""
    return re.sub(r"(?<![\w`])(--[\w-]+|%%?vision(?:[^.;:,]|[.:](?=\w))*\w)", r"`\1`", safe_markdown(remark))
