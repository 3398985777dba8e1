"""Claims on questions, so that two notebooks do not pay for the same answer.

A claim is a row in the store. It is written before the question is sent, and deleted in the transaction that writes the
answer, or when the question fails. A process that finds another process's claim waits for its answer. A claim is a
lease: a thread renews it while the question is being asked. The claim is released when the lease expires, or
immediately if its process on this machine has ended.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any, TypeVar

from vision_nb.errors import StoreError
from vision_nb.responses import Response
from vision_nb.storage.database import insert_rows
from vision_nb.storage.processes import is_running, this_process

T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS claims (
    key TEXT PRIMARY KEY, token TEXT NOT NULL, process TEXT NOT NULL, expires REAL NOT NULL, reserved BLOB NOT NULL
);
"""
LEASE = 60.0
"""Seconds after which a claim that is not renewed expires."""
RENEWAL = 15.0
"""Seconds between renewals."""

_RESERVED = bytes(16384)  # written with new claims, so that a full disk is noticed before the questions are sent
_PROCESS = uuid.uuid4().hex
_numbers = itertools.count()
_VALUES = "SELECT value FROM json_each(?)"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5  # seconds between checks of another process's claim

Transaction = Callable[[], AbstractContextManager[sqlite3.Connection]]
LookUp = Callable[[sqlite3.Connection, str], Response | None]


class Claim:
    """The right to ask a question.

    Args:
        key: The question's key.
        transaction: Begins a transaction of the store.
        look_up: Returns the stored answer for a key; None to ask again, even if an answer is stored or being requested.
        is_batched: Returns whether a question waits in a batch; None if that does not matter.

    Attributes:
        answer: The stored answer, or None if the question must be asked.
        is_elsewhere: Whether another process or thread asks the question.
        is_in_batch: Whether the question waits in a batch, and so must not be asked.
        transaction: Begins a transaction of the store.
        key: The key of the claim in the store: the question's, or one of its own if the question is asked in any case.
        question: The question's key.
        token: Identifies this claim in the store.
    """

    def __init__(
        self,
        key: str,
        transaction: Transaction,
        look_up: LookUp | None,
        is_batched: Callable[[sqlite3.Connection, str], bool] | None = None,
    ) -> None:
        self.answer: Response | None = None
        self.is_elsewhere = self.is_in_batch = False
        self._is_batched, self.question = is_batched, key
        self.transaction = transaction
        self.token = f"{_PROCESS} {os.getpid()} {next(_numbers)}"  # a forked process has the same _PROCESS
        self.key = key if look_up is not None else f"{key} {self.token}"
        self._look_up = look_up

    def attempt(self) -> bool:
        """Claim the question, or read its answer; return False while another process or thread asks it.

        Raises:
            StoreError: The store cannot be written.
        """
        with self.transaction() as connection:
            return self.attempt_in(connection)

    def attempt_in(self, connection: sqlite3.Connection) -> bool:
        """Do the same as `attempt` in a transaction that is under way.

        Args:
            connection: The store's connection.
        """
        if self._look_up is not None:
            self.answer, self.is_elsewhere = self._look_up(connection, self.key), False
            if self.answer is not None:
                return True
            row = connection.execute("SELECT process, expires FROM claims WHERE key = ?", [self.key]).fetchone()
            self.is_elsewhere = row is not None and row[1] > time.time() and is_running(row[0])
            if self.is_elsewhere:
                return False
        self.is_in_batch = self._is_batched is not None and self._is_batched(connection, self.question)
        if not self.is_in_batch:
            insert_claims(connection, [self])
        return True

    def renew(self) -> None:
        """Extend the lease."""
        values = [time.time() + LEASE, self.key, self.token]
        with self.transaction() as connection:
            connection.execute("UPDATE claims SET expires = ? WHERE key = ? AND token = ?", values)

    def release(self) -> None:
        """Let others ask the question; releasing it again has no effect."""
        if _renewer.remove(self):
            with suppress(StoreError), self.transaction() as connection:  # otherwise, the lease runs out
                delete_claims(connection, [self])

    @property
    def is_held(self) -> bool:
        """Whether this claim may be in the store, and is renewed."""
        return _renewer.has(self)


def insert_claims(connection: sqlite3.Connection, new: Sequence[Claim]) -> None:
    """Write claims on questions that nobody else is asking, in a transaction that is under way.

    Args:
        connection: The store's connection.
        new: The claims, which are renewed from now on.
    """
    _renewer.add(new)  # first, so that `release` deletes the rows even if an interrupt comes now
    process, expires = this_process(), time.time() + LEASE
    rows = [(one.key, one.token, process, expires, b"" if number else _RESERVED) for number, one in enumerate(new)]
    insert_rows(connection, "claims", rows)


def delete_claims(connection: sqlite3.Connection, ended: Sequence[Claim]) -> None:
    """Delete claims in a transaction that is under way.

    Args:
        connection: The store's connection.
        ended: The claims; once the transaction is committed, `forget_claims` stops renewing them.
    """
    values = [json.dumps([claim.key for claim in ended]), json.dumps([claim.token for claim in ended])]
    connection.execute(f"DELETE FROM claims WHERE key IN ({_VALUES}) AND token IN ({_VALUES})", values)


def forget_claims(ended: Iterable[Claim]) -> None:
    """Stop renewing claims that are not in the store any more."""
    for claim in ended:
        _renewer.remove(claim)


@contextmanager
def claimed(claim: Claim, *, waiting: AbstractContextManager[Any] | None = None) -> Iterator[Response | None]:
    """Claim a question for a block, or wait for the answer that another process receives.

    Args:
        claim: The claim, as ``store.claim(key)`` returns it.
        waiting: Entered while the block waits.

    Yields:
        The stored answer, or None if the block must ask the question and store its answer.
    """
    try:
        if not claim.attempt():
            with waiting or nullcontext():
                for pause in pauses():
                    time.sleep(pause)
                    if claim.attempt():
                        break
        yield claim.answer
    finally:
        claim.release()


@asynccontextmanager
async def aclaimed(
    claim: Claim,
    executor: Executor | None = None,
    *,
    waiting: AbstractContextManager[Any] | None = None,
) -> AsyncIterator[Response | None]:
    """Claim a question for a block: the asynchronous version of `claimed`.

    Args:
        claim: The claim.
        executor: Where the store is used; None for the event loop's own threads.
        waiting: Entered while the block waits.
    """
    try:
        if not await finish_in_thread(executor, claim.attempt):
            with waiting or nullcontext():
                for pause in pauses():
                    await asyncio.sleep(pause)
                    if await finish_in_thread(executor, claim.attempt):
                        break
        yield claim.answer
    finally:
        try:
            await finish_in_thread(executor, claim.release)
        except RuntimeError:  # the executor or the event loop has ended
            claim.release()


async def finish(work: Awaitable[T]) -> T:
    """Return the result of some work; if the task is canceled meanwhile, wait until the work has ended."""
    running = asyncio.ensure_future(work)
    canceled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:  # each further interrupt cancels the task again
            canceled = error
    if canceled is not None:
        running.exception()  # otherwise, asyncio logs that it was never retrieved
        raise canceled
    return running.result()


async def finish_in_thread(executor: Executor | None, function: Callable[[], T]) -> T:
    """Run a function in a thread; if the task is canceled meanwhile, wait until the function has ended."""
    return await finish(asyncio.get_running_loop().run_in_executor(executor, function))


def release_all(transaction: Transaction, connection: sqlite3.Connection) -> None:
    """Release all claims of a store that is about to be closed, such as those of a run that was interrupted twice.

    Args:
        transaction: What the store passes to its claims.
        connection: The store's connection, which no other thread is using.
    """
    for claim in _renewer.claims():
        if claim.transaction == transaction and _renewer.remove(claim):
            with suppress(sqlite3.Error):  # otherwise, the lease runs out
                delete_claims(connection, [claim])


def pauses(first: float = _FIRST_PAUSE, longest: float = _LONGEST_PAUSE) -> Iterator[float]:
    """Return the seconds to wait between attempts, by default to claim a question; each pause is longer.

    Args:
        first: The first pause.
        longest: The longest one.
    """
    while True:
        yield first
        first = min(first * 1.5, longest)


class _Renewer:
    """Renews this process's claims in a thread that runs only while there are some."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all claims: in a forked process, they belong to the parent."""
        self._claims: set[Claim] = set()
        self._lock = threading.Lock()
        self._pause = threading.Event()  # never set: waiting for it is a sleep of this thread alone
        self._is_running = False

    def add(self, new: Iterable[Claim]) -> None:
        """Renew claims until they are removed."""
        with self._lock:
            self._claims.update(new)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="vision_nb claims", daemon=True).start()

    def remove(self, claim: Claim) -> bool:
        """Stop renewing a claim; return whether it was being renewed."""
        with self._lock:
            known = claim in self._claims
            self._claims.discard(claim)
            return known

    def has(self, claim: Claim) -> bool:
        """Return whether a claim is being renewed."""
        return claim in self._claims

    def claims(self) -> list[Claim]:
        """Return the claims that are being renewed."""
        with self._lock:
            return list(self._claims)

    def _run(self) -> None:
        while True:
            self._pause.wait(RENEWAL)
            with self._lock:
                claims = list(self._claims)
                if not claims:
                    self._is_running = False
                    return
            for claim in claims:
                with suppress(StoreError):  # the next renewal may succeed
                    claim.renew()


_renewer = _Renewer()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renewer.reset)
