"""`compare`: asks several models several questions about several pictures, and loses nothing on the way."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, overload

from vision_nb.comparison.budget import run_budget
from vision_nb.comparison.grid import DEFAULT_CONCURRENCY, Grid, Row, make_grid, row_key
from vision_nb.comparison.plan import Plan, make_plan
from vision_nb.comparison.progress import Progress
from vision_nb.comparison.result import Comparison
from vision_nb.cost.budget import Budget
from vision_nb.errors import (
    BudgetExceededError,
    ImageError,
    QuotaExceededError,
    RateLimitError,
    StoreError,
    VisionError,
)
from vision_nb.images.document import ImageDocument
from vision_nb.notebook.run_sync import run_sync
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.connect import connect, connect_to_count
from vision_nb.store import Store

_BATCH = 200  # pictures that are looked up in the store at a time
_MAX_PAUSES = 6  # how often a model may ask for a pause over one call before it is an error
_LONGEST_PAUSE = 60.0  # seconds

Concurrency = int | Mapping[str, int]
Queue = asyncio.Queue[tuple[int, int, int] | None]  # row, model, document; None ends a worker


class _Options(TypedDict, total=False):
    """The options of `compare` that do not decide what it gives."""

    concurrency: Concurrency
    budget: float | Decimal | None
    resume: bool
    progress: bool
    store: Store | str | Path | None


@overload
def compare(models: Any, prompts: Any, images: Any, *, dry_run: Literal[True], **options: Unpack[_Options]) -> Plan: ...
@overload
def compare(
    models: Any, prompts: Any, images: Any, *, dry_run: Literal[False] = False, **options: Unpack[_Options]
) -> Comparison: ...
def compare(
    models: Any,
    prompts: str | Iterable[str],
    images: Any,
    *,
    concurrency: Concurrency = DEFAULT_CONCURRENCY,
    budget: float | Decimal | None = None,
    dry_run: bool = False,
    resume: bool = True,
    progress: bool = True,
    store: Store | str | Path | None = None,
) -> Comparison | Plan:
    """Ask every model every question about every picture.

    Each answer is written to a store the moment it arrives: run again after an interrupt, an error or a
    killed kernel, only what is missing is asked. An error is a row, never the end of the run. An interrupt
    gives what is there, marked incomplete.

    Args:
        models: Model objects or ``"provider:model"`` strings.
        prompts: The questions, as texts.
        images: Documents, paths, folders, patterns, URLs or in-memory pictures.
        concurrency: How many calls are under way at once; or a number for each model, by its name.
        budget: US dollars that the run may cost: it stops before a call that could pass it.
        dry_run: Ask nothing, and need no key: give the number of calls, tokens and price by model.
        resume: Take the answers that the store already has.
        progress: Show a bar with what is done, what failed and what it has cost.
        store: A store or its file; None takes the one under the user's cache folder.

    Returns:
        A `Comparison`; with ``dry_run`` the plan.

    Raises:
        SettingsError: Models, prompts or images are missing, given twice or of a wrong type; or a budget is
            set for a model whose price is not known.
        StoreError: The store cannot be used.

    >>> pictures = [vn.samples.path("chart"), vn.samples.path("label")]
    >>> vn.compare(["demo", "demo:second"], ["How large is it?"], pictures, dry_run=True).calls
    4
    >>> vn.compare(["demo", "demo:second"], ["How large is it?"], pictures, progress=False)
    Comparison(4 rows, 4 answered, 0 failed)
    """
    run = _prepared(
        models,
        prompts,
        images,
        concurrency=concurrency,
        budget=budget,
        dry_run=dry_run,
        resume=resume,
        progress=progress,
        store=store,
    )
    return run if isinstance(run, Plan) else run.to_the_end()


async def acompare(
    models: Any,
    prompts: str | Iterable[str],
    images: Any,
    *,
    concurrency: Concurrency = DEFAULT_CONCURRENCY,
    budget: float | Decimal | None = None,
    dry_run: bool = False,
    resume: bool = True,
    progress: bool = True,
    store: Store | str | Path | None = None,
) -> Comparison | Plan:
    """The asynchronous twin of `compare`: arguments and errors as `compare`.

    >>> import asyncio
    >>> asyncio.run(vn.acompare("demo", "How bright is it?", vn.samples.path("chart"), progress=False))
    Comparison(1 row, 1 answered, 0 failed)
    """
    run = await asyncio.to_thread(
        _prepared,
        models,
        prompts,
        images,
        concurrency=concurrency,
        budget=budget,
        dry_run=dry_run,
        resume=resume,
        progress=progress,
        store=store,
    )
    if isinstance(run, Plan):
        return run
    await run.execute()
    return run.comparison()


def _prepared(
    models: Any,
    prompts: Any,
    images: Any,
    *,
    concurrency: Concurrency,
    budget: float | Decimal | None,
    dry_run: bool,
    resume: bool,
    progress: bool,
    store: Store | str | Path | None,
) -> Run | Plan:
    grid = make_grid(models, prompts, images, concurrency, connect=connect_to_count if dry_run else connect)
    kept = store if isinstance(store, Store) else Store(store)
    if dry_run:
        return make_plan(grid, kept, resume=resume)
    return Run(grid, kept, run_budget(grid.models, budget), resume=resume, progress=progress)


class Run:
    """One run over a grid: workers for each model, fed picture by picture.

    Args:
        grid: What is to be asked.
        store: Where answers are kept.
        budget: What it may cost.
        resume: Take the answers that the store already has.
        progress: Show a bar.
        known: Rows of an earlier run; those that are finished stay as they are.

    Attributes:
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
        known: Sequence[Row] | None = None,
    ) -> None:
        self.grid, self.store, self.budget = grid, store, budget
        self.rows = grid.empty_rows() if known is None else list(known)
        self.stopped: str | None = None
        self._resume = resume
        self._progress = Progress(len(grid), shown=progress)
        self._pending: Counter[int] = Counter()

    def comparison(self) -> Comparison:
        """What has been found so far."""
        missing = sum(not row.finished and row.error is None for row in self.rows)
        stopped = f"{self.stopped.rstrip('.')}; {missing:,} calls were not made" if self.stopped and missing else None
        return Comparison(
            self.rows, grid=self.grid, store=self.store, incomplete=stopped, budget=self.budget, resume=self._resume
        )

    def to_the_end(self) -> Comparison:
        """Ask what is missing, and give what was found; an interrupt gives what is there."""
        try:
            run_sync(self.execute())
        except KeyboardInterrupt:
            self.stopped = "interrupted"
        return self.comparison()

    async def execute(self) -> None:
        """Ask what is missing."""
        limits = self.grid.limits
        queues: list[Queue] = [asyncio.Queue() for _ in limits]
        slots = asyncio.Semaphore(self.grid.max_concurrency) if self.grid.max_concurrency else None
        paused = [_Pause() for _ in limits]
        workers = [
            asyncio.create_task(self._work(queue, slots, pause))
            for queue, pause, limit in zip(queues, paused, limits, strict=True)
            for _ in range(limit)
        ]
        with self._progress:
            try:
                await self._feed(queues)
                for queue, limit in zip(queues, limits, strict=True):
                    for _ in range(limit):
                        queue.put_nowait(None)
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _feed(self, queues: list[Queue]) -> None:
        """Look up what the store has, and queue the rest for its model, picture by picture."""
        for start in range(0, len(self.grid.documents), _BATCH):
            batch = range(start, min(start + _BATCH, len(self.grid.documents)))
            for row, model, document in await asyncio.to_thread(self._look_up, batch):
                queues[model].put_nowait((row, model, document))
            self._progress.show(self.rows, self.budget.spent)

    def _look_up(self, batch: range) -> list[tuple[int, int, int]]:
        """Give rows their keys, fill those that are finished, and name the others as (row, model, document)."""
        rows: list[tuple[int, int, int]] = []
        for document in batch:
            places = [place for place in self.grid.places(document) if not self.rows[place[0]].finished]
            try:
                digest = self.store.digest(self.grid.documents[document]) if places else ""
            except ImageError as error:
                for row, _, _ in places:
                    self._fail(row, error)
                continue
            for row, model, prompt in places:
                detail = self.grid.documents[document].detail
                key = row_key(self.grid.models[model], self.grid.prompts[prompt], digest, detail)
                self.rows[row] = replace(self.rows[row], key=key)
                rows.append((row, model, document))
        found = self.store.get_many(self.rows[row].key for row, _, _ in rows) if self._resume else {}
        missing = []
        for row, model, document in rows:
            response = found.get(self.rows[row].key)
            if response is None:
                missing.append((row, model, document))
                self._pending[document] += 1
            else:
                priced = replace(response, pricing=self.grid.models[model].price)
                self.rows[row] = replace(self.rows[row], **self.rows[row].answered(priced, from_store=True))
        return missing

    async def _work(self, queue: Queue, slots: asyncio.Semaphore | None, pause: _Pause) -> None:
        while (task := await queue.get()) is not None:
            if self.stopped is None:
                await self._ask(*task, slots or nullcontext(), pause)

    async def _ask(
        self, row: int, model: int, document: int, slot: AbstractAsyncContextManager[Any], pause: _Pause
    ) -> None:
        """Ask one question until it is answered or has failed for good."""
        pauses = 0
        while True:
            await pause.wait()
            try:
                if pause.over is not None:
                    raise pause.over
                async with slot:
                    await self._call(row, self.grid.models[model], self.grid.documents[document])
                break
            except QuotaExceededError as error:
                pause.over = error
                self._fail(row, error)
                break
            except RateLimitError as error:
                pauses += 1
                if pauses > _MAX_PAUSES:
                    self._fail(row, error)
                    break
                pause.begin(error.retry_after or min(2.0**pauses, _LONGEST_PAUSE))
            except BudgetExceededError as error:
                self.stopped = str(error)
                return
            except StoreError as error:
                self.stopped = str(error)  # the answer is in its row; the next ones could not be kept
                break
            except Exception as error:  # whatever goes wrong with one call is a row, never the end of the run
                self._fail(row, error)
                break
        self._settle(row, document)

    async def _call(self, row: int, llm: MultiModalLLM, document: ImageDocument) -> None:
        with self.budget.active():
            response = await llm.acomplete(self.rows[row].prompt, [document])
        self.rows[row] = replace(self.rows[row], **self.rows[row].answered(response, from_store=False))
        self.store.put(self.rows[row].key, str(llm), response)

    def _settle(self, row: int, document: int) -> None:
        """Count a row as done; after a picture's last one, what was downloaded of it is let go."""
        self._pending[document] -= 1
        if not self._pending[document]:
            self.grid.documents[document].forget_download()
        self._progress.show(self.rows, self.budget.spent, settled=row)

    def _fail(self, row: int, error: Exception) -> None:
        known = isinstance(error, VisionError)
        message = f"{type(error).__name__}: {error}" if known else f"{type(error).__name__}: {error!s:.300}"
        self.rows[row] = replace(self.rows[row], error=message, response=None)


def retry(comparison: Comparison, *, progress: bool = True) -> Comparison:
    """Ask again what failed or was not asked in an earlier run, within what is left of its budget."""
    grid, earlier = comparison.grid, comparison.budget
    known = [row if row.finished else replace(row, error=None) for row in comparison]
    budget = run_budget(grid.models, earlier.limit, spent=earlier.spent)
    run = Run(grid, comparison.store, budget, resume=comparison.resume, progress=progress, known=known)
    return run.to_the_end()


class _Pause:
    """Holds one model's workers back for a while after it has said that it is asked too much.

    Attributes:
        over: Set when the model is not to be asked any more, as the account's quota is spent.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self.over: QuotaExceededError | None = None

    async def wait(self) -> None:
        while (left := self._until - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def begin(self, seconds: float) -> None:
        self._until = max(self._until, time.monotonic() + seconds)
