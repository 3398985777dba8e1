"""Turns as the page shows them."""

from __future__ import annotations

from vision_nb.conversation.chat import Chat
from vision_nb.conversation.export import dropped_images_note, facts_line
from vision_nb.conversation.turn import Turn
from vision_nb.rendering.math import answer_html
from vision_nb.widgets.request import Failure
from vision_nb.widgets.thumbnails import Thumbnails
from vision_nb.widgets.transcript_view import TurnView

PENDING, FAILED = "pending", "failed"
"""The ids of a turn that is being answered, and of one that was not."""


class TranscriptViewModel:
    """Makes the entries of a conversation, each once.

    Args:
        thumbnails: Gives the small pictures.
    """

    def __init__(self, thumbnails: Thumbnails) -> None:
        self._thumbnails = thumbnails
        self._made: dict[str, tuple[Turn, TurnView]] = {}
        self._names: dict[int, tuple[Turn, str]] = {}  # by the turn's identity, which holds as long as the turn does
        self._count = 0

    def of(self, chat: Chat, failure: Failure | None) -> list[TurnView]:
        """The entries of all turns, with that which is being answered or which failed at the end."""
        self._names = {id(turn): (turn, self.name_of(turn)) for turn in chat.turns}
        made = {self.name_of(turn): self._finished(turn) for turn in chat.turns}
        self._made = {name: found for name, found in made.items() if _is_complete(found[1])}
        entries = [entry for _, entry in made.values()]
        if chat.answering is not None:
            state = "answering" if chat.answering.answer.text else "waiting"
            entries.append(self._entry(PENDING, chat.answering, state))
        elif failure is not None:
            entries.append(self._entry(FAILED, failure.turn, "failed", error=failure.message))
        return entries

    def name_of(self, turn: Turn) -> str:
        """What the page calls a turn: the same as long as it is there, and never another's."""
        if id(turn) not in self._names:
            self._count += 1
            self._names[id(turn)] = turn, f"turn {self._count}"
        return self._names[id(turn)][1]

    def _finished(self, turn: Turn) -> tuple[Turn, TurnView]:
        name = self.name_of(turn)
        if name in self._made:
            return self._made[name]
        state = "stopped" if turn.answer.finish_reason == "interrupted" else "done"
        return turn, self._entry(name, turn, state, facts=facts_line(turn.answer))

    def _entry(self, name: str, turn: Turn, state: str, *, facts: str = "", error: str = "") -> TurnView:
        pictures = [
            {"name": document.title, "thumbnail": self._thumbnails.get(document) or ""}
            for document in turn.question.image_documents
        ]
        return {
            "id": name,
            "prompt": turn.question.text,
            "pictures": pictures,
            "note": dropped_images_note(turn),
            "state": state,
            "model": turn.answer.model or "assistant",
            "html": answer_html(turn.answer.text),
            "remark": turn.answer.remark or "",
            "error": error,
            "facts": facts,
        }


def _is_complete(entry: TurnView) -> bool:
    return all(picture["thumbnail"] for picture in entry["pictures"])
