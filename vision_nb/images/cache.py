"""A cache of prepared images: an image that is sent again is not encoded again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from vision_nb.images.prepare import Prepared

MAX_BYTES = 128_000_000
"""The size of the cache in bytes: about 400 photos."""


class _Entry:
    """A place in the cache; the lock is held while the image is being made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.image: Prepared | None = None


class PreparedImageCache:
    """A least-recently-used cache of prepared images, limited by their total size.

    It is thread-safe: threads that request the same image wait for the one that prepares it.

    Args:
        max_bytes: The maximum total size of the encoded images; the most recently used image is always kept.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Prepared]) -> Prepared:
        """Return the image for a key; call ``make`` if it is not in the cache."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        with entry.lock:
            if entry.image is None:
                try:
                    image = make()
                except BaseException:
                    self._discard(key, entry)
                    raise
                self._store(key, entry, image)
                return image
            return entry.image

    def _store(self, key: Hashable, entry: _Entry, image: Prepared) -> None:
        with self._lock:
            entry.image = image
            if self._entries.setdefault(key, entry) is not entry:
                return  # the entry was discarded, and another thread has made the image since
            self._bytes += len(image.data)
            if self._bytes > self._max_bytes:
                self._evict(keep=entry)

    def _evict(self, keep: _Entry) -> None:
        for key, entry in list(self._entries.items()):  # the least recently used first
            if entry.image is not None and entry is not keep:
                del self._entries[key]
                self._bytes -= len(entry.image.data)
                if self._bytes <= self._max_bytes:
                    return

    def _discard(self, key: Hashable, entry: _Entry) -> None:
        with self._lock:
            if self._entries.get(key) is entry:
                del self._entries[key]


PREPARED_IMAGES = PreparedImageCache()
"""The cache that all documents share."""
