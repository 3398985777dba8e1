"""Retry rules that the providers share: how long to wait, and who retries."""

from __future__ import annotations

import math
import random
import time
from contextlib import AbstractContextManager
from contextvars import ContextVar
from datetime import UTC
from email.utils import parsedate_to_datetime

from vision_nb.checks.context_values import context_value

MAX_WAIT = 60.0
"""Longest pause before a repeated request, in seconds, even if the server asks for more."""

ASKED_TO_WAIT = "the server asks for a pause before the next attempt."
"""Why a call waits before it is repeated, if that takes so long that it is shown."""

_caller_repeats: ContextVar[bool] = ContextVar("_caller_repeats", default=False)


def parse_retry_after(
    seconds: str | None, milliseconds: str | None = None, *, now: float | None = None
) -> float | None:
    """Return the seconds to wait that a server asks for, 0 or more, or None if it does not specify any.

    Args:
        seconds: The Retry-After header: a number, or an HTTP date.
        milliseconds: The header retry-after-ms, which some of OpenAI's servers send.
        now: The time in seconds since the epoch; by default, the current one.

    >>> parse_retry_after("1.5"), parse_retry_after("inf"), parse_retry_after("-3"), parse_retry_after("soon")
    (1.5, inf, 0.0, None)
    >>> parse_retry_after("7", "250")
    0.25
    """
    for value, factor in ((milliseconds, 1000.0), (seconds, 1.0)):
        try:
            number = float(value or "")
        except ValueError:
            continue
        if not math.isnan(number):
            return max(0.0, number / factor)
    try:
        date = parsedate_to_datetime(seconds or "")
        date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - (time.time() if now is None else now))
    except (ValueError, TypeError, OverflowError):
        return None


def backoff(retries: int) -> float:
    """Return the seconds to wait if the server specifies none: half a second, doubled after each retry.

    Args:
        retries: The number of retries so far.
    """
    return float(min(0.5 * 2 ** min(retries, 10), 8.0) * random.uniform(0.75, 1))


def without_rate_limit_retries() -> AbstractContextManager[None]:
    """Raise rate limit errors immediately inside the block, because the caller retries the call itself."""
    return context_value(_caller_repeats, True)


def with_rate_limit_retries() -> AbstractContextManager[None]:
    """Retry after rate limit errors inside the block, even if the caller retries: it would repeat a paid request."""
    return context_value(_caller_repeats, False)


def caller_repeats() -> bool:
    """Return whether to raise a rate limit error immediately."""
    return _caller_repeats.get()
