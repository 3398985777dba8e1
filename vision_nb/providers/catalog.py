"""The known models, and which of them have an API key in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator

from vision_nb.cost.image_rules import RULES
from vision_nb.providers.replicate.catalog import REPLICATE_MULTI_MODAL_LLM_MODELS

DEMO = "demo"
KEY_VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "azure": "AZURE_OPENAI_API_KEY",
    "replicate": "REPLICATE_API_TOKEN",
    "local": None,
    "demo": None,
}
"""The environment variable of each provider's API key; None if the provider needs no key."""


def known_models() -> Iterator[str]:
    """Yield the full names of the known models; others work too."""
    for name, rule in RULES.items():
        if rule is not None and not name.startswith(("llava", "demo")):
            yield f"openai:{name}"
    yield from (f"replicate:{name}" for name in REPLICATE_MULTI_MODAL_LLM_MODELS)
    yield from ("local:llava", DEMO)


def has_key(provider: str) -> bool | None:
    """Return whether a provider's API key is set, or None if it does not need one."""
    variable = KEY_VARIABLES.get(provider)
    return None if variable is None else bool(os.environ.get(variable))


def ready_models() -> list[str]:
    """Return the models that need no further setup: those with a key, and the demo.

    Azure deployments and local servers are not included, because their names are not known in advance.
    """
    return [name for name in known_models() if has_key(name.partition(":")[0]) or name == DEMO]
