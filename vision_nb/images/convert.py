"""Conversion of bytes, base64, open files and figures to image files, and of arrays and Pillow images to pixels."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote

from vision_nb.errors import UnsupportedImageError, VisionError
from vision_nb.images.decode import check_pixels, decode_upright, scale_to_eight_bits, upright_size
from vision_nb.images.formats import TEXT, describe_data, sniff
from vision_nb.rendering.format import type_name
from vision_nb.user_warnings import warn_user

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


def read_source(source: Any, name: str | None = None) -> bytes | Image.Image:
    """Return the bytes of an image file, or the upright 8-bit sRGB pixels of a Pillow image or array as a copy.

    Args:
        source: Encoded bytes, a base64 string or data URI, a binary file, a matplotlib figure, a Pillow image
            or a numpy array.
        name: The name of bytes in error messages.

    Raises:
        UnsupportedImageError: The source has another type, or does not contain an image.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _checked(bytes(source), name or "The data in image=", "" if name else "; pass base64 as str")
    if isinstance(source, str):
        return from_data_uri(source) if source.startswith("data:") else _from_base64(source, "The string in image=")
    if hasattr(source, "iloc"):  # a pandas object, which numpy would treat as pixels
        raise UnsupportedImageError(
            f"{type_name(source, 'A')} is not an image: pass its paths as a list, such as list(table['path'])."
        )
    with _reading(source):
        if hasattr(source, "read"):
            return _from_file(source)
        if hasattr(source, "savefig"):
            buffer = io.BytesIO()
            source.savefig(buffer, format="png", bbox_inches="tight")
            return buffer.getvalue()
        if hasattr(source, "getbands"):
            if 0 in source.size:
                raise ValueError("the image is empty")
            return decode_upright(source, upright_size(source), [], "The image")
        if hasattr(source, "__array_interface__") or hasattr(source, "__array__"):
            import numpy as np

            return pixels_from_array(np.asarray(source))
    raise UnsupportedImageError(
        f"An object of type {type(source).__name__} is not an image: pass a path, URL, bytes, binary file, Pillow "
        "image, numpy array or figure."
    )


@contextmanager
def _reading(source: Any) -> Iterator[None]:
    """Map the exceptions of a file, figure, Pillow image or array that cannot be read, such as a closed image."""
    try:
        yield
    except VisionError:
        raise
    except Exception as error:
        raise UnsupportedImageError(
            f"The {type(source).__name__} in image= cannot be read ({type(error).__name__}: {error!s:.100}): pass it "
            "open and undamaged."
        ) from error


def _checked(data: bytes, name: str, hint_for_text: str = "") -> bytes:
    if sniff(data) is None:
        description = describe_data(data)
        hint = hint_for_text if description == TEXT else ""
        raise UnsupportedImageError(f"{name} is not an image: {description}{hint}.")
    return data


def _from_file(file: IO[bytes]) -> bytes:
    name = str(getattr(file, "name", "The file in image="))
    if getattr(file, "closed", False):
        raise UnsupportedImageError(f"{name} is closed: open it again, or pass its path.")
    if isinstance(file, io.TextIOBase):
        raise UnsupportedImageError(f"{name} is open in text mode: open it with mode 'rb'.")
    position = file.tell() if getattr(file, "seekable", lambda: False)() else None
    if position is not None:
        file.seek(0)
    data = file.read()
    if position is not None:
        file.seek(position)
    if not isinstance(data, bytes):
        raise UnsupportedImageError(f"{name} is open in text mode: open it with mode 'rb'.")
    return _checked(data, name)


def from_data_uri(uri: str) -> bytes:
    """Return the bytes of an image file from a data URI, base64 or percent-encoded.

    Raises:
        UnsupportedImageError: The URI is invalid, or does not contain an image.
    """
    head, comma, body = uri.partition(",")
    name = f"The data URI {head[:60]!r}"
    if not comma:
        raise UnsupportedImageError(f"{name} has no data: a comma must separate the type from the data.")
    if head.lower().endswith(";base64"):
        return _from_base64(unquote(body), name)
    return _checked(unquote(body, "latin-1").encode("latin-1", "replace"), name)


def _from_base64(text: str, name: str) -> bytes:
    packed = "".join(text.split()).translate(str.maketrans("-_", "+/"))
    packed += "=" * (-len(packed) % 4)
    try:
        data = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnsupportedImageError(
            f"{name} is not base64: pass a path as image_path=, or use ImageDocument.of(path)."
        ) from error
    return _checked(data, name)


def pixels_from_array(array: np.ndarray) -> Image.Image:
    """Copy an array of pixels to a Pillow image.

    Args:
        array: Shape (height, width) for grayscale, or (height, width, channels) with 1 (gray), 2 (gray and
            alpha), 3 (RGB) or 4 (RGBA) channels; bool, integers from 0 to 255, uint16 (10, 12 and 14 bits
            are recognized by the largest value), or floats from 0 to 1.

    Raises:
        UnsupportedImageError: The shape, type or range is not one of these.
    """
    import numpy as np
    from PIL import Image

    shape = "x".join(map(str, array.shape))
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (2, 3, 4)):
        hint = "; move the channels to the last axis" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise UnsupportedImageError(
            f"An array of shape {shape} is not an image: pass (height, width) or (height, width, channels){hint}."
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.uint16):  # of either byte order
        notes: list[str] = []
        array = scale_to_eight_bits(array, notes)
        if notes:
            warn_user(f"The array in image=: {notes[0]}")
    elif np.issubdtype(array.dtype, np.floating):
        array = np.nan_to_num(array, nan=0.0)
        if array.min() < -1e-3 or array.max() > 1 + 1e-3:
            raise UnsupportedImageError(
                f"The values of a float array must be between 0 and 1, not {array.min():.4g} to {array.max():.4g}: "
                "scale them, or convert the array to uint8."
            )
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() > 255:
            raise UnsupportedImageError(f"An array of {array.dtype} is not an image: convert it to uint8, 0 to 255.")
        array = array.astype(np.uint8)
    pixels = Image.fromarray(np.ascontiguousarray(array))
    check_pixels(pixels, "The image")
    return pixels.copy() if pixels.readonly else pixels  # some modes share the memory of the array
