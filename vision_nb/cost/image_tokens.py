"""What an image costs in tokens, before it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from vision_nb.cost.image_rules import rule_for, view_of
from vision_nb.errors import ImageError
from vision_nb.images.decode import Size
from vision_nb.images.document import ImageDocument, ImageSource


@dataclass(frozen=True)
class ImageTokens:
    """The tokens of one image for one model.

    Attributes:
        tokens: Input tokens; None where the model's rule is not known or the image cannot be read, as
            unknown is not zero.
        model: The model asked about.
        detail: The detail level.
        size: Width and height of the image in pixels, or None.
        seen_size: Its width and height as the model sees it, or None.
        grid: Columns and rows of tiles or patches, or None.
        rule: The rule in a few words, or None.
        source: Where the rule comes from, and when it was read there, or None.
        error: Why the image cannot be counted, or None.
    """

    tokens: int | None
    model: str
    detail: str
    size: Size | None = None
    seen_size: Size | None = None
    grid: Size | None = None
    rule: str | None = None
    source: str | None = None
    error: str | None = None


@overload
def image_tokens(image_or_size: list[Any], model: str = "gpt-4o", detail: str | None = None) -> list[ImageTokens]: ...
@overload
def image_tokens(
    image_or_size: ImageSource | Size, model: str = "gpt-4o", detail: str | None = None
) -> ImageTokens: ...
def image_tokens(image_or_size: Any, model: str = "gpt-4o", detail: str | None = None) -> Any:
    """Count the tokens of an image as a model counts them.

    Args:
        image_or_size: A (width, height) in pixels; or any source of a picture, which is read no further than
            its header (a URL: no more than its first 64 KiB); or a list of these, for a list of counts.
        model: The model's name; snapshots and fine-tunes follow their base model.
        detail: "auto", "low", "high" or "original"; None takes a document's own, or auto.

    Raises:
        SettingsError: The size is not positive, or the model does not know the detail level.
        ImageError: The picture cannot be read, or has more patches than the API takes. In a list, it is an
            entry that says so, and the others are counted.

    >>> image_tokens((1024, 1024), "gpt-4o", "high").tokens
    765
    >>> image_tokens((1024, 1024), "some-new-model").tokens is None
    True
    """
    if isinstance(image_or_size, list):
        return [_counted_or_not(one, model, detail) for one in image_or_size]
    return _counted(image_or_size, model, detail)


def _counted_or_not(image_or_size: Any, model: str, detail: str | None) -> ImageTokens:
    try:
        return _counted(image_or_size, model, detail)
    except ImageError as error:
        return ImageTokens(None, model, detail or "auto", error=str(error))


def _counted(image_or_size: Any, model: str, detail: str | None) -> ImageTokens:
    if is_size(image_or_size):
        size: Size = image_or_size
    else:
        document = ImageDocument.of(image_or_size)
        size, detail = document.size, detail or document.detail
    detail = detail or "auto"
    view, rule = view_of(size, model, detail), rule_for(model)
    if view is None or rule is None:
        return ImageTokens(None, model, detail, size)
    return ImageTokens(view.tokens, model, detail, size, view.size, view.grid, rule.name, rule.source)


def is_size(value: Any) -> bool:
    """Whether a value is a (width, height) rather than a source of a picture."""
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(side, int) for side in value)


def total_tokens(counts: Sequence[ImageTokens]) -> int | None:
    """The tokens of several images together; None where one is not known."""
    known = [count.tokens for count in counts if count.tokens is not None]
    return sum(known) if len(known) == len(counts) else None
