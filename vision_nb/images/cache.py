"""Pictures that were made ready a moment ago, so that asking again does not encode them again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from vision_nb.images.prepare import Prepared

MAX_BYTES = 128_000_000
"""How much is kept; some 400 photographs as they go out."""


class PreparedImageCache:
    """A bounded memory of prepared pictures, the least recently used forgotten first.

    Several threads may ask at once; those that ask for the same picture wait for the one that encodes it.

    Args:
        max_bytes: How many bytes of encoded pictures to keep.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[Hashable, Prepared] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Prepared]) -> Prepared:
        """The picture of a key, made if it is not there."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            turn = self._making.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
            try:
                made = make()
            finally:
                with self._lock:
                    self._making.pop(key, None)
            self._keep(key, made)
            return made

    def _keep(self, key: Hashable, made: Prepared) -> None:
        with self._lock:
            self._kept[key] = made
            self._bytes += len(made.data)
            while self._bytes > self._max_bytes and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped.data)


PREPARED_IMAGES = PreparedImageCache()
"""The memory that all documents share."""
