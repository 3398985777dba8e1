"""The deadline of the answer that is being received, for the connections of the synchronous HTTP client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

ANSWER_DEADLINE: ContextVar[float | None] = ContextVar("ANSWER_DEADLINE", default=None)
"""When to stop receiving, on the clock of `time.monotonic`; None outside of a model's own calls."""


@contextmanager
def answer_deadline(seconds: float) -> Iterator[None]:
    """Limit the time that the answers to requests in a ``with`` block may take.

    Args:
        seconds: The limit in seconds.
    """
    token = ANSWER_DEADLINE.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        ANSWER_DEADLINE.reset(token)
