"""The detail levels at which models look at images."""

from __future__ import annotations

from typing import Literal, get_args

from vision_nb.errors import SettingsError

Detail = Literal["auto", "low", "high", "original"]
"""How closely a model looks at an image, as in OpenAI's ``detail`` parameter."""

DETAILS: tuple[str, ...] = get_args(Detail)


def check_detail(detail: str | None) -> None:
    """Raise SettingsError unless ``detail`` is one of the four levels or None."""
    if detail not in (None, *DETAILS):
        raise SettingsError(f"Unknown detail level {detail!r:.80}: use one of {', '.join(DETAILS)}.")
