"""Paths that users name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vision_nb.errors import SettingsError, VisionError


def expand_path(path: str | os.PathLike[str], error: type[VisionError] = SettingsError) -> Path:
    """Return a path with ``~`` replaced by the home folder.

    Args:
        path: The path.
        error: The class of the exception to raise.

    Raises:
        VisionError: It is not a path, or names a user who does not exist.
    """
    try:
        if "\0" in str(path):
            raise TypeError("it contains a null character")
        return (path if isinstance(path, Path) else Path(path)).expanduser()
    except (RuntimeError, TypeError) as cause:
        shown = str(path) if isinstance(path, (str, os.PathLike)) else repr(path)
        reason = str(cause).rstrip(".")
        raise error(f"{shown:.120} is not a usable path ({reason:.100}): write the whole path.") from cause


def file_version(path: Path) -> tuple[int, int]:
    """Return the size of a file in bytes, and a number that changes when the file is written, renamed or replaced.

    The modification time alone is not enough: ``unzip`` and ``cp -p`` give it to files, and images without
    compression have the same size.

    Args:
        path: The file.

    Raises:
        OSError: The file cannot be found.
        ValueError: The path is invalid.
    """
    state = path.stat()
    return state.st_size, state.st_mtime_ns + state.st_ctime_ns


def shown_path(path: Path) -> str:
    """Return a path for a message, with the home folder as ``~``: messages are saved in notebooks that people share."""
    try:
        return str("~" / path.relative_to(Path.home()))
    except (RuntimeError, ValueError):  # there is no home folder, or the path is outside of it
        return str(path)


def without_folders(text: str, path: str, name: str) -> str:
    """Return a message with a path, also as `shown_path` writes it, replaced by a name.

    Args:
        text: The message.
        path: The path.
        name: What to show in its place.
    """
    for shown in filter(None, (path, shown_path(Path(path)) if path else "")):
        text = text.replace(shown, name)
    return text


@contextmanager
def writable_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a ``with`` block the path of a file to write; see `expand_path`.

    Raises:
        SettingsError: It is not a usable path, or the block could not write the file.
    """
    path = expand_path(path)
    try:
        yield path
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"Cannot write {shown_path(path)!r:.120} ({reason:.100}): choose another path.") from error
