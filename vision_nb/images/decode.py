"""Decoding of images to upright 8-bit sRGB pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import IO, TYPE_CHECKING

from vision_nb.errors import CorruptImageError, ImageTooLargeError, UnsupportedImageError, VisionError
from vision_nb.images.decode_limit import DECODE_LIMIT
from vision_nb.images.formats import PILLOW_FORMATS, SNIFF_BYTES, describe_data, format_name, sniff
from vision_nb.images.pixels import is_drawing, scaled

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Size = tuple[int, int]
"""Width and height in pixels."""

# EXIF tags
_ORIENTATION = 0x0112
_DATE_TIME = 0x0132  # when the file was last changed, or taken if the camera writes nothing else
_EXIF_IFD = 0x8769
_DATE_TIME_ORIGINAL = 0x9003
_TRANSPOSITIONS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""How pixels are made upright, by their orientation."""
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
    mimetype = image_type(file, name)
    with decoder_errors(name, mimetype), open_as(file, mimetype) as image:
        yield image, mimetype


def image_type(file: IO[bytes], name: str) -> str:
    """Return the MIME type of an image file, and go back to its start.

    Raises:
        UnsupportedImageError: The file cannot be read, or is not an image.
    """
    try:
        head = file.read(SNIFF_BYTES)
    except OSError as error:
        raise UnsupportedImageError(f"{name} cannot be read ({error.strerror}).") from error
    mimetype = sniff(head)
    if mimetype is None:
        raise UnsupportedImageError(f"{name} is not an image: {describe_data(head + file.read(512 - SNIFF_BYTES))}.")
    if mimetype == "image/heic":
        _register_heif(name)
    file.seek(0)
    return mimetype


def open_as(file: IO[bytes], mimetype: str) -> Image.Image:
    """Open an image of a known type, with the errors of Pillow."""
    from PIL import Image

    return Image.open(file, formats=[PILLOW_FORMATS[mimetype]])


@contextmanager
def decoder_errors(name: str, mimetype: str) -> Iterator[None]:
    """Convert everything that Pillow raises in the ``with`` block to an `ImageError`.

    Args:
        name: The image's name.
        mimetype: Its type.
    """
    from PIL import Image, UnidentifiedImageError

    kind = format_name(mimetype)
    try:
        yield
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


@contextmanager
def open_source(source: bytes | Image.Image, name: str) -> Iterator[tuple[Image.Image, str]]:
    """Open an image file in memory as `open_image` does, or pixels.

    Args:
        source: An image file, or an upright 8-bit sRGB image, whose type is PNG.
        name: The image's name in error messages.
    """
    if isinstance(source, bytes):
        with open_image(io.BytesIO(source), name) as opened:
            yield opened
    else:
        yield source, "image/png"


def _register_heif(name: str) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedImageError(f'{name} is a HEIC image: pip install "vision-nb[heic]" to read it.') from error
    pillow_heif.register_heif_opener()


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, from 1 to 8, that is still to be applied: 1 if it is missing or damaged.

    Pillow applies a TIFF's own while it loads the pixels.
    """
    from PIL import Image

    if image.format == "TIFF":
        return 1
    try:
        _find_late_exif(image)
        orientation = int(Image.Image.getexif(image).get(_ORIENTATION, 1))  # a PNG's own method decodes all pixels
        return orientation if orientation in _TRANSPOSITIONS else 1
    except Exception:  # the pixels can be used even if the EXIF data is damaged
        return 1


def time_taken(image: Image.Image) -> datetime | None:
    """Return when an image was taken, by its EXIF data, in the camera's local time; None if unknown."""
    from PIL import Image

    try:
        _find_late_exif(image)
        exif = Image.Image.getexif(image)
        text = exif.get_ifd(_EXIF_IFD).get(_DATE_TIME_ORIGINAL) or exif.get(_DATE_TIME)
        return datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S") if text else None
    except Exception:  # damaged or missing data
        return None


def _find_late_exif(image: Image.Image) -> None:
    """Find the EXIF data of a PNG that follow the pixels, which Pillow finds only when it has decoded them."""
    file = getattr(image, "fp", None)
    if image.format != "PNG" or "exif" in image.info or file is None:
        return
    position = file.tell()
    file.seek(8)
    while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"eXIf":
            image.info["exif"] = b"Exif\0\0" + file.read(length)
            break
        file.seek(length + 4, 1)
    file.seek(position)


def check_pixels(image: Image.Image, name: str) -> None:
    """Raise ImageTooLargeError if an image has more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``, 89,478,485 by default.

    Pillow itself only warns up to twice as many, which a file of 500 kB can turn into 500 MB of memory.
    """
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise ImageTooLargeError(
            f"{name} has {image.width:,} x {image.height:,} pixels, more than the {limit:,} that are decoded: raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust the file, or scale it down first."
        )


def upright_size(image: Image.Image) -> Size:
    """Return width and height with the EXIF orientation applied, without decoding."""
    width, height = image.size
    return (height, width) if orientation_of(image) in _SIDEWAYS else (width, height)


def is_deep(image: Image.Image) -> bool:
    """Return whether a file that has not been decoded yet has 16 bits per channel."""
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


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


def load_pixels(image: Image.Image) -> None:
    """Decode an image, in a single step if its file allows that.

    Pillow passes a file to its decoder in blocks of 64 kB, and waits for the interpreter lock after each of them. While
    other Python threads are busy, that takes several times as long.
    """
    file = getattr(image, "fp", None)
    if file is not None and len(getattr(image, "tile", ())) == 1:
        position = file.tell()
        image.decodermaxblock = max(file.seek(0, io.SEEK_END), 1)  # type: ignore[attr-defined]
        file.seek(position)
    image.load()


def decode_upright(image: Image.Image, target: Size, notes: list[str], name: str) -> Image.Image:
    """Decode to upright 8-bit sRGB (mode L, LA, RGB or RGBA); see `decode_classified`."""
    return decode_classified(image, target, notes, name, may_be_drawing=False)[0]


def decode_classified(
    image: Image.Image, target: Size, notes: list[str], name: str, *, may_be_drawing: bool = True
) -> tuple[Image.Image, bool]:
    """Decode to upright 8-bit sRGB, and return whether the image is a drawing, whose text stays sharp.

    Args:
        image: The image, not decoded yet.
        target: The (width, height) to scale to, orientation applied.
        notes: A list to which changes that the user should know about are appended.
        name: What to call the image in an error.
        may_be_drawing: Whether to find that out; if not, the image is scaled as a photograph.

    Returns:
        The image (mode L, LA, RGB or RGBA), and whether it is text or a drawing.

    Raises:
        ImageTooLargeError: The image has too many pixels; for a JPEG, also after decoding it at a smaller size.
    """
    from PIL import Image

    orientation = orientation_of(image)
    stored_target = (target[1], target[0]) if orientation in _SIDEWAYS else target
    image.draft(None, stored_target)  # JPEG can be decoded at 1/2, 1/4 or 1/8 much faster
    check_pixels(image, name)
    with DECODE_LIMIT.reserved(image.width * image.height):
        deep = is_deep(image)
        load_pixels(image)
        pixels = _eight_bits(image, deep, notes)
        drawn = may_be_drawing and is_drawing(pixels)
        pixels = scaled(pixels, stored_target, is_sharp=drawn)
    pixels = _srgb(pixels, None if is_srgb(image) else image.info["icc_profile"], notes)
    if orientation in _TRANSPOSITIONS:
        pixels = pixels.transpose(Image.Transpose[_TRANSPOSITIONS[orientation]])
    if pixels is image:
        pixels = image.copy()  # outlives the open file
    pixels.info = {}  # Pillow's encoders write the comments, EXIF and XMP that are here
    return pixels, drawn


def _eight_bits(image: Image.Image, deep: bool, notes: list[str]) -> Image.Image:
    """Convert palette, 1-bit, 16-bit, 32-bit and float images to 8 bits per channel."""
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    hidden = image.info.get("transparency")  # the color of the transparent pixels
    if image.mode in ("1", "L", "RGB") and hidden is not None:
        return image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("RGBX", "RGBa", "La"):
        return image.convert({"RGBX": "RGB", "RGBa": "RGBA", "La": "LA"}[image.mode])
    if image.mode == "F" or image.mode.startswith("I"):
        import numpy as np  # a plain photograph is prepared without it
        from PIL import Image

        values = np.asarray(image)
        pixels = Image.fromarray(scale_to_eight_bits(values, notes))
        if isinstance(hidden, int):
            pixels.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
        return pixels
    return _brighten(image, notes) if deep and image.mode in ("RGB", "RGBA", "LA") else image


def scale_to_eight_bits(values: np.ndarray, notes: list[str]) -> np.ndarray:
    """Scale gray values of more than 8 bits to 0..255, by the range that they use.

    Cameras, microscopes and scanners store 10, 12 or 14 bits in files of 16: by the range of 16, they are nearly
    black. Floats from 0 to 1 are brightness. Other floats, negative values and values over 16 bits are measurements:
    the smallest becomes black and the largest white, as in plots.

    Args:
        values: Integers or floats of any range.
        notes: A list to which the scaling is appended if the values did not use the full range.
    """
    import numpy as np

    if np.issubdtype(values.dtype, np.floating):
        finite = np.isfinite(values)
        low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
        values = np.where(finite, values, low)
        is_brightness = 0 <= low <= high <= 1
        low, high = (0.0, 1.0) if is_brightness else (low, high)
    else:
        low, high = float(values.min()), float(values.max())
        is_brightness = low >= 0 and high <= 65535
        if is_brightness:
            bits = next(bits for bits in (8, 10, 12, 14, 16) if high < 1 << bits)
            if bits < 16 and values.dtype.itemsize == 2:
                notes.append(f"its values use {bits} of 16 bits, and are scaled to the full brightness")
            table = np.rint(np.arange(65536) * (255 / ((1 << bits) - 1))).clip(0, 255).astype(np.uint8)
            scaled: np.ndarray = table[values.astype(np.uint16)]
            return scaled
    if not is_brightness:
        notes.append(f"its values from {low:.6g} to {high:.6g} are scaled to black and white")
    scaled = (values.astype(np.float32) - low) / max(high - low, 1e-12) * 255
    rounded: np.ndarray = np.rint(scaled.clip(0, 255)).astype(np.uint8)
    return rounded


def _brighten(image: Image.Image, notes: list[str]) -> Image.Image:
    """Scale colors of 10, 12 or 14 bits in a file of 16, of which Pillow keeps the upper 8, to the full range."""
    from PIL import Image

    bands = list(image.split())
    colors = bands[:-1] if image.mode.endswith("A") else bands
    bits = max(int(band.getextrema()[1]) for band in colors).bit_length()  # type: ignore[arg-type]
    if not 0 < bits <= 6:
        return image
    notes.append(f"its values use {8 + bits} of 16 bits, and are scaled to the full brightness")
    table = [min(255, round(value * 255 / ((1 << bits) - 1))) for value in range(256)]
    return Image.merge(image.mode, [band.point(table) for band in colors] + bands[len(colors) :])


def _srgb(pixels: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """Convert pixels with a color profile, or in another color space, to sRGB."""
    if profile is not None:
        pixels = _to_srgb(pixels, profile, notes)
    if pixels.mode == "LAB":
        pixels = _from_lab(pixels)
    return pixels if pixels.mode in ("L", "LA", "RGB", "RGBA") else pixels.convert("RGB")


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
