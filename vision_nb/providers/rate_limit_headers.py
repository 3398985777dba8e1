"""Rate limits that servers report in the headers of their responses.

The names and forms are those of OpenAI ("6m0s"), Azure OpenAI (seconds, or -1 for unknown numbers), Groq ("2m59.56s"),
Anthropic (a time), and of the IETF draft RateLimit header fields. OpenAI's and Groq's are from copies of their pages
about rate limits; Azure's and Anthropic's from public reports and code that quote them (read 2026-11).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from vision_nb.cost.request_gate import LimitReport, Resource, active_gate
from vision_nb.providers.retries import parse_retry_after

_NAMES: tuple[tuple[Resource, str], ...] = (
    ("requests", "x-ratelimit-{}-requests"),
    ("tokens", "x-ratelimit-{}-tokens"),
    ("requests", "anthropic-ratelimit-requests-{}"),
    ("input_tokens", "anthropic-ratelimit-input-tokens-{}"),
    ("output_tokens", "anthropic-ratelimit-output-tokens-{}"),
    ("requests", "ratelimit-{}"),
    ("requests", "x-ratelimit-{}"),
)
_COUNT = re.compile(r"\d{1,15}")
_NUMBER = r"\d{1,15}(?:\.\d{1,15})?"
_SECONDS = re.compile(_NUMBER)
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ms|[dhms]))+")
_PART = re.compile(rf"({_NUMBER})(ms|[dhms])")
_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_FIRST_TIMESTAMP = 1e9  # a larger number is a time, in seconds or milliseconds since the epoch


def note_rate_limits(headers: Mapping[str, str], status: int) -> None:
    """Tell the active gate, if there is one, which rate limits a response reports.

    Args:
        headers: The headers of the response, by names in any case.
        status: Its HTTP status.
    """
    gate = active_gate.get()
    if gate is not None:
        reports = limit_reports(headers)
        if status == 429 and (pause := retry_after(headers)) is not None:
            reports.append(LimitReport("attempts", 0, pause))
        gate.note_reports(reports, is_refused=status == 429)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait that the headers of an error ask for, or None.

    Args:
        headers: The headers, by names in lower case or in any case.
    """
    return parse_retry_after(headers.get("retry-after"), headers.get("retry-after-ms"), now=_server_time(headers))


def wait_after_refusal(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait after a rate limit error, or None: until the limits that are used up are reset.

    Args:
        headers: The headers of the response. Its Retry-After header counts most.
    """
    requested = retry_after(headers)
    if requested is not None:
        return requested
    return max((report.reset for report in limit_reports(headers) if report.remaining == 0), default=None)


def limit_reports(headers: Mapping[str, str]) -> list[LimitReport]:
    """Return the rate limits that a response reports; incomplete and malformed ones are left out.

    Times are compared with the server's own, from its Date header: the clock of this machine may be wrong.

    Args:
        headers: The headers, by names in any case.

    >>> limit_reports(
    ...     {
    ...         "x-ratelimit-limit-requests": "500",
    ...         "x-ratelimit-remaining-requests": "499",
    ...         "x-ratelimit-reset-requests": "120ms",
    ...     }
    ... )
    [LimitReport(resource='requests', remaining=499, reset=0.12, limit=500)]
    """
    found = {name.lower(): value.strip() for name, value in headers.items() if "ratelimit-" in name.lower()}
    now = _server_time(headers)
    reports: dict[Resource, LimitReport] = {}
    for resource, name in _NAMES if found else ():
        remaining = _count(found.get(name.format("remaining"), ""))
        reset = _seconds(found.get(name.format("reset"), ""), now)
        if remaining is None or reset is None:
            continue
        limit = _count(found.get(name.format("limit"), ""))
        reports.setdefault(resource, LimitReport(resource, remaining, reset, limit or None))
    return list(reports.values())


def _server_time(headers: Mapping[str, str]) -> float:
    """Return the time in seconds since the epoch by the clock of the server, or else of this machine."""
    try:
        return parsedate_to_datetime(headers.get("date") or headers.get("Date") or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return time.time()


def _count(text: str) -> int | None:
    return int(text) if _COUNT.fullmatch(text) else None


def _seconds(text: str, now: float) -> float | None:
    """Return the seconds until a limit is reset, or None if the text is malformed.

    >>> [_seconds(text, 0) for text in ("1s", "6m0s", "120ms", "2m59.5s", "12", "1970-01-01T00:01:00Z", "NaN", "-3")]
    [1.0, 360.0, 0.12, 179.5, 12.0, 60.0, None, None]
    """
    if _DURATION.fullmatch(text):
        seconds = math.fsum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    elif _SECONDS.fullmatch(text):
        number = float(text)
        seconds = number if number < _FIRST_TIMESTAMP else (number / (1000 if number > 1e11 else 1)) - now
    else:
        try:
            moment = datetime.fromisoformat(text)
            seconds = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds)
