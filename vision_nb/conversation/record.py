"""`ConversationRecord`: writes a conversation to the store as it grows, and restores it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from weakref import ref

from vision_nb.conversation.chat import Chat
from vision_nb.conversation.places import Place, is_gone
from vision_nb.conversation.record_state import Encoder, RecordState, common_length
from vision_nb.conversation.serialization import DAMAGE, read_question, read_turn
from vision_nb.conversation.turn import Turn
from vision_nb.conversation.watchers import Watchers
from vision_nb.errors import SettingsError, StoreError, VisionError
from vision_nb.messages import ChatMessage
from vision_nb.notebook.interrupts import keep_weakly
from vision_nb.paths import shown_path
from vision_nb.responses import ChatResponse
from vision_nb.storage.conversations import ConversationSummary, StoredConversation
from vision_nb.store import Store

PARTIAL_PAUSE = 1.0
"""How long a new part of an answer can wait until it is written, in seconds."""


class ConversationRecord:
    """The copy of a conversation in the store.

    Each question is written when it is asked, each turn when it ends, and the part of an answer that has arrived about
    once a second, in a thread. Images are stored as they are exported: without metadata, and scaled down to at most
    2,048 pixels a side. After the store has been cleared, only questions that are asked later are written.

    Args:
        chat: The conversation.
        place: What it belongs to.
        store: The store; None to write nothing.

    Attributes:
        chat: The conversation.
        time: When it was written last, in seconds since 1970; None if it has not been written.
        first_code_prompt: The first question that code asked; empty if there is none.
        error: Why it could not be read or written; empty if it could.
        earlier: The other conversations of its place, the most recent first.
    """

    def __init__(self, chat: Chat, place: Place, store: Store | None) -> None:
        self.chat, self.first_code_prompt, self.error = chat, "", ""
        self.earlier: tuple[ConversationSummary, ...] = ()
        self._place, self._store = place, store
        self.time: float | None = None
        self._id: int | None = None
        self._revision = 0
        self._clearings = 0 if store is None else store.clearings()
        self._written = self._seen = RecordState()
        self._left: tuple[int | None, int, RecordState] | None = None  # the conversation before a new one
        self._forgotten: tuple[ChatMessage, ...] = ()  # the questions that were written before the store was cleared
        self._encoder = Encoder()
        self._partial: Turn | None = None  # the part of an answer that was written last
        self._partial_timer: threading.Timer | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="vision_nb-conversation")
        self._watchers = Watchers()

    @property
    def unreadable(self) -> tuple[str, ...]:
        """The names of images that could no longer be read when the conversation was written."""
        return self._encoder.unreadable

    def restore(self) -> None:
        """Continue the most recent conversation of this place, if there is one.

        Raises:
            StoreError: The store cannot be read, or the conversation in it is damaged.
        """
        if self._store is None:
            return
        found = self._read(self._store, None) or self._read_moved(self._store)
        if found is not None:
            self._show(*found)
            self._continue(*found)
        self._list_earlier(self._store)

    async def open(self, number: int, check: Callable[[], None]) -> None:
        """Continue another conversation of this place; the current one stays in the store.

        Args:
            number: Its id.
            check: A function that raises an error if the conversation must not be changed now.

        Raises:
            SettingsError: The current conversation would be lost.
            StoreError: The store cannot be read, or the conversation is damaged or was deleted.
        """
        if (store := self._store) is None:
            return
        found = await asyncio.wrap_future(self._writer.submit(self._read, store, number))
        check()
        if self.error and self.chat.turns:
            raise SettingsError(f"The current conversation would be lost: export it first. {self.error}")
        if found is None:
            self._writer.submit(self._list_earlier, store)
            raise StoreError("This conversation is no longer in the store: choose another one.")
        self._writer.submit(self._continue, *found)
        self._writer.submit(self._list_earlier, store)
        self._show(*found)

    def start_new(self) -> None:
        """Write what follows as a new conversation; the earlier one stays in the store."""
        self._writer.submit(self._leave)
        if self._store is not None:
            self._writer.submit(self._list_earlier, self._store)
        self._seen, self.first_code_prompt = RecordState(), ""

    def save(self) -> None:
        """Write the conversation in a thread, if it has changed."""
        if self._store is None:
            return
        unanswered = self.chat.answering or self.chat.failed_turn
        question = None if unanswered is None else unanswered.question
        state = RecordState(self.chat.turns, question, self.first_code_prompt)
        if not state.is_same(self._seen):
            self._seen = state
            self._writer.submit(self._write, self._store, state)
        answer = None if self.chat.answering is None else self.chat.answering.answer
        if self._partial_timer is None and answer is not None and (answer.text or answer.reasoning):
            self._partial_timer = threading.Timer(PARTIAL_PAUSE, self._save_partial, [self._store])
            self._partial_timer.daemon = True
            self._partial_timer.start()

    def flush(self) -> None:
        """Wait until everything is written."""
        self._writer.submit(lambda: None).result()

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call a function, in another thread, when `error`, `unreadable` or `earlier` may have changed.

        Args:
            watcher: The function, called without arguments.

        Returns:
            A function that stops the calls.
        """
        return self._watchers.add(watcher)

    def _read(self, store: Store, number: int | None) -> tuple[StoredConversation, RecordState, Turn | None] | None:
        """Return a conversation of this place, its state, and the turn that was not answered; None if there is none.

        If the kernel ended during an answer, the part that had arrived becomes the last turn.
        """
        try:
            if (found := store.find_conversation(self._place.id, number)) is None:
                return None
            turns = [read_turn(turn) for turn in found.turns if "answer" in turn]
            unanswered = [turn["question"] for turn in found.turns if "answer" not in turn]
            question = read_question(unanswered[-1]) if unanswered else None
            failed = None if question is None else Turn(question, ChatResponse(model=self.chat.llm.model))
            if question is not None and found.partial_answer is not None:
                turn = read_turn({"question": unanswered[-1], **found.partial_answer})
                failed = replace(turn, question=question, answer=replace(turn.answer, finish_reason="incomplete"))
            state = RecordState(tuple(turns), question, str(found.settings.get("first_code_prompt", "")))
        except DAMAGE as error:
            raise StoreError(
                f"The conversation in {shown_path(store.path)} is damaged, so a new one begins."
            ) from error
        return found, state, failed

    def _read_moved(self, store: Store) -> tuple[StoredConversation, RecordState, Turn | None] | None:
        """Return the conversation of this cell from before its notebook was renamed or moved."""
        moved = [place for place, path in store.places_of_cell(self._place.cell) if is_gone(path)]
        if not (self._place.cell and moved):
            return None
        store.move_place(moved[-1], self._place.id, self._place.path)
        return self._read(store, None)

    def _show(self, found: StoredConversation, state: RecordState, failed: Turn | None) -> None:
        """Give a stored conversation to the chat."""
        self._seen, self.first_code_prompt, self.time = state, state.first_code_prompt, found.time
        turns = state.turns
        if failed is not None and failed.answer.text:
            turns, failed = (*turns, failed), None
        self.chat.failed_turn = failed
        self.chat.replace(turns)

    def _continue(self, found: StoredConversation, state: RecordState, _: Turn | None) -> None:
        """Write to a stored conversation from now on."""
        self._forget()
        self._id, self._revision, self._written, self._forgotten = found.id, found.revision, state, ()

    def _leave(self) -> None:
        left = self._id, self._revision, self._written
        self._forget()
        self._left = left

    def _forget(self) -> None:
        """Write later turns to a new conversation."""
        self._left = None
        self._id, self._revision, self._written, self._encoder = None, 0, RecordState(), Encoder()

    def _list_earlier(self, store: Store) -> None:
        try:
            self.earlier = tuple(one for one in store.conversations(self._place.id) if one.id != self._id)
        except StoreError as error:
            self.error = str(error)
        self._watchers.call()

    def _write(self, store: Store, state: RecordState) -> None:
        try:
            while not self._update(store, state):
                pass
            self.error = ""
        except VisionError as error:
            self.error = str(error)
        except Exception as error:  # in this thread, nobody would see it
            self.error = f"{type(error).__name__}: {error}"
        self._list_earlier(store)

    def _update(self, store: Store, state: RecordState) -> bool:
        """Write the changes; return False if the store was cleared in the meantime, and nothing was written."""
        if (clearings := store.clearings()) != self._clearings:
            self._forgotten = (*self._forgotten, *self._written.questions)
            self._clearings = clearings
            self._forget()
        state = state.without(self._forgotten)
        if self._left is not None and state.questions:
            if state.begins_with(self._left[2]):  # its turns were restored
                self._id, self._revision, self._written = self._left
            self._left = None
        start = common_length(state.turns, self._written.turns)
        is_written = self._id is not None and store.update_conversation(
            self._id, self._revision, state.settings, self._encoder.values(state, start), start=start
        )
        self._revision += is_written  # after a write of another process, it must never match again
        if not is_written and state.questions:  # new, or another process continues the one in the store
            values = self._encoder.values(state, 0)
            self._id = store.add_conversation(self._place.id, state.settings, values, clearings=clearings)
            if self._id is None:
                return False
            self._revision = 1
            if self._place.path:
                store.put_cell(self._place.id, self._place.cell, self._place.path)
        self._written = state
        if self._id is not None:
            self.time = time.time()
        return True

    def _save_partial(self, store: Store) -> None:
        self._partial_timer = None
        if (answering := self.chat.answering) is not None:
            self._writer.submit(self._write_partial, store, answering)

    def _write_partial(self, store: Store, answering: Turn) -> None:
        if self._id is None or self._written.unanswered is not answering.question or answering is self._partial:
            return
        self._partial = answering
        try:
            store.put_partial_answer(self._id, self._revision, self._encoder.partial(answering))
        except StoreError as error:
            self.error = str(error)


_records: dict[tuple[str, str], ref[ConversationRecord]] = {}  # by place and store


def find_record(place: Place | None, store: Store | str | Path | None) -> ConversationRecord | None:
    """Return the record of a place that this process continues already, or None; arguments as `begin_record`."""
    reference = None if place is None else _records.get((place.id, _store_name(store)))
    return None if reference is None else reference()


def _store_name(store: Store | str | Path | None) -> str:
    return str(store.path if isinstance(store, Store) else store)


def begin_record(chat: Chat, place: Place | None, store: Store | str | Path | None) -> ConversationRecord:
    """Return a record of a conversation; if it has no turns, it continues the one that is stored for its place.

    Args:
        chat: The conversation.
        place: What it belongs to; None to keep nothing.
        store: A store or the path of its file; None for the file in the user's cache folder.
    """
    if place is None:
        return ConversationRecord(chat, Place(""), None)
    record = ConversationRecord(chat, place, None)
    try:
        record = ConversationRecord(chat, place, store if isinstance(store, Store) else Store(store))
        if not chat.turns:
            record.restore()
    except StoreError as error:
        record.error = str(error)
    keep_weakly(_records, (place.id, _store_name(store)), record)
    return record
