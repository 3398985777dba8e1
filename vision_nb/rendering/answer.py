"""Responses as Markdown, HTML and plain text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from vision_nb.rendering import html
from vision_nb.rendering.data_table import data_table
from vision_nb.rendering.demo_badge import BADGE, BADGE_HTML
from vision_nb.rendering.format import format_count
from vision_nb.rendering.markdown.blocks import safe_markdown
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.rendering.sanitize import terminal_text


class _Schema(Protocol):
    def dump(self, value: Any) -> dict[str, Any]: ...


class _Usage(Protocol):
    @property
    def input_tokens(self) -> int | None: ...
    @property
    def output_tokens(self) -> int | None: ...


class _Choice(Protocol):
    @property
    def text(self) -> str: ...


class _Response(Protocol):
    """The part of `vision_nb.responses.Response`, in a layer above, that is displayed."""

    @property
    def text(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def shown_model(self) -> str: ...
    @property
    def usage(self) -> _Usage | None: ...
    @property
    def usage_is_implausible(self) -> bool: ...
    @property
    def sent_tokens(self) -> int | None: ...
    @property
    def finish_reason(self) -> str | None: ...
    @property
    def remark(self) -> str | None: ...
    @property
    def latency(self) -> float | None: ...
    @property
    def attempts(self) -> int: ...
    @property
    def reasoning(self) -> str: ...
    @property
    def reasoning_seconds(self) -> float | None: ...
    @property
    def parsed(self) -> Any: ...
    @property
    def partial(self) -> Any: ...
    @property
    def schema(self) -> _Schema | None: ...
    @property
    def other_choices(self) -> Sequence[_Choice]: ...
    @property
    def is_demo(self) -> bool: ...


def response_markdown(response: _Response) -> str:
    """Return a response as safe Markdown: text, note, badge and collapsed details."""
    note = f"\n\n> **Note:** {response.remark}" if response.remark else ""
    answer = reasoning_markdown(response) + answer_markdown(response) + choices_markdown(response)
    return answer + note + badge_markdown(response) + html.footnote(response_details(response))


def answer_markdown(response: _Response) -> str:
    """Return an answer as safe Markdown: a structured one as a table of the fields received so far."""
    data = response.partial
    if response.parsed is not None and response.schema is not None:
        data = response.schema.dump(response.parsed)
        data = data["value"] if set(data) == {"value"} else data  # a list is wrapped like this
    return safe_markdown(response.text) if data is None else f"{data_table(data)}\n"


def choices_markdown(response: _Response) -> str:
    """Return the answers after the first one as safe Markdown, or "" if there are none."""
    return "".join(
        f"\n\n**Choice {number}**\n\n{safe_markdown(choice.text)}"
        for number, choice in enumerate(response.other_choices, 2)
    )


def reasoning_markdown(response: _Response) -> str:
    """Return a response's reasoning as a collapsed block of safe Markdown, or "" if there is none."""
    if not response.reasoning:
        return ""
    text = safe_markdown(response.reasoning)
    return f"<details><summary>{reasoning_summary(response)}</summary>\n\n{text}\n\n</details>\n\n"


def reasoning_html(response: _Response, to_html: Callable[[str], str] = markdown_to_html) -> str:
    """Return a response's reasoning as a collapsed block of safe HTML, or "" if there is none.

    Args:
        response: The response.
        to_html: Renders untrusted Markdown as safe HTML.
    """
    if not response.reasoning:
        return ""
    return f"<details><summary>{reasoning_summary(response)}</summary>{to_html(response.reasoning)}</details>"


def reasoning_summary(response: _Response) -> str:
    """Return the line above a response's reasoning: whether it is in progress, and how long it has taken."""
    seconds = response.reasoning_seconds
    if not (response.text or response.finish_reason):
        return "Thinking ..." if seconds is None or seconds < 1 else f"Thinking ... {seconds:.0f} s"
    if seconds is None:
        return "Reasoning"
    return "Thought for less than 1 s" if seconds < 1 else f"Thought for {seconds:.0f} s"


def badge_markdown(response: _Response) -> str:
    """Return the demo's badge as Markdown, or "" if another model answered."""
    return f"\n\n{BADGE_HTML}\n" if response.is_demo else ""


def badge_notes(response: _Response) -> list[str]:
    """Return the demo's badge as the last note for plain text; no note if another model answered."""
    return [BADGE] if response.is_demo else []


def plain_text(response: _Response) -> str:
    """Return a response's text for a terminal, how it ended if not normally, and the demo's badge."""
    notes = [*([response.remark] if response.remark else []), *badge_notes(response)]
    return terminal_text("\n\n".join([response.text, *(f"({note})" for note in notes)]).lstrip())


def response_details(response: _Response) -> list[str]:
    """Return a response's model, tokens and latency as short texts."""
    details = [response.shown_model] if response.model else []
    if response.usage is not None:
        tokens_in, tokens_out = (format_count(n) for n in (response.usage.input_tokens, response.usage.output_tokens))
        doubt = f" (as reported; at least {response.sent_tokens:,} were sent)" if response.usage_is_implausible else ""
        details.append(f"{tokens_in} tokens in{doubt}, {tokens_out} out")
    if response.attempts > 1:
        details.append(f"{response.attempts} attempts")
    if response.latency is not None:
        details.append(f"{response.latency:.1f} s")
    return details
