"""The parameters of requests: which are refused, cleaned or passed on unchecked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vision_nb.errors import SettingsError
from vision_nb.rendering.sanitize import replace_surrogates

_MAX_DEPTH = 100  # levels of a request's parameters


def check_parameters(settings: Mapping[str, Any]) -> None:
    """Raise SettingsError for parameters that would make a request differ from the one counted and priced."""
    more = settings.get("extra_body")
    for name in ("model", "messages", "input"):
        if name in settings or (isinstance(more, Mapping) and name in more):
            raise SettingsError(f"{name}= cannot be passed to a call: the call would be counted and priced wrongly.")
    timeout = settings.get("timeout")
    if isinstance(timeout, (int, float)) and not 0 < timeout < math.inf:
        raise SettingsError(f"timeout must be a positive number of seconds, not {timeout!r:.80}.")


def without_surrogates(value: Any, depth: int = 0) -> Any:
    """Replace lone surrogates, which cannot be sent, in every text of the request parameters."""
    if isinstance(value, str):
        return replace_surrogates(value)
    if depth > _MAX_DEPTH:
        raise SettingsError("The request's parameters are nested too deeply: pass fewer levels.")
    if isinstance(value, (dict, Mapping)):  # the first is checked much faster
        return {without_surrogates(key): without_surrogates(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [without_surrogates(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"A request parameter is {value}: it must be a finite number.")
    return value
