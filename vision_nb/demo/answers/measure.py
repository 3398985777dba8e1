"""Measure an image: size, brightness, contrast, sharpness, colors and similarity to another image."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from vision_nb.demo.answers.color_measurement import Color, Floats, main_colors, oklab

_COLOR_SIDE = 64  # pixels
_DETAIL_SIDE = 512  # pixels
_SIMILARITY_SIDE = 24  # pixels
OPAQUE = 32  # of 255; fainter pixels count as transparent
_BLUR_RADIUS = 4  # pixels
_SHORT_SIDE, _LONG_SIDE = 768, 2048
"""The sides, in pixels, to which images are scaled by the rule of GPT-4o, which counts the demo's tokens too."""

_UNLIKE = 0.4  # a mean OKLab distance at which two images count as entirely different


@dataclass(frozen=True)
class Measurement:
    """The measurements of one image.

    Attributes:
        width: In pixels.
        height: In pixels.
        brightness: Mean lightness, from 0 (black) to 1 (white).
        contrast: The range from the darkest to the brightest hundredth, from 0 to 1.
        blur: From 0 (sharp) to 1 (blurred); None if the image has no edges.
        flat: The share of neighboring pixels that are equal, from 0 to 1.
        transparency: From 0 (opaque) to 1 (transparent).
        colors: The main colors, largest first.
        thumbnail: The image as 24 x 24 pixels of OKLab.
    """

    width: int
    height: int
    brightness: float
    contrast: float
    blur: float | None
    flat: float
    transparency: float
    colors: list[Color]
    thumbnail: Floats

    @property
    def size(self) -> str:
        """Such as "1,024 x 640"."""
        return f"{self.width:,} x {self.height:,}"

    @property
    def pixels(self) -> str:
        """Such as "1,024 x 640 pixels"; "as sent" for a size to which larger images are scaled before they are sent."""
        is_scaled = min(self.width, self.height) == _SHORT_SIDE or max(self.width, self.height) == _LONG_SIDE
        return f"{self.size} pixels{' as sent' if is_scaled else ''}"

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The facts in words and numbers: a photograph has fine shades, and a drawing has flat areas."""
        ratio = self.width / self.height
        return {
            "width": self.width,
            "height": self.height,
            "shape": "square" if 0.98 < ratio < 1.02 else "landscape" if ratio > 1 else "portrait",
            "brightness": _level(self.brightness, (0.25, 0.45, 0.7, 0.88)),
            "contrast": _level(self.contrast, (0.12, 0.4, 0.75, 0.9)),
            "sharpness": "unknown" if self.blur is None else _level(1 - self.blur, (0.25, 0.4, 0.55, 0.7)),
            "kind": "drawing" if self.flat > 0.7 else "photograph" if self.flat < 0.5 else "image",
            "transparent_percent": round(100 * self.transparency),
            "colors": self.colors,
        }


def _level(value: float, limits: Sequence[float]) -> str:
    return ("very low", "low", "medium", "high", "very high")[bisect(limits, value)]


def measure(image: Image.Image) -> Measurement:
    """Measure an image of any size and mode; transparent areas count as white except in the colors."""
    width, height = image.size
    image = rgba(image, _DETAIL_SIDE)
    small = image.copy()
    small.thumbnail((_COLOR_SIDE, _COLOR_SIDE), Image.Resampling.NEAREST)
    pixels = np.asarray(small)
    opaque = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    gray = opaque.convert("L")
    blur, flat = _detail(gray)
    darkest, brightest = np.percentile(np.asarray(gray), (1, 99))
    thumbnail = oklab(np.asarray(opaque.resize((_SIMILARITY_SIDE, _SIMILARITY_SIDE), Image.Resampling.BOX)))
    return Measurement(
        width=width,
        height=height,
        brightness=float(thumbnail[..., 0].mean()),
        contrast=float(brightest - darkest) / 255,
        blur=blur,
        flat=flat,
        transparency=1 - float(pixels[..., 3].mean()) / 255,
        colors=main_colors(pixels[..., :3], pixels[..., 3] >= OPAQUE),
        thumbnail=thumbnail,
    )


def rgba(image: Image.Image, side: int) -> Image.Image:
    """Return a small copy of an image of any mode, with transparency.

    Args:
        image: The image.
        side: The longest side of the copy in pixels.
    """
    image = image.copy()
    image.thumbnail((side, side), Image.Resampling.NEAREST)
    if image.mode.startswith("I"):  # 16 bits a pixel
        image = image.point(lambda value: value / 256).convert("L")
    return image.convert("RGBA")


def similarity(one: Measurement, other: Measurement) -> float:
    """Return how similar two images look as thumbnails, from 0 to 1."""
    distance = float(np.linalg.norm(one.thumbnail - other.thumbnail, axis=-1).mean())
    return max(0.0, 1 - distance / _UNLIKE)


def _detail(gray: Image.Image) -> tuple[float | None, float]:
    """Return the blur and the flatness of an image.

    The blur is how little contrast between neighbors an image loses when it is blurred once more: after Crete et al.,
    "The blur effect" (2007).
    """
    before, after = (_steps(one) for one in (gray, gray.filter(ImageFilter.BoxBlur(_BLUR_RADIUS))))
    if before.size == 0 or before.mean() < 0.05:
        return None, 1.0
    return 1 - float(np.maximum(before - after, 0).sum() / before.sum()), float((before == 0).mean())


def _steps(gray: Image.Image) -> npt.NDArray[np.float32]:
    pixels = np.asarray(gray, dtype=np.float32)
    return np.concatenate([np.abs(np.diff(pixels, axis=axis)).ravel() for axis in (0, 1)])
