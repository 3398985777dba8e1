"""Which models there are by name, and which of them can be asked with the keys at hand."""

from __future__ import annotations

import os
from collections.abc import Iterator

from vision_nb.cost.image_rules import RULES

DEMO = "demo"
KEY_VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "azure": "AZURE_OPENAI_API_KEY",
    "replicate": "REPLICATE_API_TOKEN",
    "local": None,
    "demo": None,
}
"""Where each provider finds its key; None for those that need none."""


def known_models() -> Iterator[str]:
    """Models by their full names: there are more, and every name is passed on."""
    from vision_nb.providers.replicate.catalog import REPLICATE_MULTI_MODAL_LLM_MODELS

    for name, rule in RULES.items():
        if rule is not None and not name.startswith(("llava", "demo")):
            yield f"openai:{name}"
    yield from (f"replicate:{name}" for name in REPLICATE_MULTI_MODAL_LLM_MODELS)
    yield from ("local:llava", DEMO)


def has_key(provider: str) -> bool | None:
    """Whether a provider's key is in the environment; None where it needs none."""
    variable = KEY_VARIABLES.get(provider)
    return None if variable is None else bool(os.environ.get(variable))


def ready_models() -> list[str]:
    """Models that need no more than their name: those whose key is in the environment, and the demo.

    A deployment on Azure and a server on this machine are not among them, as nobody has named one.
    """
    return [name for name in known_models() if has_key(name.partition(":")[0]) or name == DEMO]
