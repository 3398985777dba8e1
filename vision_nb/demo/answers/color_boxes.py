"""Measure where the main colors of an image are, as boxes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from PIL import Image

from vision_nb.demo.answers.color_measurement import NAMES, Mask, nearest_colors, oklab
from vision_nb.demo.answers.measure import OPAQUE, Measurement, rgba

_SIDE = 256  # pixels
_SCALE = 1000  # as in the convention "demo" of `vision_nb.images.box_conventions`
_STRAY = 0.1  # a row or column belongs to a color's box if it has this share of the largest count of its pixels


def color_boxes(image: Image.Image, measured: Measurement, prompt: str) -> list[dict[str, Any]]:
    """Return a box for each color that the question names, or else for each main color except the background.

    If a named color, such as red, is missing, its shades, such as dark red, have a box each.

    Args:
        image: The image, of any size and mode.
        measured: Its measurements.
        prompt: The question.

    Returns:
        A "bbox_2d" of left, top, right and bottom in thousandths of the image's sides, and a "label", for each color.
    """
    pixels = np.asarray(rgba(image, _SIDE))
    names = _named(prompt) or [color["name"] for color in measured.colors[1:] or measured.colors]
    nearest = nearest_colors(oklab(pixels[..., :3]), pixels[..., 3] >= OPAQUE)
    masks = {name: mask for place, name in enumerate(NAMES) if (mask := nearest == place).any()}
    found = dict.fromkeys(shade for name in names for shade in ([name] if name in masks else _shades(name, masks)))
    return [{"bbox_2d": _box(masks[name]), "label": name} for name in found]


def _named(prompt: str) -> list[str]:
    """Return the colors that a question names; "blue" in "sky blue" is not another one."""
    longest_first = "|".join(sorted(NAMES, key=len, reverse=True))
    return list(dict.fromkeys(re.findall(rf"\b(?:{longest_first})\b", prompt.lower())))


def _shades(name: str, masks: dict[str, Mask]) -> list[str]:
    return [shade for shade in masks if shade.endswith(f" {name}")]


def _box(mask: Mask) -> list[int]:
    """Return left, top, right and bottom of the marked pixels in thousandths, without stray ones."""
    sides = []
    for axis in (0, 1):  # counts by column, then by row
        counts = mask.sum(axis=axis)
        (marked,) = np.nonzero(counts >= max(1, _STRAY * counts.max()))
        sides.append([round(_SCALE * edge / len(counts)) for edge in (int(marked[0]), int(marked[-1]) + 1)])
    (left, right), (top, bottom) = sides
    return [left, top, right, bottom]
