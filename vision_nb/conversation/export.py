"""Conversations for reading: as Markdown, as an HTML page and as a notebook, with thumbnails of the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, TypeAlias

from vision_nb.conversation.turn import Turn
from vision_nb.cost.answer_cost import answer_cost
from vision_nb.errors import ImageError
from vision_nb.images.document import ImageDocument
from vision_nb.images.prepare import ThumbnailType
from vision_nb.rendering.answer import reasoning_html, reasoning_markdown, response_details, response_parts
from vision_nb.rendering.demo_badge import BADGE_HTML
from vision_nb.rendering.format import format_count, format_price, pluralize
from vision_nb.rendering.markdown.blocks import safe_markdown
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.rendering.page import PAGE_CSS, answer_html, html_page
from vision_nb.rendering.sanitize import attribute_text, escape_text, inline_text
from vision_nb.rendering.terminal import TerminalPart
from vision_nb.responses import ChatResponse, Usage

GetThumbnail: TypeAlias = Callable[[ImageDocument], str | None]
"""Returns a thumbnail as a data URI, or None if there is none."""

_DOT = " \N{MIDDLE DOT} "


def make_thumbnail(
    document: ImageDocument, side: int = 160, max_bytes: int = 1_500, mimetype: ThumbnailType = "image/webp"
) -> str | None:
    """Return a thumbnail as a data URI, or None if the image cannot be read or must not be downloaded.

    Args:
        document: The image.
        side: The maximum width and height in pixels.
        max_bytes: The maximum size in bytes, before base64 encoding.
        mimetype: The type of the thumbnail.
    """
    if document.is_link:
        return None
    try:
        return document.thumbnail(side, max_bytes=max_bytes, mimetype=mimetype)
    except ImageError:
        return None


_large_thumbnail = partial(make_thumbnail, side=640, max_bytes=60_000, mimetype="image/jpeg")


def facts_line(answer: ChatResponse) -> str:
    """Return an answer's tokens, latency and price in one line, without the model, which is shown above it.

    The tokens and the price of an answer that was cut off are estimates.
    """
    cost = answer_cost(answer)
    is_reported = answer.reported_cost is not None
    price = format_price(cost.usd, is_reported=is_reported, is_demo=answer.is_demo, is_estimate=cost.is_estimate)
    details = response_details(replace(answer, usage=cost.usage), is_estimate=cost.is_estimate)
    return _DOT.join([*details[1 if answer.model else 0 :], price])


def totals(turns: Sequence[Turn]) -> str:
    """Return the number of answers, and their tokens and price, in one line that mentions unknown values."""
    if not turns:
        return ""
    answers = [turn.answer for turn in turns]
    found = [answer_cost(answer) for answer in answers]
    counted = [cost for cost in found if cost.usage and cost.usage.total_tokens is not None]
    usages = [cost.usage for cost in counted if cost.usage]
    costs = [cost.usd for cost in found if cost.usd is not None]
    about = any(cost.is_estimate for cost in counted)
    items = [pluralize(len(answers), "answer")]
    if usages:
        usage = sum(usages, Usage(0, 0))
        tokens_in, tokens_out = (
            format_count(count, is_estimate=about) for count in (usage.input_tokens, usage.output_tokens)
        )
        items.append(f"{tokens_in} tokens in, {tokens_out} out")
    if costs:
        is_demo = all(answer.is_demo for answer, cost in zip(answers, found, strict=True) if cost.usd)
        items.append(format_price(sum(costs, Decimal(0)), is_demo=is_demo, is_estimate=about))
    unknown: dict[int, list[str]] = {}
    for name, known in (("tokens", usages), ("price", costs)):
        unknown.setdefault(len(answers) - len(known), []).append(name)
    for count, names in unknown.items():
        if count:
            items.append(f"{' and '.join(names)} unknown{f' for {count}' if count < len(answers) else ''}")
    return _DOT.join(items)


def has_demo(turns: Iterable[Turn]) -> bool:
    """Return whether the demo gave any of the answers, so that the conversation ends in its badge."""
    return any(turn.answer.is_demo for turn in turns)


def dropped_images_note(turn: Turn) -> str:
    """Return a note about images that were not sent again with a question; empty if all were sent."""
    if not turn.dropped_images:
        return ""
    return f"Sent without {pluralize(turn.dropped_images, 'earlier image')}."


def transcript_parts(system: str, turns: Sequence[Turn]) -> Iterator[TerminalPart]:
    """Yield a conversation for a terminal, with the names of its images."""
    if system:
        yield f"System: {system}\n"
    for turn in turns:
        images = "".join(f" [{document.title}]" for document in turn.question.image_documents)
        yield f"You: {turn.question.text}{images}"
        if note := dropped_images_note(turn):
            yield f"({note})"
        yield f"\n{turn.answer.shown_model or 'Answer'}:"
        yield from response_parts(turn.answer)
        yield ""
    yield totals(turns)


def transcript(system: str, turns: Sequence[Turn], get_thumbnail: GetThumbnail = make_thumbnail) -> str:
    """Return a conversation as Markdown that is safe to display in any notebook front end."""
    parts = _markdown_parts(system, turns, get_thumbnail)
    if turns:
        parts.append(f"<small>{escape_text(totals(turns))}</small>")
    if has_demo(turns):
        parts.append(BADGE_HTML)
    return ("\n\n".join(parts) or "_No messages yet._") + "\n"


def notebook(title: str, system: str, turns: Sequence[Turn]) -> dict[str, Any]:
    """Return a conversation in Jupyter's notebook format 4.5, with a Markdown cell for each question and answer."""
    badge = [BADGE_HTML] if has_demo(turns) else []
    sources = [f"# {inline_text(title)}", *_markdown_parts(system, turns, _large_thumbnail), *badge]
    cells = [
        {"cell_type": "markdown", "id": f"message-{number}", "metadata": {}, "source": source}
        for number, source in enumerate(sources)
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def _markdown_parts(system: str, turns: Sequence[Turn], get_thumbnail: GetThumbnail) -> list[str]:
    """Return the system message, if any, and each question and answer as Markdown."""
    parts = [f"**System**\n\n{safe_markdown(system)}"] if system else []
    for turn in turns:
        parts += [_markdown_question(turn, get_thumbnail), _markdown_answer(turn.answer)]
    return parts


def _markdown_question(turn: Turn, get_thumbnail: GetThumbnail) -> str:
    images = [
        f"{_image_html(document, get_thumbnail)} <sub>{inline_text(document.title)}</sub>"
        for document in turn.question.image_documents
    ]
    note = dropped_images_note(turn)
    notes = [f"_{note}_"] if note else []
    return "\n\n".join(["---", "**You**", *images, safe_markdown(turn.question.text), *notes])


def _markdown_answer(answer: ChatResponse) -> str:
    remarks = [f"> **Note:** {answer.remark}"] if answer.remark else []
    model, line = inline_text(answer.shown_model or "assistant"), escape_text(facts_line(answer))
    text = reasoning_markdown(answer) + safe_markdown(answer.text)
    return "\n\n".join([f"**{model}**", text, *remarks, f"<small>{line}</small>"])


def _image_html(document: ImageDocument, get_thumbnail: GetThumbnail) -> str:
    """Return a thumbnail as HTML; a Markdown image with a data URI would break nbconvert's LaTeX export."""
    thumbnail = get_thumbnail(document)
    return f'<img src="{escape(thumbnail)}" alt="{attribute_text(document.title)}">' if thumbnail else "(image)"


def page(title: str, system: str, turns: Sequence[Turn]) -> str:
    """Return a conversation as a self-contained HTML page that loads nothing and runs no script."""
    sections = [f"<h2>System</h2>{markdown_to_html(system)}"] if system else []
    sections += ["".join(_page_turn(turn)) for turn in turns]
    badge = f"<p>{BADGE_HTML}</p>" if has_demo(turns) else ""
    sections.append(f"<small>{escape_text(totals(turns) or 'No messages yet.')}</small>{badge}")
    body = "\n".join([f"<h1>{escape(title)}</h1>", *(f"<section>{section}</section>" for section in sections)])
    style = Path(__file__).with_name("exported_page.css").read_text(encoding="utf-8")
    return html_page(title, body, style=style + PAGE_CSS)


def _page_turn(turn: Turn) -> Iterator[str]:
    question, answer, note = turn.question, turn.answer, dropped_images_note(turn)
    yield "<h2>You</h2>"
    for document in question.image_documents:
        caption = f"<figcaption>{escape_text(document.title)}</figcaption>"
        yield f"<figure>{_image_html(document, _large_thumbnail)}{caption}</figure>"
    yield f'<div class="prompt">{escape_text(question.text)}</div>{f"<small>{note}</small>" if note else ""}'
    yield f"<h2>{escape_text(answer.shown_model or 'assistant')}</h2>"
    yield reasoning_html(answer, answer_html) + answer_html(answer.text)
    yield f"<p><b>Note:</b> {escape_text(answer.remark)}</p>" if answer.remark else ""
    yield f"<small>{escape_text(facts_line(answer))}</small>"
