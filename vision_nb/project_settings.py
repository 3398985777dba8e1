"""The ``[tool.vision_nb]`` table of the nearest pyproject.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from vision_nb.user_warnings import warn_user


def find_project_file(folder: Path) -> Path | None:
    """Return the pyproject.toml of a folder or of its nearest parent folder that has one."""
    return next((file for one in (folder, *folder.parents) if (file := one / "pyproject.toml").is_file()), None)


def read_project_table(path: Path) -> dict[str, Any]:
    """Return the table ``[tool.vision_nb]`` of a file; empty if it is missing or the file cannot be read."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("vision_nb", {})
    except (OSError, ValueError, AttributeError) as error:
        warn_user(f"{path.name} cannot be read ({error}): its settings are ignored.")
        return {}
    return table if isinstance(table, dict) else {}
