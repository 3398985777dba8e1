"""`connect`: create a model from its name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from vision_nb.checks.arguments import checks_arguments
from vision_nb.cost.model_reference import no_model, parse_model_name
from vision_nb.cost.small_models import SMALL_MODELS
from vision_nb.errors import ArgumentError, MissingKeyError
from vision_nb.privacy.api_keys import hide_arguments
from vision_nb.providers.base import MultiModalLLM

NO_KEY = "not needed to count"
"""The API key of a model that sends nothing."""

_NOWHERE = "http://127.0.0.1:1/v1"
_WITH_DEFAULT_MODEL = ("openai", "local", "demo")


@checks_arguments
def connect(name: str | None = None, **options: Any) -> MultiModalLLM:
    """Return a model by its name, or the default model.

    The default model is the one that ``%vision use``, ``%config VisionMagics.model`` or ``model`` in
    ``[tool.vision_nb]`` of pyproject.toml names; otherwise a downloaded model or one of a local server; otherwise the
    demo model. In IPython, a line says which one it is and why. A model that needs an API key is never chosen unless it
    is named.

    Args:
        name: "openai:gpt-4o", "azure:DEPLOYMENT", "replicate:llava-13b", "local:llava" (or "ollama:llava"), "demo", or
            "SERVICE:MODEL" for anthropic, gemini, openrouter, mistral, groq, together, xai, fireworks, deepinfra,
            huggingface, moonshot, zai and services of `register_service`. If only one provider has a model, as with
            "gpt-4o", "claude-sonnet-5" and "gemini-2.5-flash", the provider can be omitted. Without ``api_base``,
            "local:MODEL" uses the server on this machine that has the model, and "local" uses a server with a model
            that accepts images. A server of an unknown type is used only if it lists the model. The name of a small
            model, such as "smolvlm-500m", needs no server: it is downloaded after you agree, and served by an engine
            that all connections in this process share; ``download=True`` does not ask, and ``download=False`` never
            downloads. None for the default model.
        **options: Arguments of the model's class, which ``help(vn.OpenAIMultiModal)`` explains: max_new_tokens,
            temperature, image_detail, max_side (the longest side at which images are sent, in pixels), timeout,
            max_retries, api_key, api_base and so on.

    Raises:
        SettingsError: The provider or model does not exist, the name does not contain a model, or an option is invalid.
        MissingKeyError: The provider's API key is missing.
        ProviderConnectionError: No local server responds.
        UnknownModelError: No local server has the model.

    >>> vn.connect("demo")
    DemoMultiModal(model='demo')
    >>> print(vn.connect("claude-sonnet-5", api_key="not a real one"))
    anthropic:claude-sonnet-5
    """
    options = hide_arguments(options)
    if name is None:
        if not {"model", "llm"}.isdisjoint(options):
            raise ArgumentError("connect() takes the model's name first, as in vn.connect('openai:gpt-4o').")
        from vision_nb.providers.default_model import announce, default_model

        default = default_model()
        announce(default)
        name, options = default.name, {**default.options, **options}
    found = parse_model_name(name)
    provider, model = found.provider, found.model
    if not model and provider not in _WITH_DEFAULT_MODEL:
        raise no_model(name, provider)
    if provider == "local" and options.get("api_base") is None:
        from vision_nb.providers.local_models import connect_local

        return connect_local(model, options)
    return _model_class(provider)(*([model] if model else []), **options)


def connect_to_count(name: str, **options: Any) -> MultiModalLLM:
    """Return a model for counting tokens and prices; it does not need an API key.

    Args:
        name: As for `connect`.
        **options: As for `connect`.

    Raises:
        SettingsError: As for `connect`, except for a missing key.
    """
    options = hide_arguments(options)
    found = parse_model_name(name)
    if found.provider == "local" and found.model in SMALL_MODELS and options.get("api_base") is None:
        from vision_nb.providers.local.model import LocalMultiModal

        length = SMALL_MODELS[found.model].context_length  # the engine is not needed
        return LocalMultiModal(found.model, _NOWHERE, **{"context_length": length, **options})
    try:
        return connect(name, **options)
    except MissingKeyError:
        argument = "api_token" if found.provider == "replicate" else "api_key"
        return connect(name, **{**options, argument: NO_KEY})


def _model_class(provider: str) -> Callable[..., MultiModalLLM]:
    """Return the class of a provider's models; the other providers are not imported, which would take longer."""
    match provider:
        case "openai":
            from vision_nb.providers.openai.model import OpenAIMultiModal

            return OpenAIMultiModal
        case "azure":
            from vision_nb.providers.openai.azure import AzureOpenAIMultiModal

            return AzureOpenAIMultiModal
        case "replicate":
            from vision_nb.providers.replicate.model import ReplicateMultiModal

            return ReplicateMultiModal
        case "local":
            from vision_nb.providers.local.model import LocalMultiModal

            return LocalMultiModal
        case "demo":
            from vision_nb.providers.demo import DemoMultiModal

            return DemoMultiModal
    from vision_nb.providers.openai.service_model import ServiceMultiModal

    return partial(ServiceMultiModal, provider)
