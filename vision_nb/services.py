"""Services with OpenAI's Chat Completions API: one row each, with the source of its facts.

Unknown facts are None. No other module names a service, except for OpenAI itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from vision_nb.checks.arguments import checks_arguments
from vision_nb.errors import SettingsError
from vision_nb.images.formats import SENDABLE
from vision_nb.privacy.api_keys import hide, hide_arguments, looks_like_key, unhide
from vision_nb.project_settings import find_project_file, read_project_table
from vision_nb.user_warnings import warn_user

PNG_JPEG = frozenset({"image/png", "image/jpeg"})
OTHER_PROVIDERS = ("azure", "replicate", "local", "demo")
"""The providers that are not services of this kind, or have their own class."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True, kw_only=True)
class Service:
    """What is known about a service.

    Attributes:
        name: Its name in ``"name:model"``.
        title: Its name in messages.
        base_url: The base URL of its API.
        key_variable: The environment variable with the API key; None if it needs no key.
        price_id: Its name in the price list of genai-prices; None if it is not on the list.
        model_prefixes: The prefixes of the names of the service's own models, which need no provider. A prefix that
            ends in a dash also matches the name without the dash.
        owner: The name of its models' owner on routers, as in "openai/gpt-4o"; None if unknown.
        examples: Models that accept images.
        image_types: The MIME types of images that it accepts.
        max_images: The maximum number of images per request, or None.
        max_image_bytes: The largest image file in bytes, before base64, or None.
        max_side: The longest side of an image in pixels, or None.
        max_side_of_many: ``(count, side)``: the longest side in pixels if there are more images than the count; or
            None.
        max_request_bytes: The largest size of all images of a request as base64, in bytes, or None.
        length_limit: The name of the parameter that limits the answer's length; None if it depends on the model.
        takes_schema: Whether ``response_format`` with a JSON schema has an effect; None if unknown.
        takes_stream_options: Whether it accepts ``stream_options``; None if unknown.
        takes_detail: Whether images have a detail level; None if unknown.
        takes_responses: Whether it has the Responses API, with uploaded images; None if unknown, which is treated as
            no.
        takes_batches: Whether it has OpenAI's batch API; None if unknown, which is treated as no.
        takes_urls: Whether it downloads images from URLs; None if unknown, which is treated as no.
        cost_field: The field in which the answer states its price in US dollars, or None.
        sends_comments: Whether its streams contain comment lines.
        errors_are_lists: Whether errors are JSON lists of objects, rather than objects.
        rate_limit_headers: Whose headers report its rate limits: those of OpenAI or Anthropic.
        requests_are_per_day: Whether its limit of requests applies to a day rather than to a minute.
        source: Where the facts come from, and when they were read.
        project_file: The pyproject.toml that defines it, or None.
    """

    name: str
    title: str
    base_url: str = field(repr=False)  # one of your own may contain a password
    key_variable: str | None = None
    price_id: str | None = None
    model_prefixes: tuple[str, ...] = ()
    owner: str | None = None
    examples: tuple[str, ...] = ()
    image_types: frozenset[str] = SENDABLE
    max_images: int | None = None
    max_image_bytes: int | None = None
    max_side: int | None = None
    max_side_of_many: tuple[int, int] | None = None
    max_request_bytes: int | None = None
    length_limit: Literal["max_tokens", "max_completion_tokens"] | None = "max_tokens"
    takes_schema: bool | None = None
    takes_stream_options: bool | None = None
    takes_detail: bool | None = None
    takes_responses: bool | None = None
    takes_batches: bool | None = None
    takes_urls: bool | None = None
    cost_field: str | None = None
    sends_comments: bool = False
    errors_are_lists: bool = False
    rate_limit_headers: Literal["openai", "anthropic"] = "openai"
    requests_are_per_day: bool = False
    source: str = ""
    project_file: Path | None = None


_ROWS = (
    Service(
        name="openai",
        title="OpenAI",
        base_url="https://api.openai.com/v1",
        key_variable="OPENAI_API_KEY",
        price_id="openai",
        model_prefixes=("gpt-3", "gpt-4", "gpt-5", "gpt-6", "chatgpt-", "o1-", "o3-", "o4-", "computer-use-"),
        owner="openai",
        max_images=1500,
        max_image_bytes=20_000_000,  # 2024; 512 MB in 2026
        length_limit=None,  # reasoning models refuse max_tokens
        takes_schema=True,
        takes_stream_options=True,
        takes_detail=True,
        takes_responses=True,
        takes_batches=True,
        takes_urls=True,
        source="OpenAI, Images and vision guide and Chat Completions reference, read 2026-11",
    ),
    Service(
        name="anthropic",
        title="Anthropic",
        base_url="https://api.anthropic.com/v1/",
        key_variable="ANTHROPIC_API_KEY",
        price_id="anthropic",
        model_prefixes=("claude-",),
        owner="anthropic",
        examples=("claude-sonnet-5", "claude-opus-5", "claude-haiku-4-5"),
        max_images=100,  # 600 for models with a context of more than 200,000 tokens
        max_image_bytes=5_242_880 * 3 // 4,  # 5 MiB of base64: "image exceeds 5 MB maximum: 5272940 bytes > 5242880"
        max_side=8000,
        max_side_of_many=(20, 2000),
        max_request_bytes=32_000_000,
        takes_schema=False,  # response_format is ignored
        takes_stream_options=True,
        takes_detail=False,  # Claude has no detail levels
        rate_limit_headers="anthropic",
        # System messages are joined and moved to the beginning, and n must be 1.
        source="Anthropic, OpenAI SDK compatibility and Vision, error messages in public reports, read 2026-11",
    ),
    Service(
        name="gemini",
        title="Gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai/",
        key_variable="GEMINI_API_KEY",
        price_id="google",
        model_prefixes=("gemini-",),
        owner="google",
        examples=("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3.5-flash"),
        image_types=frozenset({"image/png", "image/jpeg", "image/webp"}),
        takes_schema=True,  # a subset of JSON Schema
        errors_are_lists=True,
        source="Google, Gemini API: OpenAI compatibility and Image understanding, read 2026-11",
    ),
    Service(
        name="openrouter",
        title="OpenRouter",
        base_url="https://openrouter.ai/api/v1",
        key_variable="OPENROUTER_API_KEY",
        price_id="openrouter",
        examples=("qwen/qwen2.5-vl-72b-instruct",),
        takes_urls=True,
        cost_field="usage.cost",
        sends_comments=True,
        # The number of images depends on the model. Errors may come with status 200, and in choices[0].error.
        source="OpenRouter, Image Inputs, Usage Accounting and Streaming, read 2026-11",
    ),
    Service(
        name="mistral",
        title="Mistral",
        base_url="https://api.mistral.ai/v1",
        key_variable="MISTRAL_API_KEY",
        price_id="mistral",
        model_prefixes=("mistral-large", "mistral-medium", "pixtral-large"),
        owner="mistralai",
        examples=("mistral-medium-latest", "pixtral-large-latest"),
        length_limit="max_tokens",  # max_completion_tokens is refused: "Extra inputs are not permitted"
        takes_urls=True,
        # The content of reasoning models is a list of parts.
        source="Mistral, Vision, and error messages in public reports, read 2026-11",
    ),
    Service(
        name="groq",
        title="Groq",
        base_url="https://api.groq.com/openai/v1",
        key_variable="GROQ_API_KEY",
        price_id="groq",
        examples=("meta-llama/llama-4-scout-17b-16e-instruct",),
        max_images=5,
        max_request_bytes=4_000_000,
        takes_urls=True,
        requests_are_per_day=True,
        source="Groq, Images and Vision, and Rate Limits, in copies read 2026-11",
    ),
    Service(
        name="together",
        title="Together AI",
        base_url="https://api.together.xyz/v1",
        key_variable="TOGETHER_API_KEY",
        price_id="together",
        examples=("meta-llama/Llama-4-Scout-17B-16E-Instruct",),
        source="the base URL and key variable of Together's provider in Vercel's AI SDK, read 2026-11",
    ),
    Service(
        name="xai",
        title="xAI",
        base_url="https://api.x.ai/v1",
        key_variable="XAI_API_KEY",
        price_id="x-ai",
        model_prefixes=("grok-",),
        owner="x-ai",
        examples=("grok-4.7", "grok-4"),
        image_types=PNG_JPEG,
        max_image_bytes=10_485_760,
        takes_detail=True,
        takes_urls=True,
        source="xAI, Image Understanding, read 2026-11 (the largest image in a copy of an earlier edition)",
    ),
    Service(
        name="fireworks",
        title="Fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        key_variable="FIREWORKS_API_KEY",
        price_id="fireworks",
        examples=("accounts/fireworks/models/qwen2p5-vl-72b-instruct",),
        image_types=frozenset({"image/png", "image/jpeg", "image/gif"}),
        max_images=30,
        max_request_bytes=10_000_000,
        takes_urls=True,
        source="Fireworks, Vision Models, read 2026-11",
    ),
    Service(
        name="deepinfra",
        title="DeepInfra",
        base_url="https://api.deepinfra.com/v1/openai",
        key_variable="DEEPINFRA_TOKEN",
        takes_urls=True,
        source="DeepInfra, Using LLaVa model on DeepInfra, read 2026-11",
    ),
)

SERVICES: Mapping[str, Service] = MappingProxyType({row.name: row for row in _ROWS})
"""The rows by name."""

_registered: dict[str, Service] = {}


@checks_arguments
def register_service(
    name: str, *, base_url: str, key_variable: str | None = None, title: str | None = None, **facts: Any
) -> None:
    """Add a service of your own, so that ``vn.connect("name:model")`` works.

    A project can also define a service as a table ``[tool.vision_nb.services.NAME]`` in its pyproject.toml, with the
    same settings. As such a file can come with a folder that somebody else has written, it can define a service on
    another machine, or with a key, only if the environment variable VISION_NB_TRUSTED_PROJECTS contains the path of its
    folder. Registering a name again replaces the service.

    Args:
        name: Lower-case letters, digits, dashes and underscores.
        base_url: The base URL of its OpenAI-compatible API.
        key_variable: The environment variable with the API key; None if it needs no key.
        title: Its name in messages; by default, the name.
        **facts: Other facts about it: max_images, max_image_bytes (before base64), max_side (pixels), max_request_bytes
            (of all images, as base64), image_types (MIME types), length_limit ("max_tokens" or
            "max_completion_tokens"), takes_schema, takes_stream_options, takes_detail, takes_responses, takes_urls,
            price_id (its name in genai-prices) and examples (names of its models).

    Raises:
        SettingsError: The name is in use by another provider, or an argument is invalid.

    >>> from vision_nb.demo import shared_server
    >>> vn.register_service("ours", base_url=shared_server().openai_base, max_images=4)
    >>> vn.connect("ours:small-model").complete("How large is it?", vn.samples.path("chart")).finish_reason
    'stop'
    """
    # First of all: a traceback may show the arguments.
    given = {"base_url": hide(base_url), "key_variable": hide(key_variable), "title": title, **hide_arguments(facts)}
    del base_url, key_variable, facts
    _registered[name] = _own_service(name, given, "register_service()")


def all_services() -> dict[str, Service]:
    """Return all services by name: the built-in ones, those of the project, and the registered ones."""
    return {**_project_services(), **_registered, **SERVICES}


def find_service(name: str) -> Service | None:
    """Return the service with a name, or None."""
    return SERVICES.get(name) or all_services().get(name)


def _project_services() -> Mapping[str, Service]:
    try:
        path = find_project_file(Path.cwd())
        return {} if path is None else _read_services(path, path.stat().st_mtime_ns)
    except OSError:  # the working folder was deleted
        return {}


@lru_cache(maxsize=1)
def _read_services(path: Path, modified: int) -> Mapping[str, Service]:
    """Return the services of a project; a table that cannot be used is ignored with a warning."""
    tables = read_project_table(path).get("services", {})
    found = {}
    for name, table in tables.items() if isinstance(tables, dict) else ():
        place = f"{path.name}, [tool.vision_nb.services.{name}]"
        try:
            service = _own_service(name, table if isinstance(table, dict) else {}, place)
            found[name] = replace(service, project_file=path)
        except SettingsError as error:
            warn_user(f"{error} The service is ignored.")
    return found


_SETTABLE = {
    one.name: one.type
    for one in fields(Service)
    if one.name
    not in ("name", "model_prefixes", "owner", "cost_field", "sends_comments", "errors_are_lists", "project_file")
}


def _own_service(name: str, given: Mapping[str, Any], place: str) -> Service:
    """Return a service made of a user's settings.

    Raises:
        SettingsError: A setting is missing, unknown or of the wrong type.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingsError(f"{place}: {name!r:.60} is not a valid name: use lower-case letters, digits, - and _.")
    if name in SERVICES or name in (*OTHER_PROVIDERS, "ft"):  # ft: begins the name of a fine-tune
        raise SettingsError(f"{place}: {name!r} is the name of a built-in provider: choose another name.")
    unknown = [setting for setting in given if setting not in _SETTABLE]
    if unknown:
        raise SettingsError(f"{place}: {unknown[0]!r:.60} is not a setting: use {', '.join(_SETTABLE)}.")
    if not str(unhide(given.get("base_url", ""))).lower().startswith(("http://", "https://")):
        raise SettingsError(f"{place}: base_url must start with http:// or https://.")
    values = {setting: _checked(setting, unhide(value), place) for setting, value in given.items() if value is not None}
    values = {"title": name, "source": place, **values}
    return replace(Service(name=name, title=name, base_url=""), **values)


def _checked(setting: str, value: Any, place: str) -> Any:
    """Return a setting's value in the type of its field."""
    kind = str(_SETTABLE[setting])
    is_names = isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(one, str) for one in value)
    if setting == "length_limit":
        is_valid = value in ("max_tokens", "max_completion_tokens")
    elif setting == "key_variable":
        is_name = isinstance(value, str) and value.isidentifier() and not looks_like_key(value)
        if not is_name:
            value = None  # a traceback may show local variables
            raise SettingsError(
                f"{place}: {setting} must be the name of an environment variable, never the key itself."
            )
        return value
    elif setting == "image_types":
        is_valid, value = is_names and set(value) <= SENDABLE, frozenset(value) | PNG_JPEG if is_names else value
    elif setting == "max_side_of_many":
        is_valid = isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_count(one) for one in value)
        value = tuple(value) if is_valid else value
    elif kind.startswith("tuple"):
        is_valid, value = is_names, tuple(value) if is_names else value
    elif kind.startswith("int"):
        is_valid = _is_count(value)
    else:
        is_valid = isinstance(value, bool if kind.startswith("bool") else str)
    if not is_valid:
        raise SettingsError(f"{place}: {setting}={value!r:.60} is not valid: it must be of type {kind}.")
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
