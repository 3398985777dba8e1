"""The rate limits that a server reports in its responses, as far as they apply to later requests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vision_nb.cost.request_gate import LimitReport, Resource

JITTER = 1.0
"""Seconds that a request may take longer to arrive than one that is sent after it."""

_MINUTE = (45.0, 75.0)  # seconds: a minute, as far as it can be inferred from rounded numbers
_SHORTEST_RESET = 0.1  # seconds; the rounding of a shorter one says nothing about the period


@dataclass
class _Balance:
    """What is left of a limit.

    Attributes:
        limit: The limit, or None if it is not known.
        remaining: What is left if all requests arrive after the one whose response reported it.
        until: When the limit is available again in full.
        reset: The seconds from the report until then.
        sent: When that request was sent.
        is_exhausted: Whether a request had to wait.
    """

    limit: int | None
    remaining: float
    until: float
    reset: float
    sent: float
    is_exhausted: bool = False


class ReportedLimits:
    """What a server reported about its limits. Not safe to use from several threads.

    Attributes:
        per_minute: The limits that apply to each minute.
    """

    def __init__(self) -> None:
        self.per_minute: dict[Resource, int] = {}
        self._balances: dict[Resource, _Balance] = {}
        self._waited: set[Resource] = set()

    @property
    def has_any(self) -> bool:
        """Whether a limit was reported."""
        return bool(self._balances or self.per_minute)

    def wait(self, needed: Mapping[Resource, int], now: float) -> float:
        """Return the seconds until a request may be sent; 0 if it may be sent now.

        Args:
            needed: What the request counts for.
            now: The time in seconds.
        """
        waits = [0.0]
        for resource in list(self._balances):
            balance = self._current(resource, now)
            if balance is not None and balance.remaining < min(needed[resource], balance.limit or math.inf):
                balance.is_exhausted = True
                waits.append(balance.until - now)
        return max(waits)

    def _current(self, resource: Resource, now: float) -> _Balance | None:
        """Return what is left of a limit, or None if that is not known: after its reset, it is the whole limit."""
        balance = self._balances[resource]
        if balance.until > now:
            return balance
        del self._balances[resource]
        if not balance.is_exhausted:
            return None
        self._waited.add(resource)
        if balance.limit is None:
            return None
        full = replace(balance, remaining=balance.limit, until=now + balance.reset, sent=-math.inf, is_exhausted=False)
        return self._balances.setdefault(resource, full)

    def subtract(self, needed: Mapping[Resource, int]) -> None:
        """Count a request that will be sent.

        Args:
            needed: What it counts for.
        """
        for resource, balance in self._balances.items():
            balance.remaining -= needed[resource]

    def give_back(self, needed: Mapping[Resource, int]) -> None:
        """Stop counting a request that will not be sent.

        Args:
            needed: What it counted for.
        """
        for resource, balance in self._balances.items():
            balance.remaining = min(balance.remaining + needed[resource], balance.limit or math.inf)

    def trust(self) -> None:
        """Believe all reports again, because the server refused a request."""
        self._waited.clear()

    def note(self, report: LimitReport, *, now: float, sent: float, uncounted: int, used: int, max_wait: float) -> None:
        """Take note of a report.

        Responses can arrive in another order than their requests: that of the last request counts, and of requests that
        were sent at the same time, the one that leaves the most.

        Args:
            report: The report.
            now: The time in seconds.
            sent: When the request was sent, in response to which the server reported it.
            uncounted: What other requests count for that may have arrived later than that request.
            used: What all requests of the last minute count for.
            max_wait: The most seconds to wait for the limit to be reset.
        """
        resource = report.resource
        self._infer_period(report)
        if resource in self._waited and not _is_plausible(report, used, max_wait):
            self._balances.pop(resource, None)  # the server still reports it after a wait, and still answers
            return
        reset = min(report.reset, max_wait)
        balance = _Balance(report.limit, report.remaining - uncounted, now + reset, reset, sent)
        old = self._balances.get(resource)
        if old is None or old.until <= now or sent > old.sent + JITTER:
            self._balances[resource] = balance
        elif sent >= old.sent - JITTER:
            old.remaining, old.until = max(old.remaining, balance.remaining), max(old.until, balance.until)

    def _infer_period(self, report: LimitReport) -> None:
        """Find out whether a limit applies to each minute: Groq's limit of requests applies to a day.

        Limits are refilled at a constant rate, so the time of a full reset is in proportion to what is used.
        """
        if self.per_minute.get(report.resource) != report.limit or report.reset > _MINUTE[1]:
            self.per_minute.pop(report.resource, None)
        if report.limit is None or report.limit <= report.remaining or report.reset < _SHORTEST_RESET:
            return
        period = report.reset * report.limit / (report.limit - report.remaining)
        if _MINUTE[0] <= period <= _MINUTE[1]:
            self.per_minute[report.resource] = report.limit


def _is_plausible(report: LimitReport, used: int, max_wait: float) -> bool:
    """Return whether our own requests can explain what is left, so that waiting for the reset helps."""
    if report.limit is None or report.reset > max_wait:
        return False
    return 2 * used >= report.limit - report.remaining
