"""Batches that were submitted and not yet collected, and the questions that wait in them, in the store's file.

The questions of a batch are reserved before its file is uploaded, in the transaction that checks that nobody else is
asking them. They stay reserved until the batch is collected, so that neither another batch nor a direct call asks them
again. A process that uploads, submits or collects a batch writes down who it is: if it is killed, the next one that
needs the batch continues where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vision_nb.errors import BatchError
from vision_nb.storage.processes import is_running, this_process
from vision_nb.storage.store_file import StoreFile

SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    token TEXT PRIMARY KEY, model TEXT NOT NULL, grid TEXT NOT NULL, step TEXT NOT NULL, created REAL NOT NULL,
    questions INTEGER NOT NULL, process TEXT NOT NULL DEFAULT '', busy_until REAL NOT NULL DEFAULT 0,
    file_id TEXT NOT NULL DEFAULT '', batch_id TEXT NOT NULL DEFAULT '', status TEXT NOT NULL DEFAULT '',
    done INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '', files TEXT NOT NULL DEFAULT '[]',
    is_own INTEGER NOT NULL DEFAULT 1, seen REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batch_questions (
    key TEXT PRIMARY KEY, token TEXT NOT NULL, facts TEXT NOT NULL DEFAULT '{}'
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS batch_questions_by_token ON batch_questions (token);
"""
"""The tables."""

ADDED_COLUMNS = {"server": "TEXT NOT NULL DEFAULT ''", "account": "TEXT NOT NULL DEFAULT ''"}
"""The columns that the batches of earlier versions do not have."""

TOKEN, GRID, PLACE = "vision_nb", "vision_nb_grid", "vision_nb_store"
"""The names of a batch's metadata: its token, the digest of its comparison's questions, and that of its store."""

PREPARING, UPLOADING, SUBMITTING, SUBMITTED, DELETING, OVER = (
    "preparing",
    "uploading",
    "submitting",
    "submitted",
    "deleting",
    "over",
)
"""The steps of a batch: its file is written, uploaded, submitted; its answers are waited for and collected; its files
are deleted; nothing is left to do."""

LEASE = 900.0
"""Seconds for which a process on another machine is assumed to be busy with a batch, unless it says so again."""
KEPT = 30 * 24 * 3600
"""Seconds for which a batch that is over is listed."""

_AMONG = "key IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True)
class StoredBatch:
    """A batch as the store knows it.

    Attributes:
        token: Identifies it in its metadata and in the name of its input file.
        model: The model's name, ``str(llm)``.
        grid: The digest of the questions of its comparison.
        step: What is to be done next: one of the steps above.
        created: When its questions were reserved, in seconds since 1970.
        questions: How many questions it has.
        process: The process that is, or was last, busy with it.
        busy_until: When a process on another machine is no longer assumed to be busy.
        file_id: The ID of its input file, or "".
        batch_id: Its ID on the server, or "".
        status: Its status on the server, or "".
        done: How many of its requests were done when it was last seen.
        message: What went wrong, in the server's own words; "" if nothing.
        files: The IDs of its files that are to be deleted.
        is_own: Whether its files may be deleted: it was submitted from this store.
        seen: When its status was read, in seconds since 1970.
        server: The address of its server, or "" if it is not known.
        account: A short digest of the account that submitted it, or "" if it is not known.
    """

    token: str
    model: str
    grid: str
    step: str
    created: float
    questions: int
    process: str = ""
    busy_until: float = 0.0
    file_id: str = ""
    batch_id: str = ""
    status: str = ""
    done: int = 0
    message: str = ""
    files: tuple[str, ...] = ()
    is_own: bool = True
    seen: float = 0.0
    server: str = ""
    account: str = ""

    @property
    def is_busy(self) -> bool:
        """Whether a process is working on it, perhaps this one."""
        return bool(self.process) and self.busy_until > time.time() and is_running(self.process)

    def belongs_to(self, server: str, account: str) -> bool:
        """Return whether an account submitted it, as far as that is known."""
        return self.server in ("", server) and (not account or self.account in ("", account))

    def metadata(self, place: str) -> dict[str, str]:
        """Return what is attached to it on the server.

        Args:
            place: The digest of its store's place.
        """
        return {TOKEN: self.token, GRID: self.grid, PLACE: place}


_COLUMNS = [field.name for field in fields(StoredBatch)]


class BatchStore(StoreFile):
    """The batches in the store's file."""

    def batches(self, tokens: Iterable[str] | None = None) -> list[StoredBatch]:
        """Return some batches, or all of them, oldest first."""
        where = "" if tokens is None else " WHERE token IN (SELECT value FROM json_each(?))"
        parameters = [] if tokens is None else [json.dumps(list(tokens))]
        with self._locked() as connection:
            rows = connection.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM batches{where} ORDER BY created, token", parameters
            ).fetchall()
        return list(map(_stored, rows))

    def questions_in_batches(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the token of the batch in which each of some questions waits, by key."""
        with self._locked() as connection:
            rows = connection.execute(
                f"SELECT key, token FROM batch_questions WHERE {_AMONG}", [json.dumps(list(keys))]
            )
            return dict(rows.fetchall())

    def questions_of_batch(self, token: str, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what is known about those questions that wait in a batch, by key."""
        with self._locked() as connection:
            rows = connection.execute(
                f"SELECT key, facts FROM batch_questions WHERE token = ? AND {_AMONG}", [token, json.dumps(list(keys))]
            )
            return {key: json.loads(facts) for key, facts in rows}

    def all_questions_of_batch(self, token: str) -> list[str]:
        """Return the keys of the questions that wait in a batch."""
        with self._locked() as connection:
            return [key for (key,) in connection.execute("SELECT key FROM batch_questions WHERE token = ?", [token])]

    def answered_since(self, keys: Iterable[str], since: float) -> set[str]:
        """Return those of some questions whose answers were stored since a time, in seconds since 1970."""
        with self._locked() as connection:
            rows = connection.execute(
                f"SELECT key FROM answers WHERE {_AMONG} AND time >= ?", [json.dumps(list(keys)), since]
            )
            return {key for (key,) in rows}

    def reserve_batch(self, batch: StoredBatch, keys: Iterable[str], *, reuse: bool) -> set[str]:
        """Write a batch, and reserve those questions that nobody is asking; return their keys.

        Args:
            batch: The batch, for which this process is noted as busy.
            keys: The keys of its questions.
            reuse: Leave out questions whose answers are stored.
        """
        now = time.time()
        with self._transaction() as connection:
            wanted = json.dumps(list(keys))
            asked = connection.execute(f"SELECT key, process, expires FROM claims WHERE {_AMONG}", [wanted]).fetchall()
            taken = {key for key, process, expires in asked if expires > now and is_running(process)}
            if reuse:
                taken |= {key for (key,) in connection.execute(f"SELECT key FROM answers WHERE {_AMONG}", [wanted])}
            free = [key for key in json.loads(wanted) if key not in taken]
            connection.executemany(
                "INSERT OR IGNORE INTO batch_questions (key, token) VALUES (?, ?)", [(key, batch.token) for key in free]
            )
            reserved = connection.execute("SELECT key FROM batch_questions WHERE token = ?", [batch.token]).fetchall()
            self._write(connection, batch, busy=batch.step != SUBMITTED)
            connection.execute("DELETE FROM batches WHERE step = ? AND created < ?", [OVER, now - KEPT])
        return {key for (key,) in reserved}

    def split_batch(self, source: str, batch: StoredBatch, facts: Mapping[str, Mapping[str, Any]]) -> None:
        """Write a batch, and give it some of the questions of another one.

        Args:
            source: The token of the other batch.
            batch: The new batch, for which this process is noted as busy.
            facts: What is known about each of its questions, by key.

        Raises:
            BatchError: Another process has taken over the other batch.
        """
        with self._transaction() as connection:
            self._write(connection, batch, busy=True)
            moved = connection.executemany(
                "UPDATE batch_questions SET token = ?, facts = ? WHERE key = ? AND token = ?",
                [(batch.token, json.dumps(known), key, source) for key, known in facts.items()],
            )
            if moved.rowcount != len(facts):
                raise taken_over()
            connection.execute("UPDATE batches SET busy_until = ? WHERE token = ?", [time.time() + LEASE, source])

    def _write(self, connection: sqlite3.Connection, batch: StoredBatch, *, busy: bool) -> None:
        values = {**vars(batch), "files": json.dumps(batch.files)}
        if busy:
            values |= {"process": this_process(), "busy_until": time.time() + LEASE}
        connection.execute(
            f"INSERT OR REPLACE INTO batches ({', '.join(values)}) VALUES (:{', :'.join(values)})", values
        )

    def update_batch(self, token: str, **changes: Any) -> None:
        """Change some columns of a batch."""
        with self._transaction() as connection:
            _update(connection, token, changes)

    def keep_batch(self, token: str) -> bool:
        """Note again that this process is busy with a batch; return False if another one has taken it over."""
        with self._transaction() as connection:
            kept = connection.execute(
                "UPDATE batches SET busy_until = ? WHERE token = ? AND process = ?",
                [time.time() + LEASE, token, this_process()],
            )
            return kept.rowcount == 1

    def take_batch(self, token: str) -> StoredBatch | None:
        """Note that this process is busy with a batch, and return it; None if another one is, or it is over."""
        with self._transaction() as connection:
            row = connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM batches WHERE token = ?", [token]).fetchone()
            if row is None:
                return None
            batch = _stored(row)
            if batch.step == OVER or batch.is_busy:
                return None
            connection.execute(
                "UPDATE batches SET process = ?, busy_until = ? WHERE token = ?",
                [this_process(), time.time() + LEASE, token],
            )
        return batch

    def leave_batch(self, token: str) -> None:
        """Note that this process is no longer busy with a batch, unless another one has taken it over."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE batches SET process = '', busy_until = 0 WHERE token = ? AND process = ?",
                [token, this_process()],
            )

    def remove_questions(self, token: str, keys: Sequence[str]) -> None:
        """Release some questions of a batch: they have been answered, or have failed."""
        with self._transaction() as connection:
            connection.execute(
                f"DELETE FROM batch_questions WHERE token = ? AND {_AMONG}", [token, json.dumps(list(keys))]
            )
            connection.execute("UPDATE batches SET busy_until = ? WHERE token = ?", [time.time() + LEASE, token])

    def finish_batch(self, token: str, step: str, **changes: Any) -> None:
        """Release all questions of a batch, and change its step and other columns."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM batch_questions WHERE token = ?", [token])
            _update(connection, token, {**changes, "step": step})

    def remove_batch(self, token: str) -> None:
        """Forget a batch, and release its questions."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM batch_questions WHERE token = ?", [token])
            connection.execute("DELETE FROM batches WHERE token = ?", [token])


def _update(connection: sqlite3.Connection, token: str, changes: Mapping[str, Any]) -> None:
    settings = ", ".join(f"{name} = ?" for name in changes)
    values = [json.dumps(value) if name == "files" else value for name, value in changes.items()]
    connection.execute(f"UPDATE batches SET {settings} WHERE token = ?", [*values, token])


def _stored(row: Sequence[Any]) -> StoredBatch:
    values = dict(zip(_COLUMNS, row, strict=True))
    return StoredBatch(**{**values, "files": tuple(json.loads(values["files"])), "is_own": bool(values["is_own"])})


def taken_over() -> BatchError:
    """Return the error that another process has taken over a batch."""
    return BatchError(
        "Another process has taken over the batch, because this one seemed to have ended: run the cell again to "
        "collect its answers."
    )


def place_of(path: Path) -> str:
    """Return a digest of a store's place: the machine and the path of its file."""
    return hashlib.sha256(f"{platform.node()} {path.absolute()}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def in_batch(connection: sqlite3.Connection, key: str) -> bool:
    """Return whether a question waits in a batch."""
    return connection.execute("SELECT 1 FROM batch_questions WHERE key = ?", [key]).fetchone() is not None
