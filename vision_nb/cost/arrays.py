"""The token rules for a million sizes at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vision_nb.cost.image_rules import (
    MAX_PATCHES,
    PATCH,
    ROUNDING,
    TILE,
    UNKNOWN_RULE_SIDE,
    Fixed,
    Patches,
    Tiles,
    checked_rule,
)
from vision_nb.errors import ImageTooLargeError, SettingsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


def image_tokens_array(
    widths: ArrayLike, heights: ArrayLike, model: str = "gpt-4o", detail: str = "auto"
) -> NDArray[np.int64] | None:
    """Count the tokens of many images by their sizes.

    Args:
        widths: Widths in pixels.
        heights: Heights in pixels, of the same shape.
        model: The model's name.
        detail: "auto", "low", "high" or "original".

    Returns:
        The tokens, in the shape of the sizes; None where the model's rule is not known.

    Raises:
        SettingsError: A size is not positive, the shapes differ, or the model does not know the detail level.
        ImageTooLargeError: An image has more patches than the API takes.

    >>> image_tokens_array([1024, 512], [1024, 1024], "gpt-4o", "high")
    array([765, 425])
    """
    import numpy as np

    rule = checked_rule(model, detail)
    width, height = np.asarray(widths, dtype=np.int64), np.asarray(heights, dtype=np.int64)
    if width.shape != height.shape:
        raise SettingsError(f"There are widths of shape {width.shape} and heights of shape {height.shape}.")
    if width.size and min(width.min(), height.min()) < 1:
        raise SettingsError("An image cannot be of such a size: both sides must be at least 1 pixel.")
    match rule:
        case None:
            return None
        case Fixed():
            return np.full(width.shape, rule.tokens, dtype=np.int64)
        case Tiles():
            return _tiles(width, height, rule, detail)
        case Patches():
            return _patches(width, height, rule, detail)


def _fit(width: Any, height: Any, side: int) -> tuple[Any, Any]:
    import numpy as np

    longest = np.maximum(width, height)
    over = longest > side
    fitted = (np.where(over, np.maximum(1, one * side // longest), one) for one in (width, height))
    return next(fitted), next(fitted)


def _tiles(width: Any, height: Any, rule: Tiles, detail: str) -> NDArray[np.int64]:
    import numpy as np

    if detail == "low":
        return np.full(width.shape, rule.base, dtype=np.int64)
    width, height = _fit(width, height, UNKNOWN_RULE_SIDE)
    short = np.minimum(width, height)
    over = short > 768
    width, height = (np.where(over, one * 768 // short, one) for one in (width, height))
    tokens: NDArray[np.int64] = rule.base + rule.tile * (-(-width // TILE)) * (-(-height // TILE))
    return tokens


def _patches(width: Any, height: Any, rule: Patches, detail: str) -> NDArray[np.int64]:
    import numpy as np

    level = rule.levels[detail]
    width, height = _fit(width, height, level.side)
    patches = -(-width // PATCH) * -(-height // PATCH)
    if level.budget is not None:
        over = patches > level.budget
        wide, high = width[over], height[over]
        scale = np.sqrt(PATCH**2 * level.budget / (wide * high))
        columns, rows = wide * scale / PATCH, high * scale / PATCH
        scale *= np.minimum(np.floor(columns) / columns, np.floor(rows) / rows)
        fitted = (np.floor(side * scale + ROUNDING).astype(np.int64) for side in (wide, high))
        patches[over] = -(-next(fitted) // PATCH) * -(-next(fitted) // PATCH)
    if patches.size and patches.max() > MAX_PATCHES:
        raise ImageTooLargeError(
            f"{int((patches > MAX_PATCHES).sum())} of the images have more than {MAX_PATCHES:,} patches at detail "
            f"{detail}, which OpenAI refuses: use a lower detail."
        )
    tokens: NDArray[np.int64] = np.ceil(patches * rule.multiplier - ROUNDING).astype(np.int64)
    return tokens
