"""Paths that users name."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        os.fsencode(path)
        return (path if isinstance(path, Path) else Path(path)).expanduser()
    except (RuntimeError, TypeError, UnicodeEncodeError) as cause:
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
def writable_path(path: str | os.PathLike[str], *suffixes: str) -> Iterator[Path]:
    """Give a ``with`` block a new file to write, which then replaces the file that a user named; see `replaced_file`.

    Args:
        path: The user's file; see `expand_path`.
        *suffixes: What its name may end in, in lower case.

    Raises:
        SettingsError: It is not a usable path, has another suffix, or could not be written.
    """
    target = expand_path(path)
    shown = f"Cannot write {shown_path(target)!r:.120}"
    if not "".join(target.suffixes).lower().endswith(suffixes):
        raise SettingsError(f"{shown}: its name must end in {' or '.join(suffixes)}.")
    try:
        with replaced_file(target) as file:
            yield file
    except VisionError:  # some are OSErrors too, about an image
        raise
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"{shown} ({reason!s:.100}): choose another path.") from error


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Give a ``with`` block a new file to write, which replaces another one if the block succeeds.

    If it fails, because the disk is full or otherwise, the other file stays as it was. A reader never sees a file that
    is half written.

    Args:
        path: The file to replace; it need not exist, and may be a link to it.

    Raises:
        OSError: The file cannot be written.
        UnicodeError: The path cannot be encoded.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{secrets.token_hex(8)}{''.join(path.suffixes)[-12:]}")  # of a name that may be long
    try:
        if path.exists():
            path.open("r+b").close()  # an error if it is a folder, or must not be changed
        yield partial
        if path.exists():
            shutil.copymode(path, partial)
        partial.replace(path)
    finally:
        with suppress(OSError, UnicodeError):
            partial.unlink(missing_ok=True)
