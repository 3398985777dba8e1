"""The ``[tool.vision_nb]`` table of the nearest pyproject.toml.

The file can come with a folder that somebody else has written. Until the user trusts the folder, the file must not
decide where keys, images and answers go: it could name a server of its author, and any environment variable as its key.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vision_nb.user_warnings import warn_user


def find_project_file(folder: Path) -> Path | None:
    """Return the pyproject.toml of a folder or of its nearest parent folder that has one."""
    return next((file for one in (folder, *folder.parents) if (file := one / "pyproject.toml").is_file()), None)


def read_project_table(path: Path) -> dict[str, Any]:
    """Return the table ``[tool.vision_nb]`` of a file; empty if it is missing or the file cannot be read."""
    import tomllib  # most notebooks do not have a project

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("vision_nb", {})
    except (OSError, ValueError, AttributeError) as error:
        warn_user(f"{path.name} cannot be read ({error}): its settings are ignored.")
        return {}
    return table if isinstance(table, dict) else {}


TRUSTED_PROJECTS = "VISION_NB_TRUSTED_PROJECTS"
"""The environment variable with the absolute paths of trusted folders, separated as in PATH."""


def is_trusted(project_file: Path) -> bool:
    """Return whether the user trusts the folder of a pyproject.toml; subfolders are not trusted with it."""
    folders = [Path(one).expanduser() for one in os.environ.get(TRUSTED_PROJECTS, "").split(os.pathsep) if one]
    return any(one.is_absolute() and one.resolve() == project_file.parent.resolve() for one in folders)


def how_to_trust(project_file: Path) -> str:
    """Return the end of a message about a setting that needs trust."""
    folder = str(project_file.parent)
    shown = folder if len(folder) <= 80 else f"the path of its folder (...{folder[-60:]})"
    return f"If you trust the author of that file, set the environment variable {TRUSTED_PROJECTS} to {shown}."
