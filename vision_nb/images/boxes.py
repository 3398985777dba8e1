"""Boxes on an image, and the sizes that relate a model's coordinates to the original image."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.attributes import read_only
from vision_nb.checks.numbers import plain_number
from vision_nb.checks.public_object import PublicObject
from vision_nb.errors import SettingsError
from vision_nb.images.decode import Size

Edges = tuple[int, int, int, int]
"""The left, top, right and bottom edge of a part of an image, in pixels."""


@checks_arguments
@read_only()
@dataclass(frozen=True)
class Box(PublicObject):
    """A box on an image, in pixels of the upright original.

    A point is a box without width and height. ``left, top, right, bottom = box`` unpacks the sides,
    and ``pd.DataFrame(map(vars, boxes))`` is a table of several boxes.

    Attributes:
        left: Pixels from the image's left side to the box's.
        top: Pixels from the image's top to the box's.
        right: Pixels from the image's left side to the box's right side.
        bottom: Pixels from the image's top to the box's bottom.
        label: What the box contains, in the model's words; "" if there is no label.
        image: The index of the image among those of the question.

    >>> box = vn.Box(10, 20, 310, 220, "receipt")
    >>> box.size, box.center, box.is_point
    ((300, 200), (160.0, 120.0), False)
    >>> list(vars(box))
    ['left', 'top', 'right', 'bottom', 'label', 'image']
    """

    left: float
    top: float
    right: float
    bottom: float
    label: str = ""
    image: int = 0

    def __iter__(self) -> Iterator[float]:
        return iter((self.left, self.top, self.right, self.bottom))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in pixels."""
        return self.right - self.left, self.bottom - self.top

    @property
    def center(self) -> tuple[float, float]:
        """The middle, as pixels from the image's left side and top."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    @property
    def is_point(self) -> bool:
        """Whether the box is a point."""
        return self.size == (0, 0)

    @classmethod
    def of(cls, value: Any) -> Box:
        """Return a box from four numbers, or a box unchanged.

        Args:
            value: A box, or left, top, right and bottom in pixels.

        Raises:
            SettingsError: The value is not four finite numbers, or a side is on the wrong side of the opposite one.
        """
        box = value if isinstance(value, Box) else None
        if box is None and isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
            sides = list(map(plain_number, value))
            box = cls(*sides) if len(sides) == 4 else None
        if box is None or not all(is_finite_number(side) for side in box):
            raise SettingsError(f"A box is (left, top, right, bottom) in pixels, not {value!r:.80}.")
        if box.left > box.right or box.top > box.bottom:
            raise SettingsError(f"A box has left <= right and top <= bottom, unlike {value!r:.80}.")
        return box

    def clamped(self, size: Size) -> Box | None:
        """Return the part of the box within an image, or None if the box is outside.

        Args:
            size: The image's width and height in pixels.
        """
        width, height = size
        if self.right < 0 or self.bottom < 0 or self.left > width or self.top > height:
            return None
        left, right = (min(max(side, 0), width) for side in (self.left, self.right))
        top, bottom = (min(max(side, 0), height) for side in (self.top, self.bottom))
        return replace(self, left=left, top=top, right=right, bottom=bottom)


def crop_edges(region: Any, size: Size, name: str) -> Edges:
    """Return the edges of a crop: all pixels that a box covers at least in part, within the image.

    Args:
        region: A box, or left, top, right and bottom in pixels.
        size: The image's width and height in pixels.
        name: The image's name in the error message.

    Raises:
        SettingsError: The value is not a box, or contains no pixel of the image.

    >>> crop_edges((10.4, 20, 90.2, 900), (100, 60), "scan.png")
    (10, 20, 91, 60)
    """
    part = Box.of(region).clamped(size)
    if part is None or min(part.size) <= 0:
        raise SettingsError(
            f"The box {tuple(Box.of(region))!s:.80} contains no pixel of {name:.80}, "
            f"which is {size[0]} x {size[1]} pixels."
        )
    return math.floor(part.left), math.floor(part.top), math.ceil(part.right), math.ceil(part.bottom)


def crop_name(title: str, edges: Edges) -> str:
    """Return the name of a crop, such as "photo.jpg#xywh=10,20,300,200", as in a media fragment URI (W3C, 2012).

    Args:
        title: The image's title; if that is the name of a crop, the new name refers to the original as well.
        edges: Left, top, right and bottom in pixels.
    """
    left, top, right, bottom = edges
    original = re.fullmatch(r"(.*)#xywh=(\d{1,9}),(\d{1,9}),\d+,\d+", title)
    if original is None:
        return f"{title}#xywh={left},{top},{right - left},{bottom - top}"
    x, y = int(original[2]) + left, int(original[3]) + top
    return f"{original[1]}#xywh={x},{y},{right - left},{bottom - top}"


@dataclass(frozen=True)
class SentImage:
    """An image of a question, and the sizes that relate the model's coordinates to the original.

    Attributes:
        name: The image's title.
        size: The original's width and height in pixels, upright; None if only a URL or an unread file was sent.
        seen_size: Width and height after the model's own resizing, by its token rule. For a model without a known
            rule, the size that was sent; None if ``size`` is.
    """

    name: str
    size: Size | None = None
    seen_size: Size | None = None

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> SentImage:
        """Return the image that `dataclasses.asdict` turned into JSON data.

        Raises:
            Exception: A KeyError, TypeError or ValueError, if the data are damaged.
        """
        return cls(str(fields["name"]), _read_size(fields["size"]), _read_size(fields["seen_size"]))


def _read_size(sides: Any) -> Size | None:
    if sides is None:
        return None
    width, height = sides
    if not (type(width) is type(height) is int and 0 < width < 1_000_000 and 0 < height < 1_000_000):
        raise ValueError("A size is two positive integers")
    return width, height


def is_finite_number(value: Any) -> bool:
    """Return whether a value is a finite int or float; True and False are not numbers."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int beyond the range of floats
        return False
