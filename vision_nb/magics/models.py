"""The models that cells ask: names, aliases, connections and request settings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from vision_nb.checks.spelling import closest
from vision_nb.cost.accounting import LENGTH_LIMITS
from vision_nb.cost.model_reference import nearest_name, parse_model_name
from vision_nb.errors import MissingKeyError, SettingsError
from vision_nb.magics.settings import VisionSettings
from vision_nb.magics.usage_errors import UsageError, truncate
from vision_nb.privacy.api_keys import looks_like_key
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.catalog import key_variables, known_models
from vision_nb.providers.connect import NO_KEY, connect, connect_to_count
from vision_nb.providers.llamacpp.shared import is_running

_KEY_ARGUMENTS = {"replicate": "api_token", "demo": None}  # by provider; api_key for all others
_BASE_ARGUMENTS = {"azure": "azure_endpoint"}
_ENVIRONMENT = ("OPENAI_", "AZURE_", "REPLICATE_", "VISION_NB_")


class Models:
    """The connected models: one for each name, server and API key.

    Args:
        settings: The settings, with the aliases.
    """

    def __init__(self, settings: VisionSettings) -> None:
        self._settings = settings
        self._connected: dict[tuple[str, str, str], tuple[str, MultiModalLLM]] = {}

    def get(
        self,
        name: str,
        *,
        api_base: str | None = None,
        api_key_env: str | None = None,
        options: Mapping[str, Any] | None = None,
        dry_run: bool = False,
    ) -> MultiModalLLM:
        """Return the model with a name, connecting to it if necessary.

        A model is reused until its API key or another variable in the environment changes.

        Args:
            name: The model's name, or an alias.
            api_base: The server's base URL; None for the setting.
            api_key_env: The environment variable that holds the API key; None for the setting.
            options: Further arguments of `connect`.
            dry_run: Whether a missing API key is accepted, because nothing will be sent.

        Raises:
            UsageError: The model does not exist or does not take an API key, or the project is not trusted.
            SettingsError: The API key or a setting is missing.
        """
        full_name = resolve(name, self._settings.aliases)
        for setting, given in (("api_base", api_base), ("api_key_env", api_key_env)):
            if setting in self._settings.refused and not given and not getattr(self._settings, setting):
                raise UsageError(self._settings.refused[setting])
        base = api_base or self._settings.api_base
        key_variable = api_key_env or self._settings.api_key_env
        arguments = {**(options or {}), **connection_arguments(full_name, base, key_variable, needs_key=not dry_run)}
        place = (full_name, arguments.get("api_base", base), key_variable)
        fingerprint = _fingerprint(arguments)
        known = self._connected.get(place)
        if known is not None and known[0] == fingerprint and is_running(known[1]):
            return known[1]
        if dry_run:
            return connect_to_count(full_name, **arguments)
        llm = connect(full_name, **arguments)
        if known is not None:
            known[1].close()
        self._connected[place] = fingerprint, llm
        return llm

    def close(self) -> None:
        """Close all connections."""
        for _, llm in self._connected.values():
            llm.close()
        self._connected.clear()


def connection_arguments(name: str, base: str, key_variable: str, *, needs_key: bool = True) -> dict[str, Any]:
    """Return the arguments of `connect` for a server and an API key.

    Args:
        name: The model's full name.
        base: The server's base URL; empty for the provider's own.
        key_variable: The environment variable that holds the API key; empty for the provider's own.
        needs_key: Whether the variable must be set; otherwise, a placeholder replaces a missing key.

    Raises:
        UsageError: The model does not take an API key, or the variable's name is a key.
        MissingKeyError: The variable is not set.
    """
    provider = name.partition(":")[0]
    arguments = {_BASE_ARGUMENTS.get(provider, "api_base"): base} if base else {}
    if key_variable:
        argument, key = _KEY_ARGUMENTS.get(provider, "api_key"), _read_key(key_variable, is_needed=needs_key)
        if argument is None:
            raise UsageError(f"{name} does not take an API key: omit --api-key-env.")
        arguments[argument] = key
    return arguments


def _read_key(variable: str, *, is_needed: bool) -> str:
    if not variable.isidentifier() or looks_like_key(variable):
        raise UsageError("--api-key-env takes the name of an environment variable, never the key itself.")
    if not os.environ.get(variable) and is_needed:
        raise MissingKeyError(f"The environment variable {variable} is not set: set it, or name another one.")
    return os.environ.get(variable) or NO_KEY


def _fingerprint(arguments: Mapping[str, Any]) -> str:
    """Return a digest of everything that determines a connection, so that no API key is kept here."""
    keys = key_variables().values()
    environment = sorted(
        (name, value) for name, value in os.environ.items() if name.startswith(_ENVIRONMENT) or name in keys
    )
    return hashlib.sha256(repr((arguments, environment)).encode()).hexdigest()


def request_settings(
    settings: VisionSettings,
    *,
    detail: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the keyword arguments of a call, from a cell's options and the settings."""
    parameters = parameters or {}
    chosen = {
        "image_detail": detail or settings.detail or None,
        "temperature": settings.temperature if temperature is None else temperature,
        "max_new_tokens": max_tokens or settings.max_tokens,
    }
    if any(name in parameters for name in LENGTH_LIMITS):
        del chosen["max_new_tokens"]
    return {**{name: value for name, value in chosen.items() if value is not None}, **parameters}


def resolve(name: str, aliases: Mapping[str, str]) -> str:
    """Return the full name of a model, following aliases.

    Raises:
        UsageError: The aliases form a cycle, or the name is neither an alias nor a model.
    """
    seen = [name]
    while (target := aliases.get(seen[-1])) is not None:
        if target in seen:
            raise UsageError(f"The alias {name!r} refers to itself: {' -> '.join([*seen, target])}.")
        seen.append(target)
    name = seen[-1]
    colon = ":" in name
    with suppress(SettingsError):
        return str(parse_model_name(name))
    guess = closest(name, [*aliases, *known_models()]) if not colon else None
    guess = guess or nearest_name(name) or closest(f"openai:{name}", known_models())
    hint = f"did you mean {guess}?" if guess else "write provider:model, as in openai:gpt-4o."
    raise UsageError(f"There is no model {truncate(name)!r}: {hint} %vision list shows the models that are ready.")
