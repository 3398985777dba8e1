"""`connect`: a model from a short name."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from vision_nb.errors import MissingKeyError, SettingsError
from vision_nb.providers.base import MultiModalLLM


def connect(name: str, **options: Any) -> MultiModalLLM:
    """Make a model from ``"provider:model"``.

    Args:
        name: "openai:gpt-4o", "azure:DEPLOYMENT", "replicate:llava-13b", "local:llava" or "demo". Without
            ``api_base``, "local:" looks on this machine for a server that has the model, and "local" alone for
            one that has a model which sees pictures. A server of unknown kind is taken only where it lists the
            model.
        **options: What the provider's class takes: max_new_tokens, api_base and so on.

    Raises:
        SettingsError: The provider does not exist, or the model is missing.
        ProviderConnectionError: No local server answers.
        UnknownModelError: No local server has the model.

    >>> connect("demo")
    DemoMultiModal(model='demo')
    """
    provider, _, model = name.strip().partition(":")
    if provider not in PROVIDERS:
        nearest = get_close_matches(provider, PROVIDERS, n=1)
        guess = f"did you mean {nearest[0]!r}?" if nearest else "write provider:model, as in openai:gpt-4o."
        raise SettingsError(f"There is no provider {provider!r} (there are {', '.join(PROVIDERS)}): {guess}")
    if not model and provider in ("azure", "replicate"):
        raise SettingsError(f"{name!r} names no model: write {provider}:NAME.")
    return PROVIDERS[provider](*([model] if model else []), **options)


def connect_to_count(name: str, **options: Any) -> MultiModalLLM:
    """A model whose questions are counted and priced, and never sent: it needs no key.

    Args:
        name: As for `connect`.
        **options: As for `connect`.

    Raises:
        SettingsError: As for `connect`; a missing key is none.
    """
    try:
        return connect(name, **options)
    except MissingKeyError:
        argument = "api_token" if name.startswith("replicate:") else "api_key"
        return connect(name, **{**options, argument: "not needed to count"})


def _openai(*model: str, **options: Any) -> MultiModalLLM:
    from vision_nb.providers.openai.model import OpenAIMultiModal

    return OpenAIMultiModal(*model, **options)


def _azure(*model: str, **options: Any) -> MultiModalLLM:
    from vision_nb.providers.openai.azure import AzureOpenAIMultiModal

    return AzureOpenAIMultiModal(*model, **options)


def _replicate(*model: str, **options: Any) -> MultiModalLLM:
    from vision_nb.providers.replicate.model import ReplicateMultiModal

    return ReplicateMultiModal(*model, **options)


def _local(*model: str, **options: Any) -> MultiModalLLM:
    from vision_nb.providers.llamacpp.process import CLIENT_OPTIONS, running_engines
    from vision_nb.providers.local.model import LocalMultiModal

    if options.get("api_base") is None:
        server, found = LocalMultiModal.detect(api_key=options.get("api_key")).choose(*model)
        own = any(engine.api_base == server.api_base for engine in running_engines())
        told = {"context_length": found.context_length, **(CLIENT_OPTIONS if own else {}), **options}
        told["api_base"] = server.api_base
        return LocalMultiModal(found.name, **told)
    return LocalMultiModal(*model, **options)


def _demo(*model: str, **options: Any) -> MultiModalLLM:
    from vision_nb.providers.demo import DemoMultiModal

    return DemoMultiModal(*model, **options)


PROVIDERS: dict[str, Callable[..., MultiModalLLM]] = {
    "openai": _openai,
    "azure": _azure,
    "replicate": _replicate,
    "local": _local,
    "demo": _demo,
}
"""How to make a model of each provider; a provider's client is imported only when it is used."""
