"""One question to several models at once, and their answers side by side: ``-m``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from vision_nb.errors import VisionError
from vision_nb.magics.output import facts_of
from vision_nb.magics.question import Question, completion, stored
from vision_nb.notebook.ipython import DisplayOnce
from vision_nb.notebook.run_sync import run_sync
from vision_nb.rendering import html
from vision_nb.rendering.format import format_price
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.responses import CompletionResponse
from vision_nb.store import Store

_CELL = "vertical-align:top;text-align:left;padding:6px 10px;overflow-wrap:anywhere"


@dataclass(frozen=True)
class Answer:
    """One model's answer.

    Attributes:
        model: The model, as ``str(llm)`` names it.
        response: The answer, or None.
        error: Why there is none, or None.
        from_store: Whether it was there already.
    """

    model: str
    response: CompletionResponse | None = None
    error: VisionError | None = None
    from_store: bool = False


class Answers(DisplayOnce, Sequence[Answer]):
    """The answers of several models to one question, side by side in a notebook."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers = tuple(answers)

    def __getitem__(self, place: Any) -> Any:
        return self._answers[place]

    def __len__(self) -> int:
        return len(self._answers)

    def metadata(self) -> dict[str, Any]:
        """What made the answers, for who reads the saved notebook."""
        made = [facts_of(one.response, from_store=one.from_store) for one in self._answers if one.response]
        return {"vision_nb": {"answers": made}}

    def _repr_html_(self) -> str:
        width = f"width:{100 // len(self)}%"
        head = "".join(f'<th scope="col" style="{_CELL};{width}">{escape(one.model)}</th>' for one in self)
        body = "".join(f'<td style="{_CELL}">{_shown(one)}</td>' for one in self)
        return (
            '<table style="border-collapse:collapse;width:100%;table-layout:fixed">'
            f"<thead><tr>{head}</tr></thead><tbody><tr>{body}</tr></tbody></table>"
        )

    def __repr__(self) -> str:
        return "\n\n".join(
            f"--- {one.model} ({', '.join(_facts(one)) or 'no answer'})\n{one.response or one.error}" for one in self
        )


def _shown(one: Answer) -> str:
    if one.response is None:
        return f"&#9888; {escape(f'{type(one.error).__name__}: {one.error}')}"
    remark = f"<p><b>Note:</b> {escape(one.response.remark)}</p>" if one.response.remark else ""
    return markdown_to_html(one.response.text) + remark + html.muted_text(", ".join(_facts(one)))


def _facts(one: Answer) -> list[str]:
    if one.response is None:
        return []
    usage = one.response.usage
    time_taken = [] if one.response.latency is None else [f"{one.response.latency:.1f} s"]
    tokens = [] if usage is None or usage.total_tokens is None else [f"{usage.total_tokens:,} tokens"]
    price = format_price(one.response.cost, decimals=6)
    return [*time_taken, *tokens, price, *(["from the store"] if one.from_store else [])]


def ask_all(questions: Sequence[Question], store: Store, *, cache: bool) -> Answers:
    """Ask the same of several models at once; a model that fails has its error in its column.

    Raises:
        VisionError: No model answered; it is the first one's error.
    """

    async def together() -> list[Answer]:
        return list(await asyncio.gather(*(_answer(question, store, cache) for question in questions)))

    answers = run_sync(together())
    errors = [answer.error for answer in answers if answer.error is not None]
    if len(errors) == len(answers):
        raise errors[0]
    return Answers(answers)


async def _answer(question: Question, store: Store, cache: bool) -> Answer:
    name = str(question.llm)
    try:
        found = stored(question, store) if cache else None
        if found is not None:
            return Answer(name, completion(found), from_store=True)
        response = await question.llm.achat(question.messages)
        store.put(question.key(store), name, response)
    except VisionError as error:
        return Answer(name, error=error)
    return Answer(name, completion(response))
