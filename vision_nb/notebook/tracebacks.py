"""Tracebacks of the package's own errors in IPython: the user's lines and what to do, and not the way between them."""

from __future__ import annotations

from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

_PACKAGE = str(Path(__file__).parent.parent)
_MORE = "%tb shows where it was raised; %vision fix explains it."


def short(error: BaseException) -> list[str]:
    """The lines that IPython shows of an error: the frames outside the package, and the message.

    Asked once more in a later cell, as ``%tb`` does, it gives all of it.
    """
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    handler = shell.InteractiveTB
    raised_in = error.__dict__.setdefault("_shown_in_cell", shell.execution_count)
    if raised_in != shell.execution_count:
        whole: list[str] = handler.structured_traceback(type(error), error, error.__traceback__)
        return whole
    cause, context, suppressed = error.__cause__, error.__context__, error.__suppress_context__
    try:
        error.__cause__, error.__context__ = None, None
        lines: list[str] = handler.structured_traceback(type(error), error, users_part(error.__traceback__))
    finally:
        error.__cause__, error.__context__, error.__suppress_context__ = cause, context, suppressed
    return [*lines, _MORE]


def users_part(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback up to where it enters the package."""
    frames = []
    while traceback is not None and not _is_ours(traceback.tb_frame):
        frames.append(traceback)
        traceback = traceback.tb_next
    rest = None
    for one in reversed(frames):
        rest = TracebackType(rest, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return rest


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_PACKAGE)
