"""A line that says how far something slow has come, and stays as one plain line when it is done."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from vision_nb.notebook.ipython import in_notebook
from vision_nb.rendering import html

_LEAST_PAUSE = 0.2  # seconds between two changes of the line


class ProgressLine:
    """Shows one line: in a notebook below the cell, in a terminal on standard error, elsewhere nowhere.

    Args:
        what: What is under way, such as "Loading model.gguf (4.1 GB)".
        enabled: Whether to show anything.
    """

    def __init__(self, what: str, *, enabled: bool = True) -> None:
        self._what, self._enabled = what, enabled
        self._started = time.monotonic()
        self._handle: Any = None
        self._last = 0.0

    @property
    def seconds(self) -> float:
        """How long it has been under way."""
        return time.monotonic() - self._started

    def __enter__(self) -> Self:
        self._write(f"{self._what} ...")
        return self

    def update(self, part: float | None) -> None:
        """Show how much is done, from 0 to 1, or None where that is not known; often called, seldom shown."""
        if time.monotonic() - self._last >= _LEAST_PAUSE:
            done = "" if part is None else f"{part:.0%}, "
            self._write(f"{self._what}: {done}{self.seconds:.0f} s")

    def finish(self, result: str) -> None:
        """Show what came of it."""
        self._write(result)
        if self._on_terminal:
            sys.stderr.write("\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._write(f"{self._what}: stopped after {self.seconds:.0f} s")
            if self._on_terminal:
                sys.stderr.write("\n")

    @property
    def _on_terminal(self) -> bool:
        return self._enabled and not in_notebook() and sys.stderr.isatty()

    def _write(self, line: str) -> None:
        self._last = time.monotonic()
        if self._on_terminal:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        elif self._enabled and in_notebook():
            from IPython.display import display

            data = {"text/plain": line, "text/html": html.muted_text(line)}
            if self._handle is None:
                self._handle = display(data, raw=True, display_id=True)
            else:
                self._handle.update(data, raw=True)
