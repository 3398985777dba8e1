"""A queue of calls whose images are prepared before their turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeAlias

from vision_nb.providers.outgoing_image import ReadyImage

MAX_AHEAD_BYTES = 16_000_000
"""The bytes of prepared images in a queue above which no further image is prepared: about 50 photographs."""


@dataclass(slots=True)
class QueuedCall:
    """A call that waits for its turn.

    Attributes:
        row: The row's index.
        model: The model's index.
        document: The image's index.
        image: The image, which is being prepared or is ready; None if its preparation has not begun.
    """

    row: int
    model: int
    document: int
    image: Future[ReadyImage] | None = None


Item: TypeAlias = QueuedCall | None
"""A call; None ends a worker."""


class _Ahead:
    """The preparation of an image for the next calls about it; None as the future if there is nothing to prepare."""

    def __init__(self, call: QueuedCall, future: Future[ReadyImage] | None) -> None:
        self.subject, self.future, self.bytes = (call.model, call.document), future, 0
        if future is not None:
            future.add_done_callback(self._note_bytes)

    def _note_bytes(self, future: Future[ReadyImage]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.bytes = future.result().bytes


class PreparedQueue(asyncio.Queue[Item]):
    """Calls in order; the images of the next ones are being prepared, or are ready.

    Successive calls to one model about the same image share its preparation.

    Args:
        maxsize: The most calls that wait.
        prepare: Begins to prepare the image of a call; None if there is nothing to prepare.
        ahead: For how many calls images are prepared at most.
    """

    def __init__(self, maxsize: int, prepare: Callable[[int, int], Future[ReadyImage] | None], *, ahead: int) -> None:
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
        if self._prepared:
            self._prepared.popleft()
        self._look_ahead()
        return item

    def _look_ahead(self) -> None:
        while len(self._prepared) < min(self._ahead, len(self._queue)) and self._waiting_bytes() < MAX_AHEAD_BYTES:
            call = self._queue[len(self._prepared)]
            ahead = None if call is None else self._begin(call)
            if call is not None and ahead is not None:
                call.image = ahead.future
            self._prepared.append(ahead)

    def _begin(self, call: QueuedCall) -> _Ahead:
        if self._last is None or self._last.subject != (call.model, call.document):
            self._last = _Ahead(call, self._prepare(call.model, call.document))
        return self._last

    def _waiting_bytes(self) -> int:
        return sum(ahead.bytes for ahead in set(self._prepared) if ahead is not None)
