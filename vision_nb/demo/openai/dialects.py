"""The differences between services with OpenAI's protocol, for a demo server that imitates one.

The demo server refuses everything that the service's row marks as not accepted, even if the service itself ignores it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vision_nb.demo.faults import Refusal, error_body
from vision_nb.demo.openai.validation import refuse
from vision_nb.services.table import Service

if TYPE_CHECKING:
    from PIL import Image

_LENGTH_LIMITS = ("max_tokens", "max_completion_tokens")
_DATA_URI = re.compile(r"data:([\w/.+-]+);base64,(.*)", re.DOTALL)
PRICE = 0.000125
"""The price in US dollars of each answer of a service that states one."""

COMMENT = b": PROCESSING\n\n"
"""A comment line, which some services send to keep a connection open."""


def service_path(service: Service) -> str:
    """Return the path of a service's base URL, without a slash at its end."""
    return urlsplit(service.base_url).path.rstrip("/")


def check_key(headers: Mapping[str, str], required: str | None) -> None:
    """Refuse a request without a key, or with another key than the required one."""
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not key or (required is not None and key != required):
        raise Refusal(401, error_body("Invalid API key.", code="invalid_api_key"))


def check_request(body: Mapping[str, Any], service: Service) -> None:
    """Refuse the parameters and images that a service does not take.

    Raises:
        Refusal: With status 400, or 413 if the images are too large together.
    """
    for name in _LENGTH_LIMITS:
        if service.length_limit is not None and name != service.length_limit and name in body:
            refuse(f"{name}: Extra inputs are not permitted", name)
    if service.takes_stream_options is False and "stream_options" in body:
        refuse("stream_options: Extra inputs are not permitted", "stream_options")
    if service.takes_schema is False and "response_format" in body:
        refuse("response_format is not supported", "response_format")
    images = list(_image_urls(body))
    if service.max_images is not None and len(images) > service.max_images:
        refuse(f"Too many images: {len(images)}, but the limit is {service.max_images}.", "messages")
    sizes = [_check_image(image, service) for image in images]
    if service.max_request_bytes is not None and sum(sizes) > service.max_request_bytes:
        raise Refusal(413, error_body("The request is too large."))


def check_sizes(images: Sequence[Image.Image], service: Service) -> None:
    """Refuse images with more pixels on a side than a service takes."""
    side, many = service.max_side, service.max_side_of_many
    if many is not None and len(images) > many[0]:
        side = many[1]
    for image in images:
        if side is not None and max(image.size) > side:
            refuse(f"An image has {max(image.size)} pixels on a side, but the limit is {side}.", "messages")


def _image_urls(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for message in body.get("messages") or ():
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part.get("type") == "image_url":
                yield part["image_url"]


def _check_image(image: Mapping[str, Any], service: Service) -> int:
    """Refuse an image that a service does not take, and return the length of its base64 text."""
    if service.takes_detail is False and "detail" in image:
        refuse("image_url.detail: Extra inputs are not permitted", "detail")
    data = _DATA_URI.match(image["url"])
    if data is None:
        if not service.takes_urls:
            refuse("Invalid image: the url must be a base64 encoded image.", "url")
        return 0
    if data[1] not in service.image_types:
        refuse(f"Unsupported image type: {data[1]}.", "url")
    if service.max_image_bytes is not None and len(data[2]) * 3 // 4 > service.max_image_bytes + 2:  # 2 of padding
        refuse(f"image exceeds the maximum of {service.max_image_bytes} bytes", "url")
    return len(data[2])
