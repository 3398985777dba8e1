"""Draw boxes and their labels on images."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.numbers import check_count, plain_number
from vision_nb.errors import ImageError, SettingsError
from vision_nb.images.boxes import Box, is_finite_number
from vision_nb.images.document import ImageDocument
from vision_nb.images.pixels import on_white
from vision_nb.images.sources import ImageSource

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#F0E442", "#56B4E9", "#E69F00")
"""Colors that people with color blindness can tell apart (Okabe and Ito, 2008)."""

_SHOWN_SIDE = 640  # pixels of an image below an answer
_LINES = 300  # an image's longest side is this many lines wide
_LETTERS = 45  # and this many letters high
_MAX_LABEL = 200  # characters
_MAX_SHOWN = 300  # boxes below an answer; drawing more would take seconds
_BRIGHT = 0.18  # the relative luminance at which black and white text have the same contrast (WCAG 2.2)


@checks_arguments
def draw_boxes(
    image: ImageSource,
    boxes: Box | Sequence[float] | Iterable[Box | Sequence[float]],
    *,
    labels: bool = True,
    max_side: int | None = None,
) -> ImageDocument:
    """Draw boxes and their labels on an image.

    Each label has a color. Lines have a dark and a light edge, and labels a background, so that they can be read on any
    image; lines and letters grow with the image. Points are drawn as circles. Pillow's own font has Latin letters only:
    characters that it lacks appear as empty boxes.

    Args:
        image: The image.
        boxes: One or more boxes, such as ``response.boxes()`` returns, or (left, top, right, bottom), in pixels of the
            upright image. What is outside the image is not drawn.
        labels: Whether to draw the labels.
        max_side: The longest side of the result in pixels; None for the image's own size. A smaller result is drawn at
            its own size, so that its labels can be read.

    Returns:
        A new image, as a document; ``.to_pil().save("boxes.png")`` saves it.

    Raises:
        SettingsError: A value is not a box, labels is not True or False, or max_side is not a positive integer.
        ImageError: The image cannot be found, read or decoded.

    >>> chart = vn.samples.path("chart")
    >>> vn.draw_boxes(chart, [vn.Box(100, 80, 400, 300, "bars")], max_side=500).size
    (500, 300)
    """
    max_side = check_count(max_side, "max_side")
    if not isinstance(labels, bool):
        raise SettingsError(f"labels must be True or False, not {labels!r:.80}: each box has its own label.")
    document = ImageDocument.of(image)
    if not isinstance(boxes, Iterable):
        raise SettingsError(f"boxes= must be a list of boxes: got {boxes!r:.80}.")
    listed: list[Any] = [boxes] if isinstance(boxes, Box) else list(boxes)
    if listed and is_finite_number(plain_number(listed[0])):  # the four numbers of one box
        listed = [listed]
    checked = [Box.of(box) for box in listed]
    size, pixels = document.size, on_white(document.to_pil(max_side), []).convert("RGB")
    target = pixels.size
    scale = (target[0] / size[0], target[1] / size[1])
    visible = [part for box in checked if (part := _scaled(box, scale).clamped(target)) is not None]
    _draw(pixels, visible, labels=labels)
    return ImageDocument(image=pixels, detail=document.detail, image_name=f"{document.title} with boxes")


class AnswerWithBoxes(Protocol):
    """What this module reads of a `Response`."""

    def boxes(self) -> list[Box]:
        """Return the boxes in the answer."""


def images_with_boxes(documents: Sequence[ImageDocument], response: AnswerWithBoxes) -> list[ImageDocument]:
    """Return small copies of a question's images with the boxes in its answer, for display.

    An image is returned unchanged if the answer has no boxes for it, or if their position is not known because the
    question has several images, the model's convention is not known, or only the image's URL was sent. Nothing is
    downloaded. Of more than 300 boxes, the first 300 are drawn.

    Args:
        documents: The images of the question.
        response: The answer.
    """
    try:
        is_clear = len(documents) == 1 and not documents[0].needs_download
        boxes = response.boxes()[:_MAX_SHOWN] if is_clear else []
        return [draw_boxes(document, boxes, max_side=_SHOWN_SIDE) if boxes else document for document in documents]
    except (SettingsError, ImageError):
        return list(documents)


def _scaled(box: Box, scale: tuple[float, float]) -> Box:
    x, y = scale
    return replace(box, left=box.left * x, top=box.top * y, right=box.right * x, bottom=box.bottom * y)


def _draw(pixels: Image.Image, boxes: Sequence[Box], *, labels: bool) -> None:
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(pixels)
    names = list(dict.fromkeys(box.label for box in boxes))
    colors = {name: COLORS[index % len(COLORS)] for index, name in enumerate(names)}
    line = max(3, round(max(pixels.size) / _LINES))
    for box in boxes:
        _draw_outline(draw, box, colors[box.label], line)
    if labels:
        font = ImageFont.load_default(max(12, round(max(pixels.size) / _LETTERS)))
        for box in boxes:  # above all lines
            if box.label:
                _draw_label(draw, box, colors[box.label], pixels.size, font)


def _draw_outline(draw: ImageDraw.ImageDraw, box: Box, color: str, line: int) -> None:
    """Draw a box, or a circle for a point, whose color is between black and white."""
    radius = 3 * line if box.is_point else 0
    for fill, margin, width in (("black", 2, 1), ("white", 1, 1), (color, 0, line), ("white", -line, 1)):
        grown = radius + margin
        sides = (box.left - grown, box.top - grown, box.right + grown, box.bottom + grown)
        if sides[0] <= sides[2] and sides[1] <= sides[3]:
            (draw.ellipse if box.is_point else draw.rectangle)(sides, outline=fill, width=width)


def _draw_label(draw: ImageDraw.ImageDraw, box: Box, color: str, size: tuple[int, int], font: Font) -> None:
    """Draw a label above a box, or within it if there is no room, shortened to the image's width."""
    from PIL import ImageFont

    margin = max(2, int(font.size / 5)) if isinstance(font, ImageFont.FreeTypeFont) else 2
    text = " ".join(box.label[:_MAX_LABEL].split())  # Pillow measures single lines only
    if len(text) > 1 and draw.textlength(text, font) + 2 * margin > size[0]:
        room = size[0] - 2 * margin
        end = bisect_right(
            range(2, len(text)), room, key=lambda end: math.ceil(draw.textlength(f"{text[:end]}…", font))
        )
        text = f"{text[: end + 1].rstrip()}…"
    left, top, right, bottom = draw.textbbox((0, 0), text, font)
    width, height = right - left + 2 * margin, bottom - top + 2 * margin
    x = max(0, min(box.left, size[0] - width))
    y = box.top - height if box.top >= height else min(box.top, size[1] - height)
    draw.rectangle((x, y, x + width, y + height), fill=color, outline="white")
    draw.text((x + margin - left, y + margin - top), text, fill=_text_color(color), font=font)


def _text_color(background: str) -> str:
    """Return black or white, whichever has more contrast with a background."""
    from PIL import ImageColor

    channels = [value / 255 for value in ImageColor.getrgb(background)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return "black" if sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True)) > _BRIGHT else "white"
