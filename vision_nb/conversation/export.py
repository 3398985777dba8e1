"""A conversation to read: as Markdown, as an HTML page and as a notebook, with small pictures in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

from vision_nb.errors import ImageError
from vision_nb.images.document import ImageDocument
from vision_nb.rendering.format import format_price
from vision_nb.rendering.math import answer_html
from vision_nb.rendering.sanitize import inline_text, markdown_to_html, safe_markdown
from vision_nb.responses import ChatResponse, Usage, response_details

if TYPE_CHECKING:
    from vision_nb.conversation.chat import Chat, Turn

Pictures: TypeAlias = Callable[[ImageDocument], str | None]
"""Gives a picture as a data URI, or None where there is none to show."""

_DOT = " \N{MIDDLE DOT} "
_NOTHING = "_Nothing has been said yet._\n"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }}
body {{ color: #1a1a1a; background: #fff; overflow-wrap: anywhere; }}
section {{ border-top: 1px solid #ccc; padding-top: 1rem; margin-top: 1rem; }}
h2 {{ font-size: 1rem; margin: 1rem 0 0.25rem; }}
.said {{ white-space: pre-wrap; }}
figure {{ display: inline-block; margin: 0 0.5rem 0.5rem 0; }}
figure img {{ max-width: min(20rem, 100%); border-radius: 4px; }}
figcaption, small {{ color: #555; }}
pre {{ background: #f3f3f3; padding: 0.75rem; overflow-x: auto; }}
td, th {{ border: 1px solid #ccc; padding: 0.2rem 0.5rem; }}
table {{ border-collapse: collapse; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def thumbnail(document: ImageDocument, side: int = 160, max_bytes: int = 6_000) -> str | None:
    """A small picture of so many pixels and bytes at most, or None where it cannot be read or is not to be fetched."""
    if document.is_link:
        return None
    try:
        return document.thumbnail(side, max_bytes=max_bytes)
    except ImageError:
        return None


_page_picture = partial(thumbnail, side=640, max_bytes=60_000)  # on a page that is kept


def facts_line(answer: ChatResponse) -> str:
    """Tokens, time and price of an answer in a line, and not its model, which stands above it."""
    return _DOT.join(about(answer)[1 if answer.model else 0 :])


def about(answer: ChatResponse) -> list[str]:
    """Model, tokens, time and price of an answer, each in a few words."""
    return [*response_details(answer), format_price(answer.cost)]


def totals(chat: Chat) -> str:
    """Answers, tokens and price of a conversation, in a line; what is not known is said to be so."""
    answers = chat.responses
    if not answers:
        return ""
    counted = [
        usage for answer in answers if (usage := answer.usage) and None not in (usage.input_tokens, usage.output_tokens)
    ]
    costs = [cost for answer in answers if (cost := answer.cost) is not None]
    shown = [f"{len(answers)} answer{'s' if len(answers) > 1 else ''}"]
    if counted:
        usage = sum(counted, Usage(0, 0))
        shown.append(f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out")
    if costs:
        shown.append(format_price(sum(costs, Decimal(0))))
    lacking: dict[int, list[str]] = {}
    for what, known in (("tokens", counted), ("price", costs)):
        lacking.setdefault(len(answers) - len(known), []).append(what)
    for count, unknown in lacking.items():
        if count:
            named = " and ".join(unknown)
            shown.append(f"{named} unknown" if count == len(answers) else f"{count} of unknown {named}")
    return _DOT.join(shown)


def transcript(chat: Chat, pictures: Pictures = thumbnail) -> str:
    """A conversation as Markdown that is safe to show wherever notebooks are.

    Args:
        chat: The conversation.
        pictures: Gives the small pictures.
    """
    parts = [f"**System**\n\n{safe_markdown(chat.system)}"] if chat.system else []
    for turn in chat.turns:
        parts.append(_markdown_question(turn, pictures))
        parts.append(_markdown_answer(turn.answer))
    if not parts:
        return _NOTHING
    return "\n\n".join([*parts, f"<small>{escape(totals(chat))}</small>" if chat.turns else ""]).rstrip() + "\n"


def dropped_images_note(turn: Turn) -> str:
    """What a reader should know of the pictures that were not sent again; empty where all were."""
    if not turn.dropped_images:
        return ""
    return f"Sent without {turn.dropped_images} earlier picture{'s' if turn.dropped_images > 1 else ''}."


def _markdown_question(turn: Turn, pictures: Pictures) -> str:
    documents, remark = turn.question.image_documents, dropped_images_note(turn)
    shown = [f"{_image(document, pictures)} <sub>{inline_text(document.title)}</sub>" for document in documents]
    return "\n\n".join(
        ["---", "**You**", *shown, safe_markdown(turn.question.text), *([f"_{remark}_"] if remark else [])]
    )


def _markdown_answer(answer: ChatResponse) -> str:
    remark = [f"> **Note:** {answer.remark}"] if answer.remark else []
    return "\n\n".join(
        [
            f"**{inline_text(answer.model or 'assistant')}**",
            safe_markdown(answer.text),
            *remark,
            f"<small>{escape(facts_line(answer))}</small>",
        ]
    )


def _image(document: ImageDocument, pictures: Pictures) -> str:
    """A small picture as HTML, which Markdown takes everywhere; a Markdown image of data breaks LaTeX."""
    shown = pictures(document)
    return f'<img src="{escape(shown)}" alt="{inline_text(document.title)}">' if shown else "(picture)"


def page(chat: Chat) -> str:
    """A conversation as an HTML page of its own, which loads nothing and runs nothing."""
    body = [f"<section><h2>System</h2>{markdown_to_html(chat.system)}</section>"] if chat.system else []
    for turn in chat.turns:
        body.append(f"<section>{''.join(_page_turn(turn))}</section>")
    body.append(f"<section><small>{escape(totals(chat) or 'Nothing has been said yet.')}</small></section>")
    return _PAGE.format(title=escape(f"Conversation with {chat.llm}"), body="\n".join(body))


def _page_turn(turn: Turn) -> Iterator[str]:
    question, answer, remark = turn.question, turn.answer, dropped_images_note(turn)
    yield "<h2>You</h2>"
    for document in question.image_documents:
        name = escape(document.title)
        yield f"<figure>{_image(document, _page_picture)}<figcaption>{name}</figcaption></figure>"
    yield f'<div class="said">{escape(question.text)}</div>{f"<small>{remark}</small>" if remark else ""}'
    yield f"<h2>{escape(answer.model or 'assistant')}</h2>"
    yield answer_html(answer.text)
    yield f"<p><b>Note:</b> {escape(answer.remark)}</p>" if answer.remark else ""
    yield f"<small>{escape(facts_line(answer))}</small>"


def notebook(chat: Chat) -> dict[str, Any]:
    """A conversation as a notebook in Jupyter's format 4.5: a cell of Markdown for each question and answer."""
    sources = [f"# Conversation with {inline_text(str(chat.llm))}"]
    sources += [f"**System**\n\n{safe_markdown(chat.system)}"] if chat.system else []
    for turn in chat.turns:
        sources += [_markdown_question(turn, _page_picture), _markdown_answer(turn.answer)]
    cells = [
        {"cell_type": "markdown", "id": f"said-{place}", "metadata": {}, "source": source}
        for place, source in enumerate(sources)
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
