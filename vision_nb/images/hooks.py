"""Functions from higher layers that this package calls; set by `vision_nb/__init__.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

count_tokens: Callable[[Sequence[Any], Any], list[int | None]]
"""Returns the input tokens of each image for a model or its name; None where they are unknown."""
