"""Functions from higher layers that this package calls; set by `vision_nb/__init__.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class ConfiguredModel(NamedTuple):
    """The default model that the user has set: its name and options, as for `connect`, and where it is set."""

    name: str
    options: Mapping[str, Any]
    source: str


configured_model: Callable[[], ConfiguredModel | None]
"""Returns the default model that the user has set, or None. Raises SettingsError if it cannot be used."""
