"""Functions from higher layers that panels call; set by `vision_nb/__init__.py`."""

from __future__ import annotations

from collections.abc import Callable

configured_store: Callable[[], str | None]
"""Returns the path of the store that the user has set, or None for the file in the user's cache folder."""
