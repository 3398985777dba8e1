"""Count and split tokens as the demo server does."""

from __future__ import annotations

import math
import re

from vision_nb.cost.image_rules import view_of


def image_tokens(size: tuple[int, int], model: str, detail: str | None) -> int:
    """Count the tokens of an image by the model's rule, or by the demo model's if that rule is unknown.

    Raises:
        VisionError: The model does not have this detail level, or does not accept an image of this size.
    """
    view = view_of(size, model, detail) or view_of(size, "demo", detail)
    return view.tokens if view else 0


def text_tokens(characters: int) -> int:
    """Estimate the tokens of a text: one for every four characters."""
    return max(1, math.ceil(characters / 4))


def split_tokens(text: str) -> tuple[str, ...]:
    """Split a text into word-like pieces, the server's tokens; joined, they are the text again.

    >>> split_tokens("It is  red.")
    ('It', ' is', '  red.')
    """
    return tuple(re.findall(r"\s*\S{1,12}|\s+", text))
