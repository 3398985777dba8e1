"""Responses as Markdown, HTML and text for terminals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from vision_nb.rendering import html
from vision_nb.rendering.data_table import data_table, flat_fields
from vision_nb.rendering.demo_badge import BADGE, BADGE_HTML
from vision_nb.rendering.format import format_count, format_price, pluralize
from vision_nb.rendering.sanitize import terminal_text
from vision_nb.rendering.terminal import MarkdownText, TerminalPart, TextTable, short_text
from vision_nb.rendering.values import value_lines

THINKING = "Thinking\N{HORIZONTAL ELLIPSIS}"
"""What is shown while a model reasons, here and in the chat panel."""


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
    def cost(self) -> Decimal | None: ...
    @property
    def reported_cost(self) -> Decimal | None: ...
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


def response_markdown(response: _Response, *, below: str = "") -> str:
    """Return a response as safe Markdown: text, note, badge and collapsed details.

    Args:
        response: The response.
        below: Safe Markdown to show below the text.
    """
    note = f"\n\n> **Note:** {response.remark}" if response.remark else ""
    answer = reasoning_markdown(response) + answer_markdown(response) + choices_markdown(response)
    return answer + below + note + badge_markdown(response) + html.footnote(response_details(response))


def answer_markdown(response: _Response) -> str:
    """Return an answer as safe Markdown: a structured one as a table of the fields received so far."""
    data = _data(response)
    return _safe_markdown(response.text) if data is None else f"{data_table(data)}\n"


def _data(response: _Response) -> Any:
    """Return the value of a structured answer as JSON data, or the part received so far; None without a schema."""
    if response.parsed is None or response.schema is None:
        return response.partial
    data = response.schema.dump(response.parsed)
    return data["value"] if set(data) == {"value"} else data  # a list is wrapped like this


def _safe_markdown(text: str) -> str:
    from vision_nb.rendering.markdown.blocks import safe_markdown  # a first answer may not be displayed

    return safe_markdown(text)


def choices_markdown(response: _Response) -> str:
    """Return the answers after the first one as safe Markdown, or "" if there are none."""
    return "".join(
        f"\n\n**Choice {number}**\n\n{_safe_markdown(choice.text)}"
        for number, choice in enumerate(response.other_choices, 2)
    )


def reasoning_markdown(response: _Response) -> str:
    """Return a response's reasoning as a collapsed block of safe Markdown, or "" if there is none."""
    if not response.reasoning:
        return ""
    text = _safe_markdown(response.reasoning)
    return f"<details><summary>{reasoning_summary(response)}</summary>\n\n{text}\n\n</details>\n\n"


def reasoning_html(response: _Response, to_html: Callable[[str], str] | None = None) -> str:
    """Return a response's reasoning as a collapsed block of safe HTML, or "" if there is none.

    Args:
        response: The response.
        to_html: Renders untrusted Markdown as safe HTML; None for `markdown_to_html`.
    """
    if not response.reasoning:
        return ""
    from vision_nb.rendering.markdown.html import markdown_to_html

    text = (to_html or markdown_to_html)(response.reasoning)
    return f"<details><summary>{reasoning_summary(response)}</summary>{text}</details>"


def reasoning_summary(response: _Response) -> str:
    """Return the line above a response's reasoning: whether it is in progress, and how long it has taken."""
    seconds = response.reasoning_seconds
    if not (response.text or response.finish_reason):
        return THINKING if seconds is None or seconds < 1 else f"{THINKING} {seconds:.0f} s"
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


def response_parts(response: _Response) -> Iterator[TerminalPart]:
    """Yield a response for a terminal: the answer, notes, and a line with its model, tokens, time and price."""
    yield answer_part(response)
    for number, choice in enumerate(response.other_choices, 2):
        yield f"\nChoice {number}:"
        yield MarkdownText(choice.text)
    yield ""
    if response.remark:
        yield f"({response.remark})"
    yield response_facts(response)
    yield from (f"({note})" for note in badge_notes(response))


def answer_part(response: _Response) -> TerminalPart:
    """Return an answer for a terminal: a structured one as a table of the fields received so far."""
    data = _data(response)
    return MarkdownText(response.text) if data is None else fields_table(data)


def fields_table(data: Any) -> TextTable:
    """Return JSON data as a table for a terminal: a row for each field, and for each object of a list."""
    if isinstance(data, Mapping):
        return TextTable((), [(name, _field_text(value)) for name, value in flat_fields(data)])
    items = data if isinstance(data, list) else [data]
    records = [dict(flat_fields(item)) if isinstance(item, Mapping) else {"": item} for item in items]
    names = list(dict.fromkeys(name for record in records for name in record))
    return TextTable(
        names if any(names) else (), [[_field_text(record.get(name)) for name in names] for record in records]
    )


def _field_text(value: Any) -> str:
    return "none" if value is None else value_lines(value)


def response_facts(response: _Response) -> str:
    """Return a response's model, tokens, time and price in one line."""
    price = format_price(response.cost, is_reported=response.reported_cost is not None, is_demo=response.is_demo)
    return ", ".join([*response_details(response), *([price] if response.model else [])])


def answer_facts(
    *,
    latency_s: float | None,
    tokens: int | None,
    usd: Decimal | None,
    usd_is_reported: bool = False,
    from_store: bool = False,
    is_demo: bool = False,
) -> list[str]:
    """Return the latency, tokens and price of an answer as short texts, and whether it came from the store."""
    facts = [] if latency_s is None else [f"{latency_s:.1f} s"]
    facts += [] if tokens is None else [pluralize(tokens, "token")]
    facts.append(format_price(usd, is_reported=usd_is_reported, is_demo=is_demo))
    return [*facts, "from the store"] if from_store else facts


def response_repr(name: str, response: _Response) -> str:
    """Return a response as one line for logs and lists.

    Args:
        name: The name of its class.
        response: The response.
    """
    facts = ", ".join([*response_details(response), *([] if response.finish_reason == "stop" else [_ending(response)])])
    return terminal_text(f"{name}({short_text(response.text)!r}, {facts})")


def _ending(response: _Response) -> str:
    return "unfinished" if response.finish_reason is None else response.finish_reason.replace("_", " ")


def response_details(response: _Response, *, is_estimate: bool = False) -> list[str]:
    """Return a response's model, tokens and latency as short texts; the tokens can be marked as an estimate."""
    details = [response.shown_model] if response.model else []
    if response.usage is not None:
        tokens_in, tokens_out = (
            format_count(n, is_estimate=is_estimate)
            for n in (response.usage.input_tokens, response.usage.output_tokens)
        )
        doubt = f" (as reported; at least {response.sent_tokens:,} were sent)" if response.usage_is_implausible else ""
        unit = "token" if response.usage.input_tokens == 1 else "tokens"
        details.append(f"{tokens_in} {unit} in{doubt}, {tokens_out} out")
    if response.attempts > 1:
        details.append(f"{response.attempts} attempts")
    if response.latency is not None:
        details.append(f"{response.latency:.1f} s")
    return details
