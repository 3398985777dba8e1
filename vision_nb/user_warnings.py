"""Warnings that point to the user's line instead of a line inside this package."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from types import FrameType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_INTERNAL = frozenset(
    "vision_nb IPython asyncio concurrent contextlib decorator functools nest_asyncio2 threading traitlets".split()
)
"""Packages whose frames lie between the user's line and ours."""

_CALLER: ContextVar[FrameType | None] = ContextVar("vision_nb caller", default=None)


def warn_user(message: str) -> None:
    """Issue a UserWarning that names the user's line.

    ``stacklevel`` needs a known depth, and ``skip_file_prefixes`` needs Python 3.12; this works in both.
    """
    frame = _users_frame() or sys._getframe(1)
    warnings.warn_explicit(
        message,
        UserWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


async def to_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread; its warnings name the user's line."""
    import asyncio  # the callers have loaded it; `%load_ext vision_nb` need not

    token = _CALLER.set(_users_frame())
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    finally:
        _CALLER.reset(token)


def _users_frame() -> FrameType | None:
    """Return the innermost frame of the user's code, or None if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INTERNAL:
        frame = frame.f_back
    return frame or _CALLER.get()
