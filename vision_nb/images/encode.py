"""Encoding of pixels: drawings and text without loss or in full color, and photographs as JPEG."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from vision_nb.images.pixels import sampled

if TYPE_CHECKING:
    from PIL import Image

_PHOTO_QUALITY = 90
_DRAWING_QUALITY = 92
_FULL_COLOR = 0  # Pillow's name for 4:4:4: each pixel of a JPEG has its own color
_SMALL_PNG = 100_000  # bytes: not worth any loss
_TRIED_UP_TO = 1.25  # times the largest PNG: how far an estimate may be off
_LOSSY = frozenset({"image/jpeg", "image/heic", "image/avif"})


def is_lossy(mimetype: str, data: bytes) -> bool:
    """Return whether the compression of an image file has changed its pixels.

    Args:
        mimetype: The file's type.
        data: The file.
    """
    if mimetype == "image/webp":
        first = re.search(rb"VP8[L ]", data)  # a long color profile may come before the pixels
        return first is None or first[0] != b"VP8L"
    return mimetype in _LOSSY


def encode(pixels: Image.Image, max_bytes: int, *, is_drawing: bool, is_lossy: bool) -> tuple[bytes, str]:
    """Encode opaque pixels as PNG or JPEG.

    A drawing becomes a PNG or a JPEG of full color, whichever is smaller. A photograph becomes a JPEG with a color for
    four pixels; it is a PNG only if that has at most one byte per pixel. A PNG below 100 kB is never replaced. Whether
    a PNG is small enough to be worth encoding is estimated from 256 x 256 pixels.

    Args:
        pixels: An image of mode L or RGB.
        max_bytes: The largest file in bytes; if none is small enough, the result is larger.
        is_drawing: Whether the image is text or a drawing.
        is_lossy: Whether the pixels come from a file with loss: they are then encoded as the JPEG of a photograph.

    Returns:
        The file and its MIME type.
    """
    if is_lossy:
        return save(pixels, "JPEG", quality=_PHOTO_QUALITY), "image/jpeg"
    if is_drawing:
        jpeg = save(pixels, "JPEG", quality=_DRAWING_QUALITY, subsampling=_FULL_COLOR)
    else:
        jpeg = save(pixels, "JPEG", quality=_PHOTO_QUALITY)
    limit = min(max(len(jpeg) if is_drawing else pixels.width * pixels.height, _SMALL_PNG), max_bytes)
    if _estimated_png(pixels) <= limit * _TRIED_UP_TO:
        png = save(pixels, "PNG")
        if len(png) <= limit:
            return png, "image/png"
    if is_drawing and len(jpeg) > max_bytes:
        jpeg = save(pixels, "JPEG", quality=_PHOTO_QUALITY)
    return jpeg, "image/jpeg"


def _estimated_png(pixels: Image.Image) -> float:
    """Estimate the bytes of a PNG from a sample of the pixels; 0 for images that are no larger than the sample."""
    sample = sampled(pixels)
    if sample is pixels:
        return 0
    share = sample.width * sample.height / (pixels.width * pixels.height)
    return len(save(sample, "PNG", compress_level=1)) / share


def png_from_pixels(pixels: Image.Image) -> bytes:
    """Encode pixels as PNG, the same bytes for the same pixels; the keys of stored answers depend on them."""
    return save(pixels, "PNG", compress_level=1)


def save(pixels: Image.Image, kind: str, **options: int) -> bytes:
    """Return a Pillow image as a file.

    Args:
        pixels: The image.
        kind: Pillow's name of the type.
        **options: Pillow's options for this type.
    """
    buffer = io.BytesIO()
    pixels.save(buffer, kind, **options)
    return buffer.getvalue()
