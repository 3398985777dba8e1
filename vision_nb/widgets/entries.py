"""Turns as the page shows them."""

from __future__ import annotations

from vision_nb.chat import Chat, Turn
from vision_nb.formula_html import answer_html
from vision_nb.responses import ChatResponse
from vision_nb.transcript import about, left_out
from vision_nb.widgets.answering import Failure
from vision_nb.widgets.thumbnails import Thumbnails
from vision_nb.widgets.transcript_view import Entry

PENDING, FAILED = "pending", "failed"
"""The ids of a turn that is being answered, and of one that was not."""


class Entries:
    """Makes the entries of a conversation, each once.

    Args:
        thumbnails: Gives the small pictures.
    """

    def __init__(self, thumbnails: Thumbnails) -> None:
        self._thumbnails = thumbnails
        self._made: dict[str, tuple[Turn, Entry]] = {}

    def of(self, chat: Chat, failure: Failure | None) -> list[Entry]:
        """The entries of all turns, with that which is being answered or which failed at the end."""
        made = {id_of(turn): self._finished(turn) for turn in chat.turns}
        self._made = {name: found for name, found in made.items() if _is_complete(found[1])}
        entries = [entry for _, entry in made.values()]
        if chat.answering is not None:
            state = "answering" if chat.answering.answer.text else "waiting"
            entries.append(self._entry(PENDING, chat.answering, state))
        elif failure is not None:
            entries.append(self._entry(FAILED, failure.turn, "failed", error=failure.message))
        return entries

    def _finished(self, turn: Turn) -> tuple[Turn, Entry]:
        kept = self._made.get(id_of(turn))
        if kept is not None and kept[0] is turn:
            return kept
        state = "stopped" if turn.answer.finish_reason == "interrupted" else "done"
        return turn, self._entry(id_of(turn), turn, state, facts=facts_line(turn.answer))

    def _entry(self, name: str, turn: Turn, state: str, *, facts: str = "", error: str = "") -> Entry:
        pictures = [
            {"name": document.title, "thumbnail": self._thumbnails.get(document) or ""}
            for document in turn.question.image_documents
        ]
        return {
            "id": name,
            "prompt": turn.question.text,
            "pictures": pictures,
            "note": left_out(turn),
            "state": state,
            "model": turn.answer.model or "assistant",
            "html": answer_html(turn.answer.text),
            "remark": turn.answer.remark or "",
            "error": error,
            "facts": facts,
        }


def id_of(turn: Turn) -> str:
    """What the page calls a turn: the same as long as it is there."""
    return f"{id(turn):x}"


def facts_line(answer: ChatResponse) -> str:
    """Tokens, time and price of an answer, and not its model, which stands above it."""
    shown = about(answer)
    return " \N{MIDDLE DOT} ".join(shown[1:] if answer.model else shown)


def _is_complete(entry: Entry) -> bool:
    return all(picture["thumbnail"] for picture in entry["pictures"])
