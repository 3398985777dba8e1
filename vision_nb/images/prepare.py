"""Preparation of an image for a request: upright, sRGB, resized, encoded.

A prepared image contains pixels and nothing else: EXIF data, GPS positions, comments, thumbnails and color profiles
are removed. The functions take and return bytes, and do not depend on models.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import IO, TYPE_CHECKING, Literal, TypeAlias

from vision_nb.checks.numbers import plain_number
from vision_nb.errors import ImageTooLargeError, SettingsError
from vision_nb.images.decode import (
    Size,
    check_pixels,
    decode_classified,
    decode_upright,
    is_deep,
    load_pixels,
    open_image,
    open_source,
    time_taken,
    upright_size,
)
from vision_nb.images.decode_limit import DECODE_LIMIT
from vision_nb.images.encode import encode, is_lossy, png_from_pixels, save
from vision_nb.images.formats import SENDABLE, format_name, has_only_pixels
from vision_nb.images.pixels import on_white
from vision_nb.rendering.format import format_bytes

if TYPE_CHECKING:
    from PIL import Image

MAX_BYTES = 20_000_000
"""The largest file to send: 20 MB per image (OpenAI, vision guide of 2024; later limits are higher)."""

ThumbnailType: TypeAlias = Literal["image/jpeg", "image/webp"]
"""The MIME types of thumbnails."""


@dataclass(frozen=True)
class Header:
    """An image's type and size, read without decoding it.

    Attributes:
        mimetype: The MIME type, detected from the first bytes.
        size: Width and height in pixels, EXIF orientation applied.
        taken: When the image was taken, by its EXIF data, in the camera's local time; None if unknown.
    """

    mimetype: str
    size: Size
    taken: datetime | None = None


@dataclass(frozen=True, repr=False)
class Prepared:
    """An image ready to be sent.

    Attributes:
        data: The encoded file.
        mimetype: Its MIME type, one that the providers accept.
        size: Width and height in pixels.
        original_size: Width and height of the image it was made from, EXIF orientation applied: what
            `ImageDocument.size` returns, so that tokens can be counted without reading the header again.
        notes: What was changed: the size, the type, transparency, dropped frames.
    """

    data: bytes
    mimetype: str
    size: Size
    original_size: Size
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        kind = self.mimetype.removeprefix("image/").upper()
        notes = "".join(f"; {note}" for note in self.notes)
        return f"Prepared({self.size[0]} x {self.size[1]} {kind}, {format_bytes(len(self.data))}{notes})"


def read_header(file: IO[bytes], name: str) -> Header:
    """Read an image's type, size and time without decoding it.

    Args:
        file: A seekable binary file, at its start. It may be truncated after the header.
        name: The image's name in error messages.

    Raises:
        ImageError: The file is not an image, cannot be read, or has too many pixels.
    """
    with open_image(file, name) as (image, mimetype):
        return Header(mimetype, upright_size(image), time_taken(image))


def prepare(
    source: bytes | Image.Image,
    *,
    name: str,
    fit: Callable[[Size], Size] = lambda size: size,
    max_bytes: int = MAX_BYTES,
    types: frozenset[str] = SENDABLE,
) -> Prepared:
    """Prepare an image for sending.

    A file that has the right size and type, no transparency, no metadata and no color profile is returned unchanged;
    opaque pixels of the right size become a PNG. Any other file is decoded, rotated upright, converted to 8-bit sRGB,
    placed on white, resized and encoded again. Text and drawings are resized with a sharper filter than photographs,
    and keep their colors; see `encode`.

    Args:
        source: The image file; or an upright 8-bit sRGB image of mode L, LA, RGB or RGBA, which is not changed.
        name: The image's name in error messages.
        fit: A function from the image's (width, height) in pixels to the size to send it at, which is not larger.
        max_bytes: The largest file to send, in bytes.
        types: The MIME types that the server accepts; PNG and JPEG are always among them.

    Raises:
        UnsupportedImageError: The data is not an image, or has a type that cannot be read.
        CorruptImageError: The image is truncated or damaged.
        ImageTooLargeError: The image has too many pixels to decode, or too many bytes after resizing.
    """
    with open_source(source, name) as (image, mimetype):
        size = upright_size(image)
        target = fit(size)
        data = source if isinstance(source, bytes) else b""
        if not data and target == size and image.mode in ("L", "RGB"):
            data = png_from_pixels(image)
        fits = target == size and 0 < len(data) <= max_bytes and mimetype in types
        if fits and _is_ready(image, data, mimetype):
            check_pixels(image, name)
            with DECODE_LIMIT.reserved(image.width * image.height):
                load_pixels(image)  # raises an error if the file is truncated
            return Prepared(data, mimetype, size, original_size=size)
        notes: list[str] = []
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and mimetype != "image/jpeg":
            notes.append(f"only the first of its {frames} frames is sent")
        if mimetype not in types:
            notes.append(f"converted from {format_name(mimetype)}")
        if target != size:
            notes.append(f"scaled from {size[0]} x {size[1]} pixels to {target[0]} x {target[1]}")
        lossy = is_lossy(mimetype, data)
        pixels, drawn = decode_classified(image, target, notes, name, may_be_drawing=not lossy)
        pixels = on_white(pixels, notes)
    encoded, encoded_type = encode(pixels, max_bytes, is_drawing=drawn, is_lossy=lossy)
    if len(encoded) > max_bytes:
        raise ImageTooLargeError(
            f"{name} is {len(encoded) / 1e6:.1f} MB at {pixels.width} x {pixels.height} pixels, but the limit is "
            f"{max_bytes / 1e6:.3g} MB: set a smaller max_side=, or crop it."
        )
    return Prepared(encoded, encoded_type, pixels.size, original_size=size, notes=tuple(notes))


def fit_within(size: Size, side: int) -> Size:
    """Scale a size down so that its longest side is at most ``side`` pixels.

    >>> fit_within((4000, 3000), 2048)
    (2048, 1536)
    """
    if type(plain_number(side)) is not int or side < 1:
        raise SettingsError(
            f"The longest side of an image must be an integer of at least 1 (pixels), not {side!r:.80}."
        )
    width, height = size
    longest = max(width, height)
    if longest <= side:
        return size
    return max(1, width * side // longest), max(1, height * side // longest)


def thumbnail(
    source: bytes | Image.Image,
    *,
    name: str,
    side: int,
    max_bytes: int = 22_000,
    mimetype: ThumbnailType = "image/jpeg",
) -> bytes:
    """Return a small version of an image, on white.

    Args:
        source: The image file; or an upright 8-bit sRGB image, which is not changed.
        name: The image's name in error messages.
        side: The longest side in pixels; it is reduced further until the file is small enough.
        max_bytes: The largest file in bytes; 22 kB are less than 30 kB as base64.
        mimetype: The type of the result. In a few kB, WebP has about three times as many pixels as JPEG; JPEG can be
            read by programs other than browsers too.

    Raises:
        ImageError: As for `prepare`.
    """
    with open_source(source, name) as (image, _):
        pixels = on_white(decode_upright(image, fit_within(upright_size(image), side), [], name), [])
    kind, quality = ("JPEG", 75) if mimetype == "image/jpeg" else ("WEBP", 50)
    return _scaled_until_small(pixels, kind, quality, max_bytes)


def _scaled_until_small(pixels: Image.Image, kind: str, quality: int, max_bytes: int) -> bytes:
    """Encode pixels, which are scaled down in place until the file is small enough."""
    encoded = save(pixels, kind, quality=quality)
    while len(encoded) > max_bytes and max(pixels.size) > 1:
        # A WebP is slow to encode, so its next size is estimated from the excess.
        scale = 0.8 if kind == "JPEG" else min(0.9, math.sqrt(max_bytes / len(encoded)))
        pixels.thumbnail((max(1, int(pixels.width * scale)), max(1, int(pixels.height * scale))))
        encoded = save(pixels, kind, quality=quality)
    return encoded


def to_webp(data: bytes, *, max_bytes: int) -> bytes:
    """Convert an image file to WebP, which can be transparent.

    Args:
        data: The image file.
        max_bytes: The largest file in bytes; the quality is reduced for it, and then the size.
    """
    with open_image(io.BytesIO(data), "The figure") as (image, _):
        pixels = decode_upright(image, upright_size(image), [], "The figure")
    for quality in (75, 50):
        encoded = save(pixels, "WEBP", quality=quality)
        if len(encoded) <= max_bytes:
            return encoded
    return _scaled_until_small(pixels, "WEBP", 35, max_bytes)


def _is_ready(image: Image.Image, data: bytes, mimetype: str) -> bool:
    return (
        image.mode in ("1", "L", "P", "RGB")
        and "transparency" not in image.info
        and not is_deep(image)
        and not getattr(image, "is_animated", False)
        and has_only_pixels(data, mimetype)
    )
