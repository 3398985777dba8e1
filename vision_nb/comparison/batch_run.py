"""A run whose missing questions are submitted as batches, and the collection of their answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from vision_nb.comparison.batch_jobs import BatchJobs, Outcome, for_each
from vision_nb.comparison.batch_submission import Submission, batch_of, grid_digest, highest_batch_price
from vision_nb.comparison.calls import LocalCalls
from vision_nb.comparison.grid import Grid
from vision_nb.comparison.lookup import Lookup
from vision_nb.comparison.plan import make_plan
from vision_nb.comparison.rows import Rows
from vision_nb.comparison.run_options import RunOptions
from vision_nb.cost.budget import Budget
from vision_nb.cost.ledger import ledger
from vision_nb.errors import BatchError, BudgetExceededError, SettingsError, VisionError
from vision_nb.notebook.run_sync import run_sync
from vision_nb.rendering.format import pluralize
from vision_nb.storage.answers import is_storable
from vision_nb.storage.batches import StoredBatch
from vision_nb.store import Store
from vision_nb.user_warnings import to_thread

Indices = Mapping[str, Sequence[int]]
"""By key: the rows that ask the same question about equal images."""

_READ_TOGETHER = 2_000  # answers that are read from the store together


class BatchRun:
    """A run over a grid that submits what the store does not have, and does not wait for it.

    Args:
        grid: The models, prompts and images.
        store: The store of answers.
        budget: The run's budget.
        options: How the calls are made.
        rows: The rows of an earlier run, to collect those that wait in batches.

    Attributes:
        rows: The rows, with the results so far.
        stopped: Why some questions were not submitted, or None.
    """

    def __init__(
        self, grid: Grid, store: Store, budget: Budget, options: RunOptions, *, rows: Rows | None = None
    ) -> None:
        self.grid, self.budget, self.options = grid, budget, options
        self.rows = Rows(grid, store.path) if rows is None else rows
        self.stopped: str | None = None
        self._store = store
        self._lookup = Lookup(grid, self.rows, store, LocalCalls(grid, store), resume=options.resume)
        self._jobs: dict[int, BatchJobs] = {}

    @property
    def incomplete(self) -> str | None:
        """Why some questions were not submitted and how many, or None."""
        missing = len(self.rows) - self.rows.answered - self.rows.failed - len(self.rows.waiting)
        return (
            f"{self.stopped.rstrip('.')}; {pluralize(missing, 'question was', 'questions were')} not submitted"
            if self.stopped and missing
            else None
        )

    def check(self) -> None:
        """Raise SettingsError if a model does not take batches, or a cluster was given."""
        if self.grid.cluster is not None:
            raise SettingsError("batch=True makes no calls, so cluster= has no use: omit one of them.")
        for model in range(len(self.grid.models)):
            self._jobs_of(model)

    def _jobs_of(self, model: int) -> BatchJobs:
        if model not in self._jobs:
            self._jobs[model] = BatchJobs(self.grid.models[model], self._store, self.grid.schema, self.budget)
        return self._jobs[model]

    def execute(self) -> None:
        """Submit the missing questions; an interrupt ends the run early."""
        try:
            run_sync(self.aexecute())
        except KeyboardInterrupt:
            self.stopped = "interrupted"
            self._note_waiting(self._by_key(row for row in range(len(self.rows)) if not self.rows.is_done(row)))

    async def aexecute(self) -> None:
        """Collect the batches that have ended, and submit the missing questions.

        Raises:
            StoreError: The store cannot be written, and nothing was submitted.
        """
        await to_thread(self._store.check_writable)
        for model in range(len(self.grid.models)):
            missing = self._by_key([row async for batch in self._lookup.missing(model) for row, _, _ in batch])
            try:
                await self._submit(model, missing)
            except BudgetExceededError as error:
                self.stopped = str(error)
            except VisionError as error:
                left = await to_thread(self._waiting, missing)
                for row in _rows_of(missing, set(missing) - set(left)):
                    if not self.rows.is_done(row):
                        self.rows.put(row, self.rows[row].with_error(error))
            finally:
                await to_thread(self._note_waiting, missing)
        await to_thread(self._store.checkpoint)

    async def _submit(self, model: int, missing: Indices) -> None:
        jobs = self._jobs_of(model)
        digest = await to_thread(grid_digest, self.rows, model)
        collected = await self._collect(jobs, missing)
        left = {key: rows for key, rows in missing.items() if key not in collected}
        if left and await jobs.adopt(digest, set(left)):
            collected = await self._collect(jobs, left)
            left = {key: rows for key, rows in left.items() if key not in collected}
        waiting = await to_thread(self._waiting, left)
        asked = {key: rows for key, rows in left.items() if key not in waiting}
        if not asked:
            return
        await to_thread(self._check_budgets)
        submission = Submission(jobs, self.rows, self.budget, digest, reuse=self.options.resume)
        try:
            await submission.submit(asked)
        finally:
            for row, error in list(submission.errors.items()):  # an interrupt leaves threads that still write
                self.rows.put(row, self.rows[row].with_error(error))
            if self.options.resume:
                await self._fill_from_store(left)
        waiting = await to_thread(self._waiting, asked)
        if not all(key in waiting or self.rows.is_done(rows[0]) for key, rows in asked.items()):
            self.stopped = "Another process is asking some of the questions: run the cell again when it has ended"

    def _check_budgets(self) -> None:
        """Raise BudgetExceededError if all missing questions together could exceed a budget, before any is sent."""
        limited = [budget for budget in (ledger.spending, self.budget) if budget.limit is not None]
        if not limited:
            return
        plan = make_plan(self.grid, self._store, self.options)
        prices = (
            highest_batch_price(llm, planned.calls, planned.input_tokens)
            for llm, planned in zip(self.grid.models, plan.models, strict=True)
            if planned.calls
        )
        highest = sum(prices, Decimal(0))
        names = ", ".join(planned.model for planned in plan.models if planned.calls)
        for budget in limited:
            budget.settle(budget.reserve(highest, batch_of(plan.calls, names)), None)

    async def _collect(self, jobs: BatchJobs, wanted: Indices) -> set[str]:
        """Collect the batches in which some questions wait, and fill in their rows; return the keys of those."""
        tokens, collected = await to_thread(self._waiting, wanted), set[str]()
        await jobs.update(
            [*tokens.values(), *await to_thread(jobs.left)],
            lambda outcomes: collected.update(self._fill(wanted, outcomes)),
        )
        return collected

    def _fill(self, wanted: Indices, outcomes: Mapping[str, Outcome]) -> set[str]:
        filled = {key: outcome for key, outcome in outcomes.items() if key in wanted}
        for key, outcome in filled.items():
            first, *others = wanted[key]
            row = self.rows[first]
            if outcome.error is not None:
                self.rows.put(first, row.with_error(outcome.error))
            elif outcome.response is not None:
                done = row.with_answer(outcome.response, from_store=False)
                self.rows.put(first, done, is_stored=is_storable(outcome.response))
            for other in others:
                self.rows.copy_result(first, other)
        return set(filled)

    async def _fill_from_store(self, wanted: Indices) -> None:
        """Fill in the rows whose answers another process has collected meanwhile."""
        open_keys = [key for key, rows in wanted.items() if not self.rows.is_done(rows[0])]
        for start in range(0, len(open_keys), _READ_TOGETHER):
            answers = await to_thread(self._store.get_many, open_keys[start : start + _READ_TOGETHER])
            for key, answer in answers.items():
                for index in wanted[key]:
                    row = self._lookup.row_from(index, answer)
                    if row is not None:
                        self.rows.put(index, row, is_stored=True)

    def _waiting(self, keys: Iterable[str]) -> dict[str, str]:
        return self._store.questions_in_batches(keys)

    def _tokens(self, missing: Indices) -> dict[str, str]:
        """Return the batches in which questions wait, or waited until another run collected them, by key."""
        tokens = {batch.batch_id: batch.token for batch in self._store.batches()}
        noted = {key: tokens.get(self.rows.waiting.get(rows[0], "")) for key, rows in missing.items()}
        return {**{key: token for key, token in noted.items() if token}, **self._waiting(missing)}

    def _note_waiting(self, wanted: Indices) -> None:
        """Note where the rows without a result wait whose questions are in batches."""
        tokens = self._waiting(wanted)
        names = {batch.token: batch.batch_id for batch in self._store.batches(set(tokens.values()))}
        for key, token in tokens.items():
            for row in wanted[key]:
                if not self.rows.is_done(row):
                    self.rows.wait(row, names.get(token) or "being submitted")

    async def arefresh(self) -> None:
        """Fill in the rows that wait in batches, as far as they have ended.

        Raises:
            ProviderError: A server failed for some of them; the others are up to date.
        """

        async def refresh(wanted: tuple[int, Indices]) -> None:
            model, missing = wanted
            before = await to_thread(self._tokens, missing)
            try:
                await self._collect(self._jobs_of(model), missing)
            finally:
                await self._note_ended(missing, before)

        await for_each((await to_thread(self._wanted)).items(), refresh)

    def _wanted(self) -> dict[int, Indices]:
        """Return the rows that wait in batches, by the index of their model and by key."""
        models, waiting = len(self.grid.models), list(self.rows.waiting)
        found = {model: self._by_key(row for row in waiting if row % models == model) for model in range(models)}
        return {model: rows for model, rows in found.items() if rows}

    def _by_key(self, rows: Iterable[int]) -> Indices:
        found: dict[str, list[int]] = {}
        for row in rows:
            found.setdefault(self.rows.key(row), []).append(row)
        return found

    async def _note_ended(self, missing: Indices, before: Mapping[str, str]) -> None:
        """Note which rows no longer wait, and why those of a batch that is over have no answer.

        Args:
            missing: The rows that waited, by key.
            before: The token of the batch in which each question waited, by key.
        """
        left = await to_thread(self._waiting, missing)
        ended = {batch.token: batch for batch in await to_thread(self._store.batches, set(before.values()))}
        gone: dict[str, list[str]] = {}
        for key in before.keys() - left.keys():
            gone.setdefault(before[key], []).append(key)
        if self.options.resume:
            await self._fill_from_store(missing)
        else:  # earlier answers were not asked for
            for token in gone.keys() & ended.keys():
                answered = await to_thread(self._store.answered_since, gone[token], ended[token].created)
                await self._fill_from_store({key: missing[key] for key in answered})
        self.rows.stop_waiting(_rows_of(missing, set(missing) - set(left)))
        for key in missing.keys() - left.keys():
            batch = ended.get(before.get(key, ""))
            if batch is None:
                words = (
                    "The store has no batch with this question any more: run the cell again, which finds the batch on "
                    "the server or submits another one."
                )
            elif batch.status == "expired":
                words = (
                    f"The batch {batch.batch_id} expired before this question was answered: run the cell again to "
                    "submit it in a new batch, or call retry_errors() or retry() to ask directly."
                )
            else:
                continue
            if not self.rows.is_done(missing[key][0]):
                self._fill(missing, {key: Outcome(error=BatchError(words))})

    async def acancel(self) -> None:
        """Cancel the batches in which rows wait, with the questions of other comparisons in them.

        Raises:
            ProviderError: A server failed for some of them; the others are canceled.
        """

        async def cancel(wanted: tuple[int, Indices]) -> None:
            model, keys = wanted
            await self._jobs_of(model).cancel((await to_thread(self._waiting, keys)).values())

        await for_each((await to_thread(self._wanted)).items(), cancel)


def waiting_batches(store: Store, rows: Rows) -> list[StoredBatch]:
    """Return the batches in which rows wait.

    Args:
        store: The store.
        rows: The rows.
    """
    if not rows.waiting:
        return []
    tokens = store.questions_in_batches({rows.key(index) for index in rows.waiting})
    return store.batches(set(tokens.values()))


def _rows_of(wanted: Indices, keys: Iterable[str]) -> list[int]:
    return [index for key in keys for index in wanted[key]]
