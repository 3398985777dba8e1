"""Ask several models the same question, and compare their answers (``-m``)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vision_nb.checks.indices import item_at
from vision_nb.comparison.answer_cells import answer_html, answer_table, cell, error_html
from vision_nb.errors import VisionError
from vision_nb.images.answer_strip import answer_strip, image_names
from vision_nb.images.document import ImageDocument
from vision_nb.magics.output import answer_metadata, waiting_line
from vision_nb.magics.question import Question, as_completion
from vision_nb.notebook.ipython import DisplayOnce
from vision_nb.notebook.run_sync import run_sync
from vision_nb.rendering.answer import answer_facts, answer_markdown, reasoning_html
from vision_nb.rendering.demo_badge import BADGE, BADGE_HTML
from vision_nb.rendering.html import muted_text
from vision_nb.rendering.sanitize import terminal_text
from vision_nb.responses import CompletionResponse
from vision_nb.storage.claims import aclaimed
from vision_nb.store import Store
from vision_nb.user_warnings import to_thread


@dataclass(frozen=True, repr=False)
class Answer:
    """One model's answer.

    Attributes:
        model: The model's name, as ``str(llm)``.
        label: The model's name for display.
        response: The answer, or None if the model failed.
        error: The error, or None.
        from_store: Whether the answer came from the store.
    """

    model: str
    label: str
    response: CompletionResponse | None = None
    error: VisionError | None = None
    from_store: bool = False

    def __repr__(self) -> str:
        return terminal_text(f"Answer({self.label}: {(self.response or self.error)!r})")


class Answers(DisplayOnce, Sequence[Answer]):
    """The answers of several models, shown side by side in a notebook.

    Args:
        answers: The answers.
        images: The images of the question, which are shown below the answers.
    """

    def __init__(self, answers: Sequence[Answer], images: Sequence[ImageDocument] = ()) -> None:
        self._answers, self._images = tuple(answers), tuple(images)

    def __getitem__(self, index: Any) -> Any:
        return item_at(self._answers, index, "answer")

    def __len__(self) -> int:
        return len(self._answers)

    def metadata(self) -> dict[str, Any]:
        """Return the models, tokens and prices, for the saved notebook."""
        answered = [answer_metadata(one.response, from_store=one.from_store) for one in self._answers if one.response]
        return {"vision_nb": {"answers": answered}}

    def _repr_html_(self) -> str:
        table = answer_table([one.label for one in self], ["".join(cell(_answer_html(one)) for one in self)])
        return table + answer_strip(self._images) + (BADGE_HTML if self._has_demo else "")

    def __repr__(self) -> str:
        texts = [f"--- {one.label} ({', '.join(_facts(one))})\n{one.response or one.error}" for one in self]
        names = [f"({image_names(self._images)})"] if self._images else []
        return terminal_text("\n\n".join([*texts, *names, *([f"({BADGE})"] if self._has_demo else [])]))

    @property
    def _has_demo(self) -> bool:
        return any(one.response is not None and one.response.is_demo for one in self._answers)


def _answer_html(answer: Answer) -> str:
    if answer.response is None:
        return error_html(f"{type(answer.error).__name__}: {answer.error}")
    response = answer.response
    if response.parsed is not None:
        return reasoning_html(response) + answer_markdown(response) + muted_text(", ".join(_facts(answer)))
    return reasoning_html(response) + answer_html(response.text, facts=_facts(answer), remark=response.remark)


def _facts(answer: Answer) -> list[str]:
    response = answer.response
    if response is None:
        return ["failed"]
    tokens = None if response.usage is None else response.usage.total_tokens
    facts = answer_facts(
        latency_s=response.latency,
        tokens=tokens,
        usd=response.cost,
        usd_is_reported=response.reported_cost is not None,
        is_demo=response.is_demo,
    )
    return [*facts, *(["from the cache"] if answer.from_store else [])]


def ask_all(
    questions: Sequence[Question], store: Store, *, cache: bool, silent: bool, thumbnails: bool = True
) -> Answers:
    """Ask several models at once; a failed model's error is in the result.

    Args:
        questions: The same question to each model.
        store: The store of answers.
        cache: Whether stored answers are used.
        silent: Whether to show nothing while an answer is being made elsewhere.
        thumbnails: Whether to show the images of the question below the answers.

    Raises:
        VisionError: Every model failed; this is the first one's error.
    """
    answers = run_sync(aask_all(questions, store, cache=cache, silent=silent))
    errors = [answer.error for answer in answers if answer.error is not None]
    if len(errors) == len(answers):
        raise errors[0]
    return Answers(answers, questions[0].message.image_documents if thumbnails else ())


async def aask_all(questions: Sequence[Question], store: Store, *, cache: bool, silent: bool = False) -> list[Answer]:
    """Ask several models at once, like `ask_all`, but do not raise if every model failed."""
    answers = list(await asyncio.gather(*(_ask(question, store, cache, silent) for question in questions)))
    await to_thread(store.checkpoint)
    return answers


async def _ask(question: Question, store: Store, cache: bool, silent: bool) -> Answer:
    # Reading images and waiting for the database would block the event loop, so both are done in a thread.
    name, label = str(question.llm), question.llm.label
    try:
        key = await to_thread(question.key, store)
        async with aclaimed(store.claim(key, reuse=cache), waiting=waiting_line(name, silent=silent)) as stored:
            answer = None if stored is None else question.as_answer(stored)
            if answer is not None:
                return Answer(name, label, as_completion(answer), from_store=True)
            response = await question.llm.achat(question.messages, **question.call_options)
            await to_thread(store.put, key, name, response)
    except VisionError as error:
        return Answer(name, label, error=error)
    return Answer(name, label, as_completion(response))
