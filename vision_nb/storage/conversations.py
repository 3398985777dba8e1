"""Conversations in the store's file."""

from __future__ import annotations

import json
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

KEPT_CONVERSATIONS = 5
"""How many conversations are kept for each place; when there are more, the oldest is deleted."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, place TEXT NOT NULL, time REAL NOT NULL, revision INTEGER NOT NULL,
    settings TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS turns (
    conversation INTEGER NOT NULL, number INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (conversation, number)
) WITHOUT ROWID;
"""
"""The tables."""


@dataclass(frozen=True)
class StoredConversation:
    """A conversation as the store holds it.

    Attributes:
        id: Its number in the store.
        revision: How often it has been written.
        time: When it was written last, in seconds since 1970.
        settings: JSON data about the whole conversation.
        turns: The JSON data of each turn, oldest first.
    """

    id: int
    revision: int
    time: float
    settings: Mapping[str, Any]
    turns: Sequence[Any]


class ConversationStore(ABC):
    """The part of a store that holds conversations, each of which belongs to a place, such as a notebook's cell."""

    @abstractmethod
    def _locked(self) -> AbstractContextManager[sqlite3.Connection]:
        """Return the connection, for one thread at a time."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Return the connection, within a transaction."""

    @abstractmethod
    def _checkpoint_soon(self) -> None:
        """Empty the write-ahead log after a while."""

    def latest_conversation(self, place: str) -> StoredConversation | None:
        """Return the conversation of a place that was begun last, or None."""
        with self._locked() as connection:
            row = connection.execute(
                "SELECT id, revision, time, settings FROM conversations WHERE place = ? ORDER BY id DESC LIMIT 1",
                [place],
            ).fetchone()
            if row is None:
                return None
            conversation, revision, written, settings = row
            turns = connection.execute(
                "SELECT value FROM turns WHERE conversation = ? ORDER BY number", [conversation]
            ).fetchall()
        return StoredConversation(
            conversation, revision, written, json.loads(settings), [json.loads(value) for (value,) in turns]
        )

    def add_conversation(self, place: str, settings: Mapping[str, Any], turns: Sequence[Any]) -> int:
        """Write a new conversation, and return its id; its revision is 1.

        Args:
            place: What it belongs to.
            settings: JSON data about the whole conversation.
            turns: The JSON data of each turn, oldest first.
        """
        with self._transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO conversations (place, time, revision, settings) VALUES (?, ?, 1, ?)",
                (place, time.time(), json.dumps(settings)),
            )
            conversation = int(cursor.lastrowid or 0)
            _insert_turns(connection, conversation, 0, turns)
            outdated = "SELECT id FROM conversations WHERE place = ? ORDER BY id DESC LIMIT -1 OFFSET ?"
            connection.execute(f"DELETE FROM turns WHERE conversation IN ({outdated})", (place, KEPT_CONVERSATIONS))
            connection.execute(f"DELETE FROM conversations WHERE id IN ({outdated})", (place, KEPT_CONVERSATIONS))
        self._checkpoint_soon()
        return conversation

    def update_conversation(
        self, conversation: int, revision: int, settings: Mapping[str, Any], turns: Sequence[Any], *, start: int
    ) -> bool:
        """Write the turns of a conversation that have changed, and return whether they were written.

        Args:
            conversation: The conversation's id.
            revision: Its revision when this process read or wrote it last. If it is another one now, another process
                continues the conversation, and nothing is written.
            settings: JSON data about the whole conversation.
            turns: The JSON data of the changed turns; there are no turns after them.
            start: The number of unchanged turns before them.
        """
        with self._transaction() as connection:
            updated = connection.execute(
                "UPDATE conversations SET time = ?, revision = revision + 1, settings = ? "
                "WHERE id = ? AND revision = ?",
                (time.time(), json.dumps(settings), conversation, revision),
            ).rowcount
            if updated:
                connection.execute("DELETE FROM turns WHERE conversation = ? AND number >= ?", (conversation, start))
                _insert_turns(connection, conversation, start, turns)
        self._checkpoint_soon()
        return bool(updated)


def _insert_turns(connection: sqlite3.Connection, conversation: int, start: int, turns: Sequence[Any]) -> None:
    connection.executemany(
        "INSERT INTO turns VALUES (?, ?, ?)",
        [(conversation, number, json.dumps(turn)) for number, turn in enumerate(turns, start)],
    )
