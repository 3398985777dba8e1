"""The attributes of an answer that most answers do not have, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from decimal import Decimal
from functools import lru_cache
from typing import Any

from vision_nb.images.boxes import SentImage
from vision_nb.responses import Choice, Response, SumOfAttempts, Usage

_DETAILS = ("reasoning", "reasoning_seconds", "image_notes", "service_tier", "attempts", "is_demo")


def write_details(response: Response) -> str:
    """Return the details of a response as JSON."""
    details = {name: value for name in _DETAILS if (value := getattr(response, name))}
    details |= _price_facts(response)
    if response.sent_images:
        details["sent_images"] = [asdict(image) for image in response.sent_images]
    if response.other_choices:
        details["other_choices"] = [asdict(choice) for choice in response.other_choices]
    if isinstance(response.pricing, SumOfAttempts):
        details["priced_attempts"] = [
            {"model": one.model, "service_tier": one.service_tier, "usage": one.usage and asdict(one.usage)}
            | _price_facts(one)
            for one in response.pricing.flattened()
        ]
    return json.dumps(details)


def _price_facts(response: Response) -> dict[str, Any]:
    """Return what the price depends on besides the usage."""
    facts: dict[str, Any] = {}
    if response.reported_cost is not None:
        facts["reported_cost"] = str(response.reported_cost)
    if response.usage_is_implausible:
        facts["sent_tokens"] = response.sent_tokens
    return facts


@lru_cache(maxsize=1000)
def read_details(saved: str) -> Mapping[str, Any]:
    """Return a response's attributes from JSON, without those that only a later version knows.

    They are kept for a while, because the answers of several models about an image often have the same ones.
    """
    read = json.loads(saved)
    details = _attributes(read)
    if "priced_attempts" in read:
        details["pricing"] = SumOfAttempts(tuple(map(_read_attempt, read["priced_attempts"])))
    return details


def _attributes(read: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _READERS[name](value) for name, value in read.items() if name in _READERS and value is not None}


def _read_attempt(read: Mapping[str, Any]) -> Response:
    usage = None if read["usage"] is None else Usage(**read["usage"])
    return Response(model=read["model"], usage=usage, **_attributes(read))


_READERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys((*_DETAILS, "sent_tokens"), lambda value: value),
    "image_notes": tuple,
    "reported_cost": Decimal,
    "sent_images": lambda images: tuple(map(SentImage.from_fields, images)),
    "other_choices": lambda choices: tuple(Choice(**choice) for choice in choices),
}
"""By name: returns an attribute's value from its JSON data."""
