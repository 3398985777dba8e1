"""Functions from higher layers that this package calls; set by `vision_nb/__init__.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

open_label_panel: Callable[..., Any]
"""Opens a `LabelPanel` for a comparison, with the panel's options as keyword arguments."""

open_review_panel: Callable[..., Any]
"""Opens a `ReviewPanel` for an extraction, with the panel's options as keyword arguments."""
