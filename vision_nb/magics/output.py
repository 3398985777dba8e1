"""Display the answer of a cell in its output format, with notes below it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

from vision_nb.errors import MalformedResponseError
from vision_nb.images.answer_strip import answer_strip, markdown_strip
from vision_nb.magics import answer_parsers
from vision_nb.notebook.display import StreamingDisplay
from vision_nb.notebook.progress import ProgressLine
from vision_nb.rendering import html
from vision_nb.rendering.answer import (
    answer_markdown,
    badge_markdown,
    badge_notes,
    plain_text,
    reasoning_html,
    reasoning_markdown,
    response_details,
)
from vision_nb.rendering.format import format_price
from vision_nb.rendering.markdown.blocks import safe_markdown
from vision_nb.rendering.sanitize import escape_text
from vision_nb.responses import UNFINISHED, Response

_FROM_CACHE = "This answer came from the cache, at no cost. Use --no-cache to ask again."
_PRE_STYLE = "word-break:normal;overflow-wrap:anywhere"  # JupyterLab breaks lines within words


@dataclass(frozen=True)
class OutputFormat:
    """An output format.

    Attributes:
        mimetype: The MIME type of the output.
        render: Returns the output for the answer's text.
        parse: Returns the cell's value for the answer's text; None if the value is the response.
    """

    mimetype: str
    render: Callable[[str], str]
    parse: Callable[[str], Any] | None = None


OUTPUT_FORMATS = {
    "markdown": OutputFormat("text/markdown", safe_markdown),
    "text": OutputFormat("text/plain", str),
    "html": OutputFormat("text/html", answer_parsers.answer_html),
    "code": OutputFormat("text/markdown", safe_markdown),
    "json": OutputFormat("text/markdown", safe_markdown, answer_parsers.parse_json),
    "math": OutputFormat("text/markdown", lambda text: safe_markdown(answer_parsers.normalize_math(text))),
    "dataframe": OutputFormat("text/markdown", safe_markdown, answer_parsers.parse_table),
}


class AnswerView(StreamingDisplay):
    """Displays the answer of a cell.

    Args:
        output_format: The output format.
        further_notes: Notes to show below the answer.
        from_store: Whether the answer came from the store.
        with_cost: Whether to show the price.
        silent: Whether to display nothing, and only parse the answer.
        thumbnails: Whether to show the images of the question below the finished answer.

    Attributes:
        value: The parsed answer, if the format parses it.
        problem: The error, if the answer could not be parsed; its text is displayed instead.
    """

    def __init__(
        self,
        output_format: OutputFormat,
        further_notes: Sequence[str] = (),
        *,
        from_store: bool = False,
        with_cost: bool = False,
        silent: bool = False,
        thumbnails: bool = True,
    ) -> None:
        super().__init__(thumbnails=thumbnails)
        self.output_format, self.further_notes = output_format, further_notes
        self.from_store, self.with_cost, self.silent = from_store, with_cost, silent
        self.value: Any = None
        self.problem: MalformedResponseError | None = None

    def bundle(self, response: Response, *, finished: bool) -> dict[str, str]:
        """Return the output by MIME type, with notes below a finished answer."""
        is_parsed = finished and self._hides_text(response)
        text = "" if is_parsed else self._render(response)  # IPython displays the parsed value
        below = self._below(response) if finished else ""
        if self.output_format.mimetype == "text/plain":  # also as HTML: some front ends turn plain text into links
            strip = answer_strip(self.images(response)) if finished else ""
            pre = f'<pre style="{_PRE_STYLE}">{escape(text + below)}</pre>'
            html_text = f"{reasoning_html(response)}{pre}{strip}"
            return {"text/html": html_text, "text/plain": text + below}
        reasoning = reasoning_html if self.output_format.mimetype == "text/html" else reasoning_markdown
        return {self.output_format.mimetype: reasoning(response) + text + below, "text/plain": plain_text(response)}

    def metadata(self, response: Response) -> dict[str, Any]:
        """Return the model, tokens and price, for the saved notebook."""
        return {"vision_nb": answer_metadata(response, from_store=self.from_store)}

    def show(self, response: Response) -> None:
        """Display the part of the answer that has arrived."""
        self.response = response
        if not self.silent:
            super().show(response)

    def finish(self, response: Response) -> None:
        """Display the finished answer, and parse it if the format does."""
        self.response = response
        if self.output_format.parse is not None and response.finish_reason not in UNFINISHED:
            try:
                self.value = self.output_format.parse(response.text)
            except MalformedResponseError as problem:
                self.problem = problem
        if self.silent and self.problem is None:
            return
        super().finish(response)

    def _render(self, response: Response) -> str:
        """Return the answer, followed by any further choices, in the output format; a structured one as a table."""
        if response.schema is not None:
            return answer_markdown(response)
        first, *others = (self.output_format.render(choice.text) for choice in response.choices)
        return first + "".join(f"\n\nChoice {number}:\n\n{text}" for number, text in enumerate(others, 2))

    def _hides_text(self, response: Response) -> bool:
        """Return whether the parsed value is displayed instead of the text."""
        is_parsed = self.problem is None and response.finish_reason not in UNFINISHED
        return self.output_format.parse is not None and is_parsed

    def _write(self, response: Response, *, finished: bool = False) -> None:
        if not self._hides_text(response):
            super()._write(response, finished=finished)

    def notes(self, response: Response) -> list[str]:
        """Return the notes below the finished answer."""
        is_reported = response.reported_cost is not None
        cost = "unknown" if response.cost is None else format_price(response.cost, is_reported=is_reported)
        price = [f"{'Would cost' if response.is_demo and response.cost else 'Cost'}: {cost}."] if self.with_cost else []
        cached = [_FROM_CACHE] if self.from_store else []
        return [*super().notes(response), *cached, *price, *self.further_notes]

    def _below(self, response: Response) -> str:
        notes = self.notes(response)
        if self.output_format.mimetype == "text/plain":
            return "".join(f"\n\n({note})" for note in [*notes, *badge_notes(response)])
        if self.output_format.mimetype == "text/html":
            strip = answer_strip(self.images(response))
            shown = "".join(f"<blockquote><b>Note:</b> {escape_text(note)}</blockquote>" for note in notes)
        else:
            strip = markdown_strip(self.images(response))
            shown = "".join(f"\n\n> **Note:** {_note_markdown(note)}" for note in notes)
        return strip + shown + badge_markdown(response) + html.footnote(response_details(response))


@contextmanager
def waiting_line(model: str, *, silent: bool = False) -> Iterator[None]:
    """Show a line while the block waits for an answer that another notebook or program has requested.

    Args:
        model: The model's name.
        silent: Whether to show nothing.
    """
    with ProgressLine(
        f"Another notebook or program is asking {model} the same question: waiting for the answer", enabled=not silent
    ) as line:
        yield
        line.finish(f"Another notebook or program asked {model} the same question: waited {line.seconds:.0f} s.")


def answer_metadata(response: Response, *, from_store: bool) -> dict[str, Any]:
    """Return the model, tokens and price of an answer as JSON-serializable values."""
    usage, cost = response.usage, response.cost
    return {
        "model": response.model,
        "input_tokens": usage and usage.input_tokens,
        "output_tokens": usage and usage.output_tokens,
        "usd": None if cost is None else float(cost),
        "from_store": from_store,
    }


def _note_markdown(note: str) -> str:
    """Return a note as Markdown, with its options and magics as code."""
    return re.sub(r"(?<![\w`])(--[\w-]+|%%?vision(?:[^.;:,]|[.:](?=\w))*\w)", r"`\1`", safe_markdown(note))
