"""Decoding of images to upright 8-bit sRGB pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from vision_nb.errors import CorruptImageError, ImageTooLargeError, UnsupportedImageError, VisionError
from vision_nb.images.formats import SNIFF_BYTES, describe_data, sniff

if TYPE_CHECKING:
    from PIL import Image

Size = tuple[int, int]
"""Width and height in pixels."""

_ORIENTATION = 0x0112  # the EXIF tag
_SIDEWAYS = (5, 6, 7, 8)  # the orientations that swap width and height


@contextmanager
def open_image(file: IO[bytes], name: str) -> Iterator[tuple[Image.Image, str]]:
    """Open an image lazily.

    Everything that Pillow raises in the ``with`` block is converted to an `ImageError`.

    Args:
        file: A seekable binary file, at its start.
        name: The image's name in error messages.

    Yields:
        The image, not decoded yet, and its MIME type.
    """
    from PIL import Image, UnidentifiedImageError

    head = file.read(SNIFF_BYTES)
    mimetype = sniff(head)
    if mimetype is None:
        raise UnsupportedImageError(f"{name} is not an image: {describe_data(head + file.read(512 - SNIFF_BYTES))}.")
    if mimetype == "image/heic":
        _register_heif(name)
    file.seek(0)
    kind = mimetype.removeprefix("image/").upper()
    try:
        with Image.open(file) as image:
            yield image, mimetype
    except VisionError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(
            f"{name} has more pixels than Pillow decodes by default: raise PIL.Image.MAX_IMAGE_PIXELS if you trust "
            "the file, or scale it down first."
        ) from error
    except UnidentifiedImageError as error:
        raise CorruptImageError(f"{name} is a damaged or truncated {kind} image: save or download it again.") from error
    except Exception as error:  # decoders raise almost any exception for a damaged file
        raise CorruptImageError(
            f"{name} is a damaged {kind} image ({str(error)[:100]}): save or download it again."
        ) from error


def _register_heif(name: str) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedImageError(f'{name} is a HEIC image: pip install "vision-nb[heic]" to read it.') from error
    pillow_heif.register_heif_opener()


def _orientation(image: Image.Image) -> int:
    """Return the orientation that remains to be applied; Pillow applies a TIFF's own while it loads the pixels."""
    if image.format == "TIFF":
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # the pixels can be used even if the EXIF data is damaged
        return 1


def upright_size(image: Image.Image) -> Size:
    """Return width and height with the EXIF orientation applied, without decoding."""
    width, height = image.size
    return (height, width) if _orientation(image) in _SIDEWAYS else (width, height)


def is_srgb(image: Image.Image) -> bool:
    """Return whether an image's color profile is sRGB or missing."""
    profile = image.info.get("icc_profile")
    if not profile:
        return True
    from PIL import ImageCms

    try:
        description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return False
    return "srgb" in description.lower()


def decode_upright(image: Image.Image, target: Size, notes: list[str]) -> Image.Image:
    """Decode to upright 8-bit sRGB (mode L, LA, RGB or RGBA).

    Args:
        image: The image, not decoded yet.
        target: The (width, height) to scale to, orientation applied.
        notes: A list to which problems that the user should know about are appended.
    """
    from PIL import Image

    orientation = _orientation(image)
    stored_target = (target[1], target[0]) if orientation in _SIDEWAYS else target
    image.draft(None, stored_target)  # JPEG can be decoded at 1/2, 1/4 or 1/8 much faster
    image.load()
    pixels = _eight_bits(image)
    if pixels.size != stored_target:
        pixels = pixels.resize(stored_target, Image.Resampling.HAMMING, reducing_gap=2.0)
    if not is_srgb(image):
        pixels = _to_srgb(pixels, image.info["icc_profile"], notes)
    if pixels.mode == "LAB":
        pixels = _from_lab(pixels)
    if pixels.mode not in ("L", "LA", "RGB", "RGBA"):
        pixels = pixels.convert("RGB")
    transposition = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    if transposition is not None:
        pixels = pixels.transpose(transposition)
    pixels.info = {}  # Pillow's encoders write the comments, EXIF and XMP that are here
    return pixels


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert palette, 1-bit, 16-bit, 32-bit and float images to 8 bits per channel."""
    import numpy as np
    from PIL import Image

    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("RGB", "L") and "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode in ("RGBX", "RGBa", "La"):
        return image.convert({"RGBX": "RGB", "RGBa": "RGBA", "La": "LA"}[image.mode])
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        low, high = float(values.min()), float(values.max())
        if image.mode == "F" and not 0 <= low <= high <= 1:
            # Measurements rather than brightness: scale the smallest to black, the largest to white, as plots do.
            values = (values - low) / max(high - low, 1e-12) * 255
        elif image.mode == "F":
            values = values * 255
        elif high > 255 or image.mode.startswith("I;16"):
            values = values / 257
        return Image.fromarray(np.rint(np.clip(values, 0, 255)).astype(np.uint8))
    return image.copy()


def _to_srgb(pixels: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    from PIL import Image, ImageCms

    alpha = pixels.getchannel("A") if pixels.mode in ("LA", "RGBA") else None
    colors = pixels.convert(pixels.mode.removesuffix("A")) if alpha is not None else pixels
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(colors, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        notes.append("its color profile cannot be read, so its colors are assumed to be sRGB")
        return pixels
    assert isinstance(converted, Image.Image)  # not in place
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _from_lab(pixels: Image.Image) -> Image.Image:
    from PIL import Image, ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(pixels, lab, srgb, outputMode="RGB")
    assert isinstance(converted, Image.Image)  # not in place
    return converted
