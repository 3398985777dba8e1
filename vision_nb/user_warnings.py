"""Warnings to the user: a quiet note in a notebook; elsewhere, a warning that points to the user's line."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar, copy_context
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from vision_nb.checks.context_values import context_value
from vision_nb.notebook.ipython import in_notebook, running_cell
from vision_nb.rendering.html import muted_text
from vision_nb.rendering.sanitize import terminal_text

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

_INTERNAL = frozenset(
    "vision_nb IPython asyncio concurrent contextlib decorator functools nest_asyncio2 threading traitlets".split()
)
"""Packages whose frames lie between the user's line and ours."""

_NOTES: deque[tuple[str, int | None]] = deque(maxlen=1000)
"""The latest notes in notebooks, with the cell of each."""

_CALLER: ContextVar[FrameType | None] = ContextVar("vision_nb caller", default=None)


def warn_user(message: str) -> None:
    """Issue a UserWarning that names the user's line; in a notebook, display a note, once in each cell.

    A notebook would show a warning in a red box, with a line of code. Warnings for which the user has set a filter stay
    warnings. ``stacklevel`` needs a known depth, and ``skip_file_prefixes`` needs Python 3.12; this works in both.

    Args:
        message: One or two sentences.
    """
    if in_notebook() and not _has_filter(message):
        _show_note(message)
        return
    frame = _users_frame() or sys._getframe(1)
    warnings.warn_explicit(
        message,
        UserWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _has_filter(message: str) -> bool:
    """Return whether the user has said what to do with a warning, such as to ignore it."""
    return any(
        issubclass(UserWarning, category) and (text is None or re.match(text, message))
        for _, text, category, *_ in warnings.filters
    )


def _show_note(message: str) -> None:
    from IPython.display import display

    if (message, running_cell()) in _NOTES:
        return
    _NOTES.append((message, running_cell()))
    display({"text/plain": terminal_text(message), "text/html": muted_text(message)}, raw=True)


async def to_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread; its warnings name the user's line."""
    import asyncio  # the callers have loaded it; `%load_ext vision_nb` need not

    with context_value(_CALLER, _users_frame()):
        return await asyncio.to_thread(function, *args, **kwargs)


def map_in_threads(function: Callable[[S], T], values: Sequence[S]) -> list[T]:
    """Call a function with each of some values, in as many threads as the processor has cores.

    Warnings name the user's line, and context variables have the values of the calling thread. The first error, in the
    order of the values, is raised; calls that have not begun are then omitted.

    Args:
        function: The function.
        values: Its arguments. A single one is handled in the calling thread.
    """
    if len(values) < 2:
        return [function(value) for value in values]
    from concurrent.futures import ThreadPoolExecutor

    executor = ThreadPoolExecutor(min(len(values), max(2, os.cpu_count() or 1)), "vision_nb images")
    try:
        futures = [submit(executor, function, value) for value in values]
        return [future.result() for future in futures]
    finally:
        executor.shutdown(wait=False, cancel_futures=True)  # an interrupt does not wait for a slow download


def submit(executor: Executor, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Call a function in a thread of an executor, with the context of the calling thread, and return its future."""
    with context_value(_CALLER, _users_frame()):
        return executor.submit(copy_context().run, partial(function, *args, **kwargs))


def _users_frame() -> FrameType | None:
    """Return the innermost frame of the user's code, or None if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INTERNAL:
        frame = frame.f_back
    return frame or _CALLER.get()
