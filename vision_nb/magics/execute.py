"""Asks: takes an answer from the store, or lets it arrive, and shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

from vision_nb.magics.output import AnswerView
from vision_nb.magics.question import Question, stored
from vision_nb.notebook.display import display_stream
from vision_nb.responses import ChatResponse
from vision_nb.store import Store


def answer(
    question: Question,
    store: Store,
    view: Callable[[bool], AnswerView],
    *,
    cache: bool,
    stream: bool,
    keep: Callable[[ChatResponse], object],
) -> AnswerView:
    """Answer a question, from the store where it can, and show it.

    Args:
        question: What is asked.
        store: Where answers are kept.
        view: Makes the view, told whether the answer was there already.
        cache: Whether an answer of the store is taken.
        stream: Whether to show the answer while it arrives.
        keep: Called with the answer, before it is shown as whole; also with what an interrupt left of it.

    Returns:
        The view, with the response in it.
    """
    key = question.key(store)  # before the answer becomes a part of the conversation
    found = stored(question, store) if cache else None
    shown = view(found is not None)
    if found is not None:
        question.chat.add(question.message, found)
        keep(found)
        shown.finish(found)
        return shown
    if stream:
        display_stream(_watched(question, keep), live=shown)
    else:
        whole = question.chat.ask(question.prompt, question.images)
        keep(whole)
        shown.finish(whole)
    store.put(key, str(question.llm), question.chat.responses[-1])
    return shown


def _watched(question: Question, keep: Callable[[ChatResponse], object]) -> Iterator[ChatResponse]:
    """The stream of an answer; what has arrived is kept also where an interrupt or an error ends it."""
    latest = None
    with closing(question.chat.stream(question.prompt, question.images)) as stream:
        try:
            for latest in stream:
                yield latest
        except (GeneratorExit, KeyboardInterrupt):
            if latest is not None:
                latest = replace(latest, finish_reason="interrupted")
            raise
        finally:
            if latest is not None:
                keep(latest)
