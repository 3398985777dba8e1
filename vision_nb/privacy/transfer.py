"""Pickling objects together with their secrets, for a process that makes calls on this one's behalf.

By default, a pickle contains no secrets. One that is made by `dumps_with_secrets` or within `including_secrets` does:
it must go to the other process directly, and must not be kept, logged or displayed on the way.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from vision_nb.checks.context_values import context_value


class Transfer:
    """Pickles that may contain secrets.

    Args:
        is_exact: As for `including_secrets`.

    Attributes:
        has_secrets: Whether they contain any.
        is_exact: As given.
    """

    def __init__(self, *, is_exact: bool) -> None:
        self.has_secrets, self.is_exact = False, is_exact


_active: ContextVar[Transfer | None] = ContextVar("_active", default=None)


def includes_secrets() -> bool:
    """Return whether the pickle that is being made includes secrets, and note that it has one."""
    transfer = _active.get()
    if transfer is None:
        return False
    transfer.has_secrets = True
    return True


def is_exact() -> bool:
    """Return whether the process that reads the pickle is to use just these keys."""
    transfer = _active.get()
    return transfer is not None and transfer.is_exact


@contextmanager
def including_secrets(*, is_exact: bool = False) -> Iterator[Transfer]:
    """Include secrets in the pickles that are made in a ``with`` block, and yield what is known about them.

    Args:
        is_exact: Whether to use keys that were read from the environment even where it has others, as that of a
            child process may have by now.
    """
    transfer = Transfer(is_exact=is_exact)
    with context_value(_active, transfer):
        yield transfer


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

    buffer = io.BytesIO()
    with including_secrets() as transfer:
        Pickler(buffer).dump(value)
    return buffer.getvalue(), transfer.has_secrets
