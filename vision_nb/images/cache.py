"""Caches of encoded images: an image that is sent again is not encoded again."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from vision_nb.images.prepare import Prepared

MAX_BYTES = 128_000_000
"""The size of the cache in bytes: about 400 photos."""


E = TypeVar("E", Prepared, bytes, str)  # an image, its file, or a text that contains it


class _Entry(Generic[E]):
    """A place in the cache; the lock is held while the image is being made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.image: E | None = None


class ImageCache(Generic[E]):
    """A least-recently-used cache of encoded images, limited by their total size.

    It is thread-safe: threads that request the same image wait for the one that prepares it.

    Args:
        max_bytes: The maximum total size of the encoded images; the most recently used image is always kept.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self.reset()
        _caches.add(self)

    def reset(self) -> None:
        """Forget all images, and be usable, although another thread may have held a lock."""
        self._bytes = 0
        self._entries: OrderedDict[Hashable, _Entry[E]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], E]) -> E:
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

    def _store(self, key: Hashable, entry: _Entry[E], image: E) -> None:
        with self._lock:
            entry.image = image
            if self._entries.setdefault(key, entry) is not entry:
                return  # the entry was discarded, and another thread has made the image since
            self._bytes += _size_of(image)
            if self._bytes > self._max_bytes:
                self._evict(keep=entry)

    def _evict(self, keep: _Entry[E]) -> None:
        for key, entry in list(self._entries.items()):  # the least recently used first
            if entry.image is not None and entry is not keep:
                del self._entries[key]
                self._bytes -= _size_of(entry.image)
                if self._bytes <= self._max_bytes:
                    return

    def _discard(self, key: Hashable, entry: _Entry[E]) -> None:
        with self._lock:
            if self._entries.get(key) is entry:
                del self._entries[key]


_caches: WeakSet[ImageCache[Any]] = WeakSet()


def _forget_parent() -> None:
    """Free the caches, in a forked process, of the images that other threads of its parent were making."""
    for cache in list(_caches):
        cache.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)


def _size_of(image: Prepared | bytes | str) -> int:
    return len(image.data if isinstance(image, Prepared) else image)


PREPARED_IMAGES: ImageCache[Prepared] = ImageCache()
"""The cache that all documents share."""
