"""The window of the requests that count towards a rate limit and towards the limits that the server reports.

The window is a log of requests with their tokens, because the limit has to hold in every minute, and the tokens of a
request are corrected when its answer arrives. Read 2026-11: aiolimiter 1.3 allows almost twice the limit in the first
minute; throttled-py 3.5 approximates the window; limits 5.8 and pyrate-limiter 4.5 store a token per list item, and
cannot correct it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

from vision_nb.cost.rate_limit import WINDOW
from vision_nb.cost.reported_limits import JITTER, ReportedLimits
from vision_nb.cost.request_gate import LimitReport, Resource

_LONGEST_PAUSE, _SHORTEST_PAUSE = 1.0, 0.02  # seconds between two attempts of a request that waits
_LONGEST_SILENCE = 3.0  # seconds without an attempt after which a request that waits loses its turn


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


@dataclass(eq=False)
class Place:
    """The place in line of a request that waits.

    Attributes:
        limits: The limits per minute that it keeps.
        seen: When it was last attempted, by `time.monotonic`.
    """

    limits: Mapping[Resource, int]
    seen: float


class SlidingWindow:
    """The requests of the last minute to one model, and what the server reported. Safe to use from several threads.

    Args:
        clock: Returns the time in seconds; it never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._unsent: set[Admission] = set()  # they count until they are sent, and then for a minute
        self._sent: deque[Admission] = deque()  # in the order of their times
        self._line: list[Place] = []  # the requests that wait, oldest first
        self._used: Counter[Resource] = Counter()
        self._reported = ReportedLimits()
        self._lock = threading.RLock()  # garbage collection can end a call, and so correct it, while it is held

    def pause(self, wait: float) -> float:
        """Return the seconds until a waiting request is attempted again: others may make room, or be first.

        Args:
            wait: The seconds that `wait` returned.
        """
        return min(max(wait, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    @property
    def has_reports(self) -> bool:
        """Whether the server has reported a limit."""
        return self._reported.has_any

    @contextmanager
    def place(self, limits: Mapping[Resource, int]) -> Iterator[Place]:
        """Keep a place in line for a request that waits, in a ``with`` block.

        Args:
            limits: The limits per minute that it keeps.
        """
        place = Place(limits, time.monotonic())
        with self._lock:
            self._line.append(place)
        try:
            yield place
        finally:
            with self._lock:
                self._line.remove(place)

    def is_first(self, place: Place | None, limits: Mapping[Resource, int]) -> bool:
        """Return whether no other request with the same limits has waited longer.

        A request counts as waiting only while it is attempted: its event loop may be blocked, or closed.

        Args:
            place: The place of the request; None for a new one.
            limits: Its limits per minute.
        """
        now = time.monotonic()
        with self._lock:
            alive = (other for other in self._line if other is place or now - other.seen < _LONGEST_SILENCE)
            return next((other for other in alive if other.limits == limits), place) is place

    def admit(
        self,
        limits: Mapping[Resource, int],
        needed: Mapping[Resource, int],
        place: Place | None = None,
        *,
        obeys_server: bool = True,
    ) -> Admission | None:
        """Count a request if the limits allow it to be sent now and it is its turn; otherwise, return None.

        Args:
            limits: The limits per minute.
            needed: What the request counts for.
            place: Its place in line; None if it has not waited yet.
            obeys_server: Whether the limits that the server reported apply too.
        """
        with self._lock:
            if place is not None:
                place.seen = time.monotonic()
            if self._line and not self.is_first(place, limits):
                return None
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
                self._reported.give_back(admission.amounts)

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

    def restart(self) -> None:
        """Keep only the requests that were sent, and be usable, although another thread may have held the lock."""
        self._lock = threading.RLock()
        self._line.clear()
        for unsent in self._unsent:
            unsent.is_counted = False
        self._unsent.clear()
        self._used.clear()
        for admission in self._sent:
            self._count(admission.amounts)

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


_windows: dict[tuple[str, str], SlidingWindow] = {}


def shared_window(model: str, account: str) -> SlidingWindow:
    """Return the window of a model, which all of its calls in this process share.

    Args:
        model: The model's full name.
        account: Identifies the server and the key.
    """
    return _windows.setdefault((model, account), SlidingWindow())


def _forget_parent() -> None:
    """Free the windows, in a forked process, of what other threads of its parent held and were about to send."""
    for window in _windows.values():
        window.restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
