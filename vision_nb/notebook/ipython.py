"""Values that were displayed where they were made, and are not to be shown again as their cell's value."""

from __future__ import annotations

import sys
from typing import Any


def shell() -> Any:
    """The running IPython shell, or None outside one; IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def in_notebook() -> bool:
    """Whether output goes to a Jupyter front end, which can show Markdown and pictures."""
    return hasattr(shell(), "kernel")


def current_cell_id() -> str | None:
    """The id of the cell that is running, where the front end tells it."""
    running = shell()
    parent = running.get_parent() if hasattr(running, "get_parent") else None
    found = (parent or {}).get("metadata", {}).get("cellId")
    return found if isinstance(found, str) else None


class DisplayOnce:
    """A value that may have been displayed already in the cell that made it."""

    _displayed_in = None

    @property
    def is_displayed(self) -> bool:
        """Whether it was displayed in the cell that is running."""
        running = shell()
        return running is not None and self._displayed_in == running.execution_count

    def _ipython_display_(self) -> None:
        if self.is_displayed:
            object.__setattr__(self, "_displayed_in", None)
            return
        raise NotImplementedError  # IPython then shows the value as it shows any other


def mark_displayed(value: DisplayOnce) -> None:
    """Note that a value has been displayed: as the value of the running cell it is not shown again."""
    running = shell()
    object.__setattr__(value, "_displayed_in", None if running is None else running.execution_count)
