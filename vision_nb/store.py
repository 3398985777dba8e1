"""A store of finished answers, labels and conversations, so that nothing is lost or paid for twice.

It is an SQLite file in the user's cache folder, unless another path is given. Each answer is committed when it arrives,
so it survives a killed process. Several kernels may write to the same file; `Store.claim` keeps them from asking the
same question at the same time.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from vision_nb.errors import ImageError, ImageNotFoundError, StoreError
from vision_nb.images.document import ImageDocument
from vision_nb.notebook.interrupts import keep_interrupts
from vision_nb.paths import expand_path
from vision_nb.privacy.urls import public_url
from vision_nb.responses import Pricing, Response
from vision_nb.storage import annotations as annotation_store
from vision_nb.storage import answers, batches, claims, conversations
from vision_nb.storage.claims import Claim, claimed
from vision_nb.storage.database import checkpoint, close_database, open_database
from vision_nb.storage.writer import StoreWriter

_CHECKPOINT_PAUSE = 2.0  # seconds to wait for more writes before the log is emptied
_SCHEMA = f"""
{claims.SCHEMA}
{answers.SCHEMA}
{annotation_store.SCHEMA}
{conversations.SCHEMA}
{batches.SCHEMA}
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, modified INTEGER NOT NULL, digest TEXT NOT NULL
) WITHOUT ROWID;
"""

_UPGRADES = {1: "ALTER TABLE answers ADD COLUMN details TEXT NOT NULL DEFAULT '{}'"}

FileVersion = tuple[str, int, int]
"""The path, size in bytes and modification time in nanoseconds of a file."""

KnownFile = tuple[int, int, str]
"""The size in bytes of a file, its modification time in nanoseconds, and its digest."""


def default_path() -> Path:
    """Return the default path of the store, a file in the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("vision_nb", appauthor=False) / "answers.sqlite3"


class Store(annotation_store.AnnotationStore, conversations.ConversationStore, batches.BatchStore):
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
        self.path = default_path() if path is None else expand_path(path, StoreError)
        self._lock = threading.Lock()
        self._connection = open_database(self.path, _SCHEMA, _UPGRADES, {"batches": batches.ADDED_COLUMNS})
        self._file = self.path.absolute()  # the working directory may change
        self._inode = self._file.stat().st_ino
        self._checkpoint_timer: threading.Timer | None = None
        weakref.finalize(self, keep_interrupts(close_database), self._connection)  # a store that was not closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release all claims, and close the file; closing it again has no effect."""
        with self._lock:
            claims.release_all(self._transaction, self._connection)
            close_database(self._connection)

    def checkpoint(self) -> None:
        """Move everything from the write-ahead log, the file ending in ``-wal``, into the store's own file.

        This also happens a few seconds after a write, when the store is closed, and when Python exits.
        """
        with self._lock:
            checkpoint(self._connection)

    def _checkpoint_soon(self) -> None:
        with self._lock:
            if self._checkpoint_timer is None or not self._checkpoint_timer.is_alive():
                reference = weakref.ref(self)
                self._checkpoint_timer = threading.Timer(_CHECKPOINT_PAUSE, _checkpoint_referenced, [reference])
                self._checkpoint_timer.daemon = True
                self._checkpoint_timer.start()

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise StoreError(f"The store {self.path} cannot be used ({error}): choose another store=.") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._locked() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk ends it
                    connection.execute("ROLLBACK")
                raise
            self._check_file()

    def _check_file(self) -> None:
        """Raise an error if the file has been deleted, moved or replaced: SQLite still writes to the old one."""
        try:
            is_in_place = self._file.stat().st_ino == self._inode
        except OSError:
            is_in_place = False
        if not is_in_place:
            raise StoreError(
                f"The store {self.path} was deleted, moved or replaced while it was open, so nothing more is kept "
                "there: run the cell again to open it anew, or choose another store=."
            )

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
        return StoreWriter(self._transaction, self._checkpoint_soon)

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
        """Write an answer; it is on disk when this returns. An interrupted or incomplete answer is not written.

        Args:
            key: The question's key, as `answer_key` returns it.
            asked_model: The model as the user named it; the response has the server's own name.
            response: The answer.
        """
        if not answers.is_storable(response):
            return
        with self._transaction() as connection:
            answers.insert_answers(connection, [answers.NewAnswer(key, asked_model, response)])
        self._checkpoint_soon()

    def count(self) -> int:
        """Return the number of stored answers."""
        with self._locked() as connection:
            return int(connection.execute("SELECT count(*) FROM answers").fetchone()[0])

    def clear(self) -> None:
        """Delete all answers, conversations and image paths, including from the disk.

        Labels, reviews and drafts are kept.
        """
        with self._locked() as connection:
            for table in ("answers", "files", *conversations.TABLES):
                connection.execute(f"DELETE FROM {table}")
            connection.execute("UPDATE batch_questions SET facts = '{}'")  # the names of images
            connection.execute("INSERT INTO clearings (time) VALUES (?)", [time.time()])  # for panels that are open
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log still holds the deleted answers

    def digest(self, document: ImageDocument) -> str:
        """Return a digest of an image's content; see `digests`.

        Raises:
            ImageError: The image cannot be read.
        """
        (digest,) = self.digests([document])
        if isinstance(digest, ImageError):
            raise digest
        return digest

    def digests(self, documents: Sequence[ImageDocument]) -> list[str | ImageError]:
        """Return a digest of each image's content, or the error that reading it raised.

        A file's digest is stored until its size or modification time changes. A remote image is not downloaded: its
        digest is that of its URL without password and signature. A page or frame is not rendered: its digest is that
        of the file and of what was chosen from it.

        Args:
            documents: The images.
        """
        versions = [_file_version(document) for document in documents]
        paths = json.dumps([version[0] for version in versions if version is not None])
        with self._locked() as connection:
            rows = connection.execute(
                "SELECT path, bytes, modified, digest FROM files WHERE path IN (SELECT value FROM json_each(?))",
                [paths],
            )
            known = {(path, size, modified): str(digest) for path, size, modified, digest in rows}
        new: dict[FileVersion, str] = {}
        found: list[str | ImageError] = []
        for document, version in zip(documents, versions, strict=True):
            try:
                digest = (known.get(version) if version else None) or self._compute_digest(document)
            except ImageError as error:
                found.append(error)
                continue
            found.append(digest)
            if version is not None and version not in known:
                new[version] = digest
        if new:
            with self._transaction() as connection:
                values = ((*version, digest) for version, digest in new.items())
                connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", values)
        return found

    def _compute_digest(self, document: ImageDocument) -> str:
        if document.part_of is not None:
            file, part = document.part_of
            return part_digest(self.digest(file), [part])
        if document.is_remote:
            return _sha256(public_url(str(document.image_url)).encode("utf-8", "surrogatepass"))
        return document.sha256()

    def file_versions(self, documents: Sequence[ImageDocument]) -> list[KnownFile | None]:
        """Return what is known of images in files, which may have changed; None for the others.

        Args:
            documents: The images.
        """
        paths = [_file_path(document) for document in documents]
        with self._locked() as connection:
            rows = connection.execute(
                "SELECT path, bytes, modified, digest FROM files WHERE path IN (SELECT value FROM json_each(?))",
                [json.dumps(paths)],
            ).fetchall()
        known: dict[str | None, KnownFile] = {path: (size, modified, digest) for path, size, modified, digest in rows}
        return [known.get(path) for path in paths]

    def put_file_versions(self, versions: Mapping[ImageDocument, KnownFile]) -> None:
        """Store the digests of images in files.

        Args:
            versions: The images with the versions that were read.
        """
        paths = {_file_path(document): version for document, version in versions.items()}
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                [(path, *version) for path, version in paths.items() if path is not None],
            )


def _file_version(document: ImageDocument) -> FileVersion | None:
    """Return the path, size and modification time of an image in a whole file that can be found; otherwise None."""
    if document.image_path is None or document.part_of is not None:
        return None
    try:
        path = expand_path(document.image_path, ImageNotFoundError).absolute()
        state = path.stat()
    except (OSError, ValueError, ImageError):
        return None  # reading the image then raises an ImageError that names the path
    name = str(path).encode("utf-8", "backslashreplace").decode()  # a lone surrogate cannot be stored
    return name, state.st_size, state.st_mtime_ns


def _file_path(document: ImageDocument) -> str | None:
    """Return the whole path of an image in a file, as it is stored; None for other images."""
    if document.image_path is None:
        return None
    path = expand_path(document.image_path, ImageNotFoundError).absolute()
    return str(path).encode("utf-8", "backslashreplace").decode()  # a lone surrogate cannot be stored


def part_digest(digest: str, parts: Iterable[str]) -> str:
    """Return the digest of a part of a file, such as a page.

    Args:
        digest: The file's digest.
        parts: What was chosen from it, from the inside out; nothing for the file itself.
    """
    for part in parts:
        digest = _sha256(f"{digest} {part}".encode())
    return digest


def _checkpoint_referenced(reference: weakref.ref[Store]) -> None:
    store = reference()
    if store is not None:
        store.checkpoint()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
