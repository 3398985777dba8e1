"""`CallGate`: the gate of a single call, which waits for the rate limits of its model and server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from typing import Self

from vision_nb.checks.context_values import context_value
from vision_nb.cost.rate_limit import NO_LIMITS, RateLimit, amounts
from vision_nb.cost.reported_limits import JITTER
from vision_nb.cost.request_gate import LimitReport, active_gate
from vision_nb.cost.request_window import Admission, SlidingWindow
from vision_nb.notebook.wait_line import WaitLine


class CallGate:
    """Admits the requests of one call: the question, its retries, and its repairs.

    A request that cannot be sent yet waits in a thread or on an event loop.

    Args:
        model: The model's name.
        limit: Its rate limit, or None for no limit.
        find_window: Returns the model's requests of the last minute.
        max_wait: The most seconds for which a request waits because of the limits that the server reports.
    """

    def __init__(
        self, model: str, limit: RateLimit | None, find_window: Callable[[], SlidingWindow], *, max_wait: float
    ) -> None:
        self.model, self.limit, self.max_wait = model, limit, max_wait
        self._limits = NO_LIMITS if limit is None else limit.per_minute
        self._find_window = find_window
        self._needed = amounts(0, 0)
        self._admission: Admission | None = None

    @contextmanager
    def active(self) -> Iterator[Self]:
        """Apply the rate limits to the requests that are made in a ``with`` block."""
        with context_value(active_gate, self):
            try:
                yield self
            finally:
                self.drop_unsent()

    @cached_property
    def window(self) -> SlidingWindow:
        """The model's requests of the last minute."""
        window = self._find_window()
        del self._find_window  # it may keep the model and its key in memory
        return window

    @property
    def is_limited(self) -> bool:
        """Whether a request may have to wait now."""
        return self.limit is not None or self.window.has_reports

    def admit(self, input_tokens: int | None, output_tokens: int) -> None:
        """Wait in this thread until a request may be sent; see `RequestGate.aadmit`."""
        self._need(input_tokens, output_tokens)
        self.admit_again()

    async def aadmit(self, input_tokens: int | None, output_tokens: int) -> None:
        """Wait until a request may be sent; see `RequestGate`."""
        self._need(input_tokens, output_tokens)
        await self.aadmit_again()

    def admit_again(self) -> None:
        """Wait in this thread until the last request may be sent once more."""
        self.drop_unsent()
        with closing(self._pauses()) as pauses:
            for seconds in pauses:
                time.sleep(seconds)

    async def aadmit_again(self) -> None:
        """Wait until the last request may be sent once more; see `RequestGate`."""
        self.drop_unsent()
        with closing(self._pauses()) as pauses:
            for seconds in pauses:
                await asyncio.sleep(seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait some seconds; see `RequestGate`."""
        await asyncio.sleep(seconds)

    def _need(self, input_tokens: int | None, output_tokens: int) -> None:
        if self.limit is not None:
            self.limit.check(input_tokens, output_tokens, self.model)
        self._needed = amounts(input_tokens or 0, output_tokens)

    def _pauses(self) -> Generator[float]:
        """Yield the seconds to wait before the next attempt, until the request is admitted."""
        self._admission = self.window.admit(self._limits, self._needed)
        if self._admission is not None:
            return
        patience = time.monotonic() + self.max_wait + JITTER
        with self.window.place(self._limits) as place, WaitLine() as shown:
            while self._admission is None:
                obeys_server = time.monotonic() < patience
                wait = self.window.wait(self._limits, self._needed, obeys_server=obeys_server)
                if self.window.is_first(place, self._limits):
                    shown.update(wait, self._reason(wait))
                yield self.window.pause(wait)
                self._admission = self.window.admit(self._limits, self._needed, place, obeys_server=obeys_server)

    def _reason(self, wait: float) -> str:
        """Return why a request waits: because of the limit that was set, or of one that the server reported."""
        if self.limit is not None and self.window.wait(self._limits, self._needed, obeys_server=False) >= wait:
            return f"{self.model} has a limit of {self.limit}."
        return f"the server of {self.model} reports that its rate limit is used up."

    def note_sent(self) -> None:
        """Count the last request from now on; see `RequestGate`."""
        if self._admission is not None:
            self.window.note_sent(self._admission)

    def note_reports(self, reports: Sequence[LimitReport], *, is_refused: bool) -> None:
        """Take note of the rate limits that the server reported, except those for longer than a call waits.

        See `RequestGate`. The next call is then sent at once, and the server says why it refuses it.
        """
        reports = [report for report in reports if report.reset <= self.max_wait]
        self._note_reports(reports, is_refused=is_refused)

    def _note_reports(self, reports: Sequence[LimitReport], *, is_refused: bool) -> None:
        if self._admission is not None:
            self.window.note_reports(self._admission, reports, is_refused=is_refused, max_wait=self.max_wait)

    def correct(self, input_tokens: int, output_tokens: int) -> None:
        """Replace the counted tokens of the last request; see `RequestGate`."""
        if self._admission is not None:
            self.window.correct(self._admission, amounts(input_tokens, output_tokens))

    def drop_unsent(self) -> None:
        """Stop counting a request that was admitted and not sent."""
        if self._admission is not None:
            self.window.drop_unsent(self._admission)


def admit_again() -> None:
    """Wait in this thread until the request of the active gate may be sent once more."""
    gate = active_gate.get()
    if isinstance(gate, CallGate):  # other gates admit only asynchronous calls
        gate.admit_again()
