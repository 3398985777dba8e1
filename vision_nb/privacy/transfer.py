"""Pickling objects together with their secrets, for a process that makes calls on this one's behalf.

By default, a pickle contains no secrets. `dumps_with_secrets` returns one that does: it must go to the other process
directly, and must not be kept, logged or displayed on the way.
"""

from __future__ import annotations

import dataclasses
import io
from contextvars import ContextVar
from typing import Any

from vision_nb.checks.context_values import context_value


class Transfer:
    """One pickle that may contain secrets.

    Attributes:
        has_secrets: Whether it contains any.
    """

    def __init__(self) -> None:
        self.has_secrets = False


_active: ContextVar[Transfer | None] = ContextVar("_active", default=None)


def includes_secrets() -> bool:
    """Return whether the pickle that is being made includes secrets, and note that it has one."""
    transfer = _active.get()
    if transfer is None:
        return False
    transfer.has_secrets = True
    return True


def dumps_with_secrets(value: Any) -> tuple[bytes, bool]:
    """Return a pickle of a value with its secrets, and whether there are any.

    Classes and functions that the other process cannot import, such as those of a notebook, are pickled too.

    Args:
        value: The value.
    """
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
        def reducer_override(self, value: Any) -> Any:
            if value is dataclasses.MISSING:  # dataclasses recognize it by its identity
                return "MISSING"
            return super().reducer_override(value)

    transfer = Transfer()
    buffer = io.BytesIO()
    with context_value(_active, transfer):
        Pickler(buffer).dump(value)
    return buffer.getvalue(), transfer.has_secrets
