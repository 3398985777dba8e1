"""How the demo server takes in pictures: data URIs and their bytes, as strictly as the vendors do."""

from __future__ import annotations

import base64
import io

from PIL import Image

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


def from_data_uri(uri: str) -> Image.Image:
    """Decode a picture out of ``data:image/...;base64,...``.

    Raises:
        ValueError: The URI is no such thing, its base64 is broken, the bytes are no picture, or they are of
            another type than it declares.
    """
    head, comma, payload = uri.partition(",")
    declared, *parameters = head.removeprefix("data:").split(";")
    if not comma or "base64" not in parameters:
        raise ValueError("The data URI is not of the form data:image/...;base64,...")
    data = base64.b64decode(payload, validate=True)
    found = mimetype_of(data)
    if found and found != declared:
        raise ValueError(f"The data URI declares {declared or 'no type'}, but its bytes are {found}.")
    return decode(data)


def mimetype_of(data: bytes) -> str | None:
    """The type of a picture by its first bytes; None for all but PNG, JPEG, GIF and WebP."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((name for start, name in _SIGNATURES.items() if data.startswith(start)), None)


def decode(data: bytes) -> Image.Image:
    """Decode a PNG, JPEG, WebP or still GIF.

    Raises:
        ValueError: The bytes are none of these, or are broken.
    """
    kind = mimetype_of(data)
    if kind is None:
        raise ValueError("You uploaded an unsupported image: use PNG, JPEG, GIF or WebP.")
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF", "WEBP"))
        animated = kind == "image/gif" and getattr(image, "is_animated", False)
        image.load()
    except Exception as error:  # Pillow's decoders raise whatever their parsers raise
        raise ValueError(f"The image does not decode: {error}") from error
    if animated:
        raise ValueError("You uploaded an animated GIF: only still ones are supported.")
    return image
