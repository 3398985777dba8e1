"""`ConversationRecord`: writes a conversation to the store as it grows, and restores it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import ref

from vision_nb.conversation.chat import Chat
from vision_nb.conversation.serialization import DAMAGE, question_fields, read_question, read_turn, turn_fields
from vision_nb.conversation.turn import Turn
from vision_nb.errors import StoreError, VisionError
from vision_nb.messages import ChatMessage
from vision_nb.notebook.interrupts import keep_weakly
from vision_nb.notebook.ipython import current_cell_id, in_voila, shell
from vision_nb.responses import ChatResponse
from vision_nb.store import Store


class ConversationRecord:
    """The copy of a conversation in the store.

    Each question is written when it is asked, and each turn when it ends, in a thread. Images are stored as they are
    exported: without metadata, and scaled down to at most 2,048 pixels a side.

    Args:
        chat: The conversation.
        place: What it belongs to; see `place_of_cell` and `place_of_name`.
        store: The store; None to write nothing.

    Attributes:
        chat: The conversation.
        time: When it was written last, in seconds since 1970; None if it has not been written.
        first_code_prompt: The first question that code asked; empty if there is none.
        error: Why it could not be read or written; empty if it could.
    """

    def __init__(self, chat: Chat, place: str, store: Store | None) -> None:
        self.chat, self.first_code_prompt, self.error = chat, "", ""
        self._place, self._store = place, store
        self.time: float | None = None
        self._id: int | None = None
        self._revision = 0
        self._written: tuple[Turn, ...] = ()
        self._seen = _State((), None, "")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="vision_nb-conversation")

    def restore(self) -> None:
        """Continue the latest conversation of this place, if there is one: give its turns to the chat.

        A question that was not answered becomes the chat's ``failed_turn``.

        Raises:
            StoreError: The store cannot be read, or the conversation in it is damaged.
        """
        if self._store is None:
            return
        try:
            if (found := self._store.latest_conversation(self._place)) is None:
                return
            turns = tuple(read_turn(turn) for turn in found.turns if "answer" in turn)
            unanswered = [read_question(turn["question"]) for turn in found.turns if "answer" not in turn]
            first_code_prompt = str(found.settings.get("first_code_prompt", ""))
        except DAMAGE as error:
            raise StoreError(f"The conversation in {self._store.path} is damaged, so a new one begins.") from error
        question = unanswered[-1] if unanswered else None
        self.chat.failed_turn = None if question is None else Turn(question, ChatResponse(model=self.chat.llm.model))
        self.chat.replace(turns)
        self.time, self.first_code_prompt = found.time, first_code_prompt
        self._id, self._revision, self._written = found.id, found.revision, turns
        self._seen = _State(turns, question, first_code_prompt)

    def start_new(self) -> None:
        """Write what follows as a new conversation; the earlier one stays in the store."""
        self._writer.submit(self._forget)
        self._seen, self.first_code_prompt = _State((), None, ""), ""

    def _forget(self) -> None:
        self._id, self._revision, self._written = None, 0, ()

    def save(self) -> None:
        """Write the conversation in a thread, if it has changed."""
        unanswered = self.chat.answering or self.chat.failed_turn
        question = None if unanswered is None else unanswered.question
        state = _State(self.chat.turns, question, self.first_code_prompt)
        if self._store is not None and not state.is_same(self._seen):
            self._seen = state
            self._writer.submit(self._write, self._store, state)

    def flush(self) -> None:
        """Wait until everything is written."""
        self._writer.submit(lambda: None).result()

    def _write(self, store: Store, state: _State) -> None:
        try:
            if not self._update(store, state):  # new, or another process continues the one in the store
                self._id, self._revision = store.add_conversation(self._place, state.settings, state.values(0)), 1
        except VisionError as error:
            self.error = str(error)
        except Exception as error:  # in this thread, nobody would see it
            self.error = f"{type(error).__name__}: {error}"
        else:
            self._written, self.time, self.error = state.turns, time.time(), ""

    def _update(self, store: Store, state: _State) -> bool:
        """Write what has changed, and return whether it was written."""
        if self._id is None:
            return False
        start = _common_length(state.turns, self._written)
        is_written = store.update_conversation(
            self._id, self._revision, state.settings, state.values(start), start=start
        )
        self._revision += is_written  # after a write of another process, it must never match again
        return is_written


@dataclass(frozen=True)
class _State:
    turns: tuple[Turn, ...]
    unanswered: ChatMessage | None
    first_code_prompt: str

    def is_same(self, other: _State) -> bool:
        """Return whether nothing has changed; values are not compared, because images can be large."""
        return (
            len(self.turns) == len(other.turns)
            and _common_length(self.turns, other.turns) == len(self.turns)
            and self.unanswered is other.unanswered
            and self.first_code_prompt == other.first_code_prompt
        )

    @property
    def settings(self) -> dict[str, Any]:
        return {"first_code_prompt": self.first_code_prompt}

    def values(self, start: int) -> list[Any]:
        """Return the turns from a position on as JSON data, and the unanswered question without an answer."""
        values = [turn_fields(turn) for turn in self.turns[start:]]
        return values if self.unanswered is None else [*values, {"question": question_fields(self.unanswered)}]


def _common_length(turns: Sequence[Turn], others: Sequence[Turn]) -> int:
    """Return the number of turns at the beginning that are the same objects."""
    for length, (turn, other) in enumerate(zip(turns, others, strict=False)):
        if turn is not other:
            return length
    return min(len(turns), len(others))


_records: dict[tuple[str, str], ref[ConversationRecord]] = {}  # by place and store


def find_record(place: str | None, store: Store | str | Path | None) -> ConversationRecord | None:
    """Return the record of a place that this process continues already, or None; arguments as `begin_record`."""
    reference = None if place is None else _records.get((place, _store_name(store)))
    return None if reference is None else reference()


def _store_name(store: Store | str | Path | None) -> str:
    return str(store.path if isinstance(store, Store) else store)


def begin_record(chat: Chat, place: str | None, store: Store | str | Path | None) -> ConversationRecord:
    """Return a record of a conversation; if it has no turns, it continues the one that is stored for its place.

    Args:
        chat: The conversation.
        place: What it belongs to; None to keep nothing.
        store: A store or the path of its file; None for the file in the user's cache folder.
    """
    if place is None:
        return ConversationRecord(chat, "", None)
    record = ConversationRecord(chat, place, None)
    try:
        record = ConversationRecord(chat, place, store if isinstance(store, Store) else Store(store))
        if not chat.turns:
            record.restore()
    except StoreError as error:
        record.error = str(error)
    keep_weakly(_records, (place, _store_name(store)), record)
    return record


def place_of_cell(number: int) -> str | None:
    """Return the place of a panel in the running cell, or None if its notebook or cell is unknown.

    Args:
        number: The number of panels that this run of the cell has created before.
    """
    cell_id, path = current_cell_id(), _notebook_path()
    return None if cell_id is None or path is None else _digest("cell", path, cell_id, str(number))


def place_of_name(name: str) -> str | None:
    """Return the place of a conversation with a name; None in a dashboard, whose visitors have the same names."""
    return None if in_voila() else _digest("name", name)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _notebook_path() -> str | None:
    """Return the path of the running notebook as Jupyter's server or VS Code names it, or None."""
    if in_voila():
        return None  # each visitor of a dashboard has a kernel: they must not see each other's conversations
    namespace = getattr(shell(), "user_ns", {})
    path = os.environ.get("JPY_SESSION_NAME") or namespace.get("__vsc_ipynb_file__")
    return path if isinstance(path, str) else None
