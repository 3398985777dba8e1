"""How small a picture can be made before it costs less, and what that saves."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from vision_nb.cost.image_rules import PATCH, TILE, Tiles, checked_rule, view_of
from vision_nb.cost.image_tokens import is_size
from vision_nb.cost.prices import price
from vision_nb.images.decode import Size
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.rendering import html
from vision_nb.rendering.format import format_price
from vision_nb.responses import Usage

_LEAST_SAVING = 0.25  # a step is worth naming from a quarter on; patches alone would give thousands

_LEAST_LEFT = 0.1  # below a tenth of its tokens there is little left of a picture


@dataclass(frozen=True)
class Step:
    """A size at which the count drops.

    Attributes:
        size: Width and height in pixels: the largest that costs so little.
        tokens: Tokens at this size.
        saved_tokens: How many fewer than for the picture as it is.
        saved_usd: What these would have cost, or None where the price is not known.
    """

    size: Size
    tokens: int
    saved_tokens: int
    saved_usd: Decimal | None


@dataclass(frozen=True)
class Fits:
    """The sizes at which a picture's count drops, the largest first; a table in a notebook.

    Attributes:
        model: The model.
        size: The picture's own size in pixels.
        tokens: Its tokens, or None where the model's rule is not known.
        steps: The sizes; empty where a smaller picture costs the same.
    """

    model: str
    size: Size
    tokens: int | None
    steps: tuple[Step, ...]

    def _repr_markdown_(self) -> str:
        if self.tokens is None:
            return f"The rule by which {self.model} counts images is not known.\n"
        rows = [(f"{self.size[0]} x {self.size[1]} (as it is)", f"{self.tokens:,}", "", "")]
        for step in self.steps:
            saved = format_price(step.saved_usd, decimals=6)
            percent = f"{step.saved_tokens / self.tokens:.0%}"
            rows.append((f"{step.size[0]} x {step.size[1]}", f"{step.tokens:,}", percent, saved))
        return html.markdown_table((f"pixels, {self.model}", "tokens", "saves", "of an image"), rows)


def cheapest_fit(image_or_size: ImageSource | Size, model: str = "gpt-4o", detail: str = "auto") -> Fits:
    """Find the sizes at which a picture would cost less.

    Bytes that change nothing for the model are left out anyway when a picture is sent; below these sizes the
    model really sees less.

    Args:
        image_or_size: A (width, height) in pixels, or any source of a picture.
        model: The model's name.
        detail: "auto", "low", "high" or "original".

    Raises:
        SettingsError: The size is not positive, or the model does not know the detail level.
        ImageError: The picture cannot be read.

    >>> [(step.size, step.tokens) for step in cheapest_fit((1024, 1024), "gpt-4o", "high").steps]
    [((512, 512), 255)]
    """
    size: Size = image_or_size if is_size(image_or_size) else ImageDocument.of(image_or_size).size
    rule, view = checked_rule(model, detail), view_of(size, model, detail)
    if rule is None or view is None:
        return Fits(model, size, None, ())
    steps: list[Step] = []
    lowest = view.tokens
    for smaller in _edges(view.size, TILE if isinstance(rule, Tiles) else PATCH):
        tokens = rule.view(smaller, detail).tokens
        if tokens < view.tokens * _LEAST_LEFT:
            break
        if tokens < lowest * (1 - _LEAST_SAVING):
            saved = view.tokens - tokens
            steps.append(Step(smaller, tokens, saved, _price_of(saved, model)))
            lowest = tokens
    return Fits(model, size, view.tokens, tuple(steps))


def _edges(size: Size, unit: int) -> list[Size]:
    """The sizes of the same shape at which a side is a whole number of tiles or patches, the largest first."""
    width, height = size
    by_width = {(side, max(1, height * side // width)) for side in range(unit, width, unit)}
    by_height = {(max(1, width * side // height), side) for side in range(unit, height, unit)}
    return sorted(by_width | by_height, reverse=True)


def _price_of(tokens: int, model: str) -> Decimal | None:
    return price(Usage(tokens, 0), provider="openai", model=model)
