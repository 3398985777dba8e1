"""A run over a grid: concurrent calls with retries, pauses, a budget, and a store that keeps every answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial

from vision_nb.comparison.calls import Calls, LocalCalls
from vision_nb.comparison.cluster import ClusterCalls
from vision_nb.comparison.grid import Grid, Row
from vision_nb.comparison.lookup import Lookup
from vision_nb.comparison.model_gate import ModelGate, Patience, RunStoppedError
from vision_nb.comparison.prepared_queue import PreparedQueue, QueuedCall
from vision_nb.comparison.progress import Progress
from vision_nb.comparison.rows import Rows
from vision_nb.comparison.run_options import RunOptions
from vision_nb.cost.budget import Budget
from vision_nb.errors import (
    BudgetExceededError,
    ClusterError,
    ImageError,
    RateLimitError,
    StoreError,
    VisionError,
)
from vision_nb.images.document import ImageDocument
from vision_nb.notebook.garbage_collection import fewer_garbage_collections
from vision_nb.notebook.run_sync import run_sync
from vision_nb.providers.outgoing_image import ReadyImage
from vision_nb.providers.retries import without_rate_limit_retries
from vision_nb.providers.structured import with_earlier
from vision_nb.rendering.format import pluralize
from vision_nb.responses import Response, Usage
from vision_nb.storage.answers import is_storable
from vision_nb.storage.claims import Claim, finish_in_thread, pauses
from vision_nb.storage.writer import WriteFuture
from vision_nb.store import Store
from vision_nb.user_warnings import to_thread

_QUEUED = 10_000  # rows of a model that wait for their call; the others are looked up later
_CALLS_PER_SPARE = (
    4  # concurrent calls for each further worker, which waits for the store while others wait for answers
)


class Run:
    """A run over a grid, with a queue and workers for each model.

    Args:
        grid: The models, prompts and images.
        store: The store of answers.
        budget: The run's budget.
        options: How the calls are made.
        rows: Rows of an earlier run; the finished ones are kept.

    Attributes:
        rows: The rows, with the results so far.
        stopped: Why the run ended early, or None.
    """

    def __init__(
        self, grid: Grid, store: Store, budget: Budget, options: RunOptions, *, rows: Rows | None = None
    ) -> None:
        self.grid, self.budget, self.options = grid, budget, options
        self.rows = Rows(grid, store.path) if rows is None else rows
        self.stopped: str | None = None
        self._store, self._heed_batches = store, options.batch is None
        self._calls: Calls = LocalCalls(grid, store)
        if grid.cluster is not None:
            self._calls = ClusterCalls(grid.cluster, grid, store)
        self._lookup = Lookup(grid, self.rows, store, self._calls, resume=options.resume)
        self._progress = Progress(
            len(grid),
            "extracting" if grid.schema else "comparing",
            enabled=options.progress,
            is_free=all(model.price(Usage(1, 1)) == 0 for model in grid.models),
        )
        self._same: dict[int, list[int]] = {}  # by a row that is being asked: rows with equal images
        self._elsewhere: set[int] = set()  # rows whose questions another process is asking
        self._has_asked = False  # whether a call was begun
        self._writer = store.writer()

    @property
    def incomplete(self) -> str | None:
        """Why some calls were not made and how many, or None."""
        missing = len(self.rows) - self.rows.answered - self.rows.failed - len(self.rows.waiting)
        if not self.stopped or not missing:
            return None
        return f"{self.stopped.rstrip('.')}; {pluralize(missing, 'call was', 'calls were')} not made"

    def execute(self) -> None:
        """Make the missing calls; an interrupt ends the run early."""
        try:
            run_sync(self.aexecute())
        except KeyboardInterrupt:
            self.stopped = "interrupted"
            self._writer.release_all()

    async def aexecute(self) -> None:
        """Make the missing calls.

        Raises:
            StoreError: The store cannot be used, and no call was made.
        """
        limits = self.grid.limits
        least = 2 * (os.cpu_count() or 1)
        queues = [PreparedQueue(_QUEUED, self._prepare, ahead=max(limit, least)) for limit in limits]
        slots = asyncio.Semaphore(self.grid.max_concurrency) if self.grid.max_concurrency else nullcontext()
        gates = [
            ModelGate(
                llm,
                rate_limit,
                asyncio.Semaphore(limit),
                slots,
                self._progress,
                is_stopped=lambda: self.stopped is not None,
                max_wait=self.options.max_wait,
            )
            for llm, limit, rate_limit in zip(self.grid.models, limits, self.grid.rate_limits, strict=True)
        ]
        workers = [limit + limit // _CALLS_PER_SPARE for limit in limits]
        keeper = asyncio.create_task(self._progress.keep_current())
        with self._writer, self._progress, fewer_garbage_collections():
            try:
                await finish_in_thread(self._writer.executor, self._store.check_writable)
                async with self._calls.running():
                    work = [
                        asyncio.create_task(one)
                        for model, (queue, gate, count) in enumerate(zip(queues, gates, workers, strict=True))
                        for one in (
                            self._enqueue(model, queue, count),
                            *(self._work(queue, gate) for _ in range(count)),
                        )
                    ]
                    try:
                        await asyncio.gather(*work)
                    finally:
                        await _cancel(work)  # before its connections are closed
            finally:
                await _cancel([keeper])
                await self._writer.finish()
                self._progress.notes = self.rows.notes()
                await finish_in_thread(self._writer.executor, self._store.checkpoint)

    def _prepare(self, model: int, document: int) -> Future[ReadyImage] | None:
        """Begin to prepare the image of a call that is still to be made."""
        if self.stopped is not None:
            return None
        with self.budget.active():
            return self._calls.prepare(model, self.grid.documents[document])

    async def _enqueue(self, model: int, queue: PreparedQueue, workers: int) -> None:
        """Queue a model's missing rows, and then the end of each worker."""
        try:
            await self._enqueue_missing(model, queue)
        except StoreError as error:
            if not self._has_asked:
                raise
            self.stopped = str(error)  # what has been answered is kept
        except ClusterError as error:  # the connection was lost while images were read
            self.stopped = str(error)
        for _ in range(workers):
            await queue.put(None)

    async def _enqueue_missing(self, model: int, queue: PreparedQueue) -> None:
        """Fill in a model's rows whose answers are in the store, and queue the others, as the queue has room."""
        async for batch in self._lookup.missing(model):
            waiting = await to_thread(self._waiting, [row for row, _, _ in batch]) if self._heed_batches else {}
            for row, document, first in batch:
                if (name := waiting.get(self.rows.key(row))) is not None:
                    self.rows.wait(row, name)
                elif first == row:
                    await queue.put(QueuedCall(row, model, document))
                elif self.rows.is_done(first):
                    self._copy(first, row)
                else:
                    self._same.setdefault(first, []).append(row)
            self._recount()

    def _waiting(self, rows: Sequence[int]) -> dict[str, str]:
        """Return the batches in which the questions of some rows wait, by key."""
        tokens = self._store.questions_in_batches(map(self.rows.key, rows))
        names = {one.token: one.batch_id for one in self._store.batches(set(tokens.values()))} if tokens else {}
        return {key: names.get(token) or "being submitted" for key, token in tokens.items()}

    def _recount(self) -> None:
        rows, spent = self.rows, self.budget.spent
        self._progress.recount(answered=rows.answered, failed=rows.failed, stored=rows.from_store, spent=spent)

    def _claim(self, row: int) -> Claim:
        """Return a claim on a row's question; an answer that no longer passes the schema's own checks is not reused."""
        is_usable = None if self.grid.schema is None else lambda answer: self._lookup.row_from(row, answer) is not None
        key, heed_batches = self.rows.key(row), self._heed_batches
        return self._store.claim(key, reuse=self.options.resume, heed_batches=heed_batches, is_usable=is_usable)

    async def _work(self, queue: PreparedQueue, gate: ModelGate) -> None:
        """Complete rows from the queue; those that another process is asking come last."""
        later: list[QueuedCall] = []
        with self.budget.active(), without_rate_limit_retries():
            while (call := await queue.get()) is not None:
                if self.stopped is None:
                    later += await self._complete(call, gate)
            for seconds in pauses():
                if self.stopped is not None or not later:
                    break
                await asyncio.sleep(seconds)
                later = [left for call in later for left in await self._complete(call, gate)]

    async def _complete(self, call: QueuedCall, gate: ModelGate) -> list[QueuedCall]:
        """Complete a row, and those with the same question; return the calls that are left to be completed.

        That is the call itself while another process is asking it, and those whose images are no longer equal.
        """
        row, question = call.row, ""
        self._elsewhere.discard(row)
        try:
            image = await self._image(call)
            question = self.rows.key(row)
            await self._complete_row(row, image, gate)
        except StoreError as error:
            self.stopped = str(error)
        except Exception as error:  # such as a file that cannot be read: those with equal images perhaps can
            question = ""
            self._fail(row, error)
        if row in self._elsewhere:
            return [QueuedCall(row, call.model, call.document)]
        if not self.rows.is_done(row):
            return []
        self._settle(row)
        others = self._same.pop(row, ())
        for other in others:
            if self.rows.key(other) == question:
                self._copy(row, other)
        left = [other for other in others if not self.rows.is_done(other)]
        return [QueuedCall(other, call.model, self.grid.place(other)[2]) for other in left]

    async def _complete_row(self, row: int, image: ImageDocument, gate: ModelGate) -> None:
        """Ask a row's question, or use the stored answer, unless another process is asking it."""
        claim = self._claim(row)
        try:
            await self._writer.attempt(claim)
            if claim.is_elsewhere:
                self._elsewhere.add(row)
                self._progress.show_elsewhere(len(self._elsewhere))
                return
            if claim.is_in_batch:  # another process has submitted it since the look-up
                for one in (row, *self._same.pop(row, ())):
                    self.rows.wait(one, "being submitted")
                return
            if claim.answer is not None and (stored := self._lookup.row_from(row, claim.answer)) is not None:
                self.rows.put(row, stored, is_stored=True)
                self._recount()
            elif self.stopped is None:
                await self._ask(row, image, gate, claim)
        except StoreError as error:
            self.stopped = str(error)  # further answers could not be kept
        finally:
            if claim.is_held:
                try:
                    await self._writer.release(claim)
                except RuntimeError:  # the event loop or the writer has ended
                    claim.release()

    async def _image(self, call: QueuedCall) -> ImageDocument:
        """Return a call's image, ready to be sent; if its file has changed since the look-up, note its digest anew."""
        future = call.image or self._prepare(call.model, call.document)
        if future is None:
            return self.grid.documents[call.document]
        ready = future.result() if future.done() else await asyncio.wrap_future(future)
        if ready.digest is not None and not self.rows.has_digest(call.document, ready.digest):
            self.rows.identify(call.document, ready.digest)
        return ready

    def _copy(self, first: int, row: int) -> None:
        """Give a row the result of the same question about an equal image."""
        self.rows.copy_result(first, row)
        self._recount()
        self._settle(row)

    def _settle(self, row: int) -> None:
        self._progress.show_elsewhere(len(self._elsewhere))
        place = self.grid.place(row)[2]
        document = self.grid.documents[place]
        if document.is_remote and all(self.rows.is_done(index) for index, _, _ in self.grid.rows_of(place)):
            document.forget_download()

    async def _ask(self, row: int, image: ImageDocument, gate: ModelGate, claim: Claim) -> None:
        """Make a row's call, and again after rate limit errors, until it has an answer or an error."""
        patience = Patience(gate.pause, self.options.max_wait)
        paid: Response | None = None  # for answers whose repair reached a rate limit
        while True:
            await gate.pause.wait()
            try:
                async with gate.calls, gate.slots:
                    if self.stopped is not None:
                        return
                    if gate.pause.final_error is not None:
                        raise gate.pause.final_error
                    written = await self._call(row, image, gate, claim, paid)
                gate.pause.has_answered, gate.pause.is_hopeless = True, False
                if written is not None:
                    await written  # even if the task is canceled
                    self.rows.put(row, self.rows[row], is_stored=True)
                return
            except RateLimitError as error:
                seconds = patience.seconds_after(error)
                if seconds is None:
                    self._end_without_answer(row, gate, error)
                    return
                paid = error.response or paid
                self.rows.put(row, self.rows[row].with_cost_of(error))
                gate.pause.begin(seconds)
                self._progress.show_pause(gate.model, seconds)
            except (StoreError, ImageError):
                raise
            except Exception as error:  # an error in one call must not end the run
                self._end_without_answer(row, gate, error)
                return

    def _end_without_answer(self, row: int, gate: ModelGate, error: Exception) -> None:
        """Note the error that ended a row's call: it fails, unless the error ends the whole run."""
        ends_run = isinstance(error, BudgetExceededError) or (isinstance(error, ClusterError) and error.is_lost)
        if ends_run:
            self.stopped = str(error)
        if ends_run or isinstance(error, RunStoppedError):
            self.rows.put(row, self.rows[row].with_cost_of(error))
        else:
            self._fail(row, error)
        gate.pause.note_error(error)

    async def _call(
        self, row: int, image: ImageDocument, gate: ModelGate, claim: Claim, paid: Response | None
    ) -> WriteFuture | None:
        """Make a row's call, and return the end of the write of its answer; None if it may not be stored."""
        model = self.grid.place(row)[0]
        llm, self._has_asked = self.grid.models[model], True
        name = partial(_name, image, llm.label if len(self.grid.models) > 1 else "")
        asked = self.rows.unanswered(row, claim.question)
        try:
            with self._progress.asking(row, name), gate.active(row):
                response = with_earlier(await self._calls.ask(model, asked.prompt, image), paid)
        except VisionError as error:
            error.response = error.response and with_earlier(error.response, paid)
            raise
        written = self._writer.put(claim, str(llm), response) if is_storable(response) else None  # it is paid for
        done = asked.with_answer(response, from_store=False)
        self.rows.put(row, done)
        self._count_call(done)
        return written

    def _fail(self, row: int, error: Exception) -> None:
        failed = self.rows[row].with_error(error)
        self.rows.put(row, failed)
        self._count_call(failed)

    def _count_call(self, row: Row) -> None:
        self._recount()
        self._progress.add(row)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _name(document: ImageDocument, model: str) -> str:
    return f"{document.title} ({model})" if model else document.title
