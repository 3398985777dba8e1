"""A store of finished answers, labels and conversations, so that nothing is lost or paid for twice.

It is an SQLite file in the user's cache folder, unless another path is given. Each answer is committed when it arrives,
so it survives a killed process. Several kernels may write to the same file; `Store.claim` keeps them from asking the
same question at the same time.
"""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from vision_nb.errors import StoreError
from vision_nb.paths import expand_path
from vision_nb.responses import Pricing, Response
from vision_nb.storage import annotations as annotation_store
from vision_nb.storage import answers, batches, claims, conversations, image_digests
from vision_nb.storage.claims import Claim, claimed
from vision_nb.storage.database import close_database
from vision_nb.storage.writer import StoreWriter

_SCHEMA = f"""
{claims.SCHEMA}
{answers.SCHEMA}
{annotation_store.SCHEMA}
{conversations.SCHEMA}
{batches.SCHEMA}
{image_digests.SCHEMA}
"""

_unsaved: defaultdict[Path, list[answers.NewAnswer]] = defaultdict(list)
"""Answers of this process that could not be written, by the store's file."""

_PERMANENT = (sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)  # the answer itself is the cause

_UPGRADES = {1: "ALTER TABLE answers ADD COLUMN details TEXT NOT NULL DEFAULT '{}'"}


def default_path() -> Path:
    """Return the default path of the store, a file in the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("vision_nb", appauthor=False) / "answers.sqlite3"


class Store(
    annotation_store.AnnotationStore,
    conversations.ConversationStore,
    batches.BatchStore,
    image_digests.ImageDigestStore,
):
    """Answers by the question's key, labels by key and annotator, and the conversations of chat panels.

    Use it as a context manager, or call `close`. It may be shared by threads and used by several processes at
    once. Calls block: for up to 30 seconds while another process writes, and while another thread uses the same
    store. In async code, call them in a thread: ``await asyncio.to_thread(store.put, key, model, response)``.

    Args:
        path: The file; None for the one in the user's cache folder. Missing folders are created.

    Raises:
        StoreError: The path is a folder or cannot be written, or the file is not a store, or was written by a newer
            version.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        if str(path) == ":memory:" or "://" in str(path):
            raise StoreError(f"{path!s:.80} is not a path: the store is a file on this machine, so that answers last.")
        file = default_path() if path is None else expand_path(path, StoreError)
        super().__init__(file, _SCHEMA, _UPGRADES, {"batches": batches.ADDED_COLUMNS})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release all claims, and close the file; closing it again has no effect."""
        with self._lock:
            claims.release_all(self._transaction, self._connection)
            close_database(self._connection)

    def claim(
        self,
        key: str,
        *,
        reuse: bool = True,
        heed_batches: bool = False,
        is_usable: Callable[[Response], bool] | None = None,
    ) -> Claim:
        """Return a claim on a question, for `claimed` or `aclaimed`.

        Args:
            key: The question's key.
            reuse: Use the answer that is stored or is being asked for; if False, ask again in any case.
            heed_batches: Do not claim a question that waits in a batch.
            is_usable: Returns whether a stored answer may be used; None to use each.
        """

        def look_up(connection: sqlite3.Connection, key: str) -> Response | None:
            answer = answers.select_answer(connection, key)
            return answer if answer is None or is_usable is None or is_usable(answer) else None

        return Claim(key, self._transaction, look_up if reuse else None, batches.in_batch if heed_batches else None)

    def writer(self) -> StoreWriter:
        """Return a writer for a run, whose writes share transactions."""
        return StoreWriter(self._transaction, self._checkpoint_soon, self._write_later)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Return the connection within a transaction, which first writes what could not be written earlier."""
        unsaved = _unsaved.pop(self._file, [])
        try:
            with super()._transaction() as connection:
                if unsaved:
                    answers.insert_answers(connection, unsaved)
                yield connection
        except BaseException:
            _unsaved[self._file].extend(unsaved)
            raise

    def _write_later(self, new: answers.NewAnswer, error: Exception) -> None:
        """Keep an answer, which is paid for, until this process can write to the store again."""
        if isinstance(error, StoreError) and not isinstance(error.__cause__, _PERMANENT):
            _unsaved[self._file].append(new)

    def check_writable(self) -> None:
        """Raise an error if no answer could be written, for instance because the disk is full.

        Raises:
            StoreError: The store cannot be written.
        """
        with claimed(self.claim("probe", reuse=False)):
            pass

    def get(self, key: str) -> Response | None:
        """Return the answer for a key, or None."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[str], pricing: Pricing | None = None) -> dict[str, Response]:
        """Return the stored answers for some keys, by key.

        Args:
            keys: The keys.
            pricing: Prices the answers, if all are of one model.
        """
        with self._locked() as connection:
            return answers.select_answers(connection, keys, pricing)

    def known(self, keys: Iterable[str]) -> set[str]:
        """Return those of some keys that have a stored answer."""
        with self._locked() as connection:
            return answers.select_known(connection, keys)

    def facts(self, keys: Iterable[str], *, with_text: bool = False) -> dict[str, answers.AnswerFacts]:
        """Return what a large comparison keeps of the stored answers for some keys, by key."""
        with self._locked() as connection:
            return answers.select_facts(connection, keys, with_text=with_text)

    def put(self, key: str, asked_model: str, response: Response) -> None:
        """Write an answer; it is on disk when this returns. An interrupted, incomplete or empty one is not written.

        Args:
            key: The question's key, as `answer_key` returns it.
            asked_model: The model as the user named it; the response has the server's own name.
            response: The answer.
        """
        if not answers.is_storable(response):
            return
        new = answers.NewAnswer(key, asked_model, response)
        try:
            with self._transaction() as connection:
                answers.insert_answers(connection, [new])
        except StoreError as error:
            self._write_later(new, error)
            raise
        self._checkpoint_soon()

    def count(self) -> int:
        """Return the number of stored answers."""
        with self._locked() as connection:
            return int(connection.execute("SELECT count(*) FROM answers").fetchone()[0])

    def clear(self) -> None:
        """Delete all answers, conversations and image paths, including from the disk.

        Labels, reviews and drafts are kept.
        """
        _unsaved.pop(self._file, None)
        with self._locked() as connection:
            for table in ("answers", "files", *conversations.TABLES):
                connection.execute(f"DELETE FROM {table}")
            connection.execute("UPDATE batch_questions SET facts = '{}'")  # the names of images
            connection.execute("INSERT INTO clearings (time) VALUES (?)", [time.time()])  # for panels that are open
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log still holds the deleted answers
