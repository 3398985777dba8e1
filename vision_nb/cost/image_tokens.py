"""Token counts of images, without sending them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.numbers import plain_number
from vision_nb.cost.image_rules import checked_row, row_for, view_of
from vision_nb.cost.model_reference import counted_model
from vision_nb.cost.rule_kinds import MAX_PATCHES
from vision_nb.errors import ImageError, ImageTooLargeError, SettingsError
from vision_nb.images.decode import Size
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.images.prepare import fit_within
from vision_nb.rendering.format import format_count, pluralize
from vision_nb.rendering.terminal import Report, TerminalPart

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, repr=False)
class ImageTokens(Report):
    """The tokens of one image for one model.

    Attributes:
        tokens: Input tokens; None if the model's rule is not known or the image cannot be read.
        model: The model's name.
        detail: The detail level.
        size: Width and height of the image in pixels, or None.
        seen_size: Its width and height as the model sees it, or None.
        grid: Columns and rows of tiles or patches, or None.
        rule: The rule in a few words, or None.
        source: Where the rule comes from, and when the source was read, or None.
        is_estimate: Whether the count is an estimate: the rule is known to differ from real counts at this size, or
            depends on the server. `calibrate` measures it.
        checked: Which real counts or published examples the rule was compared with; None if it was only read.
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
    is_estimate: bool = False
    checked: str | None = None
    error: str | None = None

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        model = f"{self.model}, detail {self.detail}"
        size = "" if self.size is None else f", {self.size[0]} x {self.size[1]} pixels"
        seen = "" if self.seen_size is None else f" seen as {self.seen_size[0]} x {self.seen_size[1]}"
        rule = "" if self.rule is None else f" ({self.rule})"
        tokens = f"{format_count(self.tokens, is_estimate=self.is_estimate)} tokens"
        yield f"{self.error or tokens}: {model}{size}{seen}{rule}"


@overload
def image_tokens(image_or_size: list[Any], model: Any = "gpt-4o", detail: str | None = None) -> list[ImageTokens]: ...
@overload
def image_tokens(
    image_or_size: ImageSource | Size, model: Any = "gpt-4o", detail: str | None = None
) -> ImageTokens: ...
@checks_arguments
def image_tokens(image_or_size: Any, model: Any = "gpt-4o", detail: str | None = None) -> Any:
    """Count the tokens of an image by the model's rule.

    Args:
        image_or_size: A (width, height) in pixels; or an image source, of which only the header is read (at
            most the first 64 KiB of a URL); or a list of these, which returns a list.
        model: A model's name, such as "gpt-4o" or "provider:model", or a model object. A snapshot or fine-tune uses its
            base model's rule.
        detail: "auto", "low", "high" or "original"; None uses the document's own level, or "auto".

    Raises:
        SettingsError: The size is not positive, the model's name is misspelled, or the model does not support the
            detail level.
        ImageError: The image cannot be read, or has more patches than the API accepts. For a list, this is
            the ``error`` of one entry, and the others are counted.

    >>> vn.image_tokens((1024, 1024), "gpt-4o", "high").tokens
    765
    >>> vn.image_tokens((1024, 1024), "some-new-model").tokens is None
    True
    """
    name = counted_model(model).model
    if isinstance(image_or_size, list):
        return count_images(image_or_size, name, detail)
    return _count(image_or_size, name, detail, "auto")


def count_images(
    images_or_sizes: Iterable[Any],
    model: str,
    detail: str | None,
    *,
    default_detail: str | None = None,
    max_side: int | None = None,
) -> list[ImageTokens]:
    """Count the tokens of each image; an image that cannot be counted has an error instead.

    Args:
        images_or_sizes: Sizes or image sources.
        model: The model's name.
        detail: The detail level of all images, or None for each document's own.
        default_detail: The detail level of sizes and of documents without their own; None means "auto".
        max_side: The longest side in pixels at which the images are sent, or None for the rule's own.
    """
    default_detail = default_detail or "auto"
    counts = []
    for one in images_or_sizes:
        try:
            counts.append(_count(one, model, detail, default_detail, max_side))
        except ImageError as error:
            counts.append(ImageTokens(None, model, detail or default_detail, error=str(error)))
    return counts


def _count(
    image_or_size: Any, model: str, detail: str | None, default_detail: str, max_side: int | None = None
) -> ImageTokens:
    size = as_size(image_or_size)
    if size is None:
        document = ImageDocument.of(image_or_size)
        size, detail = document.size, detail or document.detail
    detail = detail or default_detail
    sent = size if max_side is None else fit_within(size, max_side)
    view, row = view_of(sent, model, detail), row_for(model)
    if view is None or row is None:
        return ImageTokens(None, model, detail, size)
    return ImageTokens(
        view.tokens,
        model,
        detail,
        size,
        view.size,
        view.grid,
        row.rule.name,
        row.reference,
        view.is_estimate,
        row.checked,
    )


@checks_arguments
def image_tokens_array(
    widths: ArrayLike, heights: ArrayLike, model: Any = "gpt-4o", detail: str = "auto"
) -> NDArray[np.int64] | None:
    """Count the tokens of many images by their sizes.

    Args:
        widths: Widths in pixels.
        heights: Heights in pixels, in the same shape.
        model: A model's name, such as "gpt-4o" or "provider:model", or a model object.
        detail: "auto", "low", "high" or "original".

    Returns:
        The tokens, in the shape of the sizes, including estimates; None if the model's rule is not known.

    Raises:
        SettingsError: A size is missing or not a positive integer, the shapes differ, or the model does not support the
            detail level.
        ImageTooLargeError: An image has more patches than the API accepts.

    >>> vn.image_tokens_array([1024, 512], [1024, 1024], "gpt-4o", "high")
    array([765, 425])
    """
    import numpy as np

    row = checked_row(counted_model(model).model, detail)
    width, height = _sides(widths, "widths"), _sides(heights, "heights")
    if width.shape != height.shape:
        raise SettingsError(f"The widths have shape {width.shape} and the heights {height.shape}: they must match.")
    if row is None:
        return None
    _, _, columns, rows, tokens = row.rule.count(width, height, detail)
    too_large = int(np.count_nonzero(columns * rows > MAX_PATCHES))
    if too_large:
        raise ImageTooLargeError(
            f"{pluralize(too_large, 'image has', 'images have')} more than {MAX_PATCHES:,} patches at detail {detail}, "
            "which OpenAI refuses: use a lower detail level."
        )
    return np.full(width.shape, tokens, dtype=np.int64)


def _sides(values: ArrayLike, argument: str) -> NDArray[np.int64]:
    """Return widths or heights as integers."""
    import numpy as np

    try:
        given: Any = np.asarray(values)
        with np.errstate(invalid="ignore"):  # of missing values, which are then different
            sides: NDArray[np.int64] = given.astype(np.int64)
        if not np.all((sides == given) & (sides > 0)):
            raise ValueError("a value is missing, has decimals or is not positive")
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(
            f"{argument} must be integers of at least 1, in pixels: leave out the images whose size is missing."
        ) from error
    return sides


def as_size(value: Any) -> Size | None:
    """Return a (width, height), or None if a value is an image source."""
    if not isinstance(value, tuple) or len(value) != 2:
        return None
    width, height = map(plain_number, value)
    return (width, height) if type(width) is type(height) is int else None
