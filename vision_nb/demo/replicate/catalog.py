"""The demo server's Replicate models: their schemas, and the validation of inputs. Pure functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_CREATED_AT = "2026-11-01T00:00:00.000000Z"
_PROMPT = {"type": "string", "description": "The question"}
_IMAGE = {"type": "string", "format": "uri", "description": "The image"}
_TYPES: Mapping[str, tuple[type, ...]] = {"integer": (int,), "number": (int, float), "string": (str,), "array": (list,)}
_TEXT_OUTPUT = {"title": "Output", "type": "string"}
_STREAMED_OUTPUT = {
    "title": "Output",
    "type": "array",
    "items": {"type": "string"},
    "x-cog-array-type": "iterator",
    "x-cog-array-display": "concatenate",
}


def openapi_schema(
    inputs: Mapping[str, Mapping[str, Any]], *, required: Sequence[str] = ("prompt",), streams: bool = False
) -> dict[str, Any]:
    """Return the ``openapi_schema`` of a model's version.

    Args:
        inputs: The JSON schema of each input, by name.
        required: The names of the required inputs.
        streams: Whether the output is an iterator of strings, rather than one string.
    """
    properties = {
        name: {"title": name.replace("_", " ").title(), "x-order": index, **value}
        for index, (name, value) in enumerate(inputs.items())
    }
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": "0.1.0"},
        "components": {
            "schemas": {
                "Input": {"title": "Input", "type": "object", "required": [*required], "properties": properties},
                "Output": _STREAMED_OUTPUT if streams else _TEXT_OUTPUT,
            }
        },
    }


def _number(kind: str, default: float, minimum: float | None = None, maximum: float | None = None) -> dict[str, Any]:
    limits = {"minimum": minimum, "maximum": maximum}
    return {"type": kind, "default": default, **{name: value for name, value in limits.items() if value is not None}}


@dataclass(frozen=True)
class PublishedModel:
    """A model on the server.

    Attributes:
        version: The ID of its latest version.
        schema: Its ``openapi_schema``.
        official: Whether its name is enough to run it; other models need a version.
    """

    version: str
    schema: dict[str, Any]
    official: bool = False


MODELS: dict[str, PublishedModel] = {
    "yorickvp/llava-13b": PublishedModel(
        "e272157381e2a3bf12df3a8edd1f38d1dbd736bbb7437277c8b34175f8fce358",
        openapi_schema(
            {
                "image": _IMAGE,
                "prompt": _PROMPT,
                "top_p": _number("number", 1, 0, 1),
                "temperature": _number("number", 0.2, 0),
                "max_tokens": _number("integer", 1024, 0),
            },
            required=("image", "prompt"),
            streams=True,
        ),
    ),
    "lucataco/fuyu-8b": PublishedModel(
        "42f23bc876570a46f5a90737086fbc4c3f79dd11753a28eaa39544dd391815e9",
        openapi_schema(
            {"image": _IMAGE, "prompt": _PROMPT, "max_new_tokens": _number("integer", 512, 0, 2048)},
            required=("image", "prompt"),
        ),
    ),
    "daanelson/minigpt-4": PublishedModel(
        "b96a2f33cc8e4b0aa23eacfce731b9c41a7d9466d9ed4e167375587b54db9423",
        openapi_schema(
            {
                "image": _IMAGE,
                "prompt": _PROMPT,
                "num_beams": _number("integer", 3, 1, 10),
                "temperature": _number("number", 1, 0.01, 2),
                "top_p": _number("number", 0.9, 0, 1),
                "repetition_penalty": _number("number", 1, 0.01, 5),
                "max_new_tokens": _number("integer", 3000),
                "max_length": _number("integer", 4000),
            },
            required=("image", "prompt"),
        ),
    ),
    "naklecha/cogvlm": PublishedModel(
        "ec3886f9ea85dd0aee216585be5e6d07b04c9650f7b8b08363a14eb89e207eb2",
        openapi_schema({"image": _IMAGE, "prompt": _PROMPT}, required=("image",)),
    ),
}
"""The walkthrough's models with their published schemas (read 2026-11; the schema of cogvlm is a guess)."""

_DEMO_SCHEMA = openapi_schema(
    {
        "image": _IMAGE,
        "prompt": _PROMPT,
        "temperature": _number("number", 0.7, 0, 2),
        "max_new_tokens": _number("integer", 512, 1, 4096),
    },
    streams=True,
)


def find_model(name: str, registered: Mapping[str, Mapping[str, Any]]) -> PublishedModel | None:
    """Return the model with a name: a registered one, one of `MODELS`, or any with the owner "demo"."""
    if name in registered:
        return PublishedModel(version_of(name), dict(registered[name]))
    if name.startswith("demo/"):
        return PublishedModel(version_of(name), _DEMO_SCHEMA, official=True)
    return MODELS.get(name)


def version_of(name: str) -> str:
    """Return the version ID of a model that is not in `MODELS`."""
    return hashlib.sha256(name.encode()).hexdigest()


def model_json(name: str, model: PublishedModel) -> dict[str, Any]:
    """Return a model as the API shows it."""
    owner, _, short = name.partition("/")
    return {
        "url": f"https://replicate.com/{name}",
        "owner": owner,
        "name": short,
        "description": "A model of the demo server",
        "visibility": "public",
        "is_official": model.official,
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": 0,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": version_json(model),
    }


def version_json(model: PublishedModel) -> dict[str, Any]:
    """Return a version as the API shows it."""
    return {"id": model.version, "created_at": _CREATED_AT, "cog_version": "0.9.4", "openapi_schema": model.schema}


def streams(schema: Mapping[str, Any]) -> bool:
    """Return whether a model streams its output."""
    return "x-cog-array-type" in schema["components"]["schemas"]["Output"]


def image_urls(schema: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[str]:
    """Return the URLs among a prediction's inputs."""
    found: list[str] = []
    for name, described in schema["components"]["schemas"]["Input"]["properties"].items():
        if name in inputs and "uri" in (described.get("format"), described.get("items", {}).get("format")):
            found += inputs[name] if isinstance(inputs[name], list) else [inputs[name]]
    return found


def problems(schema: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[str]:
    """Return the problems with a prediction's inputs, as the API words them; empty if they are valid."""
    described = schema["components"]["schemas"]["Input"]
    found = [f"input: {name} is required" for name in described["required"] if name not in inputs]
    for name, value in inputs.items():
        if name not in described["properties"]:
            found.append(f"input: Additional property {name} is not allowed")
        else:
            problem = _problem_of(described["properties"][name], value)
            found += [f"input.{name}: {problem}"] if problem else []
    return found


def _problem_of(described: Mapping[str, Any], value: Any) -> str:
    kind = described.get("type", "string")
    if isinstance(value, bool) or not isinstance(value, _TYPES.get(kind, (object,))):
        return f"Invalid type. Expected: {kind}, given: {type(value).__name__}"
    if described.get("format") == "uri" and not re.match(r"(https?|data):", str(value)):
        return "Does not match format 'uri'"
    if "minimum" in described and value < described["minimum"]:
        return f"Must be greater than or equal to {described['minimum']}"
    if "maximum" in described and value > described["maximum"]:
        return f"Must be less than or equal to {described['maximum']}"
    return ""
