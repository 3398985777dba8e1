"""The running IPython shell, and values that are displayed only once per cell."""

from __future__ import annotations

import os
import sys
from typing import Any


def shell() -> Any:
    """Return the running IPython shell, or None; does not import IPython."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def in_notebook() -> bool:
    """Return whether output goes to a Jupyter front end."""
    return hasattr(shell(), "kernel")


def in_voila() -> bool:
    """Return whether the kernel belongs to a visitor of a Voila dashboard."""
    return os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


def running_cell() -> int | None:
    """Return the number of the running cell, or None outside IPython."""
    running = shell()
    return None if running is None else int(running.execution_count)


def in_dashboard() -> bool:
    """Return whether the notebook runs for a visitor of a Voila dashboard or of a marimo app."""
    marimo = sys.modules.get("marimo")
    return in_voila() or (marimo is not None and marimo.app_meta().mode == "run")


def current_cell_id() -> str | None:
    """Return the id of the running cell, or None if the front end does not send it."""
    running = shell()
    parent = running.get_parent() if hasattr(running, "get_parent") else None
    cell_id = (parent or {}).get("metadata", {}).get("cellId")
    return cell_id if isinstance(cell_id, str) else None


class DisplayOnce:
    """A value that is displayed as it is created, and not again as its cell's value."""

    _displayed_in = None

    @property
    def is_displayed(self) -> bool:
        """Whether the value was displayed in the running cell."""
        return self._displayed_in is not None and self._displayed_in == running_cell()

    def _ipython_display_(self) -> None:
        if self.is_displayed and in_notebook():  # a terminal has written Out[n]: already, so something must follow
            object.__setattr__(self, "_displayed_in", None)
            return
        raise NotImplementedError  # IPython then uses its other display methods


def mark_displayed(value: DisplayOnce) -> None:
    """Keep a value from being displayed again as the value of the running cell."""
    object.__setattr__(value, "_displayed_in", running_cell())
