"""Batches on a provider's server: following them, collecting their answers, and continuing after a killed process."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import ParamSpec, TypeVar

from vision_nb.comparison.batch_accounts import account_of, close_account, reserved_batches
from vision_nb.cost.budget import Budget
from vision_nb.errors import BatchError, ProviderConnectionError, ProviderError, StoreError, VisionError
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.batches import ENDED, BatchState
from vision_nb.rendering.format import as_sentence
from vision_nb.responses import CompletionResponse
from vision_nb.schema.schema import Schema
from vision_nb.storage.answers import is_storable
from vision_nb.storage.batches import (
    DELETING,
    GRID,
    LEASE,
    OVER,
    PLACE,
    PREPARING,
    SUBMITTED,
    SUBMITTING,
    TOKEN,
    UPLOADING,
    StoredBatch,
    place_of,
)
from vision_nb.storage.claims import finish_in_thread
from vision_nb.store import Store
from vision_nb.user_warnings import to_thread, warn_user

Use = Callable[[Mapping[str, "Outcome"]], object]
"""Called with what became of some questions, by key, as soon as they are collected."""

P = ParamSpec("P")
T = TypeVar("T")

_SEARCHED = 15 * 24 * 3600  # seconds: the files of an older batch are deleted
_SKEW = 24 * 3600  # seconds by which the server's clock may differ
_LINES = 100  # of an output file that are read together
_RENEWAL = LEASE / 3  # seconds between two notes that this process is busy


@dataclass(frozen=True)
class Outcome:
    """What became of a question in a batch: an answer, an error, or both if the answer cannot be used.

    Attributes:
        response: The answer, or None.
        error: What was wrong, or None.
    """

    response: CompletionResponse | None = None
    error: Exception | None = None


def file_name(token: str) -> str:
    """Return the name of a batch's input file on the server."""
    return f"vision_nb-{token}.jsonl"


class BatchJobs:
    """The batches of a model.

    Args:
        llm: The model.
        store: The store that knows the batches.
        schema: The schema of the answers, or None.
        budget: The budget that the answers are paid from.
    """

    def __init__(self, llm: MultiModalLLM, store: Store, schema: Schema | None, budget: Budget) -> None:
        self.llm, self.store, self.api = llm, store, llm.batches
        self._schema, self._budget = schema, budget

    async def update(self, tokens: Iterable[str], use: Use) -> None:
        """Continue what a killed process left, and collect the batches that have ended.

        Args:
            tokens: The tokens of the batches; those that another process is busy with are left to it.
            use: Called while answers are read, so that memory does not hold all of them.

        Raises:
            ProviderError: The server failed for one of them; the others are up to date.
        """
        tokens = list(dict.fromkeys(tokens))

        async def update(token: str) -> None:
            async with self._taken(token) as batch:
                if batch is not None:
                    with self._budget.active():
                        await self._continue(batch, use)

        await for_each(tokens, update)
        await to_thread(self._release_ended, tokens)

    @asynccontextmanager
    async def _taken(self, token: str) -> AsyncIterator[StoredBatch | None]:
        """Note that this process is busy with a batch in a block; None if another one is."""
        taken: list[StoredBatch | None] = []
        try:
            await finish(lambda: taken.append(self.store.take_batch(token)))
            async with kept_busy(self.store, token):
                yield taken[0]
        finally:
            if taken and taken[0] is not None:
                await finish(self.store.leave_batch, token)

    def left(self) -> list[str]:
        """Return the tokens of the model's batches that a killed process, or a failed deletion, left unfinished."""
        steps = (PREPARING, UPLOADING, SUBMITTING, DELETING)
        found = (one for one in self.store.batches() if one.model == str(self.llm) and one.step in steps)
        return [one.token for one in found if self._is_ours(one) and not one.is_busy]

    def new(self, grid: str, step: str, questions: int) -> StoredBatch:
        """Return a new batch of the model."""
        token, server, account = uuid.uuid4().hex, self.api.server, self.api.account
        return StoredBatch(token, str(self.llm), grid, step, time.time(), questions, server=server, account=account)

    def _is_ours(self, batch: StoredBatch) -> bool:
        """Return whether the model's account submitted a batch: another one does not see it, or its files."""
        return batch.belongs_to(self.api.server, self.api.account)

    async def _continue(self, batch: StoredBatch, use: Use) -> None:
        if batch.step == PREPARING:
            await finish(self.store.remove_batch, batch.token)  # nothing was sent
        elif batch.step in (UPLOADING, SUBMITTING) and not self._is_ours(batch):
            words = "The batch was being submitted with another API key: run the cell with that key, or call cancel()."
            await finish(self.store.update_batch, batch.token, message=words)
        elif batch.step in (UPLOADING, SUBMITTING):
            await self._recover(batch)
        elif batch.step == SUBMITTED:
            await self._follow(batch, use)
        elif batch.step == DELETING:
            await self.delete_files(batch)

    async def _recover(self, batch: StoredBatch) -> None:
        """Find out how far a process came that was killed, or lost its connection, before the batch was noted."""
        state = await self._find(batch.token)  # perhaps the store was copied while its batch was being submitted
        if state is None:
            ids = [batch.file_id] if batch.file_id else []
            async for id, name in self.api.recent_files(batch.created - _SKEW):
                if name == file_name(batch.token) and id not in ids:
                    ids.append(id)
            for id in ids:
                await self.api.delete(id)
            # A request that is still on its way cannot create a batch now, because its file is gone.
            state = await self._find(batch.token) if batch.step == SUBMITTING else None
        if state is None:
            await finish(self.store.remove_batch, batch.token)
        else:
            await finish(self._note, batch.token, state, batch_id=state.id, step=SUBMITTED)

    async def recover(self, token: str) -> bool:
        """Find out whether a batch was created although its request failed; if not, release its questions."""
        async with self._taken(token) as batch:
            if batch is not None:
                await self._recover(batch)
        await to_thread(self._release_ended, [token])
        return any(one.step == SUBMITTED for one in await to_thread(self.store.batches, [token]))

    async def _find(self, token: str) -> BatchState | None:
        async for state in self.api.recent(0):  # all of them: not every service promises the order
            if state.metadata.get(TOKEN) == token:
                return state
        return None

    def _note(self, token: str, state: BatchState, **changes: object) -> None:
        noted = {"status": state.status, "done": state.done, "message": state.message, "seen": time.time()}
        self.store.update_batch(token, **noted, **changes)

    async def _follow(self, batch: StoredBatch, use: Use) -> None:
        """Read the state of a batch, and collect it if it has ended."""
        state = await self.api.retrieve(batch.batch_id)
        if state is None and self.llm.is_demo and self._is_ours(batch):
            # It was on the demo server of another kernel, which has ended.
            await finish(self.store.remove_batch, batch.token)
        elif state is None:
            words = "The server does not know the batch: check that the API key is that of its project."
            if not self._is_ours(batch):
                words = "The batch was submitted with another API key or to another server: use these to collect it."
            await finish(self.store.update_batch, batch.token, status="not found", message=words, seen=time.time())
        elif state.has_ended:
            await self._collect(batch, state, use)
        else:
            await finish(self._note, batch.token, state)

    async def _collect(self, batch: StoredBatch, state: BatchState, use: Use) -> None:
        """Store the answers of a batch that has ended, and delete its files."""
        results = [id for id in (state.output_file, state.error_file) if id]
        has_lines = False
        for file_id in results:
            last = b""
            async for lines in _in_chunks(self.api.lines(file_id)):
                has_lines, last = True, lines[-1]
                use(await finish(self._read, batch, lines))
            if last and not self.api.read_line(last).key:  # some servers and proxies do not say where a file ends
                await finish(self._note, batch.token, state)
                raise ProviderConnectionError(
                    f"The download of the answers of the batch {state.id} was cut off: call refresh() to read the "
                    "rest, or cancel() to give it up."
                )
        rest = await to_thread(self.store.all_questions_of_batch, batch.token)
        if error := self._error_of_rest(state, are_files_gone=bool(results) and not has_lines):
            use(dict.fromkeys(rest, Outcome(error=error)))
        files = [id for id in (state.input_file, state.output_file, state.error_file) if id] if batch.is_own else []
        changes = {"status": state.status, "done": state.done, "message": state.message, "seen": time.time()}
        await finish(self.store.finish_batch, batch.token, DELETING if files else OVER, files=files, **changes)
        if batch.is_own:  # no other store can read them any more
            close_account(batch.token)
        await self.delete_files(replace(batch, files=tuple(files)))

    def _error_of_rest(self, state: BatchState, *, are_files_gone: bool) -> BatchError | None:
        """Return the error of questions without a line; None if they can be submitted again."""
        if are_files_gone:
            return BatchError(
                f"The files of the batch {state.id} are no longer on the server: another store has collected its "
                "answers, or they have expired. Use that store, or run the cell again to pay for new answers."
            )
        if state.status == "failed":
            words = as_sentence(state.message or "it gave no reason")
            return BatchError(f"{self.llm} refused the batch {state.id}: {words} Change that, and run the cell again.")
        if state.status == "completed":
            return BatchError(f"The batch {state.id} ended without a line for this question: run the cell again.")
        return None

    def _read(self, batch: StoredBatch, lines: Sequence[bytes]) -> dict[str, Outcome]:
        """Read some lines, and store their answers; lines that repeat a question or belong to none are ignored."""
        read = [self.api.read_line(line) for line in lines]
        facts = self.store.questions_of_batch(batch.token, [line.key for line in read])
        outcomes: dict[str, Outcome] = {}
        account = account_of(batch.token)
        for line in read:
            if line.was_not_run or line.key not in facts or line.key in outcomes:
                continue
            is_new, known = account.record(line.key), facts[line.key]
            outcomes[line.key] = (
                self._outcome(line.body, known, is_new) if line.error is None else Outcome(error=line.error)
            )
        for key, outcome in outcomes.items():
            if outcome.response is not None and outcome.error is None and is_storable(outcome.response):
                self.store.put(key, str(self.llm), outcome.response)
        self.store.remove_questions(batch.token, list(outcomes))
        account.give_back(len(outcomes))
        return outcomes

    def _outcome(self, body: Mapping[str, object] | None, facts: Mapping[str, object], is_new: bool) -> Outcome:
        try:
            response, error = self.api.read(body or {}, facts, self._schema, record=is_new)
        except Exception as failure:  # an error in one answer must not keep the others from being collected
            return Outcome(error=failure)
        return Outcome(response, error)

    async def delete_files(self, batch: StoredBatch) -> None:
        """Delete the files of a batch that has been collected; if that fails, the next update tries again."""
        try:
            for file_id in batch.files:
                await self.api.delete(file_id)
        except VisionError as error:
            warn_user(f"{self.llm}: the files of the batch {batch.batch_id} could not be deleted yet: {error}")
        else:
            await finish(self.store.update_batch, batch.token, step=OVER, files=[])

    def _release_ended(self, tokens: Sequence[str]) -> None:
        """Give back what is reserved for batches that are over, perhaps because another process collected them.

        Args:
            tokens: The tokens of batches of this store, some of which it may have forgotten.
        """
        reserved = reserved_batches()
        steps = dict.fromkeys(tokens, OVER) | {one.token: one.step for one in self.store.batches(reserved)}
        for token in reserved:
            if steps.get(token) in (DELETING, OVER):
                account_of(token).release()

    async def adopt(self, grid: str, keys: set[str]) -> bool:
        """Find the batches of a comparison that the store does not know, as after it was deleted.

        Args:
            grid: The digest of the comparison's questions.
            keys: The questions that are not answered.

        Returns:
            Whether there are any.
        """
        known = {batch.batch_id for batch in await to_thread(self.store.batches)}
        has_found = False
        async for state in self.api.recent(time.time() - _SEARCHED):
            if state.metadata.get(GRID) != grid or state.id in known:
                continue
            waiting = await self._questions(state, keys)
            new = self.new(grid, SUBMITTED, len(waiting))
            batch = replace(
                new,
                token=state.metadata.get(TOKEN) or new.token,
                created=state.created,
                file_id=state.input_file or "",
                batch_id=state.id,
                status=state.status,
                is_own=state.metadata.get(PLACE) == place_of(self.store.path),
            )
            if waiting:
                has_found |= bool(await finish(self.store.reserve_batch, batch, waiting, reuse=True))
        return has_found

    async def _questions(self, state: BatchState, keys: set[str]) -> set[str]:
        """Return which questions are in a batch of which only the server knows; all if its files cannot be read."""
        if state.status == "failed":
            return set()
        found: set[str] = set()
        files = [state.output_file, state.error_file] if state.has_ended else [state.input_file]
        for file_id in filter(None, files):
            async for line in self.api.lines(file_id):
                found.add(self.api.read_line(line).key)
        return found & keys if found or state.has_ended else keys

    async def cancel(self, tokens: Iterable[str]) -> None:
        """Cancel batches; the answers that are complete by then can be collected once the server has ended them.

        Raises:
            ProviderError: The server failed for one of them; the others are canceled.
        """
        tokens = list(tokens)

        async def cancel(batch: StoredBatch) -> None:
            is_foreign = batch.step in (UPLOADING, SUBMITTING) and not self._is_ours(batch) and not batch.is_busy
            if is_foreign or (batch.step == SUBMITTED and batch.status in ("not found", *ENDED)):
                await finish(self.store.finish_batch, batch.token, OVER)
            elif batch.step == SUBMITTED:
                await self.api.cancel(batch.batch_id)

        await for_each(await to_thread(self.store.batches, tokens), cancel)
        await to_thread(self._release_ended, tokens)


@asynccontextmanager
async def kept_busy(store: Store, token: str) -> AsyncIterator[None]:
    """Keep other processes from taking over a batch in a block, however long it takes."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(_RENEWAL)
            with suppress(StoreError):  # the next renewal may succeed
                await finish(store.keep_batch, token)

    renewal = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)


async def for_each(items: Iterable[T], function: Callable[[T], Awaitable[object]]) -> None:
    """Call a function with each item; if a server fails, go on with the next one, and raise the first error at the end.

    Args:
        items: The items, such as batches.
        function: The function.

    Raises:
        ProviderError: A server failed.
    """
    failures: list[ProviderError] = []
    for item in items:
        try:
            await function(item)
        except ProviderError as error:
            failures.append(error)
    if failures:
        raise failures[0]


async def finish(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call a function in a thread; if the task is canceled meanwhile, wait until the function has ended."""
    call: Callable[[], T] = partial(copy_context().run, function, *arguments, **options)
    return await finish_in_thread(None, call)


async def _in_chunks(lines: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    chunk: list[bytes] = []
    async for line in lines:
        if line.strip():
            chunk.append(line)
        if len(chunk) >= _LINES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
