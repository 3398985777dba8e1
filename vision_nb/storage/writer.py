"""Writes of a run that share transactions: claims, answers, and the release of claims."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Self

from vision_nb.responses import Response
from vision_nb.storage.answers import NewAnswer, insert_answers, is_storable
from vision_nb.storage.claims import Claim, Transaction, delete_claims, forget_claims, insert_claims

_KNOWN = """
SELECT key FROM answers WHERE key IN (SELECT value FROM json_each(:keys))
UNION SELECT key FROM claims WHERE key IN (SELECT value FROM json_each(:keys))
UNION SELECT key FROM batch_questions WHERE key IN (SELECT value FROM json_each(:questions))
"""


class WriteFuture(asyncio.Future[None]):
    """The end of a write. A task that is canceled while it awaits the future goes on to wait, and then is canceled."""

    def cancel(self, msg: Any | None = None) -> bool:
        """Do not cancel the write; the task is canceled when it is done."""
        return False


class _Write(NamedTuple):
    """A claim to attempt, or to release, with the answer to its question if there is one."""

    future: WriteFuture
    claim: Claim
    is_attempt: bool
    answer: NewAnswer | None

    @property
    def is_release(self) -> bool:
        """Whether nothing is written but the release of a claim."""
        return not self.is_attempt and self.answer is None


class StoreWriter:
    """Writes to the store in a thread; writes that wait at the same moment share a transaction.

    Each transaction takes few statements, however many writes it has: the thread queues for its turn to run Python
    after each one. Use the writer in a ``with`` block, at whose end everything is written.

    Args:
        transaction: Begins a transaction of the store.
        after: Called after each transaction.
        write_later: Called at the end with each answer that could not be written, and the error.

    Attributes:
        executor: The thread.
    """

    def __init__(
        self,
        transaction: Transaction,
        after: Callable[[], None],
        write_later: Callable[[NewAnswer, Exception], None],
    ) -> None:
        self.executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vision_nb store")
        self._transaction, self._after, self._write_later = transaction, after, write_later
        self._waiting: list[_Write] = []
        self._claims: set[Claim] = set()  # attempted and not released
        self._failed: list[_Write] = []  # answers that could not be written
        self._is_scheduled = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.executor.shutdown()
        self._release_claims()

    def attempt(self, claim: Claim) -> Awaitable[None]:
        """Claim a question, or read its answer; the attributes of the claim say which.

        Args:
            claim: The claim.

        Raises:
            StoreError: The store cannot be written (when the result is awaited, as for the other methods).
        """
        return self._submit(claim, is_attempt=True)

    def put(self, claim: Claim, asked_model: str, response: Response) -> WriteFuture:
        """Write the answer to a claimed question, if it may be stored, and release the claim.

        Args:
            claim: The claim.
            asked_model: The model as the user named it; the response has the server's own name.
            response: The answer.
        """
        answer = NewAnswer(claim.question, asked_model, response) if is_storable(response) else None
        return self._submit(claim, answer=answer)

    def release(self, claim: Claim) -> WriteFuture:
        """Let others ask a question; if the store cannot be written, the claim's lease runs out."""
        return self._submit(claim)

    def release_all(self) -> None:
        """Release the claims of tasks that repeated interrupts kept from doing so, after what they have submitted."""
        try:
            self.executor.submit(self._release_claims).result()
        except RuntimeError:  # the thread has ended
            self._release_claims()

    def _release_claims(self) -> None:
        while self._claims:
            self._claims.pop().release()

    async def finish(self) -> None:
        """Wait until everything is written that was submitted so far; what failed is written once more.

        Another process may have kept the store locked, and the answers are paid for.
        """
        future = WriteFuture(loop=asyncio.get_running_loop())
        self.executor.submit(self._write_failed)
        self.executor.submit(_deliver, [(future, None)])
        await future

    def _submit(self, claim: Claim, *, is_attempt: bool = False, answer: NewAnswer | None = None) -> WriteFuture:
        write = _Write(WriteFuture(loop=asyncio.get_running_loop()), claim, is_attempt, answer)
        with self._lock:
            if not self._is_scheduled:
                self.executor.submit(self._write_waiting)
                self._is_scheduled = True
            self._waiting.append(write)
        return write.future

    def _write_waiting(self) -> None:
        while True:
            with self._lock:
                writes, self._waiting = self._waiting, []
                if not writes:
                    self._is_scheduled = False
                    return
            self._claims.difference_update(write.claim for write in writes if not write.is_attempt)
            self._claims.update(write.claim for write in writes if write.is_attempt)
            ended = self._commit(writes)
            self._failed += [write for write, error in ended if error is not None and write.answer is not None]
            if not _deliver([(write.future, error) for write, error in ended]):
                for write in writes:
                    write.claim.release()  # nobody is left to ask the question
            with suppress(RuntimeError):  # at exit, no further thread can be started
                self._after()

    def _write_failed(self) -> None:
        failed, self._failed = self._failed, []
        if failed:
            for write, error in self._commit(failed):
                if write.answer is not None and error is not None:
                    self._write_later(write.answer, error)

    def _commit(self, writes: Sequence[_Write]) -> list[tuple[_Write, Exception | None]]:
        """Write in one transaction, or in one for each if that fails; return the writes with their errors."""
        has_begun = False
        try:
            with self._transaction() as connection:
                has_begun = True
                _execute(connection, writes)
        except Exception as error:
            if has_begun and len(writes) > 1:  # the others do not depend on the one that failed
                return [self._commit([write])[0] for write in writes]
            ended: list[tuple[_Write, Exception | None]] = [(one, None if one.is_release else error) for one in writes]
        else:
            ended = [(write, None) for write in writes]
        forget_claims(write.claim for write, error in ended if error is None and not write.is_attempt)
        return ended


def _execute(connection: sqlite3.Connection, writes: Sequence[_Write]) -> None:
    if answers := [write.answer for write in writes if write.answer is not None]:
        insert_answers(connection, answers)
    if ended := [write.claim for write in writes if not write.is_attempt]:
        delete_claims(connection, ended)
    if new := [write.claim for write in writes if write.is_attempt]:
        _attempt(connection, new)


def _attempt(connection: sqlite3.Connection, claims: Sequence[Claim]) -> None:
    """Attempt some claims, those together on whose questions the store has nothing."""
    keys, questions = (json.dumps([getattr(claim, name) for claim in claims]) for name in ("key", "question"))
    known = {key for (key,) in connection.execute(_KNOWN, {"keys": keys, "questions": questions})}
    free: dict[str, Claim] = {}
    others = []
    for claim in claims:
        if known.isdisjoint((claim.key, claim.question)) and claim.key not in free:
            free[claim.key] = claim
        else:
            others.append(claim)
    if free:
        insert_claims(connection, list(free.values()))
    for claim in others:
        claim.attempt_in(connection)


def _deliver(ended: Sequence[tuple[WriteFuture, Exception | None]]) -> bool:
    """Report the end of some writes to the event loop in whose tasks they are awaited; return False if it is closed."""
    try:
        ended[0][0].get_loop().call_soon_threadsafe(partial(_set_results, ended))
    except RuntimeError:
        return False
    return True


def _set_results(ended: Sequence[tuple[WriteFuture, Exception | None]]) -> None:
    for future, error in ended:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
