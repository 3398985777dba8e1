"""Which colours a picture holds, by name, and where they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.intp]
Mask: TypeAlias = npt.NDArray[np.bool_]

NAMES = {
    "black": 0x0B0B0C,
    "charcoal grey": 0x35373B,
    "dark grey": 0x5A5B5E,
    "grey": 0x86878A,
    "silver grey": 0xA6A7A9,
    "light grey": 0xC4C5C7,
    "pale grey": 0xE2E3E5,
    "white": 0xFCFCFC,
    "cream": 0xF6EDD2,
    "beige": 0xE4D5B7,
    "tan": 0xC9A478,
    "taupe": 0x8C7B6B,
    "light brown": 0xA57B50,
    "brown": 0x7A4B28,
    "dark brown": 0x3F2A1B,
    "maroon": 0x5E1220,
    "deep red": 0xA5161F,
    "red": 0xE1252B,
    "brick red": 0xB34A3A,
    "coral": 0xFF7A63,
    "dusty rose": 0xC08287,
    "salmon pink": 0xF2AE9E,
    "pale pink": 0xF8DCE1,
    "pink": 0xF59BBD,
    "hot pink": 0xEF3F94,
    "magenta": 0xCF22BE,
    "peach": 0xFBCDA6,
    "orange": 0xF77F1B,
    "burnt orange": 0xC45A14,
    "amber": 0xF6AC20,
    "gold": 0xCFA028,
    "yellow": 0xF9E021,
    "pale yellow": 0xFAF1A6,
    "lime green": 0xA5DB2B,
    "olive green": 0x77803A,
    "dark olive": 0x3D4423,
    "sage green": 0x9CAE86,
    "pale green": 0xC3E8BC,
    "bright green": 0x3FD64D,
    "green": 0x2A9A42,
    "dark green": 0x16502D,
    "forest green": 0x24452B,
    "mint green": 0x9DE7C6,
    "turquoise": 0x2CC3BF,
    "teal": 0x117C80,
    "dark teal": 0x0E4249,
    "cyan": 0x0DD6EF,
    "pale blue": 0xCBE1F5,
    "sky blue": 0x74B6EE,
    "azure blue": 0x1D92F6,
    "steel blue": 0x4F7AA3,
    "slate grey": 0x5C7086,
    "blue": 0x2766E6,
    "deep blue": 0x1A3C9C,
    "navy blue": 0x121C47,
    "midnight blue": 0x13172C,
    "petrol blue": 0x145478,
    "cornflower blue": 0x5A82CC,
    "lavender": 0xC6B5EC,
    "violet": 0x8B5CEB,
    "purple": 0x7B31A6,
    "deep purple": 0x43226A,
    "mauve": 0xA583B4,
}
"""Names that most people would agree on, each with one typical colour as 0xRRGGBB."""

_GATHER = 0.15  # names nearer to each other than this are one area's shades
_NEAR = 0.25  # farther from every main colour than this, a pixel counts to none of them
_LIFT = 0.22  # below this a colour has no place of its own
_FULL_LIFT = 0.15  # the same where it fills the place
_MAIN_SHARE = 0.05
_ACCENT_SHARE = 0.004
_ACCENT_CHROMA = 0.2


@dataclass(frozen=True)
class Colour:
    """One of a picture's colours.

    Attributes:
        name: Such as "sky blue".
        hex: The mean of its pixels, as "#rrggbb".
        share: The part of the visible pixels that it takes, from 0 to 1.
        where: Such as "across the top", made to follow the name.
    """

    name: str
    hex: str
    share: float
    where: str


def oklab(rgb: Bytes) -> Floats:
    """Turn sRGB of shape (..., 3) into OKLab, in which distances are close to what eyes see.

    The matrices are Björn Ottosson's (2020): lightness from 0 to 1, then two axes of about -0.4 to 0.4.
    """
    value = rgb / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    cones = np.cbrt(linear @ _TO_CONES.T)
    return np.asarray(cones @ _TO_LAB.T)


_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _naming_space(rgb: Bytes) -> Floats:
    """OKLab with hue and chroma stretched, so that a dull blue is named a blue before it is named a grey."""
    return oklab(rgb) * (1, 2, 2)


_NAME_LIST = list(NAMES)
_ANCHORS = _naming_space(
    np.array([[value >> 16, value >> 8 & 255, value & 255] for value in NAMES.values()], dtype=np.uint8)
)


def main_colours(rgb: Bytes, visible: Mask, most: int = 5) -> list[Colour]:
    """Name the colours that take most of a small picture, largest first, and say where they are.

    A vivid colour that takes little room, such as a red dot on white, comes as well, last.

    Args:
        rgb: Shape (height, width, 3); some 100 pixels a side are enough.
        visible: Shape (height, width); False where the picture is transparent.
        most: The largest number of main colours; an accent comes on top.
    """
    if not visible.any():
        return []
    pixels = rgb[visible]
    space = _naming_space(pixels)
    named = _nearest(space, _ANCHORS)[0]
    groups, centres = _gather(space, named, most)
    gathered = np.where(groups >= 0, _nearest(centres, _ANCHORS)[0][groups], -1)
    main = sorted(np.unique(gathered[gathered >= 0]).tolist(), key=lambda index: -int((gathered == index).sum()))
    vivid = (gathered == -1) & (np.hypot(space[:, 1], space[:, 2]) > _ACCENT_CHROMA)
    if vivid.sum() >= max(1, _ACCENT_SHARE * len(pixels)):
        accent = int(np.bincount(named[vivid]).argmax())
        gathered[vivid & (named == accent)] = accent
        main += [accent] if accent not in main else []
    found = []
    for index in main:
        red, green, blue = (round(float(channel)) for channel in pixels[gathered == index].mean(axis=0))
        mask = np.zeros_like(visible)
        mask[visible] = gathered == index
        share = float((gathered == index).mean())
        found.append(Colour(_NAME_LIST[index], f"#{red:02x}{green:02x}{blue:02x}", share, where(mask)))
    return found


def _gather(space: Floats, named: Indices, most: int) -> tuple[Indices, Floats]:
    """Gather pixels round the main colours: a shaded area crosses the borders between names.

    Returns:
        For each pixel its group, -1 for none; and the mean of each group.
    """
    counts = np.bincount(named, minlength=len(_ANCHORS))
    left = [int(index) for index in np.argsort(-counts, kind="stable") if counts[index]]
    means = {index: space[named == index].mean(axis=0) for index in left}
    clusters = []
    while left:
        cluster = [index for index in left if np.linalg.norm(means[index] - means[left[0]]) < _GATHER]
        left = [index for index in left if index not in cluster]
        clusters.append(cluster)
    clusters.sort(key=lambda cluster: -int(counts[cluster].sum()))
    clusters = [c for c in clusters[:most] if counts[c].sum() >= _MAIN_SHARE * len(named)] or clusters[:1]
    centres = np.array([space[np.isin(named, cluster)].mean(axis=0) for cluster in clusters])
    for _ in range(3):
        groups, distances = _nearest(space, centres)
        groups[distances > _NEAR] = -1
        centres = np.array(
            [space[groups == i].mean(axis=0) if (groups == i).any() else c for i, c in enumerate(centres)]
        )
    return groups, centres


def _nearest(space: Floats, anchors: Floats) -> tuple[Indices, Floats]:
    """For each row of ``space``, which anchor is nearest, and how far it is."""
    # Not "@": its library would start threads for this, and many requests at once would fight over them.
    products = np.einsum("ij,kj->ik", space, anchors)
    squares = (space**2).sum(axis=1)[:, None] - 2 * products + (anchors**2).sum(axis=1)
    return squares.argmin(axis=1), np.sqrt(np.maximum(squares.min(axis=1), 0))


def where(mask: Mask) -> str:
    """Say in which part of a picture the marked pixels lie.

    Of all parts, take the one that holds the most of the pixels beyond what its own area would hold by chance.
    """
    share, marked = float(mask.mean()), int(mask.sum())
    if share > 0.97:
        return "everywhere"
    if share > 0.7:
        return "over most of it"
    best, best_lift, full = "", 0.0, False
    for phrases, inside, area in _regions(*mask.shape):
        held = int(np.count_nonzero(mask & inside))
        lift = held / marked - area / mask.size
        if lift > best_lift + 1e-9:
            full = held > 0.6 * area
            best, best_lift = phrases[0] if full else phrases[1], lift
    if best_lift < (_FULL_LIFT if full else _LIFT):
        return "spread all over" if share > 0.2 else "in many places"
    return best


@lru_cache(maxsize=8)
def _regions(height: int, width: int) -> list[tuple[tuple[str, str], Mask, int]]:
    """The parts of a picture: what to say where a colour fills it and where not, its pixels, and their number."""
    third = 1 / 3
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    middle_x, middle_y = abs(x - 0.5), abs(y - 0.5)
    parts = [
        (("across the top", "at the top"), y < third),
        (("along the bottom", "at the bottom"), y > 1 - third),
        (("down the left side", "on the left"), x < third),
        (("down the right side", "on the right"), x > 1 - third),
        (("filling the upper half", "in the upper half"), y < 0.5),
        (("filling the lower half", "in the lower half"), y > 0.5),
        (("filling the left half", "in the left half"), x < 0.5),
        (("filling the right half", "in the right half"), x > 0.5),
        (("filling the centre", "in the centre"), (middle_x < 0.25) & (middle_y < 0.25)),
        (("across the middle", "across the middle"), middle_y < third / 2),
        (("down the middle", "down the middle"), middle_x < third / 2),
        (("filling the upper left", "in the upper left"), (x < 0.5) & (y < 0.5)),
        (("filling the upper right", "in the upper right"), (x > 0.5) & (y < 0.5)),
        (("filling the lower left", "in the lower left"), (x < 0.5) & (y > 0.5)),
        (("filling the lower right", "in the lower right"), (x > 0.5) & (y > 0.5)),
        (("all round the edges", "towards the edges"), np.maximum(middle_x, middle_y) > third),
    ]
    return [(phrases, inside, int(inside.sum())) for phrases, inside in parts]
