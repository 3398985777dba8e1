"""What comparisons and extractions share: their rows, and the batches in which some of these wait."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import Any, Protocol, Self, cast

from vision_nb.checks.indices import Items, item_at
from vision_nb.checks.numbers import plain_number
from vision_nb.comparison.batch_run import BatchRun, waiting_batches
from vision_nb.comparison.grid import Grid, Row
from vision_nb.comparison.rows import Rows
from vision_nb.comparison.run_options import RunOptions
from vision_nb.cost.budget import Budget
from vision_nb.errors import (
    ProviderConnectionError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
    SettingsError,
)
from vision_nb.images.document import ImageDocument
from vision_nb.notebook.progress import LiveOutput
from vision_nb.notebook.run_sync import run_sync
from vision_nb.rendering.format import format_duration, pluralize
from vision_nb.rendering.html import muted_text
from vision_nb.rendering.terminal import TerminalDisplay
from vision_nb.storage.batches import SUBMITTED, StoredBatch
from vision_nb.storage.claims import pauses
from vision_nb.store import Store
from vision_nb.user_warnings import to_thread

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 60.0  # seconds between two looks at batches
_PATIENCE = 3600.0  # seconds for which a server may fail while batches are waited for


class HasRows(Protocol):
    """The part of a `Comparison` that is used here."""

    grid: Grid
    rows: Rows
    budget: Budget
    options: RunOptions

    def opened_store(self) -> AbstractContextManager[Store]:
        """Return the store; a file that is not open is opened, and closed afterwards."""


class BatchResult(TerminalDisplay, Items[Row]):
    """Rows, some of which may wait in batches; `Comparison` and `Extraction` have these methods."""

    @property
    def _comparison(self) -> HasRows:
        """The comparison that has the rows: this object, unless it is an extraction."""
        return cast(HasRows, self)

    def __len__(self) -> int:
        return len(self._comparison.rows)

    def __getitem__(self, index: Any) -> Any:
        return self._comparison.rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._comparison.rows)

    def document(self, index: int) -> ImageDocument:
        """Return the image of a row.

        Args:
            index: The row's index.
        """
        grid = self._comparison.grid
        return grid.documents[grid.place(item_at(range(len(self)), index, "row"))[2]]

    @property
    def batch_html(self) -> str:
        """The state of the batches, to show below a table."""
        return muted_text(self.batch_status) if self._comparison.rows.waiting else ""

    @property
    def pending(self) -> list[Row]:
        """The rows that wait in batches."""
        rows = self._comparison.rows
        return [rows[index] for index in sorted(rows.waiting)]

    @property
    def batch_status(self) -> str:
        """How many rows wait in batches, their state when it was last read, and their age; "" if none waits."""
        if not self._comparison.rows.waiting:
            return ""
        with self._comparison.opened_store() as store:
            return self._status(store)

    def _status(self, store: Store) -> str:
        rows = self._comparison.rows
        return status_line(waiting_batches(store, rows), len(rows.waiting))

    def refresh(self) -> Self:
        """Fill in the rows that wait in batches, as far as the batches have ended; return this object.

        Answers are written to the store, at the price of batches, and the files of the batch are deleted from the
        server. A question whose batch failed or expired becomes a row with an error.

        Raises:
            ProviderError: The server did not answer.
            StoreError: The store cannot be used.
        """
        run_sync(self.arefresh())
        return self

    async def arefresh(self) -> Self:
        """Fill in the rows that wait in batches; the asynchronous version of `refresh`."""
        async with _opened_store(self._comparison) as store:
            await self._run(store).arefresh()
        return self

    def _run(self, store: Store) -> BatchRun:
        comparison = self._comparison
        return BatchRun(comparison.grid, store, comparison.budget, comparison.options, rows=comparison.rows)

    def wait(self, timeout: float | None = None, *, progress: bool = True) -> Self:
        """Wait until no row waits in a batch, and return this object. An interrupt ends the waiting, not the batches.

        If the server fails or cannot be reached, this tries again for an hour.

        Args:
            timeout: The seconds to wait at most; None for as long as it takes.
            progress: Show the state of the batches.

        Raises:
            ProviderError: The server refused a request, or did not answer for an hour.
            SettingsError: The timeout is negative.
            StoreError: The store cannot be used.
        """
        with suppress(KeyboardInterrupt):
            run_sync(self.await_(timeout, progress=progress))
        return self

    async def await_(self, timeout: float | None = None, *, progress: bool = True) -> Self:
        """Wait until no row waits in a batch: the asynchronous version of `wait`."""
        if timeout is not None and not (type(plain_number(timeout)) in (int, float) and timeout >= 0):
            raise SettingsError(f"timeout must be a number of seconds, 0 or more: got {timeout!r:.80}.")
        rows = self._comparison.rows
        count = len(rows.waiting)
        started, output = time.monotonic(), LiveOutput(enabled=progress and count > 0)
        try:
            async with _opened_store(self._comparison) as store:
                last_success = started
                for pause in pauses(_FIRST_PAUSE, _LONGEST_PAUSE):
                    problem = ""
                    try:
                        await self._run(store).arefresh()
                        last_success = time.monotonic()
                    except (ProviderConnectionError, RateLimitError, ServerError) as error:
                        if isinstance(error, QuotaExceededError) or time.monotonic() - last_success > _PATIENCE:
                            raise
                        problem = f"{error} Trying again. "
                    left = None if timeout is None else timeout - (time.monotonic() - started)
                    if not rows.waiting or (left is not None and left <= 0):
                        break
                    line = problem + await to_thread(self._status, store)
                    output.show(line, muted_text(line))
                    await asyncio.sleep(pause if left is None else min(pause, left))
        finally:
            done, seconds = count - len(rows.waiting), format_duration(time.monotonic() - started)
            line = f"batches: {done:,} of {count:,} rows done, {seconds}"
            output.show(line, muted_text(line), last=True)
        return self

    def cancel(self) -> None:
        """Cancel the batches in which rows wait.

        What the server has answered by then is billed: `wait` or `refresh` collects it. The other rows can then be
        asked again, directly or in a new batch. Questions of other comparisons in the same batches are canceled too.

        Raises:
            ProviderError: The server did not answer.
        """
        run_sync(self.acancel())

    async def acancel(self) -> None:
        """Cancel the batches in which rows wait; the asynchronous version of `cancel`."""
        async with _opened_store(self._comparison) as store:
            run = self._run(store)
            await run.acancel()
            await run.arefresh()


@asynccontextmanager
async def _opened_store(comparison: HasRows) -> AsyncIterator[Store]:
    """Return the store of a comparison; it is opened in a thread, because a large file takes seconds to check."""
    opened = comparison.opened_store()
    store = await to_thread(opened.__enter__)
    try:
        yield store
    finally:
        await to_thread(opened.__exit__, None, None, None)


def status_line(batches: Sequence[StoredBatch], rows: int) -> str:
    """Return the state of batches as one line.

    Args:
        batches: The batches.
        rows: How many rows wait in them.
    """
    states = Counter(state_of(batch) for batch in batches)
    words = [state if len(states) == 1 else f"{count:,} {state}" for state, count in states.items()]
    words.append(
        f"{sum(batch.done for batch in batches):,} of {sum(batch.questions for batch in batches):,} requests done"
    )
    words.append(f"submitted {age_of(min((batch.created for batch in batches), default=time.time()))}")
    waiting = pluralize(rows, "row waits", "rows wait")
    where = "a batch" if len(batches) == 1 else f"{len(batches):,} batches"
    problems = dict.fromkeys(batch.message for batch in batches if batch.message)
    advice = (
        "wait() waits for the answers, refresh() collects those that are ready, and cancel() stops the "
        f"{'batch' if len(batches) == 1 else 'batches'}. batch=False asks directly, and pays twice."
    )
    return " ".join([f"{waiting} in {where} ({', '.join(words)}).", *problems, advice])


def state_of(batch: StoredBatch) -> str:
    """Return the state of a batch in words."""
    if batch.step == SUBMITTED:
        return batch.status.replace("_", " ") or "submitted"
    if batch.step in ("preparing", "uploading", "submitting") and not batch.is_busy:
        return "interrupted"
    return batch.status if batch.step in ("deleting", "over") else batch.step


def age_of(time_created: float) -> str:
    """Return how long ago something was in words."""
    seconds = time.time() - time_created
    return "just now" if seconds < 60 else f"{format_duration(seconds)} ago"
