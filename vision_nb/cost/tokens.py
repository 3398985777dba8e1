"""What an image costs in tokens, before it is sent."""

from __future__ import annotations

from dataclasses import dataclass

from vision_nb.cost.rules import rule_for, view_of
from vision_nb.images import ImageDocument, ImageSource
from vision_nb.pixels import Size


@dataclass(frozen=True)
class ImageTokens:
    """The tokens of one image for one model.

    Attributes:
        tokens: Input tokens, or None where the model's rule is not known: unknown is not zero.
        model: The model asked about.
        detail: The detail level.
        size: Width and height of the image in pixels.
        seen_size: Its width and height as the model sees it, or None.
        grid: Columns and rows of tiles or patches, or None.
        rule: The rule in a few words, or None.
        source: Where the rule comes from, and when it was read there, or None.
    """

    tokens: int | None
    model: str
    detail: str
    size: Size
    seen_size: Size | None = None
    grid: Size | None = None
    rule: str | None = None
    source: str | None = None


def image_tokens(image_or_size: ImageSource | Size, model: str = "gpt-4o", detail: str = "auto") -> ImageTokens:
    """Count the tokens of an image as a model counts them.

    Args:
        image_or_size: A (width, height) in pixels, or any source of a picture, which is read no further than
            its header.
        model: The model's name; snapshots and fine-tunes follow their base model.
        detail: "auto", "low", "high" or "original".

    Raises:
        SettingsError: The size is not positive, or the model does not know the detail level.
        ImageError: The picture cannot be read, or has more patches than the API takes.

    >>> image_tokens((1024, 1024), "gpt-4o", "high").tokens
    765
    >>> image_tokens((1024, 1024), "some-new-model").tokens is None
    True
    """
    is_size = isinstance(image_or_size, tuple) and all(isinstance(side, int) for side in image_or_size)
    size = image_or_size if is_size else ImageDocument.of(image_or_size).size
    view, rule = view_of(size, model, detail), rule_for(model)
    if view is None or rule is None:
        return ImageTokens(None, model, detail, size)
    return ImageTokens(view.tokens, model, detail, size, view.size, view.grid, rule.name, rule.source)
