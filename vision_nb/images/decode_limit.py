"""A limit on how many pixels are decoded at the same time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PIXELS_PER_CORE = 25_000_000  # 100 MB: Pillow needs up to 4 bytes per pixel
_LEAST_PIXELS = 100_000_000


class DecodeLimit:
    """Limits the memory for decoding, whatever the number of threads.

    Images are admitted in the order in which they ask. An image that is larger than the limit is decoded alone.

    Args:
        max_pixels: The most pixels of all images that are being decoded.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self.reset()

    def reset(self) -> None:
        """Forget the images that are being decoded: in a forked process, the threads of its parent do not exist."""
        self._pixels = 0
        self._next = threading.Lock()  # held by the image that is admitted next
        self._changed = threading.Condition()

    @contextmanager
    def reserved(self, pixels: int) -> Iterator[None]:
        """Wait until an image can be decoded, and reserve its pixels during the ``with`` block.

        Args:
            pixels: How many pixels the image is decoded to.
        """
        with self._next, self._changed:
            self._changed.wait_for(lambda: not self._pixels or self._pixels + pixels <= self._max_pixels)
            self._pixels += pixels
        try:
            yield
        finally:
            with self._changed:
                self._pixels -= pixels
                self._changed.notify_all()


DECODE_LIMIT = DecodeLimit(max(_LEAST_PIXELS, _PIXELS_PER_CORE * (os.cpu_count() or 1)))
"""The limit that all threads share."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=DECODE_LIMIT.reset)
