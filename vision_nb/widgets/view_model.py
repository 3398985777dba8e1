"""The turns of a conversation, as the transcript view displays them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from vision_nb.conversation.chat import Chat
from vision_nb.conversation.export import dropped_images_note, facts_line
from vision_nb.conversation.turn import Turn
from vision_nb.rendering.answer import THINKING, reasoning_summary
from vision_nb.rendering.page import answer_html
from vision_nb.responses import UNFINISHED, ChatResponse
from vision_nb.widgets.thumbnails import ThumbnailCache
from vision_nb.widgets.transcript_view import TurnView

ANSWERING_ID, FAILED_ID = "answering", "failed"
"""The ids of the turn that is being answered and of the failed turn; other turns have an id of their own."""


@dataclass(frozen=True)
class FailedTurn:
    """A question that was not answered.

    Attributes:
        turn: The question, with the part of the answer that had arrived.
        error: The error message.
    """

    turn: Turn
    error: str


class TranscriptViewModel:
    """Converts the turns of a conversation to views, and caches the views of complete turns.

    Args:
        thumbnails: The thumbnails of the images.
    """

    def __init__(self, thumbnails: ThumbnailCache) -> None:
        self._thumbnails = thumbnails
        self._ids: dict[int, tuple[Turn, str]] = {}  # by id(turn), which is unique while the turn is kept here
        self._views: dict[str, TurnView] = {}
        self._id_count = 0

    def views(self, chat: Chat, failed: FailedTurn | None, *, wait: str = "") -> list[TurnView]:
        """Return the views of all turns, ending with the turn that is being answered or has failed, if any.

        Args:
            chat: The conversation.
            failed: The failed turn, or None.
            wait: Why the question is not sent yet, and for how long.
        """
        self._ids = {id(turn): (turn, self.id_of(turn)) for turn in chat.turns}
        finished = {self.id_of(turn): self._finished(turn) for turn in chat.turns}
        self._views = {turn_id: view for turn_id, view in finished.items() if _has_all_thumbnails(view)}
        views = list(finished.values())
        if chat.answering is not None:
            answer = chat.answering.answer
            state = "answering" if answer.text else "thinking" if answer.reasoning else "waiting"
            views.append(self._view(ANSWERING_ID, chat.answering, state, wait=wait))
        elif failed is not None:
            views.append(self._view(FAILED_ID, failed.turn, "failed", error=failed.error))
        return views

    def id_of(self, turn: Turn) -> str:
        """Return the id of a turn in the view; it never changes and is never used for another turn."""
        if id(turn) not in self._ids:
            self._id_count += 1
            self._ids[id(turn)] = turn, f"turn-{self._id_count}"
        return self._ids[id(turn)][1]

    def _finished(self, turn: Turn) -> TurnView:
        turn_id = self.id_of(turn)
        state = "stopped" if turn.answer.finish_reason in UNFINISHED else "done"
        return self._views.get(turn_id) or self._view(turn_id, turn, state, details=facts_line(turn.answer))

    def _view(
        self, turn_id: str, turn: Turn, state: str, *, details: str = "", error: str = "", wait: str = ""
    ) -> TurnView:
        return {
            "id": turn_id,
            "prompt": turn.question.text,
            "images": [
                {"name": document.title, "thumbnail": self._thumbnails.get(document) or ""}
                for document in turn.question.image_documents
            ],
            "note": dropped_images_note(turn),
            "state": state,
            "wait": wait,
            "model": turn.answer.shown_model or "assistant",
            "reasoning_summary": _reasoning_summary(turn.answer, state),
            "reasoning": _reasoning_html(turn.answer.reasoning),
            "html": answer_html(turn.answer.text),
            "text": turn.answer.text if turn_id != ANSWERING_ID else "",
            "remark": "" if error else turn.answer.remark or "",
            "error": error,
            "details": details,
        }


def _reasoning_summary(answer: ChatResponse, state: str) -> str:
    """Return the line above the reasoning; the page adds the seconds while the model is thinking."""
    if not answer.reasoning:
        return ""
    if state == "thinking":
        return THINKING
    return reasoning_summary(replace(answer, finish_reason=answer.finish_reason or state))


@lru_cache(maxsize=4)
def _reasoning_html(reasoning: str) -> str:
    """Render reasoning only once while the answer after it grows."""
    return answer_html(reasoning) if reasoning else ""


def _has_all_thumbnails(view: TurnView) -> bool:
    return all(image["thumbnail"] for image in view["images"])
