"""A queue of calls whose images are prepared before their turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeAlias

Item: TypeAlias = tuple[int, int, int] | None
"""Indices of a row, its model and its image; None ends a worker."""

MAX_AHEAD_BYTES = 16_000_000
"""The bytes of prepared images in a queue above which no further image is prepared: about 50 photographs."""


class _Ahead:
    """The preparation of an image for the next calls about it; None as the future if there is nothing to prepare."""

    def __init__(self, call: tuple[int, int], future: Future[int] | None) -> None:
        self.call, self.future, self.bytes = call, future, 0
        if future is not None:
            future.add_done_callback(self._note_bytes)

    def _note_bytes(self, future: Future[int]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.bytes = future.result()


class PreparedQueue(asyncio.Queue[Item]):
    """Calls in order; the images of the next ones are being prepared, or are ready.

    Successive calls to one model about the same image share its preparation.

    Args:
        maxsize: The most calls that wait.
        prepare: Begins to prepare the image of a call, and returns the future of its length in bytes; None if there is
            nothing to prepare.
        ahead: For how many calls images are prepared at most.
    """

    def __init__(self, maxsize: int, prepare: Callable[[int, int], Future[int] | None], *, ahead: int) -> None:
        self._prepare, self._ahead = prepare, ahead
        self._prepared: deque[_Ahead | None] = deque()  # of the first calls in the queue
        self._last: _Ahead | None = None
        super().__init__(maxsize)

    def _init(self, maxsize: int) -> None:
        self._queue: deque[Item] = deque()

    def _put(self, item: Item) -> None:
        self._queue.append(item)
        self._look_ahead()

    def _get(self) -> Item:
        item = self._queue.popleft()
        ahead = self._prepared.popleft() if self._prepared else None
        if ahead is not None and ahead.future is not None:
            ahead.future.cancel()  # not begun: the call prepares the image itself
        self._look_ahead()
        return item

    def _look_ahead(self) -> None:
        while len(self._prepared) < min(self._ahead, len(self._queue)) and self._waiting_bytes() < MAX_AHEAD_BYTES:
            item = self._queue[len(self._prepared)]
            self._prepared.append(None if item is None else self._begin(*item[1:]))

    def _begin(self, model: int, image: int) -> _Ahead:
        if self._last is None or self._last.call != (model, image):
            self._last = _Ahead((model, image), self._prepare(model, image))
        return self._last

    def _waiting_bytes(self) -> int:
        return sum(ahead.bytes for ahead in set(self._prepared) if ahead is not None)
