"""Name an image's main colors and their locations."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Color: TypeAlias = dict[str, Any]
"""Its "name", the "hex" of the mean of its pixels, its "percent" of the visible pixels, and "where" they are."""

NAMES = {
    "black": 0x0B0B0C,
    "dark gray": 0x47484B,
    "gray": 0x86878A,
    "light gray": 0xBEBFC1,
    "white": 0xFAFAFA,
    "cream": 0xF3E9CE,
    "tan": 0xC9A478,
    "brown": 0x8A5A34,
    "dark red": 0x8A1220,
    "red": 0xE1252B,
    "brick red": 0xB34A3A,
    "salmon": 0xF59A86,
    "pink": 0xF59BBD,
    "orange": 0xF77F1B,
    "yellow": 0xF9E021,
    "green": 0x2A9A42,
    "dark green": 0x16452A,
    "teal": 0x117C80,
    "light blue": 0xC3DDF3,
    "sky blue": 0x74B6EE,
    "steel blue": 0x55779A,
    "blue": 0x2766E6,
    "navy blue": 0x141D49,
    "purple": 0x7B31A6,
}
"""Each color name with a typical color, as 0xRRGGBB."""

_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_MAIN_COLORS = 4  # at most, without the vivid one
_MAIN_SHARE = 0.05
_ACCENT_SHARE = 0.004
_ACCENT_CHROMA = 0.1


def oklab(rgb: npt.NDArray[np.uint8]) -> Floats:
    """Convert sRGB of shape (..., 3) to OKLab, in which distance is close to perceived difference.

    Source: Björn Ottosson, "A perceptual color space for image processing" (2020). Lightness is from 0 to 1.
    """
    value = rgb / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _LMS.T) @ _LAB.T)


_TYPICAL = oklab(np.array([list(value.to_bytes(3)) for value in NAMES.values()], dtype=np.uint8))


def nearest_colors(lab: Floats, visible: Mask) -> npt.NDArray[np.int_]:
    """Return the index in `NAMES` of each pixel's color, or -1 for transparent pixels.

    Args:
        lab: OKLab values of shape (height, width, 3).
        visible: Shape (height, width); False for transparent pixels.
    """
    # Hue and chroma count double, so that a dull blue is called a blue and not a gray.
    distances = np.linalg.norm((lab[:, :, None] - _TYPICAL) * (1, 2, 2), axis=-1)
    return np.where(visible, distances.argmin(axis=-1), -1)


def main_colors(rgb: npt.NDArray[np.uint8], visible: Mask) -> list[Color]:
    """Return the colors that cover most of a small image, largest first.

    A small but vivid area, such as a red dot on white, is added at the end.

    Args:
        rgb: Shape (height, width, 3); about 100 pixels a side are enough.
        visible: Shape (height, width); False for transparent pixels.
    """
    if not visible.any():
        return []
    lab = oklab(rgb)
    nearest = nearest_colors(lab, visible)
    vivid = np.hypot(lab[..., 1], lab[..., 2]) > _ACCENT_CHROMA
    shares = np.bincount(nearest[visible], minlength=len(NAMES)) / visible.sum()
    vivid_shares = np.bincount(nearest[visible & vivid], minlength=len(NAMES)) / visible.sum()
    largest = [int(index) for index in np.argsort(-shares, kind="stable")]
    chosen = [index for index in largest[:_MAIN_COLORS] if shares[index] >= _MAIN_SHARE] or largest[:1]
    accents = [index for index in np.argsort(-vivid_shares, kind="stable") if index not in chosen]
    chosen += [index for index in accents[:1] if vivid_shares[index] >= _ACCENT_SHARE]
    colors = []
    for index in chosen:
        mask = nearest == index
        red, green, blue = rgb[mask].mean(axis=0).round().astype(int)
        value = {"name": list(NAMES)[index], "hex": f"#{red:02x}{green:02x}{blue:02x}"}
        colors.append({**value, "percent": round(100 * shares[index]), "where": where(mask)})
    return colors


def where(mask: Mask) -> str:
    """Describe where in an image the marked pixels are, from their mean position and spread."""
    if mask.mean() > 0.7:
        return "almost everywhere" if mask.mean() < 0.97 else "everywhere"
    rows, columns = np.nonzero(mask)
    y, x = (rows + 0.5) / mask.shape[0] - 0.5, (columns + 0.5) / mask.shape[1] - 0.5
    down = "" if abs(y.mean()) < 0.1 else "bottom" if y.mean() > 0 else "top"
    across = "" if abs(x.mean()) < 0.1 else "right" if x.mean() > 0 else "left"
    if down and across:
        return f"in the {down} {across}"
    if down or across:
        return f"at the {down}" if down else f"on the {across}"
    distance = float(np.maximum(abs(x), abs(y)).mean())  # a third if the pixels are spread evenly
    return "in the center" if distance < 0.27 else "around the edges" if distance > 0.4 else "in many places"
