"""The SQLite file of the store: opening it, and emptying its write-ahead log."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from vision_nb.errors import StoreError
from vision_nb.paths import shown_path
from vision_nb.user_warnings import warn_user

VERSION = 2
"""The version of the file's layout; a file with a newer layout is not touched."""

_APPLICATION_ID = 0x766E6273  # "vnbs": marks the file as ours
_BUSY_TIMEOUT = 30.0  # seconds to wait while another process writes
_ROWS_TOGETHER = 50  # SQLite takes at least 999 values at once


Columns = Mapping[str, Mapping[str, str]]
"""By table: the columns that were added to its first layout and do not change how earlier versions use it, each with
its type."""


def open_database(path: Path, schema: str, upgrades: Mapping[int, str], columns: Columns) -> sqlite3.Connection:
    """Open the store's file; create it if it is missing, and replace it if it is damaged.

    Args:
        path: The file. Missing folders are created.
        schema: SQL statements that create the tables unless they exist.
        upgrades: The SQL statement that turns each earlier layout into the next one.
        columns: The columns that are added to tables of earlier versions.

    Raises:
        StoreError: The path is a folder or cannot be written, or the file is not a store, or was written by a newer
            version.
    """
    try:
        if path.is_dir():
            raise StoreError(
                f"{shown_path(path)} is a folder: name a file in it, such as {shown_path(path / 'a.sqlite3')}."
            )
        if path.exists() and not path.is_file():  # a device, or a pipe, which would wait for a writer
            raise StoreError(f"{shown_path(path)} is not a file: choose another store=.")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            path.touch(mode=0o600)  # questions are private; SQLite gives its log the same mode
        inode = path.stat().st_ino
        return _connect(path, schema, upgrades, columns)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) or not _is_sqlite(path):
            raise StoreError(f"{shown_path(path)} cannot be opened as a store ({error}): {advice(error)}.") from error
        if path.stat().st_ino == inode:  # otherwise, another process has just done it
            _rename_damaged(path, error)
        return _connect(path, schema, upgrades, columns)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error  # the text of an OSError repeats the path
        raise StoreError(
            f"The store {shown_path(path)} cannot be written to ({reason}): choose another store=."
        ) from error


def advice(error: sqlite3.Error) -> str:
    """Return what to do about an error of SQLite."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the details
    if code == sqlite3.SQLITE_FULL:
        return "free some disk space and run the cell again"
    if code == sqlite3.SQLITE_BUSY:  # also if the file system has no locks
        return "close the program that uses it, or choose another store= on a disk of this machine"
    return "choose another store="


def _is_sqlite(path: Path) -> bool:
    """Return whether the file is an SQLite database, even a damaged one.

    Any other file belongs to the user and is not touched.
    """
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _connect(path: Path, schema: str, upgrades: Mapping[int, str], columns: Columns) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT, check_same_thread=False, isolation_level=None)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreError(
                f"The store {shown_path(path)} was written by a newer version of vision_nb (layout {version}; this "
                f"one reads {VERSION}): upgrade vision_nb, or choose another store=."
            )
        # In this order: another process that creates the store writes its ID before the tables.
        (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        if tables and application_id != _APPLICATION_ID:
            raise StoreError(f"{shown_path(path)} is the database of another program: choose another store=.")
        ((problem,), *_) = connection.execute("PRAGMA quick_check(1)").fetchall()
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
        # With a write-ahead log, several processes can write, and committed answers survive a killed process.
        _use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")  # deleted answers are overwritten
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        _upgrade(connection, upgrades)
        connection.executescript(schema)
        _add_columns(connection, columns)
    except BaseException:
        connection.close()
        raise
    return connection


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; SQLite itself does not wait for another process that does the same."""
    deadline = time.monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _upgrade(connection: sqlite3.Connection, upgrades: Mapping[int, str]) -> None:
    """Bring the tables of an earlier layout up to date, unless another process is doing it."""
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for earlier in range(version, VERSION) if version else ():
        connection.execute(upgrades[earlier])
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _add_columns(connection: sqlite3.Connection, columns: Columns) -> None:
    """Add the columns that tables of earlier versions do not have, unless another process is doing it."""
    connection.execute("BEGIN IMMEDIATE")
    for table, added in columns.items():
        present = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")}
        for name, kind in added.items():
            if name not in present:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
    connection.execute("COMMIT")


def _rename_damaged(path: Path, error: Exception) -> None:
    renamed = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    path.rename(renamed)
    for leftover in ("-wal", "-shm"):
        Path(f"{path}{leftover}").unlink(missing_ok=True)
    warn_user(
        f"The store {shown_path(path)} is damaged ({error}): it was kept as {renamed.name}, and a new one was created."
    )


def checkpoint(connection: sqlite3.Connection) -> None:
    """Move everything from the write-ahead log into the database's own file, if no other process is writing."""
    with suppress(sqlite3.Error):  # nothing is lost: the log is read until it can be moved
        try:
            connection.execute("PRAGMA busy_timeout = 0")  # another process that is writing does it itself
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT * 1000:.0f}")


def close_database(connection: sqlite3.Connection) -> None:
    """Empty the write-ahead log and close the connection; closing it again has no effect."""
    try:
        checkpoint(connection)  # closing does it only for the last connection to the file
    finally:
        connection.close()


def insert_rows(connection: sqlite3.Connection, table: str, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows, replacing those with the same keys.

    They are written by few statements, not one per row: each statement of a thread waits for its turn to run Python.

    Args:
        connection: The store's connection.
        table: The table's name, which may be followed by the names of some columns.
        rows: The values of each row.
    """
    for some in (rows[start : start + _ROWS_TOGETHER] for start in range(0, len(rows), _ROWS_TOGETHER)):
        values = ", ".join([f"({', '.join('?' * len(some[0]))})"] * len(some))
        connection.execute(f"INSERT OR REPLACE INTO {table} VALUES {values}", list(chain.from_iterable(some)))
