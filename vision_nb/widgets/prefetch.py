"""A cache whose next value is prepared in a thread before it is needed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

_Value = TypeVar("_Value")
_executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vision_nb prefetch")


class PrefetchCache(Generic[_Value]):
    """Values by index, such as the images of a widget's cards; the least recently used ones are dropped.

    Args:
        read: Returns the value of an index; also called in a thread.
        size: How many values to keep.
    """

    def __init__(self, read: Callable[[int], _Value], *, size: int) -> None:
        self._read, self._size = read, size
        self._futures: OrderedDict[int, Future[_Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, index: int) -> _Value:
        """Return a value; if another thread is reading it, wait instead of reading it twice."""
        with self._lock:
            future = self._futures.get(index)
            is_mine = future is None or future.cancel()  # not begun: do not wait for the thread
            if future is None or is_mine:
                future = self._add(index, Future())
                future.set_running_or_notify_cancel()  # or another thread would cancel it
            else:
                self._futures.move_to_end(index)
        try:
            if is_mine:
                future.set_result(self._read(index))
            return future.result()
        except BaseException as error:
            if is_mine:
                future.set_exception(error)
            with self._lock:
                if self._futures.get(index) is future:  # it is read again the next time
                    del self._futures[index]
            raise

    def prefetch(self, index: int) -> None:
        """Read a value in a thread, unless it is cached already."""
        with self._lock:
            if index not in self._futures:
                self._add(index, _executor.submit(self._read, index))

    def wait(self) -> None:
        """Wait until all prefetching is finished."""
        _executor.submit(int).result()

    def _add(self, index: int, future: Future[_Value]) -> Future[_Value]:
        self._futures[index] = future
        self._futures.move_to_end(index)
        while len(self._futures) > self._size:
            self._futures.popitem(last=False)[1].cancel()
        return future
