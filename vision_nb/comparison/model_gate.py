"""The gates of a run: they hold back the requests to a model while its rate limit is reached."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import cache
from typing import Any

from vision_nb.comparison.progress import Progress
from vision_nb.comparison.rate_limit import Admission, RateLimit, SlidingWindow
from vision_nb.cost.request_gate import active_gate
from vision_nb.errors import QuotaExceededError, VisionError
from vision_nb.providers.base import MultiModalLLM

_LONGEST_SLEEP = 1.0  # seconds after which a waiting request checks whether the run has stopped

Slots = AbstractAsyncContextManager[Any]


class RunStoppedError(VisionError):
    """The run stopped while a request waited for its turn."""


class Pause:
    """Holds back one model's workers after a rate limit error.

    Attributes:
        quota_error: The error after which the model is no longer called, or None.
        is_hopeless: Whether the longest pause did not help, and the server still asks for a longer one.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self.quota_error: QuotaExceededError | None = None
        self.is_hopeless = False

    async def wait(self) -> None:
        """Wait until the pause ends."""
        while (left := self._until - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def begin(self, seconds: float) -> None:
        """Begin a pause, unless a longer one is under way.

        Args:
            seconds: Its length in seconds.
        """
        self._until = max(self._until, time.monotonic() + seconds)


class ModelGate:
    """Admits a run's requests to one model in the order in which they arrive.

    Args:
        llm: The model.
        limit: Its rate limit, or None for no limit.
        slots: The slots of the run's concurrent calls; a waiting request gives its slot to other models.
        progress: Shows that requests wait.
        is_stopped: Returns whether the run has stopped.

    Attributes:
        slots: As given.
        pause: The pause after the model's last rate limit error.
        window: The model's requests of the last minute.
    """

    def __init__(
        self,
        llm: MultiModalLLM,
        limit: RateLimit | None,
        slots: Slots,
        progress: Progress,
        *,
        is_stopped: Callable[[], bool],
    ) -> None:
        self.model, self.slots, self.pause = str(llm), slots, Pause()
        self.window = _window(str(llm), llm.server)
        self._limit, self._progress, self._is_stopped = limit, progress, is_stopped
        self._turn = asyncio.Lock()

    @contextmanager
    def active(self, row: int) -> Iterator[None]:
        """Apply the rate limit to the requests that are made for a row in a ``with`` block.

        Args:
            row: The row's index.
        """
        token = active_gate.set(None if self._limit is None else _RowGate(self, self._limit, row))
        try:
            yield
        finally:
            active_gate.reset(token)

    async def admit(self, limit: RateLimit, tokens: int, row: int) -> Admission:
        """Wait until a request may be sent, and count it.

        Args:
            limit: The rate limit.
            tokens: The tokens of the request.
            row: The index of its row.

        Raises:
            RunStoppedError: The run has stopped.
        """
        if not self._turn.locked() and (admission := self.window.admit(limit, tokens)) is not None:
            return admission
        with self._progress.waiting(row, self.model):
            async with self._released_slot():
                await self._turn.acquire()
            try:
                while (admission := self.window.admit(limit, tokens)) is None:
                    async with self._released_slot():
                        await asyncio.sleep(min(self.window.wait(limit, tokens), _LONGEST_SLEEP))
                        await self.pause.wait()
                    if self._is_stopped():
                        raise RunStoppedError
                return admission
            finally:
                self._turn.release()

    @asynccontextmanager
    async def _released_slot(self) -> AsyncIterator[None]:
        """Give back the slot of a call in a ``with`` block."""
        await self.slots.__aexit__(None, None, None)
        try:
            yield
        finally:
            await self.slots.__aenter__()


class _RowGate:
    """Admits the requests of one row: the question, its repairs and its retries."""

    def __init__(self, gate: ModelGate, limit: RateLimit, row: int) -> None:
        self._gate, self._limit, self._row = gate, limit, row
        self._tokens = 0
        self._admission: Admission | None = None

    async def admit(self, input_tokens: int | None, output_tokens: int) -> None:
        self._tokens = self._limit.check(input_tokens, output_tokens, self._gate.model)
        await self.admit_again()

    async def admit_again(self) -> None:
        self._admission = await self._gate.admit(self._limit, self._tokens, self._row)

    def note_sent(self) -> None:
        if self._admission is not None:
            self._gate.window.note_sent(self._admission)

    def correct(self, tokens: int) -> None:
        if self._admission is not None and self._limit.tokens_per_minute is not None:
            self._gate.window.correct(self._admission, tokens)


@cache
def _window(model: str, server: str | None) -> SlidingWindow:
    """Return the window of a model, which all runs in this process share: a repeated run is in the same minute."""
    return SlidingWindow()
