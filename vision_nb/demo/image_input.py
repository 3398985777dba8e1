"""Load the images of a request from data URIs and web addresses, as strictly as the vendors do."""

from __future__ import annotations

import asyncio
import base64
import io

from PIL import Image
from tornado.httpclient import AsyncHTTPClient

from vision_nb.images.formats import SENDABLE, is_web_page, sniff
from vision_nb.privacy.redaction import redact
from vision_nb.privacy.urls import redact_url

MAX_DOWNLOAD = 20 * 1024 * 1024
"""Bytes; a larger image at a web address is refused."""

_DOWNLOAD_TIMEOUT = 10.0  # seconds


class DownloadError(ValueError):
    """An image at a web address cannot be downloaded."""


async def load_image(url: str, client: AsyncHTTPClient) -> Image.Image:
    """Load an image without blocking the event loop.

    Raises:
        DownloadError: The URL is neither a data URI nor a reachable web address.
        ValueError: The data is not an image of a supported type, or is damaged.
    """
    if url.startswith("data:"):
        return await asyncio.to_thread(_from_data_uri, url)
    if not url.lower().startswith(("http://", "https://")):
        raise DownloadError("Expected a base64 data URI or an http(s) address.")
    try:
        response = await client.fetch(url, request_timeout=_DOWNLOAD_TIMEOUT)
    except Exception as error:  # tornado raises many types: refused, unreachable, too large, not an address
        reason = redact(str(error).replace(url, redact_url(url)))
        raise DownloadError(f"Error while downloading {redact_url(url)}: {reason}") from None
    if is_web_page(response.body):
        raise DownloadError(f"Error while downloading {redact_url(url)}: it is an HTML page, not an image.")
    return await asyncio.to_thread(decode, response.body)


def _from_data_uri(uri: str) -> Image.Image:
    head, comma, payload = uri.partition(",")
    declared, *parameters = head.removeprefix("data:").split(";")
    if not comma or "base64" not in parameters:
        raise ValueError("The data URI is not of the form data:image/...;base64,...")
    data = base64.b64decode(payload, validate=True)
    found = sniff(data)
    if found and declared.startswith("image/") and found != declared:
        raise ValueError(f"The data URI declares {declared}, but its bytes are {found}.")
    return decode(data)


def decode(data: bytes) -> Image.Image:
    """Decode a PNG, JPEG, WebP or still GIF file.

    Raises:
        ValueError: The data is not one of these, or is damaged.
    """
    kind = sniff(data)
    if kind not in SENDABLE:
        raise ValueError("You uploaded an unsupported image: use PNG, JPEG, GIF or WebP.")
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "GIF", "WEBP"))
        animated = kind == "image/gif" and getattr(image, "is_animated", False)
        image.load()
    except Exception as error:  # Pillow's decoders raise many types
        raise ValueError(f"The image cannot be decoded: {error}") from error
    if animated:
        raise ValueError("You uploaded an animated GIF: only still ones are supported.")
    return image
