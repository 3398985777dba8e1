"""A large canvas, gradients and fonts for the sample images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image, ImageDraw, ImageFont

SCALE = 3  # images are drawn this many times larger, and then shrunk for smooth edges

Color = tuple[int, int, int]
Point = tuple[float, float]


@cache
def font(size: float, *, bold: bool = False, family: str = "DejaVu Sans") -> ImageFont.FreeTypeFont:
    """Return one of matplotlib's fonts, so that text is the same on every machine.

    Args:
        size: The height in pixels of the final image.
        bold: Whether to use the bold weight.
        family: ``"DejaVu Sans"``, ``"DejaVu Serif"`` or ``"DejaVu Sans Mono"``.

    Returns:
        The font, at the scale of the canvas.
    """
    file = findfont(FontProperties(family=family, weight="bold" if bold else "normal"), fallback_to_default=False)
    return ImageFont.truetype(file, size * SCALE, layout_engine=ImageFont.Layout.BASIC)


def gradient(width: int, height: int, stops: Sequence[tuple[float, Color]], *, across: bool = False) -> Image.Image:
    """Return a color gradient, from top to bottom or from left to right.

    Args:
        width: The width in pixels of the final image.
        height: The height in pixels of the final image.
        stops: Pairs of a position, from 0 to 1, and the color there.
        across: Whether the gradient runs from left to right.

    Returns:
        The gradient, at the scale of the canvas.
    """
    size = (round(width * SCALE), round(height * SCALE))
    length = size[0] if across else size[1]
    # Each step is one pixel of the final image; otherwise shrinking would add the colors in between.
    where = np.repeat(np.linspace(0, 1, -(-length // SCALE)), SCALE)[:length]
    channels = [np.interp(where, [at for at, _ in stops], [color[n] for _, color in stops]) for n in range(3)]
    line = np.stack(channels, axis=-1).round().astype(np.uint8)
    strip = Image.fromarray(line[np.newaxis] if across else line[:, np.newaxis])
    return strip.resize(size, Image.Resampling.NEAREST)


class Canvas:
    """A large canvas whose coordinates are pixels of the final image."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """Fill a polygon."""
        self._draw.polygon([(x * SCALE, y * SCALE) for x, y in points], color)

    def box(self, x: float, y: float, width: float, height: float, color: Color, *, radius: float = 0) -> None:
        """Fill a rectangle, with rounded corners if a radius is given."""
        corners = (x * SCALE, y * SCALE, (x + width) * SCALE - 1, (y + height) * SCALE - 1)
        self._draw.rounded_rectangle(corners, radius * SCALE, color)

    def ellipse(self, x: float, y: float, across: float, down: float, color: Color) -> None:
        """Fill an ellipse around a point; ``across`` and ``down`` are its radii."""
        corners = ((x - across) * SCALE, (y - down) * SCALE, (x + across) * SCALE, (y + down) * SCALE)
        self._draw.ellipse(corners, color)

    def line(self, points: Sequence[Point], color: Color, width: float = 1) -> None:
        """Draw a line through points."""
        self._draw.line([(x * SCALE, y * SCALE) for x, y in points], color, round(width * SCALE), joint="curve")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        font: ImageFont.FreeTypeFont,
        color: Color,
        *,
        anchor: str = "mm",
        spacing: float = 0,
    ) -> None:
        """Draw text at a point; the anchor is Pillow's, and spacing is added after each letter."""
        if not spacing:
            self._draw.text((x * SCALE, y * SCALE), text, color, font, anchor=anchor)
            return
        widths = [font.getlength(letter) + spacing * SCALE for letter in text]
        left = x * SCALE - (sum(widths) - spacing * SCALE) * {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]]
        for letter, width in zip(text, widths, strict=True):
            self._draw.text((left, y * SCALE), letter, color, font, anchor=f"l{anchor[1]}")
            left += width

    def paste(self, image: Image.Image, x: float, y: float, *, radius: float = 0) -> None:
        """Paste an image of the canvas's scale, with rounded corners if a radius is given."""
        mask = Image.new("L", image.size, 0)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, image.width - 1, image.height - 1), radius * SCALE, 255)
        self.image.paste(image, (round(x * SCALE), round(y * SCALE)), mask)

    def fill(self, points: Sequence[Point], image: Image.Image) -> None:
        """Fill a polygon from an image of the canvas's size."""
        mask = Image.new("L", self.image.size, 0)
        ImageDraw.Draw(mask).polygon([(x * SCALE, y * SCALE) for x, y in points], 255)
        self.image.paste(image, (0, 0), mask)

    def final(self) -> Image.Image:
        """Return the image at its final size."""
        return self.image.reduce(SCALE)


def in_perspective(image: Image.Image, corners: Sequence[Point], size: tuple[int, int]) -> Image.Image:
    """Transform a flat image to perspective.

    Args:
        image: An image with transparency.
        corners: Where its top left, top right, bottom right and bottom left corners go, in pixels of the final image.
        size: The size of the canvas.

    Returns:
        An image of that size, transparent around the transformed one.
    """
    flat = [(0, 0), (image.width, 0), (image.width, image.height), (0, image.height)]
    rows, targets = [], []
    for (x, y), (u, v) in zip([(x * SCALE, y * SCALE) for x, y in corners], flat, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        targets += [u, v]
    weights = np.linalg.solve(np.array(rows, float), np.array(targets, float))
    return image.transform(size, Image.Transform.PERSPECTIVE, weights.tolist(), Image.Resampling.BICUBIC)
