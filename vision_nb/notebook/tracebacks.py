"""Short tracebacks in IPython, without the frames of this package."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from vision_nb.notebook.ipython import shell
from vision_nb.privacy.redaction import redact, traceback_of


def hint(error: BaseException) -> str:
    """Return what helps to understand an error: ``%vision fix`` only if a model can explain it."""
    running = shell()
    magics = None if running is None else running.magics_manager.registry.get("VisionMagics")
    if magics is not None and magics.can_explain(error):
        return "%tb shows the full traceback; %vision fix explains the error."
    return "%tb shows the full traceback."


def short_traceback(error: BaseException) -> list[str]:
    """Return the traceback that IPython shows, without the frames of this package.

    If IPython asks again in a later cell, as ``%tb`` does, the full traceback is returned.
    """

    def users_frames(handler: Any) -> list[str]:
        cause, context, suppressed = error.__cause__, error.__context__, error.__suppress_context__
        try:
            error.__cause__, error.__context__ = None, None
            lines: list[str] = handler.structured_traceback(type(error), error, without_package(error.__traceback__))
        finally:
            error.__cause__, error.__context__, error.__suppress_context__ = cause, context, suppressed
        return [*lines, hint(error)]

    return _short_once(error, users_frames)


def set_short_traceback(error: BaseException, *lines: str) -> None:
    """Make IPython show only these lines for an error, except for ``%tb``."""
    render = lambda: _short_once(error, lambda handler: list(lines))  # noqa: E731 - IPython calls it without arguments
    error._render_traceback_ = render  # type: ignore[attr-defined]  # IPython's protocol


def _short_once(error: BaseException, short: Callable[[Any], list[str]]) -> list[str]:
    from IPython.core.getipython import get_ipython

    running: Any = get_ipython()
    shown_in = error.__dict__.setdefault("_shown_in_cell", running.execution_count)
    if shown_in == running.execution_count:
        lines = short(running.InteractiveTB)
    else:
        lines = running.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
    return [redact(line) for line in lines]  # %xmode Verbose also shows the user's variables


def without_package(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback up to the first frame of this package."""
    entries = []
    while traceback is not None and not _is_in_package(traceback.tb_frame):
        entries.append(traceback)
        traceback = traceback.tb_next
    return traceback_of(entries)


def _is_in_package(frame: FrameType) -> bool:
    module: str = frame.f_globals.get("__name__", "")
    return module.partition(".")[0] == "vision_nb"
