"""Pictures that are in memory, in whatever form, as the bytes of an image file."""

from __future__ import annotations

import base64
import binascii
import io
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote

from vision_nb.errors import UnsupportedImageError
from vision_nb.images.formats import describe_data, sniff
from vision_nb.images.prepare import png_bytes

if TYPE_CHECKING:
    import numpy as np


def image_bytes(source: Any, name: str | None = None) -> bytes:
    """The bytes of an image file from what is in memory.

    Args:
        source: Encoded bytes, a base64 string or data URI, a binary file, a matplotlib figure, a Pillow image
            or a numpy array.
        name: What to call bytes in an error.

    Raises:
        UnsupportedImageError: It is none of these, or holds no picture.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        hint = "" if name else " (bytes are taken as they are: pass base64 as str)"
        return _known(bytes(source), name or "The bytes given", hint)
    if isinstance(source, str):
        return from_data_uri(source) if source.startswith("data:") else _from_base64(source, "The string in image=")
    if hasattr(source, "read"):
        return _from_file(source)
    if hasattr(source, "savefig"):
        buffer = io.BytesIO()
        source.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()
    if hasattr(source, "getbands"):
        return png_bytes(source)
    if hasattr(source, "__array_interface__") or hasattr(source, "__array__"):
        import numpy as np

        return png_from_array(np.asarray(source))
    raise UnsupportedImageError(
        f"A {type(source).__name__} is no picture: give a path, URL, bytes, file, Pillow image, numpy array or figure."
    )


def _known(data: bytes, name: str, hint: str = "") -> bytes:
    if sniff(data) is None:
        raise UnsupportedImageError(f"{name}: {describe_data(data)}{hint}.")
    return data


def _from_file(file: IO[bytes]) -> bytes:
    name = str(getattr(file, "name", "The file given"))
    if getattr(file, "closed", False):
        raise UnsupportedImageError(f"{name} is closed: open it again, or pass its path.")
    if isinstance(file, io.TextIOBase):
        raise UnsupportedImageError(f"{name} is open as text: open it with mode 'rb'.")
    position = file.tell() if _can_seek(file) else None
    if position is not None:
        file.seek(0)
    data = file.read()
    if position is not None:
        file.seek(position)
    if not isinstance(data, bytes):
        raise UnsupportedImageError(f"{name} is open as text: open it with mode 'rb'.")
    return _known(data, name)


def _can_seek(file: IO[bytes]) -> bool:
    return bool(getattr(file, "seekable", lambda: False)())


def from_data_uri(uri: str) -> bytes:
    """The bytes of an image file from a data URI, base64 or percent-encoded."""
    head, comma, body = uri.partition(",")
    shown = f"The data URI {head[:60]!r}"
    if not comma:
        raise UnsupportedImageError(f"{shown} has no comma, and so no data: it is cut short.")
    if head.lower().endswith(";base64"):
        return _from_base64(unquote(body), shown)
    return _known(unquote(body, "latin-1").encode("latin-1", "replace"), shown)


def _from_base64(text: str, name: str) -> bytes:
    packed = "".join(text.split()).translate(str.maketrans("-_", "+/"))
    packed += "=" * (-len(packed) % 4)
    try:
        return _known(base64.b64decode(packed, validate=True), name)
    except (binascii.Error, ValueError) as error:
        raise UnsupportedImageError(
            f"{name} is not base64: give a path as image_path= or through ImageDocument.of(...)."
        ) from error


def png_from_array(array: np.ndarray) -> bytes:
    """Encode an array of pixels as PNG.

    Args:
        array: Shape (height, width) for grayscale, or (height, width, channels) with 1 (gray), 2 (gray and
            alpha), 3 (RGB) or 4 (RGBA) channels; bool, uint8, uint16, or floats from 0 to 1.

    Raises:
        UnsupportedImageError: The shape, type or range is another.
    """
    import numpy as np
    from PIL import Image

    shape = "x".join(map(str, array.shape))
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (2, 3, 4)):
        hint = ": move the channels last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise UnsupportedImageError(
            f"An array of shape {shape} is no picture: pass (height, width) or (height, width, channels){hint}."
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = (array // 257).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        array = np.nan_to_num(array, nan=0.0)
        if array.min() < -1e-3 or array.max() > 1 + 1e-3:
            raise UnsupportedImageError(
                f"An array of floats must lie between 0 and 1, and this one runs from {array.min():.4g} to "
                f"{array.max():.4g}: scale it, or convert it to uint8."
            )
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.integer) and array.min() >= 0 and array.max() <= 255:
        array = array.astype(np.uint8)
    elif array.dtype != np.uint8:
        raise UnsupportedImageError(f"An array of {array.dtype} is no picture: convert it to uint8, 0 to 255.")
    return png_bytes(Image.fromarray(np.ascontiguousarray(array)))
