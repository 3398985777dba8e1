"""A progress line for slow operations, which ends as one plain line of output."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Any, Self

from vision_nb.notebook.ipython import in_notebook
from vision_nb.rendering import html
from vision_nb.rendering.sanitize import terminal_text

_MIN_INTERVAL = 0.2  # seconds between two updates of the line


class LiveOutput:
    """An output that is updated in place.

    It is shown below the cell in a notebook, and on the current line of standard error in a terminal. Elsewhere, as in
    a log file, only its last content is written.

    Args:
        enabled: Whether to show anything.
        in_logs: Whether to write the last content to standard error if that is not a terminal.
    """

    def __init__(self, *, enabled: bool = True, in_logs: bool = True) -> None:
        self._enabled, self._in_logs = bool(enabled), in_logs  # at once: another value may have no truth
        self._handle: Any = None
        self._has_line = False  # in a terminal

    @property
    def is_live(self) -> bool:
        """Whether the content can be replaced: in a notebook or terminal, and not in a log file."""
        return in_notebook() or sys.stderr.isatty()

    def show(self, line: str, html: str, *, last: bool = False) -> None:
        """Replace the content.

        Args:
            line: The content as text.
            html: The content for notebooks.
            last: Whether it stays.
        """
        if not self._enabled:
            return
        if in_notebook():
            from IPython.display import display

            data = {"text/plain": terminal_text(line), "text/html": html}
            if self._handle is None:
                self._handle = display(data, raw=True, display_id=True)
            else:
                self._handle.update(data, raw=True)
        elif sys.stderr.isatty():
            text = terminal_text(line)
            if not last:
                columns = shutil.get_terminal_size().columns
                text = text if len(text) < columns else f"{text[: columns - 4]}..."
            sys.stderr.write(f"\r\x1b[K{text}" + "\n" * last)
            sys.stderr.flush()
            self._has_line = not last
        elif last and self._in_logs:
            sys.stderr.write(f"{terminal_text(line)}\n")

    def clear(self) -> None:
        """Empty the output: the front ends of notebooks then show nothing, although it stays in the saved file."""
        if self._handle is not None:
            self._handle.update({}, raw=True)
        elif self._has_line:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._has_line = False


class ProgressLine:
    """A line that shows the progress of a slow operation.

    It is shown below the cell in a notebook, on standard error in a terminal, and not at all elsewhere.

    Args:
        task: The operation, such as "Loading model.gguf (4.1 GB)".
        enabled: Whether to show anything.
    """

    def __init__(self, task: str, *, enabled: bool = True) -> None:
        self._task, self._output = task, LiveOutput(enabled=enabled, in_logs=False)
        self._started = time.monotonic()
        self._last_update = 0.0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def __enter__(self) -> Self:
        self._write(f"{self._task} ...")
        return self

    def update(self, fraction: float | None) -> None:
        """Show how much is done (0 to 1, None if unknown); frequent updates are skipped."""
        if time.monotonic() - self._last_update >= _MIN_INTERVAL:
            done = "" if fraction is None else f"{fraction:.0%}, "
            self._write(f"{self._task}: {done}{self.seconds:.0f} s")

    def finish(self, result: str) -> None:
        """Replace the line with its result."""
        self._write(result, last=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._write(f"{self._task}: stopped after {self.seconds:.0f} s", last=True)

    def _write(self, line: str, *, last: bool = False) -> None:
        self._last_update = time.monotonic()
        self._output.show(line, html.muted_text(line), last=last)
