"""`RateLimit`, and the window of the requests that count towards it.

The window is a log of requests with their tokens, because the limit has to hold in every minute, and the tokens of a
request are corrected when its answer arrives. Read 2026-11: aiolimiter 1.3 allows almost twice the limit in the first
minute; throttled-py 3.5 approximates the window; limits 5.8 and pyrate-limiter 4.5 store a token per list item, and
cannot correct it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from vision_nb.errors import RequestTooLargeError, SettingsError

WINDOW = 61.0
"""Seconds for which a request counts: a minute, and a second that it may take longer to arrive than a later one."""


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

    def check(self, input_tokens: int | None, output_tokens: int, model: str) -> int:
        """Return the tokens for which a request counts before its answer is known; 0 if tokens are not limited.

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
            return 0
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
        return input_tokens + output_tokens


@dataclass(eq=False)
class Admission:
    """A request that counts towards the limit.

    Attributes:
        time: When it was admitted or sent, in seconds of the window's clock.
        tokens: The tokens for which it counts.
        is_counted: Whether it is still in the window.
    """

    time: float
    tokens: int
    is_counted: bool = False


class SlidingWindow:
    """The requests of the last minute to one model. Safe to use from several threads.

    Args:
        clock: Returns the time in seconds; it never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._admissions: deque[Admission] = deque()
        self._tokens = 0
        self._lock = threading.RLock()  # garbage collection can end a call, and so correct it, while it is held

    def admit(self, limit: RateLimit, tokens: int) -> Admission | None:
        """Count a request if the limit allows it to be sent now; otherwise, return None.

        Args:
            limit: The limit.
            tokens: The tokens of the request.
        """
        with self._lock:
            if self.wait(limit, tokens) > 0:
                return None
            admission = Admission(self._clock(), tokens)
            self._add(admission)
            return admission

    def wait(self, limit: RateLimit, tokens: int) -> float:
        """Return the seconds until a request may be sent if nothing changes until then; 0 if it may be sent now.

        Args:
            limit: The limit.
            tokens: The tokens of the request.
        """
        most_requests = limit.requests_per_minute or float("inf")
        most_tokens = limit.tokens_per_minute or float("inf")
        with self._lock:
            now = self._clock()
            while self._admissions and self._admissions[0].time + WINDOW <= now:
                self._remove_oldest()
            requests, used, until = len(self._admissions), self._tokens, now
            for oldest in self._admissions:
                if requests < most_requests and used + tokens <= most_tokens:
                    break
                requests, used, until = requests - 1, used - oldest.tokens, max(until, oldest.time + WINDOW)
            return until - now

    def note_sent(self, admission: Admission) -> None:
        """Count a request from now on: creating the client or getting a key may have taken a while.

        Args:
            admission: What `admit` returned.
        """
        with self._lock:
            admission.time = self._clock()
            if not admission.is_counted:
                self._add(admission)

    def correct(self, admission: Admission, tokens: int) -> None:
        """Replace the tokens for which a request counts.

        Args:
            admission: What `admit` returned.
            tokens: The tokens that the server reported.
        """
        with self._lock:
            if admission.is_counted:
                self._tokens += tokens - admission.tokens
                admission.tokens = tokens

    def _add(self, admission: Admission) -> None:
        self._admissions.append(admission)
        self._tokens += admission.tokens
        admission.is_counted = True

    def _remove_oldest(self) -> None:
        oldest = self._admissions.popleft()
        oldest.is_counted = False
        self._tokens -= oldest.tokens
