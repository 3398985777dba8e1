"""`Place`: what a stored conversation belongs to, so that it can be found again."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from vision_nb.notebook.ipython import current_cell_id, in_dashboard, shell


@dataclass(frozen=True)
class Place:
    """A cell of a notebook, or a name.

    Attributes:
        id: A digest of all that identifies it.
        cell: A digest of the cell's id without the notebook's path; empty for a name.
        path: The notebook's path; empty for a name.
    """

    id: str
    cell: str = ""
    path: str = ""


def place_of_cell(number: int) -> Place | None:
    """Return the place of a panel in the running cell, or None if its notebook or cell is unknown.

    Args:
        number: The number of panels that this run of the cell has created before.
    """
    cell_id, path = current_cell_id(), _notebook_path()
    if cell_id is None or path is None:
        return None
    return Place(_digest("cell", path, cell_id, str(number)), _digest("cell", cell_id, str(number)), path)


def place_of_name(name: str) -> Place | None:
    """Return the place of a conversation with a name; None in a dashboard, whose visitors have the same names."""
    return None if in_dashboard() else Place(_digest("name", name))


def is_gone(path: str) -> bool:
    """Return whether a notebook was renamed, moved or deleted.

    Return False if its folder is missing too: the drive may be disconnected, or the notebook on another machine.
    """
    notebook = Path(path)
    try:
        return notebook.is_absolute() and notebook.parent.is_dir() and not notebook.exists()
    except (OSError, ValueError):
        return False


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _notebook_path() -> str | None:
    """Return the path of the running notebook as Jupyter's server or VS Code names it, or None."""
    if in_dashboard():
        return None  # each visitor of a dashboard has a kernel: they must not see each other's conversations
    namespace = getattr(shell(), "user_ns", {})
    path = os.environ.get("JPY_SESSION_NAME") or namespace.get("__vsc_ipynb_file__")
    return path if isinstance(path, str) else None
