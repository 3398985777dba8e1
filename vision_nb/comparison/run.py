"""A run over a grid: concurrent calls with retries, pauses, a budget, and a store that keeps every answer."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from vision_nb.comparison.calls import Calls, LocalCalls
from vision_nb.comparison.grid import Grid, Row, row_key
from vision_nb.comparison.model_gate import ModelGate, RunStoppedError
from vision_nb.comparison.progress import Progress
from vision_nb.cost.budget import Budget
from vision_nb.errors import (
    BudgetExceededError,
    ImageError,
    QuotaExceededError,
    RateLimitError,
    RequestTooLargeError,
    SchemaError,
    SettingsError,
    StoreError,
)
from vision_nb.images.document import ImageDocument
from vision_nb.notebook.run_sync import run_sync
from vision_nb.providers.retries import MAX_WAIT, without_rate_limit_retries
from vision_nb.responses import Response, Usage
from vision_nb.storage.claims import aclaimed, finish_in_thread, pauses
from vision_nb.store import Store
from vision_nb.user_warnings import to_thread

_LOOKUP_BATCH = 200  # images per lookup in the store
_MAX_RATE_LIMITS = 6  # rate limit errors of one call before its row fails

Queue = asyncio.Queue[tuple[int, int, int] | None]
"""Indices of a row, its model and its image; None ends a worker."""


class Run:
    """A run over a grid, with a queue and workers for each model.

    Args:
        grid: The models, prompts and images.
        store: The store of answers.
        budget: The run's budget.
        resume: Use the answers that are already in the store.
        progress: Show the progress.
        max_wait: The longest pause after a rate limit error, in seconds.
        rows: Rows of an earlier run; the finished ones are kept.
        calls: Where images are read and calls are made; None for this process.

    Attributes:
        rows: The rows, with the results so far.
        stopped: Why the run ended early, or None.
    """

    def __init__(
        self,
        grid: Grid,
        store: Store,
        budget: Budget,
        *,
        resume: bool = True,
        progress: bool = True,
        max_wait: float = MAX_WAIT,
        rows: Sequence[Row] | None = None,
        calls: Calls | None = None,
    ) -> None:
        self.grid, self.budget, self.resume = grid, budget, resume
        self.max_wait = check_max_wait(max_wait)
        self.rows = grid.empty_rows() if rows is None else list(rows)
        self.stopped: str | None = None
        self._store = store
        self._calls = LocalCalls(grid, store) if calls is None else calls
        self._progress = Progress(
            len(grid),
            "extracting" if grid.schema else "comparing",
            enabled=progress,
            is_free=all(model.price(Usage(1, 1)) == 0 for model in grid.models),
        )
        self._pending: Counter[int] = Counter()  # unfinished rows of each image
        self._first: dict[str, int] = {}  # by key: the row that asks the question
        self._same: dict[int, list[tuple[int, int]]] = {}  # by this row: other rows of equal images, with their image
        self._elsewhere: set[int] = set()  # rows whose questions another process is asking
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vision_nb store")

    @property
    def incomplete(self) -> str | None:
        """Why some calls were not made and how many, or None."""
        missing = sum(not row.finished and row.error is None for row in self.rows)
        return f"{self.stopped.rstrip('.')}; {missing:,} calls were not made" if self.stopped and missing else None

    def execute(self) -> None:
        """Make the missing calls; an interrupt ends the run early."""
        try:
            run_sync(self.aexecute())
        except KeyboardInterrupt:
            self.stopped = "interrupted"

    async def aexecute(self) -> None:
        """Make the missing calls.

        Raises:
            StoreError: The store cannot be written, and no call was made.
        """
        limits = self.grid.limits
        queues: list[Queue] = [asyncio.Queue() for _ in limits]
        slots = asyncio.Semaphore(self.grid.max_concurrency) if self.grid.max_concurrency else nullcontext()
        gates = [
            ModelGate(llm, limit, slots, self._progress, is_stopped=lambda: self.stopped is not None)
            for llm, limit in zip(self.grid.models, self.grid.rate_limits, strict=True)
        ]
        workers = [
            asyncio.create_task(self._work(queue, gate))
            for queue, gate, limit in zip(queues, gates, limits, strict=True)
            for _ in range(limit)
        ]
        clock = asyncio.create_task(self._progress.keep_current())
        with self._writer, self._progress:
            try:
                await finish_in_thread(self._writer, self._store.check_writable)
                async with self._calls.running():
                    await self._enqueue(queues)
                    for queue, limit in zip(queues, limits, strict=True):
                        for _ in range(limit):
                            queue.put_nowait(None)
                    await asyncio.gather(*workers)
            finally:
                for task in (clock, *workers):
                    task.cancel()
                await asyncio.gather(clock, *workers, return_exceptions=True)
                self._progress.notes = self.grid.notes(self.rows)
                await finish_in_thread(self._writer, self._store.checkpoint)

    async def _enqueue(self, queues: list[Queue]) -> None:
        """Fill in the rows whose answers are in the store, and queue the others, image by image."""
        for start in range(0, len(self.grid.documents), _LOOKUP_BATCH):
            batch = range(start, min(start + _LOOKUP_BATCH, len(self.grid.documents)))
            unfinished = [place for place in batch if not all(self.rows[row].finished for row in self._rows_of(place))]
            digests = await self._calls.digests([self.grid.documents[place] for place in unfinished])
            found = dict(zip(unfinished, digests, strict=True))
            for row, model, document in await to_thread(self._look_up, found):
                first = self._first.setdefault(self.rows[row].key, row)
                if first == row:
                    queues[model].put_nowait((row, model, document))
                elif self._is_done(first):
                    self._copy(first, row, document)
                else:
                    self._same.setdefault(first, []).append((row, document))
            self._progress.recount(self.rows, self.budget.spent)

    def _rows_of(self, document: int) -> Iterator[int]:
        return (row for row, _, _ in self.grid.rows_of(document))

    def _look_up(self, digests: Mapping[int, str | ImageError]) -> list[tuple[int, int, int]]:
        """Fill in the stored rows of some images; return the others as (row, model, document)."""
        rows: list[tuple[int, int, int]] = []
        for document, digest in digests.items():
            for row, model, prompt in self.grid.rows_of(document):
                if self.rows[row].finished:
                    continue
                if isinstance(digest, ImageError):
                    self.rows[row] = self.rows[row].with_error(digest)
                    continue
                detail = self.grid.documents[document].detail
                key = row_key(self.grid.models[model], self.grid.prompts[prompt], digest, detail, self.grid.schema)
                self.rows[row] = replace(self.rows[row], key=key)
                rows.append((row, model, document))
        stored = self._store.get_many(self.rows[row].key for row, _, _ in rows) if self.resume else {}
        missing = []
        for row, model, document in rows:
            response = stored.get(self.rows[row].key)
            if response is None or not self._use_stored(row, model, response):
                missing.append((row, model, document))
                self._pending[document] += 1
        return missing

    def _use_stored(self, row: int, model: int, response: Response) -> bool:
        """Fill in a row from the store; return False if the answer no longer passes the schema's own checks."""
        schema = self.grid.schema
        try:
            parsed = None if schema is None else schema.parse(response.text)
        except SchemaError:
            return False
        response = replace(response.priced_by(self.grid.models[model].pricing), parsed=parsed)
        self.rows[row] = self.rows[row].with_answer(response, from_store=True)
        return True

    async def _work(self, queue: Queue, gate: ModelGate) -> None:
        """Complete rows from the queue; those that another process is asking come last."""
        later = []
        while (item := await queue.get()) is not None:
            if self.stopped is None and not await self._complete_row(*item, gate):
                later.append(item)
        for seconds in pauses():
            if self.stopped is not None or not later:
                break
            await asyncio.sleep(seconds)
            later = [item for item in later if not await self._complete_row(*item, gate)]

    async def _complete_row(self, row: int, model: int, document: int, gate: ModelGate) -> bool:
        """Ask a row's question, or use the stored answer; return False while another process is asking it."""
        key = self.rows[row].key
        claim = self._store.claim(key, reuse=self.resume)
        try:
            async with aclaimed(claim, self._writer, wait=False) as answer:
                if claim.is_elsewhere:
                    self._elsewhere.add(row)
                    self._progress.show_elsewhere(len(self._elsewhere))
                    return False
                self._elsewhere.discard(row)
                if (answer is None or not self._use_stored(row, model, answer)) and self.stopped is None:
                    await self._ask(row, model, document, gate)
        except StoreError as error:
            self.stopped = str(error)  # further answers could not be kept
        if self._is_done(row):
            self._settle(row, document)
            for other, its_document in self._same.pop(row, ()):
                self._copy(row, other, its_document)
        return True

    def _is_done(self, row: int) -> bool:
        return self.rows[row].finished or self.rows[row].error is not None

    def _copy(self, first: int, row: int, document: int) -> None:
        """Give a row the result of the same question about an equal image, at no cost."""
        done = self.rows[first]
        if done.finished:
            self.rows[row] = replace(done, image=self.rows[row].image, from_store=True)
        else:
            self.rows[row] = replace(self.rows[row], error=done.error)
        self._settle(row, document)

    def _settle(self, row: int, document: int) -> None:
        self._pending[document] -= 1
        if not self._pending[document]:
            self.grid.documents[document].forget_download()
        self._progress.show_elsewhere(len(self._elsewhere))
        self._progress.add(self.rows[row], self.budget.spent)

    async def _ask(self, row: int, model: int, document: int, gate: ModelGate) -> None:
        """Make a row's call, retrying after rate limit errors, until it has an answer or an error."""
        rate_limits, has_waited_longest = 0, False
        while True:
            await gate.pause.wait()
            try:
                if gate.pause.quota_error is not None:
                    raise gate.pause.quota_error
                async with gate.slots:
                    await self._call(row, model, self.grid.documents[document], gate)
                gate.pause.is_hopeless = False
                break
            except RequestTooLargeError as error:
                self.rows[row] = self.rows[row].with_error(error)
                break
            except QuotaExceededError as error:
                gate.pause.quota_error = error
                self.rows[row] = self.rows[row].with_error(error)
                break
            except RateLimitError as error:
                rate_limits += 1
                seconds = error.retry_after or 2.0**rate_limits
                asks_for_more = (error.retry_after or 0) > self.max_wait
                if asks_for_more and (has_waited_longest or gate.pause.is_hopeless):
                    gate.pause.is_hopeless, rate_limits = True, _MAX_RATE_LIMITS + 1
                if rate_limits > _MAX_RATE_LIMITS:
                    self.rows[row] = self.rows[row].with_error(error)
                    break
                has_waited_longest = has_waited_longest or asks_for_more
                gate.pause.begin(min(seconds, self.max_wait))
                self._progress.show_pause(str(self.grid.models[model]), min(seconds, self.max_wait))
            except BudgetExceededError as error:
                self.rows[row] = self.rows[row].with_cost_of(error)
                self.stopped = str(error)
                break
            except StoreError:
                raise
            except RunStoppedError as error:
                self.rows[row] = self.rows[row].with_cost_of(error)
                break
            except Exception as error:  # an error in one call must not end the run
                self.rows[row] = self.rows[row].with_error(error)
                break

    async def _call(self, row: int, model: int, document: ImageDocument, gate: ModelGate) -> None:
        llm = self.grid.models[model]
        name = f"{document.title} ({llm.label})" if len(self.grid.models) > 1 else document.title
        with self._progress.asking(row, name), self.budget.active(), gate.active(row), without_rate_limit_retries():
            response = await self._calls.ask(model, self.rows[row].prompt, document)
        self.rows[row] = self.rows[row].with_answer(response, from_store=False)
        # In a thread, because another process may have locked the file; to completion, because the answer is paid for.
        await finish_in_thread(self._writer, partial(self._store.put, self.rows[row].key, str(llm), response))


def check_max_wait(seconds: float) -> float:
    """Return the longest pause after a rate limit error.

    Args:
        seconds: The value of ``max_wait=``.

    Raises:
        SettingsError: It is not a number of seconds.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        raise SettingsError(f"max_wait must be a number of seconds, 0 or more: got {seconds!r:.80}.")
    return seconds
