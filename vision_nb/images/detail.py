"""How closely a model is to look at a picture."""

from __future__ import annotations

from typing import Literal, get_args

from vision_nb.errors import SettingsError

Detail = Literal["auto", "low", "high", "original"]
"""How closely a model is to look at a picture."""

DETAILS: tuple[str, ...] = get_args(Detail)


def check_detail(detail: str) -> None:
    """Raise SettingsError unless ``detail`` is one of the four detail levels."""
    if detail not in DETAILS:
        raise SettingsError(f"There is no detail level {detail!r}: it is one of {', '.join(DETAILS)}.")
