"""`StoreFile`: the SQLite file of a store, which threads and processes share."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vision_nb.errors import StoreError
from vision_nb.notebook.interrupts import keep_interrupts
from vision_nb.paths import shown_path
from vision_nb.storage.database import Columns, advice, checkpoint, close_database, open_database

_CHECKPOINT_PAUSE = 2.0  # seconds to wait for more writes before the log is emptied


class StoreFile:
    """The file of a store. The parts of a store are subclasses, each with its tables.

    Args:
        path: The file. Missing folders are created.
        schema: SQL statements that create the tables unless they exist.
        upgrades: The SQL statement that turns each earlier layout into the next one.
        columns: The columns that are added to tables of earlier versions.

    Raises:
        StoreError: The path is a folder or cannot be written, or the file is not a store, or was written by a newer
            version.
    """

    def __init__(self, path: Path, schema: str, upgrades: Mapping[int, str], columns: Columns) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection = open_database(path, schema, upgrades, columns)
        self._file = path.absolute()  # the working directory may change
        self._inode = self._file.stat().st_ino
        self._checkpoint_timer: threading.Timer | None = None
        weakref.finalize(self, keep_interrupts(close_database), self._connection)  # a store that was not closed

    def checkpoint(self) -> None:
        """Move everything from the write-ahead log, the file ending in ``-wal``, into the store's own file.

        This also happens a few seconds after a write, when the store is closed, and when Python exits.
        """
        with self._lock:
            checkpoint(self._connection)

    def _checkpoint_soon(self) -> None:
        """Empty the write-ahead log after a while."""
        with self._lock:
            if self._checkpoint_timer is None or not self._checkpoint_timer.is_alive():
                reference = weakref.ref(self)
                self._checkpoint_timer = threading.Timer(_CHECKPOINT_PAUSE, _checkpoint_referenced, [reference])
                self._checkpoint_timer.daemon = True
                self._checkpoint_timer.start()

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        """Return the connection, for one thread at a time."""
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                message = f"The store {shown_path(self.path)} cannot be used ({error}): {advice(error)}."
                raise StoreError(message) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Return the connection, for one thread at a time, within a transaction."""
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
                f"The store {shown_path(self.path)} was deleted, moved or replaced while it was open, so nothing more "
                "is kept there: run the cell again to open it anew, or choose another store=."
            )


def _checkpoint_referenced(reference: weakref.ref[StoreFile]) -> None:
    store = reference()
    if store is not None:
        store.checkpoint()
