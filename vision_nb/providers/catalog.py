"""The known models, and which of them have an API key in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator

from vision_nb.cost.model_reference import owner_of
from vision_nb.cost.rule_table import RULES
from vision_nb.cost.small_models import SMALL_MODELS
from vision_nb.providers.llamacpp.models import downloaded_models
from vision_nb.providers.llamacpp.process import is_engine_installed
from vision_nb.providers.replicate.catalog import REPLICATE_MULTI_MODAL_LLM_MODELS
from vision_nb.services.registry import all_services

DEMO = "demo"
_KEY_VARIABLES = {
    "azure": "AZURE_OPENAI_API_KEY",
    "replicate": "REPLICATE_API_TOKEN",
    "local": None,
    "demo": None,
}


def key_variables() -> dict[str, str | None]:
    """Return the environment variable of each provider's API key; None if the provider needs no key."""
    services = {name: service.key_variable for name, service in all_services().items()}
    return {"openai": services.pop("openai"), **_KEY_VARIABLES, **services}


def known_models() -> Iterator[str]:
    """Yield the full names of the known models; others work too."""
    for name in RULES:
        if owner_of(name) == "openai":
            yield f"openai:{name}"
    yield from (f"replicate:{name}" for name in REPLICATE_MULTI_MODAL_LLM_MODELS)
    yield from (f"local:{name}" for name in SMALL_MODELS)
    yield from ("local:llava", DEMO)
    for service in all_services().values():
        yield from (f"{service.name}:{model}" for model in service.examples)


def has_key(provider: str) -> bool | None:
    """Return whether a provider's API key is set, or None if it does not need one."""
    variable = key_variables().get(provider)
    return None if variable is None else bool(os.environ.get(variable))


def ready_models() -> list[str]:
    """Return the models that need no further setup: those with a key, small models on this machine, and the demo.

    Azure deployments and local servers are not included, because their names are not known in advance.
    """
    ready = {DEMO}
    if is_engine_installed():
        ready |= {f"local:{model.name}" for model in downloaded_models()}
    return [name for name in known_models() if has_key(name.partition(":")[0]) or name in ready]
