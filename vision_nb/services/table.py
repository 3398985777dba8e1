"""Services with OpenAI's Chat Completions API: one row each, with the source of its facts.

Unknown facts are None. No other module names a service, except for OpenAI itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from vision_nb.images.formats import SENDABLE

PNG_JPEG = frozenset({"image/png", "image/jpeg"})
OTHER_PROVIDERS = ("azure", "replicate", "local", "demo")
"""The providers that are not services of this kind, or have their own class."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """What is known about a service.

    Attributes:
        name: Its name in ``"name:model"``.
        title: Its name in messages.
        base_url: The base URL of its API.
        key_variable: The environment variable with the API key; None if it needs no key.
        price_id: Its name in the price list of genai-prices; None if it is not on the list. For a router that sells
            the models of partners as ``"model:partner"``, at their prices: their names, with ``{}`` for the partner.
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
    Service(
        name="huggingface",
        title="Hugging Face",
        base_url="https://router.huggingface.co/v1",
        key_variable="HF_TOKEN",
        price_id="huggingface_{}",
        examples=("Qwen/Qwen3-VL-8B-Instruct:novita", "zai-org/GLM-4.5V"),
        # It passes requests on to a partner, so their limits apply.
        source="Hugging Face, Inference Providers: Getting Started and Image-Text to Text, read 2026-11",
    ),
    Service(
        name="moonshot",
        title="Moonshot AI",
        base_url="https://api.moonshot.ai/v1",
        key_variable="MOONSHOT_API_KEY",
        price_id="moonshotai",
        examples=("kimi-k2.6", "kimi-k2.5"),
        source="Moonshot AI, Use the Kimi Vision Model, read 2026-11",
    ),
    Service(
        name="zai",
        title="Z.ai",
        base_url="https://api.z.ai/api/paas/v4",
        key_variable="ZAI_API_KEY",
        price_id="zai",
        examples=("glm-4.6v", "glm-4.5v"),
        takes_schema=False,  # response_format is documented for JSON objects only
        source="Z.ai, GLM-4.5V and Chat Completion, and uses of the API in public code, read 2026-11",
    ),
)

SERVICES: Mapping[str, Service] = MappingProxyType({row.name: row for row in _ROWS})
"""The rows by name."""
