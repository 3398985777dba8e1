"""The attributes of an answer that most answers do not have, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from decimal import Decimal
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


def read_details(saved: str) -> dict[str, Any]:
    """Return a response's attributes from JSON, with tuples where JSON has lists."""
    read = json.loads(saved)
    details = {name: tuple(value) if isinstance(value, list) else value for name, value in read.items()}
    known = {name: value for name, value in details.items() if name in _DETAILS}
    if "priced_attempts" in read:
        known["pricing"] = SumOfAttempts(tuple(_read_attempt(one) for one in read["priced_attempts"]))
    choices = tuple(Choice(**choice) for choice in read.get("other_choices", ()))
    images = tuple(SentImage.from_fields(image) for image in read.get("sent_images", ()))
    return {**known, **_read_price_facts(read), "other_choices": choices, "sent_images": images}


def _read_price_facts(read: Mapping[str, Any]) -> dict[str, Any]:
    cost = read.get("reported_cost")
    return {"reported_cost": None if cost is None else Decimal(cost), "sent_tokens": read.get("sent_tokens")}


def _read_attempt(read: Mapping[str, Any]) -> Response:
    usage = None if read["usage"] is None else Usage(**read["usage"])
    return Response(model=read["model"], service_tier=read["service_tier"], usage=usage, **_read_price_facts(read))
