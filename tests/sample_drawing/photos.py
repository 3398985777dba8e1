"""Receipts as scans and photographs: rotated, small, noisy, crumpled, dim; and a menu, which is not a receipt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from tests.sample_drawing.canvas import SCALE, Canvas, Color, Point, font, gradient, in_perspective
from tests.sample_drawing.receipts import RECEIPTS, WIDTH, paper

Pixels: TypeAlias = NDArray[Any]

_WOOD: tuple[Color, Color] = (150, 112, 78), (118, 84, 56)
_SLATE: tuple[Color, Color] = (92, 98, 106), (70, 75, 84)
_CLOTH: tuple[Color, Color] = (196, 186, 170), (170, 158, 140)


def scan(number: int) -> Image.Image:
    """Draw a receipt as a clean scan in shades of gray."""
    strip = paper(RECEIPTS[number])
    page = Image.new("RGB", (strip.width + 24 * SCALE, strip.height + 30 * SCALE), (233, 233, 233))
    page.paste(strip, (12 * SCALE, 12 * SCALE), strip)
    return page.reduce(SCALE).convert("L")


def photo(
    number: int,
    *,
    table: tuple[Color, Color] = _WOOD,
    turn: float = 0.0,
    lean: float = 0.0,
    folds: bool = False,
    light: Callable[[Pixels, Pixels], Pixels] = lambda x, y: 1.05 - 0.25 * x - 0.1 * y,
) -> Image.Image:
    """Draw a receipt on a table.

    Args:
        number: The index of the receipt.
        table: The colors of the table at the top and the bottom.
        turn: How far the receipt is turned, in degrees counterclockwise.
        lean: How much narrower the far end is, from 0 to 0.5.
        folds: Whether the paper was crumpled.
        light: The brightness of each point, whose coordinates are from 0 to 1.
    """
    strip = paper(RECEIPTS[number])
    if folds:
        strip = _crumpled(strip)
    height = strip.height / SCALE
    width = WIDTH + 80 + height * abs(np.sin(np.radians(turn)))
    size = (round(width), round(height + 60 + WIDTH * abs(np.sin(np.radians(turn)))))
    ground = gradient(*size, [(0.0, table[0]), (1.0, table[1])])
    corners = _corners(size, height, turn, lean)
    placed = in_perspective(strip, corners, ground.size)
    shadow = ImageChops.offset(placed.getchannel("A"), 5 * SCALE, 7 * SCALE).filter(ImageFilter.GaussianBlur(6 * SCALE))
    ground = Image.composite(Image.new("RGB", ground.size, (30, 24, 20)), ground, shadow.point(lambda v: v // 2))
    ground.paste(placed, (0, 0), placed)
    return _lit(ground.reduce(SCALE), light)


def _corners(size: tuple[int, int], height: float, turn: float, lean: float) -> list[Point]:
    angle, inset = np.radians(-turn), lean * WIDTH / 2
    flat = [
        (-WIDTH / 2 + inset, -height / 2),
        (WIDTH / 2 - inset, -height / 2),
        (WIDTH / 2, height / 2),
        (-WIDTH / 2, height / 2),
    ]
    cos, sin = np.cos(angle), np.sin(angle)
    return [(float(size[0] / 2 + x * cos - y * sin), float(size[1] / 2 + x * sin + y * cos)) for x, y in flat]


def _lit(image: Image.Image, light: Callable[[Pixels, Pixels], Pixels]) -> Image.Image:
    y, x = np.mgrid[0 : 1 : image.height * 1j, 0 : 1 : image.width * 1j]
    pixels = np.asarray(image, float) * light(x, y)[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).round().astype(np.uint8))


def _crumpled(strip: Image.Image) -> Image.Image:
    """Shade and shift the paper along folds in several directions."""
    y, x = np.mgrid[0 : strip.height, 0 : strip.width] / (SCALE * 100.0)
    shade, across = np.zeros(x.shape), np.zeros(x.shape)
    for angle, period, phase, depth in (
        (0.35, 2.3, 0.2, 0.05),
        (1.2, 1.9, 0.7, 0.045),
        (2.2, 2.9, 0.4, 0.06),
        (2.8, 3.7, 0.1, 0.05),
    ):
        wave = ((x * np.cos(angle) + y * np.sin(angle)) / period + phase) % 1
        fold = np.abs(wave - 0.5) * 2  # a ridge, with straight sides
        shade += depth * np.where(wave < 0.5, 1, -1) * (0.4 + 0.6 * fold)
        across += depth * 60 * SCALE * fold
    columns = np.clip(
        np.arange(strip.width)[None, :] + (across - across.mean()).round().astype(int), 0, strip.width - 1
    )
    pixels = np.asarray(strip)[np.arange(strip.height)[:, None], columns].astype(float)
    soft = Image.fromarray(((0.93 + shade) * 200).clip(0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(3 * SCALE)
    )
    pixels[..., :3] *= np.asarray(soft)[..., None] / 200
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGBA")


def _noisy(image: Image.Image, strength: float) -> Image.Image:
    """Add the grain of a poor camera: the same on each call, and as coarse as JPEG keeps it."""
    random = np.random.default_rng(7)
    grain = random.normal(0, strength, (image.height // 2 + 1, image.width // 2 + 1)).repeat(2, 0).repeat(2, 1)
    specks = random.random((image.height, image.width)) < 0.004
    pixels = np.asarray(image.convert("L"), float) + grain[: image.height, : image.width]
    pixels[specks] = 40
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def menu() -> Image.Image:
    """Draw the menu of a café: names and prices, but nothing was bought."""
    canvas = Canvas(gradient(420, 560, [(0.0, (38, 52, 46)), (1.0, (28, 40, 36))]))
    canvas.box(0, 0, 420, 560, (128, 92, 58))
    canvas.box(14, 14, 392, 532, (36, 50, 45))
    chalk: Color = (236, 232, 220)
    canvas.text(210, 66, "Today's Menu", font(34, bold=True, family="DejaVu Serif"), (246, 214, 140))
    canvas.line([(90, 98), (330, 98)], chalk, 2)
    dishes = (("Soup of the day", "5.50"), ("Cheese toast", "6.20"), ("Quiche & salad", "9.80"), ("Lemon cake", "4.40"))
    drinks = (("Coffee", "2.80"), ("Tea", "2.60"), ("Lemonade", "3.40"))
    y = 136
    for title, lines in (("to eat", dishes), ("to drink", drinks)):
        canvas.text(56, y, title, font(18, family="DejaVu Serif"), (246, 214, 140), anchor="lm")
        for name, price in lines:
            y += 38
            canvas.text(56, y, name, font(21, family="DejaVu Serif"), chalk, anchor="lm")
            canvas.text(364, y, price, font(21, family="DejaVu Serif"), chalk, anchor="rm")
        y += 50
    return canvas.final()


def pictures() -> list[tuple[str, Image.Image]]:
    """Return the name and the image of each receipt, in the order of `RECEIPTS`, and of the menu."""
    drawn = [
        ("png", scan(0)),
        ("png", scan(1)),
        ("jpg", photo(2, table=_CLOTH, turn=3)),
        ("png", scan(3)),
        ("jpg", photo(4, table=_SLATE, turn=-4, lean=0.08)),
        ("jpg", photo(5, table=_WOOD, turn=2).transpose(Image.Transpose.ROTATE_90)),
        ("jpg", photo(6, table=_CLOTH).resize((210, 163))),
        ("jpg", _noisy(scan(7), 22)),
        ("jpg", photo(8, table=_WOOD, turn=-2, folds=True)),
        ("jpg", photo(9, table=_SLATE, turn=6, light=_dim)),
        ("jpg", photo(10, table=_CLOTH, turn=-11, lean=0.16)),
        ("png", scan(11)),
        ("jpg", menu()),
    ]
    return [(f"receipt_{number:02}.{kind}", image) for number, (kind, image) in enumerate(drawn, 1)]


def _dim(x: Pixels, y: Pixels) -> Pixels:
    light: Pixels = 0.16 + 0.36 * np.exp(-((x - 0.35) ** 2 + (y - 0.4) ** 2) * 4)
    return light
