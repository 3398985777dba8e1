"""Images from arrays and Pillow images: their pixels are kept until they are scaled."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Hashable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vision_nb.images.cache import ImageCache
from vision_nb.images.content import MemoryContent
from vision_nb.images.encode import png_from_pixels
from vision_nb.images.prepare import Header
from vision_nb.notebook.interrupts import keep_interrupts

if TYPE_CHECKING:
    from PIL import Image

MAX_HELD_BYTES = 1_000_000_000
"""The most bytes of pixels that are kept for all images together; further ones are compressed at once."""

_BYTES_PER_PIXEL = {"L": 1}  # Pillow needs four for every other mode
_SAMPLE = (16, 16)
_PNG_FILES: ImageCache[bytes] = ImageCache(max_bytes=64_000_000)
_lock = threading.RLock()  # a finalizer can run while its thread holds it
_held_bytes = 0


def memory_content(source: bytes | Image.Image, name: str | None) -> MemoryContent:
    """Return an image in memory.

    Args:
        source: An image file; or an upright 8-bit sRGB image of mode L, LA, RGB or RGBA, which nothing else refers to.
        name: The image's name, or None.
    """
    if isinstance(source, bytes):
        return MemoryContent(source, name)
    if _held_bytes + _bytes_of(source) > MAX_HELD_BYTES:
        return MemoryContent(png_from_pixels(source), name)
    return PixelContent(source, name)


def _bytes_of(pixels: Image.Image) -> int:
    return pixels.width * pixels.height * _BYTES_PER_PIXEL.get(pixels.mode, 4)


def _change_held(size: int) -> None:
    global _held_bytes
    with _lock:
        _held_bytes += size


class PixelContent(MemoryContent):
    """Pixels in memory, which become a PNG file only if a file is asked for."""

    def __init__(self, pixels: Image.Image, name: str | None) -> None:
        self._pixels, self._given_name = pixels, name
        self._token = object()
        _change_held(_bytes_of(pixels))
        weakref.finalize(self, keep_interrupts(_change_held), -_bytes_of(pixels)).atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        return PixelContent, (self._pixels, self._given_name)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, PixelContent) and self._sample == other._sample and self._pixels == other._pixels
        )

    def __hash__(self) -> int:
        return hash(self._sample)

    @cached_property
    def _sample(self) -> Hashable:
        pixels = self._pixels
        return pixels.mode, pixels.size, pixels.resize(_SAMPLE, 0).tobytes()

    @property
    def name(self) -> str:
        """The name, or the length of the PNG file."""
        return self._given_name or self._facts[0]

    @property
    def label(self) -> str:
        """The name, or the size in pixels."""
        return self._given_name or f"The image of {self._pixels.width} x {self._pixels.height} pixels"

    @property
    def mimetype(self) -> str:
        """The type of the file that `read` returns."""
        return "image/png"

    def lacks_end(self) -> bool:
        """Return False: pixels in memory are whole."""
        return False

    def source(self) -> Image.Image:
        """Return the pixels."""
        return self._pixels

    def read(self) -> bytes:
        """Return a PNG file, the same for the same pixels; it is encoded again unless it was read recently."""
        return _PNG_FILES.get(self._token, lambda: png_from_pixels(self._pixels))

    @cached_property
    def _facts(self) -> tuple[str, str]:
        data = self.read()
        return MemoryContent(data, None).name, hashlib.sha256(data).hexdigest()

    def for_worker(self) -> MemoryContent:
        """Return the PNG file: it is smaller than the pixels."""
        return MemoryContent(self.read(), self._given_name)

    def sha256(self) -> str:
        """Return the digest of the PNG file; it is computed once."""
        return self._facts[1]

    def header(self) -> Header:
        """Return PNG as the type, and the size."""
        return Header(self.mimetype, self._pixels.size)

    def fingerprint(self) -> Hashable:
        """Return an object of its own: the pixels do not change."""
        return self._token
