"""Writing the input files of batches, and submitting them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import IO, Any

from vision_nb.comparison.batch_accounts import account_of
from vision_nb.comparison.batch_jobs import BatchJobs, file_name, finish, kept_busy
from vision_nb.comparison.calls import image_changed
from vision_nb.comparison.rows import Rows
from vision_nb.cost.accounting import longest_answer, unknown_and_advice
from vision_nb.cost.budget import Budget
from vision_nb.cost.ledger import ledger
from vision_nb.cost.prices import BATCH_TIER
from vision_nb.errors import BudgetExceededError
from vision_nb.privacy.redaction import redact
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.batches import BatchRequest
from vision_nb.rendering.format import pluralize
from vision_nb.responses import Usage
from vision_nb.storage.batches import (
    PREPARING,
    SUBMITTED,
    SUBMITTING,
    UPLOADING,
    StoredBatch,
    place_of,
    taken_over,
)
from vision_nb.user_warnings import to_thread

Written = tuple[str, BatchRequest | None]
"""A question's key, and its line; None if it cannot be asked."""


@dataclass
class _InputFile:
    """An input file that is being written.

    Attributes:
        endpoint: The API that its lines are for.
        file: The file.
        facts: What is known about each question, by key.
        bytes: Its size.
    """

    endpoint: str
    file: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    facts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    bytes: int = 0


class Submission:
    """Submits the questions of one model that have no answer.

    The lines are written to temporary files, so that memory holds only those that are being prepared.

    Args:
        jobs: The batches of the model.
        rows: The rows of the comparison.
        budget: Its budget.
        grid: The digest of its questions.
        reuse: Leave out questions whose answers are stored meanwhile.

    Attributes:
        errors: By a row's index: why its image was not used.
    """

    def __init__(self, jobs: BatchJobs, rows: Rows, budget: Budget, grid: str, *, reuse: bool) -> None:
        self._jobs, self._rows, self._budget, self._grid, self._reuse = jobs, rows, budget, grid, reuse
        self._llm, self._store, self._api = jobs.llm, jobs.store, jobs.api
        self.errors: dict[int, Exception] = {}

    async def submit(self, questions: Mapping[str, Sequence[int]]) -> None:
        """Submit questions, except those that somebody else is asking or has submitted.

        Args:
            questions: By key: the rows that ask the same question about equal images, of which the first that can be
                read is sent.

        Raises:
            BudgetExceededError: A file could exceed a budget; earlier files have been submitted.
            VisionError: A file could not be submitted.
        """
        parent = self._jobs.new(self._grid, PREPARING, len(questions))
        files: dict[str, _InputFile] = {}
        try:
            reserved = await finish(self._store.reserve_batch, parent, questions, reuse=self._reuse)
            async with kept_busy(self._store, parent.token):
                await self._send_all(parent, (one for one in questions.items() if one[0] in reserved), files)
        finally:
            for left in files.values():
                left.file.close()
            await finish(self._store.remove_batch, parent.token)

    async def _send_all(
        self, parent: StoredBatch, questions: Iterable[tuple[str, Sequence[int]]], files: dict[str, _InputFile]
    ) -> None:
        """Write questions to a file for each API; submit each file that is full, and the last ones."""
        async for key, request in self._requests(questions):
            if request is None:
                continue
            current = files.get(request.endpoint)
            if current is not None and self._is_full(current, request):
                await self._send(parent, files.pop(request.endpoint))
                current = None
            if current is None:
                current = files[request.endpoint] = _InputFile(request.endpoint)
            current.file.write(request.line)
            current.bytes += len(request.line)
            current.facts[key] = request.facts
        for endpoint in list(files):
            await self._send(parent, files.pop(endpoint))

    def _is_full(self, current: _InputFile, request: BatchRequest) -> bool:
        api = self._api
        return len(current.facts) >= api.max_requests or current.bytes + len(request.line) > api.max_bytes

    async def _requests(self, questions: Iterable[tuple[str, Sequence[int]]]) -> AsyncIterator[Written]:
        """Write lines in threads, a few questions ahead."""
        ahead: deque[asyncio.Task[Written]] = deque()
        try:
            for key, rows in questions:
                ahead.append(asyncio.create_task(to_thread(self._write, key, rows)))
                if len(ahead) > 2 * (os.cpu_count() or 1):
                    yield await ahead.popleft()
            while ahead:
                yield await ahead.popleft()
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    def _write(self, key: str, rows: Sequence[int]) -> Written:
        """Write a line with the first image that can be read; the error of an earlier one is that of its row alone."""
        for row in rows:
            try:
                return key, self._request(key, row)
            except Exception as error:  # an error in one question must not keep the others from being asked
                self.errors[row] = error
        return key, None

    def _request(self, key: str, row: int) -> BatchRequest:
        grid = self._rows.grid
        _, prompt, place = grid.place(row)
        document = grid.documents[place]
        try:
            request = self._api.write(key, grid.prompts[prompt], document, grid.schema)
            digest = self._store.file_digest(document)  # of what was read
        finally:
            if document.is_remote:
                document.forget_download()
        if digest is not None and not self._rows.has_digest(place, digest):
            raise image_changed(document)
        return request

    async def _send(self, parent: StoredBatch, written: _InputFile) -> None:
        """Upload an input file and submit it; each step is written down before it begins."""
        token = uuid.uuid4().hex
        batch = replace(parent, token=token, step=UPLOADING, questions=len(written.facts))
        with written.file as file:
            account_of(token).reserve(self._reserve(written), len(written.facts))
            try:
                await finish(self._store.split_batch, parent.token, batch, written.facts)
                async with kept_busy(self._store, token):
                    await self._upload(file, batch, written.endpoint)
            except Exception as error:
                await finish(self._store.leave_batch, token)
                await finish(self._store.update_batch, token, message=redact(str(error)))
                if not await self._jobs.recover(token):
                    raise
            finally:
                await finish(self._store.leave_batch, token)

    async def _upload(self, file: IO[bytes], batch: StoredBatch, endpoint: str) -> None:
        file.seek(0)
        token = batch.token
        file_id = await self._api.upload(file, file_name(token))
        # A process that was suspended may find that another one has submitted the questions.
        if not await finish(self._store.keep_batch, token):
            await self._api.delete(file_id)
            raise taken_over()
        await finish(self._store.update_batch, token, step=SUBMITTING, file_id=file_id)
        state = await self._api.submit(file_id, endpoint, batch.metadata(place_of(self._store.path)))
        noted = {"batch_id": state.id, "status": state.status, "seen": time.time()}
        await finish(self._store.update_batch, token, step=SUBMITTED, **noted)

    def _reserve(self, written: _InputFile) -> list[tuple[Budget, Decimal]]:
        """Reserve the highest price of a file in the budgets that apply.

        Raises:
            BudgetExceededError: It could exceed one of them, or is not known.
        """
        limited = [budget for budget in (ledger.spending, self._budget) if budget.limit is not None]
        if not limited:
            return []
        tokens = [facts["expected_tokens"] for facts in written.facts.values()]
        total = None if None in tokens else sum(tokens)
        highest = highest_batch_price(self._llm, len(tokens), total)
        done: list[tuple[Budget, Decimal]] = []
        try:
            for budget in limited:
                what = batch_of(len(tokens), str(self._llm))
                done.append((budget, budget.reserve(highest, what, is_batch=True)))
        except BudgetExceededError:
            for budget, amount in done:
                budget.settle_batch(amount)
            raise
        return done


def batch_of(questions: int, models: str) -> str:
    """Return what a batch is called at the beginning of an error message."""
    return f"A batch of {pluralize(questions, 'question')} to {models}"


def highest_batch_price(llm: MultiModalLLM, calls: int, input_tokens: int | None) -> Decimal:
    """Return the highest price of some questions as a batch in US dollars.

    Args:
        llm: The model.
        calls: The number of questions.
        input_tokens: The input tokens of all questions, or None.

    Raises:
        BudgetExceededError: It is unknown.
    """
    usage = Usage(input_tokens, calls * longest_answer(llm.settings()))
    highest = llm.pricing(usage, service_tier=BATCH_TIER)
    if highest is None:
        what, advice = unknown_and_advice(llm.pricing)
        raise BudgetExceededError(
            f"The {what} of a batch of {llm} is unknown, so it could exceed the budget: {advice}, or lift the limit."
        )
    return highest


def grid_digest(rows: Rows, model: int) -> str:
    """Return a digest of all questions to a model, answered or not, whatever their order.

    Args:
        rows: The rows of the comparison.
        model: The model's index.
    """
    indices = range(model, len(rows), len(rows.grid.models))
    digest = hashlib.sha256()
    for key in sorted({rows.key(index) for index in indices}):
        digest.update(key.encode())
    return digest.hexdigest()
