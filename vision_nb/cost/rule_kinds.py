"""The kinds of token rules: how a model scales an image, divides it, and counts the parts.

The same code takes one size or numpy arrays of a million sizes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vision_nb.cost.size_arithmetic import (
    IntOrArray,
    choose,
    divide_up,
    fit_budget,
    fit_side,
    maximum,
    minimum,
    round_half_even,
    scale_to,
    square_root,
)
from vision_nb.errors import ImageTooLargeError
from vision_nb.images.decode import Size
from vision_nb.images.detail import DETAILS
from vision_nb.images.prepare import fit_within

MAX_PATCHES = 30_000
"""The maximum number of patches per image in OpenAI's API (images and vision guide, 2026-11)."""

UNKNOWN_RULE_SIDE = 2048
"""The longest side, in pixels, of an image sent to a model whose own resolution is not known."""

Counts = tuple[IntOrArray, IntOrArray, IntOrArray, IntOrArray, IntOrArray]
"""Width and height as the model sees them, columns and rows of tiles or patches, and tokens."""


@dataclass(frozen=True)
class View:
    """An image as a model sees it.

    Attributes:
        size: Width and height in pixels after the model's own scaling, which may enlarge the image.
        grid: Columns and rows of tiles or patches; (0, 0) if the model does not split the image.
        tokens: Input tokens of the image.
        is_estimate: Whether the count is an estimate: the rule is known to differ from real counts at this size, or
            parts of it are not published.
    """

    size: Size
    grid: Size
    tokens: int
    is_estimate: bool = False


class Rule(ABC):
    """How a model counts an image.

    Attributes:
        unit: The side of a tile or patch in pixels; 0 if the model does not split images.
        unit_name: What the parts are called.
        has_overview: Whether the model also sees the whole image, scaled down to one more tile.
        has_levels: Whether the count depends on the detail level.
        breaks: Tokens at the end of each row of patches.
    """

    unit: int
    unit_name: ClassVar[str] = "tiles"
    has_overview: bool = False
    has_levels: ClassVar[bool] = False
    breaks: int = 0

    @property
    def name(self) -> str:
        """The rule in a few words."""
        return f"{self.unit_name} of {self.unit} px"

    @property
    def details(self) -> tuple[str, ...]:
        """The detail levels that the model supports; without levels, they all count the same."""
        return ("auto", "low", "high")

    @abstractmethod
    def count(self, width: IntOrArray, height: IntOrArray, detail: str) -> Counts:
        """Count one image or many, without checking the result.

        Args:
            width: Width in pixels, or an array of widths.
            height: Height in pixels, or an array of heights.
            detail: A level in `details`.
        """

    def view(self, size: Size, detail: str) -> View:
        """Return how the model sees an image.

        Args:
            size: Width and height in pixels.
            detail: A level in `details`.

        Raises:
            ImageTooLargeError: The image has more than 30,000 patches, which the API refuses.
        """
        width, height, columns, rows, tokens = self.count(*size, detail)
        if columns * rows > MAX_PATCHES:
            raise ImageTooLargeError(
                f"An image of {width} x {height} pixels has {columns * rows:,} patches at detail {detail}, and OpenAI "
                f"refuses more than {MAX_PATCHES:,}: use a lower detail level or a smaller image."
            )
        return View((width, height), (columns, rows), tokens)

    def sent(self, size: Size, detail: str) -> Size:
        """Return the size at which to send an image: what the model sees, unless that is larger."""
        seen = self.view(size, detail).size
        return seen if seen[0] <= size[0] and seen[1] <= size[1] else size


@dataclass(frozen=True)
class Tiles(Rule):
    """Count tiles of 512 x 512 pixels: ``base + tile * columns * rows``.

    Attributes:
        base: Tokens of every image, and the total at detail low.
        tile: Tokens per tile.
    """

    has_levels = True

    base: int
    tile: int
    unit: int = 512

    def count(self, width: IntOrArray, height: IntOrArray, detail: str) -> Counts:
        """Scale down to fit 2,048 x 2,048 pixels and a short side of 768, then count the tiles."""
        if detail == "low":
            width, height = fit_side(width, height, self.unit)
            return width, height, 0, 0, self.base
        width, height = fit_side(width, height, 2048)
        divisor = maximum(minimum(width, height), 768)
        width, height = width * 768 // divisor, height * 768 // divisor
        columns, rows = divide_up(width, self.unit), divide_up(height, self.unit)
        return width, height, columns, rows, self.base + self.tile * columns * rows


@dataclass(frozen=True)
class Level:
    """The limits of a patch-counting model at one detail level.

    Attributes:
        side: The longest side in pixels.
        budget: The maximum number of patches, or None for no limit.
    """

    side: int
    budget: int | None


@dataclass(frozen=True)
class Patches(Rule):
    """Count patches, by the detail level: ``ceil(columns * rows * multiplier)``.

    Attributes:
        levels: The limits at each detail level; a missing level is not supported.
        multiplier: Tokens per patch, with at most two decimals.
        unit: The side of a patch in pixels.
    """

    unit_name = "patches"
    has_levels = True

    levels: Mapping[str, Level]
    multiplier: float
    unit: int = 32

    @property
    def details(self) -> tuple[str, ...]:
        """The detail levels that the model supports."""
        return tuple(name for name in DETAILS if name in self.levels)

    def count(self, width: IntOrArray, height: IntOrArray, detail: str) -> Counts:
        """Scale down to the level's longest side and into its patch budget, then count the patches."""
        level, unit = self.levels[detail], self.unit
        width, height = fit_side(width, height, level.side)
        columns, rows = divide_up(width, unit), divide_up(height, unit)
        if level.budget is not None:
            over = columns * rows > level.budget
            fitted_width, fitted_height = fit_budget(width, height, level.budget, unit)
            width, height = choose(over, fitted_width, width), choose(over, fitted_height, height)
            columns, rows = divide_up(width, unit), divide_up(height, unit)
        tokens = divide_up(columns * rows * round(self.multiplier * 100), 100)
        return width, height, columns, rows, tokens


@dataclass(frozen=True)
class PaddedPatches(Rule):
    """Scale down to the largest size within the limits, pad to whole patches, and count ``(columns + breaks) * rows``.

    Attributes:
        unit: The side of a patch in pixels.
        max_side: The longest side in pixels.
        max_patches: The maximum number of patches, or None for no limit.
        breaks: Tokens at the end of each row.
    """

    unit_name = "patches"

    unit: int
    max_side: int
    max_patches: int | None = None
    breaks: int = 0

    def count(self, width: IntOrArray, height: IntOrArray, detail: str) -> Counts:
        """Find the largest size within the limits, then count the patches."""
        longest = maximum(width, height)
        lowest, highest = 1 + 0 * longest, minimum(longest, self.max_side)
        for _ in range(self.max_side.bit_length() if self.max_patches is not None else 0):
            middle = (lowest + highest + 1) // 2
            columns, rows = self._grid(*scale_to(width, height, middle))
            fits = columns * rows <= self.max_patches
            lowest, highest = choose(fits, middle, lowest), choose(fits, highest, middle - 1)
        width, height = scale_to(width, height, highest)
        columns, rows = self._grid(width, height)
        return width, height, columns, rows, (columns + self.breaks) * rows

    def _grid(self, width: IntOrArray, height: IntOrArray) -> tuple[IntOrArray, IntOrArray]:
        return divide_up(width, self.unit), divide_up(height, self.unit)


@dataclass(frozen=True)
class RoundedPatches(Rule):
    """Round both sides to whole patches, within limits of their number, and count ``(columns + breaks) * rows``.

    Attributes:
        unit: The side of a patch in pixels.
        min_patches: The minimum number of patches: smaller images are enlarged.
        max_patches: The maximum number of patches: larger images are scaled down.
        breaks: Tokens at the end of each row.
    """

    unit_name = "patches"

    unit: int
    min_patches: int
    max_patches: int
    breaks: int = 0

    def count(self, width: IntOrArray, height: IntOrArray, detail: str) -> Counts:
        """Round to the nearest whole patches; beyond a limit, keep the shape as nearly as possible."""
        columns, rows = round_half_even(width, self.unit), round_half_even(height, self.unit)
        over, under = columns * rows > self.max_patches, columns * rows < self.min_patches
        fewer = [maximum(square_root(self.max_patches * a // b), 1) for a, b in ((width, height), (height, width))]
        more = [square_root((self.min_patches * a - 1) // b) + 1 for a, b in ((width, height), (height, width))]
        columns = choose(over, fewer[0], choose(under, more[0], columns))
        rows = choose(over, fewer[1], choose(under, more[1], rows))
        return columns * self.unit, rows * self.unit, columns, rows, (columns + self.breaks) * rows

    def sent(self, size: Size, detail: str) -> Size:
        """Return the size that the model sees if it scales the image down, and else the image's own size."""
        columns, rows = round_half_even(size[0], self.unit), round_half_even(size[1], self.unit)
        return super().sent(size, detail) if columns * rows > self.max_patches else size


@dataclass(frozen=True)
class Crops(Rule):
    """Cut the image into tiles without scaling them: ``tile * (tiles + overview)``.

    Attributes:
        unit: The side of a tile in pixels.
        tile: Tokens per tile.
        max_side: The longest side in pixels.
        whole_up_to: The longest side of images that are one tile, in pixels.
        max_tiles: The maximum number of tiles, or None for no limit.
        has_overview: Whether the whole image is one more tile.
    """

    unit: int
    tile: int
    max_side: int
    whole_up_to: int = 0
    max_tiles: int | None = None
    has_overview: bool = False

    @property
    def name(self) -> str:
        """The rule in a few words."""
        limit = "" if self.max_tiles is None else f"at most {self.max_tiles} "
        return f"{limit}{super().name}"

    def count(self, width: IntOrArray, height: IntOrArray, detail: str) -> Counts:
        """Scale down to the longest side, then count the tiles."""
        width, height = fit_side(width, height, self.max_side)
        columns, rows = divide_up(width, self.unit), divide_up(height, self.unit)
        is_whole = maximum(width, height) <= self.whole_up_to
        columns, rows = choose(is_whole, 1, columns), choose(is_whole, 1, rows)
        tiles = columns * rows
        if self.max_tiles is not None:
            is_known = tiles <= self.max_tiles  # it is not published which of the tiles are kept
            tiles = minimum(tiles, self.max_tiles)
            columns, rows = columns * is_known, rows * is_known
        return width, height, columns, rows, self.tile * (tiles + self.has_overview)


@dataclass(frozen=True)
class StretchedTiles(Rule):
    """Scale the longest side to a fixed length, stretch to whole tiles, and count them and an overview tile.

    Attributes:
        unit: The side of a tile in pixels.
        longest: The length of the longest side in pixels: smaller images are enlarged.
        tile: Tokens per tile.
    """

    has_overview = True

    unit: int
    longest: int
    tile: int

    def count(self, width: IntOrArray, height: IntOrArray, detail: str) -> Counts:
        """Scale the longest side to its fixed length, and round the other up to whole tiles."""
        divisor = maximum(width, height)
        columns, rows = (maximum(divide_up(side * self.longest // divisor, self.unit), 1) for side in (width, height))
        return columns * self.unit, rows * self.unit, columns, rows, self.tile * (columns * rows + 1)

    def sent(self, size: Size, detail: str) -> Size:
        """Return the size before stretching: the model stretches the image itself."""
        return fit_within(size, self.longest)


@dataclass(frozen=True)
class CanvasTiles(Rule):
    """Choose the canvas of whole tiles that an image fits best, and count them, and an overview if there are several.

    Attributes:
        unit: The side of a tile in pixels.
        tile: Tokens per tile.
        max_tiles: The maximum number of tiles of a canvas.
    """

    has_overview = True

    unit: int
    tile: int
    max_tiles: int

    def count(self, width: IntOrArray, height: IntOrArray, detail: str) -> Counts:
        """Choose the smallest canvas that holds the image, or else the one for which it is scaled down least."""
        columns = rows = 1 + 0 * width  # arrays of the sizes' shape
        best = minimum(columns * height, rows * width)  # the scale that fits, times width * height / unit
        for canvas in self._canvases():
            scale = minimum(canvas[0] * height, canvas[1] * width)
            holds, held = (self.unit * one >= width * height for one in (scale, best))
            is_better = choose(held, 1 * (holds & (scale < best)), 1 * (scale > best)) > 0
            best, columns, rows = (
                choose(is_better, new, old) for new, old in ((scale, best), (canvas[0], columns), (canvas[1], rows))
            )
        area = maximum(width * height, self.unit * best)
        # Rounded up, so that the image that is sent needs the same canvas.
        width, height = (-(-side * self.unit * best // area) for side in (width, height))
        tiles = columns * rows
        return width, height, columns, rows, self.tile * (tiles + (tiles > 1))

    def _canvases(self) -> list[tuple[int, int]]:
        """Return columns and rows of all canvases, the smallest first."""
        sides = range(1, self.max_tiles + 1)
        canvases = [(columns, rows) for columns in sides for rows in sides if columns * rows <= self.max_tiles]
        return sorted(canvases, key=lambda canvas: canvas[0] * canvas[1])


@dataclass(frozen=True)
class Fixed(Rule):
    """Count the same number for every image; the server's encoder determines the size.

    Attributes:
        tokens: Tokens of any image.
        encoder_side: The side in pixels of the square to which the encoder stretches images, or None if it is not
            known or depends on the server. A longer short side is not sent.
    """

    tokens: int
    encoder_side: int | None = None
    unit: int = 0

    @property
    def name(self) -> str:
        """The rule in a few words."""
        return "a fixed count"

    def count(self, width: IntOrArray, height: IntOrArray, detail: str) -> Counts:
        """Return the fixed count; the size is the one at which the image is sent."""
        if self.encoder_side is not None:
            divisor = maximum(minimum(width, height), self.encoder_side)
            width, height = width * self.encoder_side // divisor, height * self.encoder_side // divisor
        return *fit_side(width, height, UNKNOWN_RULE_SIDE), 0, 0, self.tokens
