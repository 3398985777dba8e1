"""What can be measured on a picture: size, light, contrast, sharpness, kind, colours, likeness."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from vision_nb.demo.answers.colors import Colour, Floats, main_colours, oklab

_SMALL = 80  # pixels a side for colours
_MEDIUM = 512  # pixels a side for sharpness: about what a screen shows
_SAMPLED = 320  # pixels a side for flat areas
_VISIBLE = 32  # of 255: a thin line on a transparent ground is pale once it is shrunk
_ALIKE = 24  # pixels a side for likeness
_HUGE = 1e12  # a float picture's infinity
_BLUR_WINDOW = 9  # pixels, as in the paper
_UNLIKE = 0.4  # a mean OKLab distance at which two pictures count as wholly unlike


@dataclass(frozen=True)
class Measured:
    """What was measured on one picture.

    Attributes:
        width: In pixels.
        height: In pixels.
        light: Mean lightness, 0 (black) to 1 (white).
        contrast: What lies between the darkest and the brightest hundredth, 0 to 1.
        blur: From 0 (every edge sharp) to 1 (no sharp edge); None where there are no edges.
        flat: The part of neighbouring pixels that are all but equal, 0 to 1.
        palette: How many colours hold nine tenths of the pixels, at 32 levels a channel.
        transparent: The mean transparency, from 0 (none) to 1 (nothing to see).
        colours: The main colours, largest first.
        small: The whole picture as (24, 24, 3) OKLab, for likeness.
    """

    width: int
    height: int
    light: float
    contrast: float
    blur: float | None
    flat: float
    palette: int
    transparent: float
    colours: list[Colour]
    small: Floats

    @property
    def shape(self) -> str:
        """Square, landscape or portrait."""
        ratio = self.width / self.height
        return "square" if 0.98 < ratio < 1.02 else "landscape" if ratio > 1 else "portrait"

    @property
    def brightness(self) -> str:
        """The light in words."""
        steps = (0.25, "very dark"), (0.45, "rather dark"), (0.7, "medium"), (0.88, "bright")
        return _word(self.light, *steps, (math.inf, "very bright"))

    @property
    def contrast_word(self) -> str:
        """The contrast in words."""
        return _word(self.contrast, (0.12, "hardly any"), (0.4, "soft"), (0.75, "moderate"), (math.inf, "strong"))

    @property
    def sharpness(self) -> str:
        """The sharpness in words; empty where there are no edges."""
        if self.blur is None:
            return ""
        return _word(self.blur, (0.45, "sharp"), (0.6, "a little soft"), (math.inf, "blurred"))

    @property
    def kind(self) -> str:
        """Drawing or photograph; empty where neither is likelier."""
        if self.blur is None:
            return ""
        if self.flat > 0.6 and self.palette <= 40:
            return "drawing"
        return "photograph" if self.flat < 0.5 and self.palette > 40 else ""


def _word(value: float, *steps: tuple[float, str]) -> str:
    return next(word for limit, word in steps if value < limit)


def measure(image: Image.Image) -> Measured:
    """Measure a picture of any size and mode; an animation counts as its first frame.

    Light, contrast and likeness are those of the picture on white paper; colours are those of what is visible.
    """
    image = _plain(image)
    medium = _shrink(image, _MEDIUM)
    small = _shrink(medium, _SMALL, Image.Resampling.NEAREST).convert("RGBA")
    pixels = np.asarray(small)
    alpha = pixels[..., 3]
    paper = _on_white(medium)
    grey = paper.convert("L")
    square = oklab(np.asarray(paper.resize((_ALIKE, _ALIKE), Image.Resampling.BOX)))
    dark, bright = np.percentile(np.asarray(grey), (1, 99))
    flat, palette = _flatness(image)
    return Measured(
        width=image.width,
        height=image.height,
        light=float(square[..., 0].mean()),
        contrast=float(bright - dark) / 255,
        blur=_blur(np.asarray(grey, dtype=np.float32)),
        flat=flat,
        palette=palette,
        transparent=1 - float(alpha.mean()) / 255,
        colours=main_colours(pixels[..., :3], alpha >= _VISIBLE),
        small=square,
    )


def likeness(one: Measured, other: Measured) -> float:
    """How alike two pictures look when both are shrunk to the same small square, from 0 to 1."""
    distance = float(np.linalg.norm(one.small - other.small, axis=-1).mean())
    return max(0.0, 1 - distance / _UNLIKE)


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures have the same size and exactly the same pixels."""
    if one.size != other.size:
        return False
    return _plain(one).convert("RGBA").tobytes() == _plain(other).convert("RGBA").tobytes()


def _plain(image: Image.Image) -> Image.Image:
    """The picture as RGB, or as RGBA where its mode has transparency."""
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits: stretch whatever range is used to 8 bits
        values = np.asarray(image, dtype=np.float64)
        values = np.nan_to_num(values, nan=0, posinf=_HUGE, neginf=-_HUGE).clip(-_HUGE, _HUGE)
        spread = float(np.ptp(values)) or 1.0
        image = Image.fromarray(((values - values.min()) * (255 / spread)).astype(np.uint8))
    elif image.mode == "LAB":  # Pillow turns it into nothing else without a colour profile
        image = image.getchannel("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _shrink(image: Image.Image, side: int, resampling: Image.Resampling = Image.Resampling.BOX) -> Image.Image:
    if max(image.size) <= side:
        return image
    size = max(1, image.width * side // max(image.size)), max(1, image.height * side // max(image.size))
    if image.mode == "RGBA" and max(image.size) > 2 * side:  # Pillow weighs every pixel by its alpha: first thin out
        image = image.resize((2 * size[0], 2 * size[1]), Image.Resampling.NEAREST)
    return image.resize(size, resampling)


def _flatness(image: Image.Image) -> tuple[float, int]:
    """The part of neighbours that are all but equal, and how many colours hold nine tenths of the pixels.

    Both look at the picture's own pixels: shrinking would mix colours that a drawing keeps apart.
    """
    if image.width == 1:
        image = image.transpose(Image.Transpose.ROTATE_90)
    width, height = image.size
    if width == 1:
        return 1.0, 1
    size = min(width - 1, _SAMPLED), min(height, _SAMPLED)
    left, right = (
        np.asarray(
            image.resize(size, Image.Resampling.NEAREST, (shift, 0, width - 1 + shift, height)).convert("RGB"),
            dtype=np.int16,
        )
        for shift in (0, 1)
    )
    near = abs(left - right) <= 1
    red, green, blue = np.moveaxis(left.astype(np.int32) >> 3, 2, 0)
    running = np.cumsum(np.sort(np.bincount((red << 10 | green << 5 | blue).ravel()))[::-1])
    flat = float((near[..., 0] & near[..., 1] & near[..., 2]).mean())
    return flat, int(np.searchsorted(running, 0.9 * running[-1])) + 1


def _blur(grey: npt.NDArray[np.float32]) -> float | None:
    """How little of its fine variation a picture loses when it is blurred once more.

    After Crete et al., "The blur effect" (2007): a sharp picture loses most, a blurred one hardly any.
    """
    scores = []
    for values in (grey, np.ascontiguousarray(grey.T)):
        if values.shape[1] < 2 * _BLUR_WINDOW:
            continue
        sums = np.cumsum(values, axis=1)
        blurred = (sums[:, _BLUR_WINDOW:] - sums[:, :-_BLUR_WINDOW]) / _BLUR_WINDOW
        start = _BLUR_WINDOW // 2 + 1
        before = abs(np.diff(values[:, start : start + blurred.shape[1]], axis=1))
        lost = np.maximum(before - abs(np.diff(blurred, axis=1)), 0)
        if before.mean() > 0.05:
            scores.append(1 - float(lost.sum() / before.sum()))
    return max(scores, default=None)
