"""Finished answers and labels on disk: for resuming, and for not paying twice.

One SQLite file, under the user's cache folder unless another is named. Each answer is written at once and
survives the death of the process; several kernels may write at the same time.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vision_nb.errors import StoreError
from vision_nb.images.document import ImageDocument
from vision_nb.responses import Response, Usage
from vision_nb.user_warnings import warn_user

VERSION = 1
"""The version of the file's layout; a file of a newer one is left alone."""

_APPLICATION = 0x766E6273  # "vnbs": marks the file as ours
_PATIENCE = 30.0  # seconds to wait while another kernel writes
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, time REAL NOT NULL, asked_model TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL,
    finish_reason TEXT, latency REAL, input_tokens INTEGER, output_tokens INTEGER, cached_input_tokens INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS labels (
    key TEXT NOT NULL, annotator TEXT NOT NULL, time REAL NOT NULL, correctness INTEGER, relevance INTEGER,
    comment TEXT NOT NULL DEFAULT '', PRIMARY KEY (key, annotator)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, modified INTEGER NOT NULL, digest TEXT NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Label:
    """What a person thinks of an answer.

    Attributes:
        correctness: 1 (no answer, or made up) to 5 (answers perfectly), or None.
        relevance: 1 to 5, or None.
        comment: Free text.
        annotator: Who says so.
        time: When, in seconds since 1970.
    """

    correctness: int | None = None
    relevance: int | None = None
    comment: str = ""
    annotator: str = ""
    time: float = 0.0


def default_path() -> Path:
    """Where answers are kept unless a path is given: one file under the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("vision_nb", appauthor=False) / "answers.sqlite3"


class Store:
    """Answers by what was asked, and labels by answer and annotator. Safe with threads and other processes.

    Args:
        path: The file; None takes the one under the user's cache folder. Folders on the way are made.

    Raises:
        StoreError: The path is a folder or cannot be written, or the file was made by a newer version.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = default_path() if path is None else Path(path).expanduser()
        self._lock = threading.Lock()
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        if self.path.is_dir():
            raise StoreError(f"{self.path} is a folder: name a file in it, such as {self.path / 'answers.sqlite3'}.")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self.path.exists():
                self.path.touch(mode=0o600)  # what was asked is nobody else's business; the log gets the same mode
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) or not self._is_sqlite():
                raise StoreError(
                    f"{self.path} cannot be opened as a store ({error}): choose another store=."
                ) from error
            self._set_aside(error)
            return self._connect()
        except OSError as error:
            raise StoreError(f"The store {self.path} cannot be written ({error}): choose another store=.") from error

    def _is_sqlite(self) -> bool:
        """Whether the file is a database, be it a damaged one; any other is somebody's own and is left alone."""
        with self.path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_PATIENCE, check_same_thread=False, isolation_level=None)
        try:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if found > VERSION:
                raise StoreError(
                    f"The store {self.path} was written by a newer vision_nb (layout {found}, this one knows "
                    f"{VERSION}): update vision_nb, or choose another store=."
                )
            (owner,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            if tables and owner != _APPLICATION:
                raise StoreError(f"{self.path} is a database of another program: choose another store=.")
            ((verdict,), *_) = connection.execute("PRAGMA quick_check(1)").fetchall()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            # A write-ahead log lets kernels write side by side; what is committed outlives a killed process.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten
            connection.executescript(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self, error: Exception) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        self.path.rename(aside)
        for leftover in ("-wal", "-shm"):
            Path(f"{self.path}{leftover}").unlink(missing_ok=True)
        warn_user(f"The store {self.path} is damaged ({error}). It was kept as {aside.name}, and a new one begun.")

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise StoreError(f"The store {self.path} cannot be used ({error}): choose another store=.") from error

    def get(self, key: str) -> Response | None:
        """The answer for a key, or None."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, Response]:
        """The answers that are there, by key."""
        found: dict[str, Response] = {}
        wanted = list(keys)
        with self._using() as connection:
            for start in range(0, len(wanted), 500):
                some = wanted[start : start + 500]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    "SELECT key, model, text, finish_reason, latency, input_tokens, output_tokens, cached_input_tokens"
                    f" FROM answers WHERE key IN ({marks})",
                    some,
                )
                for key, model, text, finish_reason, latency, tokens_in, tokens_out, cached in rows:
                    usage = None if cached is None else Usage(tokens_in, tokens_out, cached)
                    found[key] = Response(
                        text=text, usage=usage, model=model, finish_reason=finish_reason, latency=latency
                    )
        return found

    def put(self, key: str, asked_model: str, response: Response) -> None:
        """Write an answer; it is on disk when this returns."""
        usage = response.usage
        tokens = (None, None, None)
        if usage is not None:
            tokens = (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens)  # type: ignore[assignment]
        values = (
            key,
            time.time(),
            asked_model,
            response.model,
            response.text,
            response.finish_reason,
            response.latency,
            *tokens,
        )
        with self._using() as connection:
            connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def count(self) -> int:
        """How many answers there are."""
        with self._using() as connection:
            return int(connection.execute("SELECT count(*) FROM answers").fetchone()[0])

    def clear(self) -> None:
        """Forget all answers and the paths of their pictures, on the disk too; labels stay."""
        with self._using() as connection:
            connection.execute("DELETE FROM answers")
            connection.execute("DELETE FROM files")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log still held what was deleted

    def put_label(self, key: str, label: Label) -> None:
        """Write a label; the annotator's earlier one for this answer is replaced."""
        values = (key, label.annotator, label.time or time.time(), label.correctness, label.relevance, label.comment)
        with self._using() as connection:
            connection.execute("INSERT OR REPLACE INTO labels VALUES (?, ?, ?, ?, ?, ?)", values)

    def remove_label(self, key: str, annotator: str) -> None:
        """Take an annotator's label of an answer back."""
        with self._using() as connection:
            connection.execute("DELETE FROM labels WHERE key = ? AND annotator = ?", (key, annotator))

    def labels(self, keys: Iterable[str]) -> dict[str, list[Label]]:
        """The labels of some answers, by key, oldest first."""
        wanted, found = set(keys), dict[str, list[Label]]()
        with self._using() as connection:
            rows = connection.execute(
                "SELECT key, correctness, relevance, comment, annotator, time FROM labels ORDER BY time"
            )
            for key, *values in rows:
                if key in wanted:
                    found.setdefault(key, []).append(Label(*values))
        return found

    def digest(self, document: ImageDocument) -> str:
        """A digest of a picture's content; a file's is remembered until the file changes.

        A URL is not fetched for it: the URL itself stands for its content.
        """
        if document.is_remote:
            return _sha256(str(document.image_url).encode())
        if document.image_path is None:
            return _sha256(document.read())
        path = Path(str(document.image_path)).expanduser().absolute()
        try:
            state = path.stat()
        except (OSError, ValueError):
            return _sha256(document.read())  # raises the error that names the path
        known = (str(path), state.st_size, state.st_mtime_ns)
        with self._using() as connection:
            row = connection.execute(
                "SELECT digest FROM files WHERE path = ? AND bytes = ? AND modified = ?", known
            ).fetchone()
        if row is not None:
            return str(row[0])
        digest = _sha256(document.read())
        with self._using() as connection:
            connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (*known, digest))
        return digest

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def answer_key(
    *,
    model: str,
    parameters: Mapping[str, Any],
    prompt: str,
    image_digests: Iterable[str],
    system: str = "",
    history: Sequence[Any] = (),
) -> str:
    """The key of an answer: all that decides what a model is asked.

    Args:
        model: Provider and model, and the server where it is not the provider's own.
        parameters: The request's parameters.
        prompt: The question.
        image_digests: A digest for each picture, in order.
        system: The system message, where there is one.
        history: What was said before, each message as a role, a text and digests; a key without it is the same
            as before there were conversations.
    """
    asked = [model, dict(sorted(parameters.items())), prompt, list(image_digests), system]
    if history:
        asked.append(list(history))
    return _sha256(json.dumps(asked, ensure_ascii=False, sort_keys=True, default=repr).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
