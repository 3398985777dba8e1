"""The deadline of the answer that is being received, for the connections of the HTTP clients.

The clients' own timeouts apply to each read, so an answer whose headers or body arrive byte by byte never ends.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AbstractContextManager, aclosing, closing, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from vision_nb.checks.context_values import context_value

T = TypeVar("T")

_deadline: ContextVar[float] = ContextVar("_deadline", default=math.inf)
"""When to stop receiving, on the clock of `time.monotonic`; infinite outside of a model's own calls."""


class AnswerDeadlineError(TimeoutError):
    """An answer was not complete at its deadline, although data kept arriving."""


def answer_deadline(seconds: float) -> AbstractContextManager[None]:
    """Limit the time that the answers to requests in a ``with`` block may take.

    Args:
        seconds: The limit in seconds.
    """
    return context_value(_deadline, time.monotonic() + seconds)


def time_left() -> float:
    """Return the seconds until the deadline; infinite if there is none."""
    return _deadline.get() - time.monotonic()


def limited(parts: Generator[T], seconds: float) -> Generator[T]:
    """Yield the parts of an answer, all of which have to arrive before one deadline.

    Args:
        parts: Receives the answer.
        seconds: The limit in seconds, from the first part's request on.
    """
    deadline = time.monotonic() + seconds
    with closing(parts):
        while True:
            with answer_deadline(deadline - time.monotonic()):
                try:
                    part = next(parts)
                except StopIteration:
                    return
            yield part


async def alimited(parts: AsyncGenerator[T], seconds: float) -> AsyncGenerator[T]:
    """Asynchronous version of `limited`."""
    deadline = time.monotonic() + seconds
    async with aclosing(parts):
        while True:
            with answer_deadline(deadline - time.monotonic()):
                try:
                    part = await anext(parts)
                except StopAsyncIteration:
                    return
            yield part


def limit_reads(transport: Any, error: type[Exception] = AnswerDeadlineError) -> None:
    """Let the reads of a transport's connections end at the deadline.

    Args:
        transport: An HTTP transport of httpx or httpx2, synchronous or not.
        error: What a read raises that has not ended before the deadline.
    """
    pool = transport._pool  # the transport has no public argument for a backend
    if not isinstance(pool._network_backend, _Wrapper):
        is_async = hasattr(transport, "handle_async_request")
        pool._network_backend = (_AsyncBackend if is_async else _Backend)(pool._network_backend, error)


class _Wrapper:
    """Has the methods of another object, and its own.

    Args:
        wrapped: A connection or a backend of httpcore or httpcore2.
        error: What a read raises that has not ended before the deadline.
    """

    def __init__(self, wrapped: Any, error: type[Exception]) -> None:
        self._wrapped, self._error = wrapped, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    @contextmanager
    def _limit(self, timeout: float | None) -> Iterator[float | None]:
        """Yield the timeout of a read, and replace the exception of one that ends after the deadline."""
        left = time_left()
        if left <= 0:
            raise self._error("The answer's deadline has passed.")
        try:
            yield timeout if left == math.inf else left if timeout is None else min(timeout, left)
        except Exception as error:
            if time_left() > 0:
                raise
            raise self._error("The answer's deadline has passed.") from error


class _Stream(_Wrapper):
    """A connection whose reads end at the deadline."""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._limit(timeout) as limit:
            return bytes(self._wrapped.read(max_bytes, limit))

    def start_tls(self, *args: Any, **options: Any) -> _Stream:
        return _Stream(self._wrapped.start_tls(*args, **options), self._error)


class _AsyncStream(_Wrapper):
    """A connection whose reads end at the deadline."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._limit(timeout) as limit:
            return bytes(await self._wrapped.read(max_bytes, limit))

    async def start_tls(self, *args: Any, **options: Any) -> _AsyncStream:
        return _AsyncStream(await self._wrapped.start_tls(*args, **options), self._error)


class _Backend(_Wrapper):
    """Opens connections whose reads end at the deadline."""

    def connect_tcp(self, *args: Any, **options: Any) -> Any:
        return _Stream(self._wrapped.connect_tcp(*args, **options), self._error)


class _AsyncBackend(_Wrapper):
    """Opens connections whose reads end at the deadline."""

    async def connect_tcp(self, *args: Any, **options: Any) -> Any:
        return _AsyncStream(await self._wrapped.connect_tcp(*args, **options), self._error)
