"""The rate limits of a demo server, and the headers with which services report them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from vision_nb.demo.faults import Refusal, error_body
from vision_nb.errors import SettingsError

_DAY = 86_400.0
_WORDS = {"requests": ("requests", "R"), "tokens": ("tokens", "T")}
_SPANS = {60.0: ("min", "PM"), _DAY: ("day", "PD")}

HeaderStyle = Literal["openai", "azure", "anthropic"]


@dataclass(frozen=True, kw_only=True)
class Quota:
    """The rate limits of a demo server, which apply to each model on its own.

    What was used becomes available again at a constant rate, as at OpenAI and Anthropic. A request that exceeds a limit
    gets status 429. Every answer reports the limits in its headers.

    Attributes:
        requests: The maximum number of requests, or None for no limit.
        tokens: The maximum number of tokens, or None for no limit. A request counts for its input, and for the longest
            answer that it allows.
        seconds: The period of the limits.

    Raises:
        SettingsError: Neither limit is given, or a value is not positive.
    """

    requests: int | None = None
    tokens: int | None = None
    seconds: float = 60.0

    def __post_init__(self) -> None:
        given = [value for value in (self.requests, self.tokens) if value is not None]
        if not given or min(*given, self.seconds) <= 0:
            raise SettingsError(f"Quota needs requests= or tokens=, and values above 0: got {self}.")


@dataclass
class _Level:
    """How much of a limit is used.

    Attributes:
        limit: The limit.
        seconds: Its period.
        used: How much was used at a time.
        time: That time, on the clock of `time.monotonic`.
    """

    limit: int
    seconds: float
    used: float = 0.0
    time: float = 0.0

    def update(self, now: float) -> None:
        """Make available again what has been refilled."""
        self.used = max(0.0, self.used - self.limit * (now - self.time) / self.seconds)
        self.time = now

    def delay(self, needed: int) -> float:
        """Return the seconds until this much may be used."""
        return max(0.0, (self.used + needed - self.limit) * self.seconds / self.limit)

    @property
    def remaining(self) -> int:
        """How much is left."""
        return math.floor(self.limit - self.used)

    @property
    def reset(self) -> float:
        """The seconds until all is available again."""
        return self.used * self.seconds / self.limit


class Meter:
    """Counts the requests to one model against a quota.

    Args:
        quota: The quota.
        requests_per_day: Whether the limit of requests applies to a day, as at Groq.
        clock: Returns the time in seconds.
    """

    def __init__(
        self, quota: Quota, *, requests_per_day: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._levels: dict[str, _Level] = {}
        if quota.requests is not None:
            self._levels["requests"] = _Level(quota.requests, _DAY if requests_per_day else quota.seconds)
        if quota.tokens is not None:
            self._levels["tokens"] = _Level(quota.tokens, quota.seconds)

    def use(self, model: str, tokens: int) -> Refusal | None:
        """Count a request; return a refusal, and count nothing, if it exceeds a limit.

        Args:
            model: The model's name, for the message.
            tokens: What the request counts for.
        """
        needed, now = {"requests": 1, "tokens": tokens}, self._clock()
        for resource, level in self._levels.items():
            level.update(now)
            if level.delay(needed[resource]):
                return Refusal(429, _error(model, resource, level, needed[resource]))
        for resource, level in self._levels.items():
            level.used += needed[resource]
        return None

    def headers(self, style: HeaderStyle, *, tokens: int | None = None) -> dict[str, str]:
        """Return the headers that report the limits.

        Args:
            style: The form of their names and times.
            tokens: What a refused request counted for, to add how long to wait; None after an answer.
        """
        headers = {}
        for resource, level in self._levels.items():
            values = {"limit": str(level.limit), "remaining": str(level.remaining), "reset": _time(level.reset, style)}
            for field, value in values.items():
                name = f"x-ratelimit-{field}-{resource}"
                if style == "anthropic":
                    group = "input-tokens" if resource == "tokens" else resource
                    name = f"anthropic-ratelimit-{group}-{field}"
                headers[name] = value
        if tokens is not None:
            needed = {"requests": 1, "tokens": tokens}
            delay = max(level.delay(needed[resource]) for resource, level in self._levels.items())
            headers["Retry-After"] = str(math.ceil(delay))
            if style == "openai":
                headers["retry-after-ms"] = str(math.ceil(1000 * delay))
        return headers


def _error(model: str, resource: str, level: _Level, needed: int) -> Mapping[str, object]:
    """Return the error in OpenAI's words."""
    word, letter = _WORDS[resource]
    span, abbreviation = _SPANS.get(level.seconds, (f"{level.seconds:g} s", ""))
    unit = f"{word} per {span}" + (f" ({letter}{abbreviation})" if abbreviation else "")
    where = f"{model} in organization org-demo on {unit}: Limit {level.limit}"
    if needed > level.limit:
        text = (
            f"Request too large for {where}, Requested {needed}. The input or output tokens must be reduced in order "
            "to run successfully."
        )
    else:
        text = (
            f"Rate limit reached for {where}, Used {math.ceil(level.used)}, Requested {needed}. Please try again in "
            f"{_duration(level.delay(needed))}. Visit https://platform.openai.com/account/rate-limits to learn more."
        )
    return error_body(text, code="rate_limit_exceeded", type=word)


def _time(seconds: float, style: HeaderStyle) -> str:
    if style == "azure":
        return str(math.ceil(seconds))
    if style == "anthropic":
        return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return _duration(seconds)


def _duration(seconds: float) -> str:
    """Return a duration as OpenAI writes it.

    >>> [_duration(seconds) for seconds in (0.12, 1, 20.5, 360, 7325)]
    ['120ms', '1s', '20.5s', '6m0s', '2h2m5s']
    """
    if seconds < 1:
        return f"{math.ceil(1000 * seconds)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text
