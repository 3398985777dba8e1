"""Which model a cell asks: names, aliases, and the objects behind them."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from vision_nb.cost.image_rules import RULES
from vision_nb.errors import MissingKeyError
from vision_nb.magics.settings import VisionSettings
from vision_nb.magics.usage_errors import UsageError, nearest
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.catalog import known_models
from vision_nb.providers.connect import PROVIDERS, connect, connect_to_count

_KEY_ARGUMENTS = {"replicate": "api_token", "demo": None}  # how the key is called where not api_key
_BASE_ARGUMENTS = {"azure": "azure_endpoint"}
_ENVIRONMENT = ("OPENAI_", "AZURE_", "REPLICATE_", "VISION_NB_")


class Models:
    """Model objects by name and options; one is kept, with its open connections, for the next cell that asks it.

    Args:
        settings: The defaults, and the aliases.
    """

    def __init__(self, settings: VisionSettings) -> None:
        self._settings = settings
        self._made: dict[str, MultiModalLLM] = {}

    def get(self, name: str, options: Namespace) -> MultiModalLLM:
        """The model of a name, with a cell's options.

        Raises:
            UsageError: There is no such model, or an option does not fit it.
            SettingsError: A key or a setting is missing.
        """
        full = resolve(name, self._settings.aliases)
        arguments = {key: value for key, value in self._arguments(full, options).items() if value not in (None, {})}
        # A changed key or endpoint makes another model; so does every option.
        environment = sorted((key, value) for key, value in os.environ.items() if key.startswith(_ENVIRONMENT))
        made_of = repr((full, arguments, environment, options.dry_run))
        if made_of not in self._made:
            self._made[made_of] = (connect_to_count if options.dry_run else connect)(full, **arguments)
        return self._made[made_of]

    def _arguments(self, name: str, options: Namespace) -> dict[str, Any]:
        settings, provider = self._settings, name.partition(":")[0]
        base, key = options.api_base or settings.api_base, options.api_key_env or settings.api_key_env
        arguments = {
            "image_detail": options.detail or settings.detail or None,
            "temperature": settings.temperature if options.temperature is None else options.temperature,
            "max_new_tokens": options.max_tokens or settings.max_tokens,
            "additional_kwargs": options.param,
            _BASE_ARGUMENTS.get(provider, "api_base"): base or None,
        }
        if key:
            argument, value = _KEY_ARGUMENTS.get(provider, "api_key"), _key(key)
            if argument is None:
                raise UsageError(f"{name} takes no key: leave --api-key-env out.")
            arguments[argument] = value
        return arguments


def _key(variable: str) -> str:
    if not variable.isidentifier():
        raise UsageError("--api-key-env takes the name of an environment variable, never the key itself.")
    if not os.environ.get(variable):
        raise MissingKeyError(f"The environment variable {variable} is not set: set it, or name another.")
    return os.environ[variable]


def resolve(name: str, aliases: Mapping[str, str]) -> str:
    """What a name stands for, through aliases of aliases.

    Raises:
        UsageError: The aliases go round in a circle, or the name is neither an alias nor a model.
    """
    seen = [name]
    while (target := aliases.get(seen[-1])) is not None:
        if target in seen:
            raise UsageError(f"The alias {name!r} goes round in a circle: {' -> '.join([*seen, target])}.")
        seen.append(target)
    provider, colon, model = seen[-1].partition(":")
    if provider in PROVIDERS and (model or not colon):
        return seen[-1]
    known = [*aliases, *PROVIDERS, *known_models()]
    guess = f"openai:{seen[-1]}" if seen[-1] in RULES else None
    guess = guess or (f"{nearest(provider, PROVIDERS)}:{model}" if colon and nearest(provider, PROVIDERS) else None)
    guess = guess or nearest(seen[-1], known) or nearest(f"openai:{seen[-1]}", known)
    hint = f"did you mean {guess}?" if guess else "write provider:model, as in openai:gpt-4o."
    raise UsageError(f"There is no model {seen[-1]!r}: {hint} %vision list shows what there is.")
