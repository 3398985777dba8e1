"""Drawn pages of small text, and measures of how well a copy keeps it."""

from __future__ import annotations

import random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLORS = ("black", "#0645ad", "#a31515", "#008000")
"""Black, and the colors of links, strings and comments in screenshots."""


def page_of_text(width: int = 4000, height: int = 3000, *, letters: int = 22, colors: tuple[str, ...] = COLORS):
    """Draw a page full of words without meaning, the same for the same arguments; ``letters`` is their height."""
    generator = random.Random(0)
    page = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(letters)
    words = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=3 + n % 6)) for n in range(400)]
    for top in range(letters, height - letters, int(letters * 1.5)):
        left = letters
        while left < width - 6 * letters:
            word = generator.choice(words)
            draw.text((left, top), word, fill=generator.choice(colors), font=font)
            left += int(draw.textlength(word, font)) + letters // 2
    return page


def photograph(width: int = 4000, height: int = 3000):
    """Draw shapes without edges and add noise, as the pixels of a camera have it."""
    generator = np.random.default_rng(0)
    shapes = generator.integers(0, 255, (60, 90, 3), dtype=np.uint8)
    scene = np.asarray(Image.fromarray(shapes).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noise = generator.normal(0, 8, (height, width, 1)).astype(np.int16)
    return Image.fromarray(np.clip(scene + noise, 0, 255).astype(np.uint8))


def psnr(image: Image.Image, reference: Image.Image) -> float:
    """Return the peak signal-to-noise ratio in decibels; infinity for equal images."""
    first, second = (np.asarray(one.convert("RGB"), np.float64) for one in (image, reference))
    error = float(((first - second) ** 2).mean())
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def ssim(image: Image.Image, reference: Image.Image) -> float:
    """Return the mean structural similarity of the brightness, in windows of 7 x 7 pixels.

    Constants as in Wang, Bovik, Sheikh and Simoncelli, 2004.
    """
    x, y = (np.asarray(one.convert("L"), np.float64) for one in (image, reference))
    mean_x, mean_y = _means(x), _means(y)
    variance_x, variance_y = _means(x * x) - mean_x**2, _means(y * y) - mean_y**2
    covariance = _means(x * y) - mean_x * mean_y
    first, second = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean_x * mean_y + first) * (2 * covariance + second)
    return float((likeness / ((mean_x**2 + mean_y**2 + first) * (variance_x + variance_y + second))).mean())


def _means(values, side: int = 7):
    sums = np.cumsum(np.cumsum(np.pad(values, ((1, 0), (1, 0))), axis=0), axis=1)
    return (sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]) / side**2
