"""What the sample pictures have in common: large canvases, gradients, glows and letters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont

SCALE = 3  # a drawing is this many times too large, and its edges turn smooth as it shrinks

Colour = tuple[int, int, int]
Point = tuple[float, float]


@cache
def font(size: float, *, bold: bool = False, family: str = "DejaVu Sans") -> ImageFont.FreeTypeFont:
    """A font of matplotlib's own, so that letters are the same on every machine.

    Args:
        size: The height in pixels of the finished picture.
        bold: Whether strokes are heavy.
        family: ``"DejaVu Sans"``, ``"DejaVu Serif"`` or ``"DejaVu Sans Mono"``.

    Returns:
        The font, at the size of the large canvas.
    """
    file = findfont(FontProperties(family=family, weight="bold" if bold else "normal"), fallback_to_default=False)
    return ImageFont.truetype(file, size * SCALE, layout_engine=ImageFont.Layout.BASIC)


def gradient(width: int, height: int, stops: Sequence[tuple[float, Colour]], *, across: bool = False) -> Image.Image:
    """Colours that run into each other, from top to bottom or from left to right.

    Args:
        width: The width in pixels of the finished picture.
        height: The height in pixels of the finished picture.
        stops: Where, from 0 to 1, which colour is pure.
        across: Whether the colours run from left to right.

    Returns:
        The picture, at the size of the large canvas.
    """
    size = (round(width * SCALE), round(height * SCALE))
    length = size[0] if across else size[1]
    # Each step is one pixel of the finished picture, or shrinking would bring back the in-between colours.
    where = np.repeat(np.linspace(0, 1, -(-length // SCALE)), SCALE)[:length]
    channels = [np.interp(where, [at for at, _ in stops], [colour[n] for _, colour in stops]) for n in range(3)]
    line = np.stack(channels, axis=-1).round().astype(np.uint8)
    strip = Image.fromarray(line[np.newaxis] if across else line[:, np.newaxis])
    return strip.resize(size, Image.Resampling.NEAREST)


class Sheet:
    """A large canvas, measured in pixels of the finished picture."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill the area between points."""
        self._draw.polygon([(x * SCALE, y * SCALE) for x, y in points], colour)

    def box(self, x: float, y: float, width: float, height: float, colour: Colour, *, radius: float = 0) -> None:
        """Fill a rectangle, with round corners where there is a radius."""
        corners = (x * SCALE, y * SCALE, (x + width) * SCALE - 1, (y + height) * SCALE - 1)
        self._draw.rounded_rectangle(corners, radius * SCALE, colour)

    def ellipse(self, x: float, y: float, across: float, down: float, colour: Colour) -> None:
        """Fill an ellipse around a point; the radii are half its width and half its height."""
        corners = ((x - across) * SCALE, (y - down) * SCALE, (x + across) * SCALE, (y + down) * SCALE)
        self._draw.ellipse(corners, colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float = 1) -> None:
        """Draw a line along points."""
        self._draw.line([(x * SCALE, y * SCALE) for x, y in points], colour, round(width * SCALE), joint="curve")

    def text(
        self,
        x: float,
        y: float,
        words: str,
        letters: ImageFont.FreeTypeFont,
        colour: Colour,
        *,
        anchor: str = "mm",
        spacing: float = 0,
    ) -> None:
        """Write words at a point; the anchor is Pillow's, and spacing is added after every letter."""
        if not spacing:
            self._draw.text((x * SCALE, y * SCALE), words, colour, letters, anchor=anchor)
            return
        widths = [letters.getlength(letter) + spacing * SCALE for letter in words]
        left = x * SCALE - (sum(widths) - spacing * SCALE) * {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]]
        for letter, width in zip(words, widths, strict=True):
            self._draw.text((left, y * SCALE), letter, colour, letters, anchor=f"l{anchor[1]}")
            left += width

    def paste(self, picture: Image.Image, x: float, y: float, *, radius: float = 0) -> None:
        """Put a large picture down, with round corners where there is a radius."""
        mask = Image.new("L", picture.size, 0)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, picture.width - 1, picture.height - 1), radius * SCALE, 255)
        self.image.paste(picture, (round(x * SCALE), round(y * SCALE)), mask)

    def fill(self, points: Sequence[Point], picture: Image.Image) -> None:
        """Fill the area between points from a picture as large as the canvas."""
        mask = Image.new("L", self.image.size, 0)
        ImageDraw.Draw(mask).polygon([(x * SCALE, y * SCALE) for x, y in points], 255)
        self.image.paste(picture, (0, 0), mask)

    def finished(self) -> Image.Image:
        """The picture at its own size."""
        return self.image.reduce(SCALE)


def tilted(image: Image.Image, corners: Sequence[Point], size: tuple[int, int]) -> Image.Image:
    """See a flat picture in perspective.

    Args:
        image: The picture, with its transparency.
        corners: Where its top left, top right, bottom right and bottom left corners go, in finished pixels.
        size: The size of the large canvas.

    Returns:
        A picture of that size, transparent around the tilted one.
    """
    flat = [(0, 0), (image.width, 0), (image.width, image.height), (0, image.height)]
    rows, goals = [], []
    for (x, y), (u, v) in zip([(x * SCALE, y * SCALE) for x, y in corners], flat, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        goals += [u, v]
    weights = np.linalg.solve(np.array(rows, float), np.array(goals, float))
    return image.transform(size, Image.Transform.PERSPECTIVE, weights.tolist(), Image.Resampling.BICUBIC)
