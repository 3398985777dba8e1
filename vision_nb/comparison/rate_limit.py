"""`RateLimit`, and the window of the requests that count towards it and towards the limits that the server reports.

The window is a log of requests with their tokens, because the limit has to hold in every minute, and the tokens of a
request are corrected when its answer arrives. Read 2026-11: aiolimiter 1.3 allows almost twice the limit in the first
minute; throttled-py 3.5 approximates the window; limits 5.8 and pyrate-limiter 4.5 store a token per list item, and
cannot correct it.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from vision_nb.comparison.reported_limits import JITTER, ReportedLimits
from vision_nb.cost.request_gate import LimitReport, Resource
from vision_nb.errors import RequestTooLargeError, SettingsError

WINDOW = 60.0 + JITTER
"""Seconds for which a request counts: a minute, and the time that it may take longer to arrive than a later one."""

NO_LIMITS: Mapping[Resource, int] = {}


@dataclass(frozen=True, kw_only=True)
class RateLimit:
    """A limit on the requests to one model in any 60 seconds.

    Attributes:
        requests_per_minute: The maximum number of requests, including retries and repairs; None for no limit.
        tokens_per_minute: The maximum number of input and output tokens; None for no limit. Before a request is sent,
            its input is counted, and its answer is assumed to be as long as ``max_new_tokens`` allows, or 4,096 tokens
            without a limit. The tokens that the server reports replace the count when the answer arrives.

    Raises:
        SettingsError: Neither limit is given, or one is not a positive integer.

    >>> vn.RateLimit(requests_per_minute=500, tokens_per_minute=30_000)
    RateLimit(requests_per_minute=500, tokens_per_minute=30000)
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if not given:
            raise SettingsError("RateLimit needs requests_per_minute= or tokens_per_minute=, or both.")
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SettingsError(f"{name} must be an integer of at least 1: got {value!r:.80}.")

    @property
    def per_minute(self) -> Mapping[Resource, int]:
        """The limits that are given, by what they count."""
        given: tuple[tuple[Resource, int | None], ...] = (
            ("requests", self.requests_per_minute),
            ("tokens", self.tokens_per_minute),
        )
        return {resource: limit for resource, limit in given if limit is not None}

    def shortest_run(self, requests: int, input_tokens: int | None) -> tuple[float, str]:
        """Return the seconds that some requests take at least, and the limit from which that follows.

        The first minute's requests may be sent at once, and answers may be short.

        Args:
            requests: The number of requests.
            input_tokens: Their input tokens, or None if they are not known.

        >>> vn.RateLimit(requests_per_minute=500).shortest_run(6000, None)
        (671.0, '500 requests a minute')
        """
        used: dict[Resource, int] = {"requests": requests, "tokens": input_tokens or 0}
        found = [
            (
                max(0, math.ceil(used[resource] / limit) - 1) * WINDOW,
                f"{limit:,} {resource.removesuffix('s') if limit == 1 else resource} a minute",
            )
            for resource, limit in self.per_minute.items()
        ]
        return max(found)

    def check(self, input_tokens: int | None, output_tokens: int, model: str) -> None:
        """Refuse a request that the limit can never allow.

        Args:
            input_tokens: The tokens of its texts and images, or None if they are not known.
            output_tokens: The maximum number of tokens in its answer.
            model: The model's name, for the error message.

        Raises:
            RequestTooLargeError: The request alone exceeds the limit.
            SettingsError: Tokens are limited, and those of the request are not known.
        """
        limit = self.tokens_per_minute
        if limit is None:
            return
        if input_tokens is None:
            raise SettingsError(
                f"The image tokens of a request to {model:.80} are not known, so tokens_per_minute= cannot be "
                "enforced: use requests_per_minute= alone."
            )
        if input_tokens + output_tokens > limit:
            raise RequestTooLargeError(
                f"A request to {model:.80} may use {input_tokens:,} input and {output_tokens:,} output tokens, more "
                f"than tokens_per_minute={limit}: lower max_new_tokens, send smaller images with max_side=, or raise "
                "the limit."
            )


def amounts(input_tokens: int, output_tokens: int) -> Mapping[Resource, int]:
    """Return what one request counts for.

    >>> amounts(1000, 50)
    {'requests': 1, 'tokens': 1050, 'input_tokens': 1000, 'output_tokens': 50}
    """
    tokens = input_tokens + output_tokens
    return {"requests": 1, "tokens": tokens, "input_tokens": input_tokens, "output_tokens": output_tokens}


@dataclass(eq=False)
class Admission:
    """A request that counts towards the limits.

    Attributes:
        amounts: What it counts for.
        sent: When it was sent, in seconds of the window's clock; None before.
        is_counted: Whether it is in the window.
    """

    amounts: Mapping[Resource, int]
    sent: float | None = None
    is_counted: bool = True


class SlidingWindow:
    """The requests of the last minute to one model, and what the server reported. Safe to use from several threads.

    Args:
        clock: Returns the time in seconds; it never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._unsent: set[Admission] = set()  # they count until they are sent, and then for a minute
        self._sent: deque[Admission] = deque()  # in the order of their times
        self._used: Counter[Resource] = Counter()
        self._reported = ReportedLimits()
        self._lock = threading.RLock()  # garbage collection can end a call, and so correct it, while it is held

    @property
    def has_reports(self) -> bool:
        """Whether the server has reported a limit."""
        return self._reported.has_any

    def admit(
        self, limits: Mapping[Resource, int], needed: Mapping[Resource, int], *, obeys_server: bool = True
    ) -> Admission | None:
        """Count a request if the limits allow it to be sent now; otherwise, return None.

        Args:
            limits: The limits per minute.
            needed: What the request counts for.
            obeys_server: Whether the limits that the server reported apply too.
        """
        with self._lock:
            if self.wait(limits, needed, obeys_server=obeys_server) > 0:
                return None
            admission = Admission(needed)
            self._unsent.add(admission)
            self._count(needed)
            self._reported.subtract(needed)
            return admission

    def wait(
        self, limits: Mapping[Resource, int], needed: Mapping[Resource, int], *, obeys_server: bool = True
    ) -> float:
        """Return the seconds until a request may be sent if nothing changes until then; 0 if it may be sent now.

        It is infinite if that depends on requests that have not been sent yet. For the arguments, see `admit`.
        """
        with self._lock:
            now = self._clock()
            while self._sent and (self._sent[0].sent or 0.0) + WINDOW <= now:
                self._remove(self._sent.popleft())
            waits = [self._wait_for(resource, limit, needed[resource], now) for resource, limit in limits.items()]
            if obeys_server:
                waits.append(self._reported.wait(needed, now))
                reported = self._reported.per_minute.items()
                waits += [self._wait_for(name, limit, min(needed[name], limit), now) for name, limit in reported]
            return max(waits, default=0.0)

    def _wait_for(self, resource: Resource, limit: int, needed: int, now: float) -> float:
        excess = self._used[resource] + needed - limit
        if excess <= 0:
            return 0.0
        for oldest in self._sent:
            excess -= oldest.amounts[resource]
            if excess <= 0:
                return (oldest.sent or 0.0) + WINDOW - now
        return float("inf")

    def note_sent(self, admission: Admission) -> None:
        """Count a request for a minute from now: creating the client or getting a key may have taken a while.

        Args:
            admission: What `admit` returned.
        """
        with self._lock:
            if admission.sent is not None and admission.is_counted:
                self._sent.remove(admission)  # it is sent again
            elif not admission.is_counted:
                self._count(admission.amounts)
                admission.is_counted = True
            self._unsent.discard(admission)
            admission.sent = self._clock()
            self._sent.append(admission)

    def drop_unsent(self, admission: Admission) -> None:
        """Stop counting a request that will not be sent; one that was sent still counts.

        Args:
            admission: What `admit` returned.
        """
        with self._lock:
            if admission in self._unsent:
                self._unsent.remove(admission)
                self._remove(admission)

    def correct(self, admission: Admission, used: Mapping[Resource, int]) -> None:
        """Replace what a request counts for.

        Args:
            admission: What `admit` returned.
            used: What the server reported.
        """
        with self._lock:
            if admission.is_counted:
                self._count(admission.amounts, -1)
                self._count(used)
                admission.amounts = used

    def note_reports(
        self, admission: Admission, reports: Sequence[LimitReport], *, is_refused: bool, max_wait: float
    ) -> None:
        """Take note of the limits that the server reported in response to a request.

        Args:
            admission: The request.
            reports: The limits.
            is_refused: Whether the request exceeded a limit.
            max_wait: The most seconds to wait for a limit to be reset.
        """
        with self._lock:
            if is_refused:
                self._reported.trust()
            if admission.sent is None:
                return
            for report in reports:
                resource = report.resource
                uncounted = sum(other.amounts[resource] for other in self._sent_since(admission))
                self._reported.note(
                    report,
                    now=self._clock(),
                    sent=admission.sent,
                    uncounted=uncounted,
                    used=self._used[resource],
                    max_wait=max_wait,
                )

    def _sent_since(self, admission: Admission) -> Iterator[Admission]:
        """Yield the requests that may arrive at the server after another one."""
        for other in chain(self._unsent, reversed(self._sent)):
            if other.sent is not None and other.sent < (admission.sent or 0.0) - JITTER:
                break
            if other is not admission:
                yield other

    def _remove(self, admission: Admission) -> None:
        admission.is_counted = False
        self._count(admission.amounts, -1)

    def _count(self, amounts: Mapping[Resource, int], sign: int = 1) -> None:
        for resource, amount in amounts.items():  # several times faster than the methods of `Counter`
            self._used[resource] += sign * amount
