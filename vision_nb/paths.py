"""Paths that users name."""

from __future__ import annotations

import os
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
        return Path(path).expanduser()
    except (RuntimeError, TypeError) as cause:
        shown = str(path) if isinstance(path, (str, os.PathLike)) else repr(path)
        reason = str(cause).rstrip(".")
        raise error(f"{shown:.120} is not a usable path ({reason:.100}): write the whole path.") from cause
