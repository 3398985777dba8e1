"""The gates of a run: they hold back the requests to a model while its rate limit is reached."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

from vision_nb.comparison.progress import Progress
from vision_nb.cost.call_gate import CallGate
from vision_nb.cost.rate_limit import NO_LIMITS, RateLimit
from vision_nb.cost.reported_limits import JITTER
from vision_nb.cost.request_gate import LimitReport, Resource
from vision_nb.cost.request_window import Admission, Place
from vision_nb.errors import (
    AuthenticationError,
    ContentFilterError,
    ProviderError,
    QuotaExceededError,
    RateLimitError,
    RequestTooLargeError,
    SchemaError,
    UnknownModelError,
    VisionError,
)
from vision_nb.notebook.wait_line import hidden_waits
from vision_nb.providers.base import MultiModalLLM
from vision_nb.storage.claims import finish

Slots = AbstractAsyncContextManager[Any]
_MAX_RATE_LIMITS = 6  # rate limit errors of one call before it is given up


class RunStoppedError(VisionError):
    """The run stopped while a request waited for its turn."""


class Pause:
    """Holds back one model's workers after a rate limit error, and ends its calls if all others would fail too.

    Attributes:
        has_answered: Whether the model has answered a call of the run, if only with an unusable answer.
        final_error: The error after which the model is no longer called, or None.
        is_hopeless: Whether the longest pause did not help, and the server still asks for a longer one.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self.has_answered = False
        self.final_error: ProviderError | None = None
        self.is_hopeless = False

    @property
    def left(self) -> float:
        """The seconds until the pause ends, 0 or more."""
        return max(0.0, self._until - time.monotonic())

    async def wait(self) -> None:
        """Wait until the pause ends."""
        while self.left:
            await asyncio.sleep(self.left)

    def note_error(self, error: Exception) -> None:
        """Note the error of a call, and end the model's calls if the server would refuse each of them.

        That is so after a spent quota, and if the key or the model's name was refused before the first answer.

        Args:
            error: The error, whose cost is in the call's row.
        """
        if isinstance(error, (ContentFilterError, SchemaError)):
            self.has_answered = True
        if isinstance(error, QuotaExceededError) or (
            isinstance(error, (AuthenticationError, UnknownModelError)) and not self.has_answered
        ):
            error.response = None  # the calls that fail with it from now on cost nothing
            self.final_error = error

    def begin(self, seconds: float) -> None:
        """Begin a pause, unless a longer one is under way.

        Args:
            seconds: Its length in seconds.
        """
        self._until = max(self._until, time.monotonic() + seconds)


class Patience:
    """How long one call waits after rate limit errors, and when it is given up.

    Args:
        pause: The pause of the call's model.
        max_wait: The most seconds for which the call waits after an error.
    """

    def __init__(self, pause: Pause, max_wait: float) -> None:
        self._pause, self._max_wait = pause, max_wait
        self._errors, self._has_waited_longest = 0, False

    def seconds_after(self, error: RateLimitError) -> float | None:
        """Return the seconds to wait after an error, or None if the call is given up.

        Args:
            error: The error.
        """
        self._errors += 1
        if isinstance(error, (QuotaExceededError, RequestTooLargeError)) or self._errors > _MAX_RATE_LIMITS:
            return None
        if (error.retry_after or 0) > self._max_wait:
            if self._has_waited_longest or self._pause.is_hopeless:
                self._pause.is_hopeless = True
                return None
            self._has_waited_longest = True
        return min(error.retry_after or 2.0**self._errors, self._max_wait)


class ModelGate:
    """Admits a run's requests to one model in the order in which they arrive.

    The requests are kept within the given limit, and within the limits that the server reports.

    Args:
        llm: The model.
        limit: Its rate limit, or None for no limit.
        calls: The slots of the model's concurrent calls.
        slots: Those of all models together; a waiting request gives its slot to other models.
        progress: Shows that requests wait.
        is_stopped: Returns whether the run has stopped.
        max_wait: The most seconds for which a request waits because of the limits that the server reports.

    Attributes:
        model: The model's name.
        limit: As given.
        calls: As given.
        slots: As given.
        max_wait: As given.
        pause: The pause after the model's last rate limit error.
        window: The model's requests of the last minute.
    """

    def __init__(
        self,
        llm: MultiModalLLM,
        limit: RateLimit | None,
        calls: Slots,
        slots: Slots,
        progress: Progress,
        *,
        is_stopped: Callable[[], bool],
        max_wait: float,
    ) -> None:
        self.model, self.limit, self.calls, self.slots, self.pause = str(llm), limit, calls, slots, Pause()
        self.window, self.max_wait = llm.window(), max_wait
        self._limits = NO_LIMITS if limit is None else limit.per_minute
        self._progress, self._is_stopped = progress, is_stopped
        self._turn = asyncio.Lock()

    @contextmanager
    def active(self, row: int) -> Iterator[None]:
        """Apply the rate limits to the requests that are made for a row in a ``with`` block.

        Args:
            row: The row's index.
        """
        with _RowGate(self, row).active(), hidden_waits():
            yield

    async def admit(self, needed: Mapping[Resource, int], row: int) -> Admission:
        """Wait until a request may be sent, and count it.

        Args:
            needed: What the request counts for.
            row: The index of its row.

        Raises:
            RunStoppedError: The run has stopped.
        """
        if not self._turn.locked() and (admission := self._try(needed)) is not None:
            return admission
        has_turn = False
        with self._progress.waiting(row, self.model):
            try:
                async with self._released_slot():
                    has_turn = await self._turn.acquire()
                patience = time.monotonic() + self.max_wait + JITTER
                with self.window.place(self._limits) as place:
                    while not self._is_stopped():
                        admission = self._try(needed, place, obeys_server=time.monotonic() < patience)
                        if admission is not None:
                            return admission
                        await self.sleep(self._sleep(needed))
                raise RunStoppedError
            finally:
                if has_turn:
                    self._turn.release()

    async def sleep(self, seconds: float) -> None:
        """Wait some seconds, in which other calls have the slot."""
        async with self._released_slot():
            await asyncio.sleep(seconds)

    def _try(
        self, needed: Mapping[Resource, int], place: Place | None = None, *, obeys_server: bool = True
    ) -> Admission | None:
        return None if self.pause.left else self.window.admit(self._limits, needed, place, obeys_server=obeys_server)

    def _sleep(self, needed: Mapping[Resource, int]) -> float:
        return self.window.pause(max(self.pause.left, self.window.wait(self._limits, needed)))

    @asynccontextmanager
    async def _released_slot(self) -> AsyncIterator[None]:
        """Give back the slot of a call in a ``with`` block."""
        await self.slots.__aexit__(None, None, None)
        try:
            yield
        finally:
            await finish(self.slots.__aenter__())  # it is given back even if the call is canceled meanwhile


class _RowGate(CallGate):
    """Admits the requests of one row."""

    def __init__(self, gate: ModelGate, row: int) -> None:
        super().__init__(gate.model, gate.limit, lambda: gate.window, max_wait=gate.max_wait)
        self._gate, self._row = gate, row

    @property
    def is_limited(self) -> bool:
        return self._gate.pause.left > 0 or super().is_limited

    async def aadmit_again(self) -> None:
        self.drop_unsent()
        self._admission = await self._gate.admit(self._needed, self._row)

    def note_reports(self, reports: Sequence[LimitReport], *, is_refused: bool) -> None:
        self._note_reports(reports, is_refused=is_refused)

    async def sleep(self, seconds: float) -> None:
        await self._gate.sleep(seconds)
