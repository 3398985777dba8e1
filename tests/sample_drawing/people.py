"""The figures in the night scene: people, pine trees and lamps."""

from __future__ import annotations

import math

from PIL import Image, ImageChops, ImageDraw, ImageFilter

_DARK = (5, 7, 13)
_LAMP = (255, 196, 110)

# The position of the feet, in pixels from the left and from the top, and the pose.
_PEOPLE = (
    (96, 566, "stand"),
    (118, 567, "stand"),
    (232, 540, "walk"),
    (318, 612, "walk"),
    (352, 614, "stand"),
    (455, 538, "stand"),
    (466, 538, "child"),
    (477, 539, "stand"),
    (600, 576, "photo"),
    (692, 545, "walk"),
    (790, 622, "stand"),
    (820, 623, "stand"),
    (846, 621, "child"),
    (948, 560, "walk"),
)
_PINES = ((26, 1.0), (66, 0.72), (976, 0.9), (1012, 1.15))
_LAMPS = ((48, 428), (992, 436))


def figures(image: Image.Image, *, horizon: float, scale: int) -> Image.Image:
    """Add the figures to the night scene.

    Args:
        image: The night scene, before it is shrunk.
        horizon: The height of the horizon, in pixels of the final image.
        scale: How many times larger the image is than the final one.

    Returns:
        A new image.
    """
    image = image.copy()
    draw = ImageDraw.Draw(image)
    for x, size in _PINES:
        _pine(draw, x * scale, (horizon + 14) * scale, size * scale)
    light = Image.new("RGB", image.size)
    glow = ImageDraw.Draw(light)
    for x, y in _LAMPS:
        draw.line([(x * scale, y * scale), (x * scale, (horizon + 30) * scale)], _DARK, 3 * scale)
        glow.ellipse([(x - 5) * scale, (y - 5) * scale, (x + 5) * scale, (y + 5) * scale], _LAMP)
    for radius in (18, 5, 0.8):
        image = ImageChops.screen(image, light.filter(ImageFilter.GaussianBlur(radius * scale)))
    draw = ImageDraw.Draw(image)
    for x, feet, pose in sorted(_PEOPLE, key=lambda person: person[1]):
        # An adult's head is two thirds of the way from the feet to the horizon.
        tall = (feet - horizon) * 0.68 * (0.66 if pose == "child" else 1)
        _person(draw, x * scale, feet * scale, tall * scale, pose)
    return image


def _person(draw: ImageDraw.ImageDraw, x: float, feet: float, tall: float, pose: str) -> None:
    def at(right: float, up: float) -> tuple[float, float]:
        return x + right * tall, feet - up * tall

    def limb(points: list[tuple[float, float]], width: float) -> None:
        draw.line([at(*point) for point in points], _DARK, max(1, round(width * tall)), joint="curve")
        for right, up in points:
            _disc(draw, *at(right, up), width * tall / 2)

    stride = 0.12 if pose == "walk" else 0.045
    limb([(-0.04, 0.48), (-stride, 0.25), (-stride * 1.25, 0.02)], 0.085)
    limb([(0.04, 0.48), (stride * 1.1, 0.26), (stride, 0.02)], 0.085)
    draw.polygon(
        [at(-0.105, 0.80), at(0.105, 0.80), at(0.095, 0.62), at(0.11, 0.44), at(-0.11, 0.44), at(-0.095, 0.62)], _DARK
    )
    limb([(-0.075, 0.785), (0.075, 0.785)], 0.085)
    limb([(-0.02, 0.82), (0.02, 0.82)], 0.07)
    if pose == "photo":
        limb([(-0.12, 0.78), (-0.17, 0.70), (-0.05, 0.88)], 0.06)
        limb([(0.12, 0.78), (0.17, 0.70), (0.05, 0.88)], 0.06)
    else:
        swing = 0.06 if pose == "walk" else 0
        limb([(-0.105, 0.78), (-0.145, 0.60), (-0.125 - swing, 0.45)], 0.055)
        limb([(0.105, 0.78), (0.145, 0.60), (0.125 + swing, 0.46)], 0.055)
    limb([(0, 0.80), (0, 0.90)], 0.06)
    head_x, head_y = at(0, 0.925)
    draw.ellipse([head_x - tall * 0.06, head_y - tall * 0.075, head_x + tall * 0.06, head_y + tall * 0.075], _DARK)


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], _DARK)


def _pine(draw: ImageDraw.ImageDraw, x: float, foot: float, size: float) -> None:
    crown = foot - 120 * size
    draw.polygon([(x - 3 * size, foot), (x + 3 * size, foot), (x + 2 * size, crown), (x - 2 * size, crown)], _DARK)
    for side in (-1, 1):
        draw.line([(x, crown + 34 * size), (x + side * 22 * size, crown - 2 * size)], _DARK, round(2.5 * size))
    for n in range(-5, 6):
        middle = crown - 12 * size * math.cos(n / 5 * 1.4)
        across, down = 11 * size, (9 + 5 * math.cos(n / 5 * 1.5)) * size
        draw.ellipse([x + n * 7 * size - across, middle - down, x + n * 7 * size + across, middle + down * 0.7], _DARK)
