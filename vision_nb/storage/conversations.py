"""Conversations in the store's file."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vision_nb.storage.store_file import StoreFile

KEPT_CONVERSATIONS = 5
"""How many conversations are kept for each place; when there are more, the oldest is deleted."""

MAX_BYTES = 500_000_000
"""The maximum size of all conversations together; above it, the oldest are deleted."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, place TEXT NOT NULL, time REAL NOT NULL, revision INTEGER NOT NULL,
    settings TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS turns (
    conversation INTEGER NOT NULL, number INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (conversation, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS turn_sizes (
    conversation INTEGER NOT NULL, number INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (conversation, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS partial_answers (conversation INTEGER PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cells (place TEXT PRIMARY KEY, cell TEXT NOT NULL, path TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS clearings (number INTEGER PRIMARY KEY, time REAL NOT NULL);
"""
"""The tables."""

TABLES = ("turns", "turn_sizes", "partial_answers", "conversations", "cells")
"""The tables whose rows are deleted when the store is cleared."""

_LATEST_FIRST = "ORDER BY time DESC, id DESC"


@dataclass(frozen=True)
class ConversationSummary:
    """A conversation in a list.

    Attributes:
        id: Its number in the store.
        time: When it was written last, in seconds since 1970.
        settings: JSON data about the whole conversation.
    """

    id: int
    time: float
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class StoredConversation(ConversationSummary):
    """A conversation as the store holds it.

    Attributes:
        revision: How often it has been written.
        turns: The JSON data of each turn, oldest first.
        partial_answer: The JSON data of the part of the last answer that had arrived; None if it is complete.
    """

    revision: int
    turns: Sequence[Any]
    partial_answer: Any


class ConversationStore(StoreFile):
    """The part of a store that holds conversations, each of which belongs to a place, such as a notebook's cell."""

    def conversations(self, place: str) -> list[ConversationSummary]:
        """Return the conversations of a place that have turns, the most recent first."""
        with self._locked() as connection:
            rows = connection.execute(
                "SELECT id, time, settings FROM conversations WHERE place = ? "
                f"AND EXISTS (SELECT 1 FROM turns WHERE conversation = id) {_LATEST_FIRST}",
                [place],
            ).fetchall()
        return [ConversationSummary(number, written, json.loads(settings)) for number, written, settings in rows]

    def find_conversation(self, place: str, number: int | None = None) -> StoredConversation | None:
        """Return a conversation of a place, or None if there is none.

        Args:
            place: What it belongs to.
            number: Its id; None for the most recent one.
        """
        if number is not None and abs(number) >= 1 << 63:  # from a page; SQLite has no such integers
            return None
        with self._locked() as connection:
            row = connection.execute(
                "SELECT id, time, settings, revision FROM conversations WHERE place = ? AND (? IS NULL OR id = ?) "
                f"{_LATEST_FIRST} LIMIT 1",
                [place, number, number],
            ).fetchone()
            if row is None:
                return None
            conversation, written, settings, revision = row
            turns = connection.execute(
                "SELECT value FROM turns WHERE conversation = ? ORDER BY number", [conversation]
            ).fetchall()
            partial = connection.execute(
                "SELECT value FROM partial_answers WHERE conversation = ?", [conversation]
            ).fetchone()
        return StoredConversation(
            conversation,
            written,
            json.loads(settings),
            revision,
            [json.loads(value) for (value,) in turns],
            None if partial is None else json.loads(partial[0]),
        )

    def clearings(self) -> int:
        """Return how often the store has been cleared."""
        with self._locked() as connection:
            return _clearings(connection)

    def add_conversation(
        self, place: str, settings: Mapping[str, Any], turns: Sequence[Any], *, clearings: int
    ) -> int | None:
        """Write a new conversation and return its id, or None if the store has been cleared; its revision is 1.

        Args:
            place: What it belongs to.
            settings: JSON data about the whole conversation.
            turns: The JSON data of each turn, oldest first.
            clearings: How often the store had been cleared when the turns were collected.
        """
        with self._transaction() as connection:
            if _clearings(connection) != clearings:
                return None
            cursor = connection.execute(
                "INSERT INTO conversations (place, time, revision, settings) VALUES (?, ?, 1, ?)",
                (place, time.time(), json.dumps(settings)),
            )
            conversation = int(cursor.lastrowid or 0)
            _insert_turns(connection, conversation, 0, turns)
            outdated = connection.execute(
                f"SELECT id FROM conversations WHERE place = ? {_LATEST_FIRST} LIMIT -1 OFFSET ?",
                (place, KEPT_CONVERSATIONS),
            ).fetchall()
            _delete(connection, [number for (number,) in outdated])
            _limit_size(connection)
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
                for table in ("turns", "turn_sizes"):
                    connection.execute(
                        f"DELETE FROM {table} WHERE conversation = ? AND number >= ?", (conversation, start)
                    )
                connection.execute("DELETE FROM partial_answers WHERE conversation = ?", [conversation])
                _insert_turns(connection, conversation, start, turns)
                _limit_size(connection)
        self._checkpoint_soon()
        return bool(updated)

    def put_partial_answer(self, conversation: int, revision: int, value: Any) -> None:
        """Write the part of the last answer that has arrived, unless another process continues the conversation.

        Args:
            conversation: The conversation's id.
            revision: Its revision when this process wrote it last.
            value: JSON data.
        """
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO partial_answers SELECT id, ? FROM conversations WHERE id = ? AND revision = ?",
                (json.dumps(value), conversation, revision),
            )
        self._checkpoint_soon()

    def put_cell(self, place: str, cell: str, path: str) -> None:
        """Write the cell and the notebook of a place.

        Args:
            place: The place.
            cell: An id of the cell, which does not depend on the notebook's path.
            path: The notebook's path.
        """
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO cells VALUES (?, ?, ?)", (place, cell, path))

    def places_of_cell(self, cell: str) -> list[tuple[str, str]]:
        """Return the places with the same cell id, each with its notebook's path."""
        with self._locked() as connection:
            return connection.execute("SELECT place, path FROM cells WHERE cell = ? ORDER BY rowid", [cell]).fetchall()

    def move_place(self, place: str, new_place: str, path: str) -> None:
        """Give the conversations and the cell of a place to another place.

        Args:
            place: The place.
            new_place: The other one.
            path: The path that the cell's notebook has now.
        """
        with self._transaction() as connection:
            connection.execute("UPDATE conversations SET place = ? WHERE place = ?", (new_place, place))
            connection.execute(
                "UPDATE OR REPLACE cells SET place = ?, path = ? WHERE place = ?", (new_place, path, place)
            )


def _clearings(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM clearings").fetchone()[0])


def _insert_turns(connection: sqlite3.Connection, conversation: int, start: int, turns: Sequence[Any]) -> None:
    for number, turn in enumerate(turns, start):
        value = json.dumps(turn)  # in ASCII
        connection.execute("INSERT INTO turns VALUES (?, ?, ?)", (conversation, number, value))
        connection.execute("INSERT INTO turn_sizes VALUES (?, ?, ?)", (conversation, number, len(value)))


def _limit_size(connection: sqlite3.Connection) -> None:
    """Delete the oldest conversations if all together are too large; the most recent one is kept."""
    rows = connection.execute(
        "SELECT id, (SELECT sum(bytes) FROM turn_sizes WHERE conversation = id) FROM conversations " + _LATEST_FIRST
    ).fetchall()
    total, outdated = 0, []
    for conversation, size in rows:
        total += size or 0
        if total > MAX_BYTES:
            outdated.append(conversation)
    _delete(connection, [number for number in outdated if number != rows[0][0]])


def _delete(connection: sqlite3.Connection, conversations: Sequence[int]) -> None:
    for conversation in conversations:
        connection.execute("DELETE FROM conversations WHERE id = ?", [conversation])
        for table in ("turns", "turn_sizes", "partial_answers"):
            connection.execute(f"DELETE FROM {table} WHERE conversation = ?", [conversation])
    if conversations:
        connection.execute("DELETE FROM cells WHERE place NOT IN (SELECT place FROM conversations)")
