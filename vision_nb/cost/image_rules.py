"""Token rules: how many tokens a model counts for an image, and the size at which it sees the image.

There are three kinds of rules, and a table with a row per model. A model without a row has no known rule, and never
uses the rule of another model. Every row names its source and the date on which the source was read.

The rules use integer arithmetic only, so that the same code takes one size or numpy arrays of a million sizes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar

from vision_nb.cost.model_names import is_llava_1_5, match_prefix
from vision_nb.errors import ImageTooLargeError, SettingsError
from vision_nb.images.decode import Size
from vision_nb.images.detail import DETAILS, check_detail
from vision_nb.images.prepare import fit_within
from vision_nb.services import SERVICES

MAX_PATCHES = 30_000
"""The maximum number of patches per image in OpenAI's API (images and vision guide, 2026-11)."""

UNKNOWN_RULE_SIDE = 2048
"""The longest side, in pixels, of an image sent to a model without a known rule."""

_GUIDE_2026 = "OpenAI, Images and vision guide, read 2026-11"
_GUIDE_2025 = "OpenAI, Images and vision guide, 2025 edition (model deprecated), read 2026-11"
_LLAVA = "LLaVA 1.5 configuration: a 336-pixel encoder with 14-pixel patches, (336 / 14)^2; read 2026-11"

PATCH, TILE = 32, 512  # sides in pixels

IntOrArray = Any
"""An integer, or a numpy array of integers."""

Counts = tuple[IntOrArray, IntOrArray, IntOrArray, IntOrArray, IntOrArray]
"""Width and height as the model sees them, columns and rows of tiles or patches, and tokens."""


@dataclass(frozen=True)
class View:
    """An image as a model sees it.

    Attributes:
        size: Width and height in pixels after the model's own scaling.
        grid: Columns and rows of tiles or patches; (0, 0) if the model does not split the image.
        tokens: Input tokens of the image.
    """

    size: Size
    grid: Size
    tokens: int


class Rule(ABC):
    """How a model counts an image.

    Attributes:
        name: The rule in a few words.
        source: Where the rule comes from, and when the source was read.
    """

    name: ClassVar[str]
    source: str

    @property
    def details(self) -> tuple[str, ...]:
        """The detail levels that the model supports."""
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


@dataclass(frozen=True)
class Tiles(Rule):
    """Count tiles of 512 x 512 pixels: ``base + tile * columns * rows``.

    Attributes:
        base: Tokens of every image, and the total at detail low.
        tile: Tokens per tile.
    """

    name = "tiles of 512 px"

    base: int
    tile: int
    source: str = _GUIDE_2026

    def count(self, width: IntOrArray, height: IntOrArray, detail: str) -> Counts:
        """Scale down to fit 2,048 x 2,048 pixels and a short side of 768, then count the tiles."""
        if detail == "low":
            width, height = _fit(width, height, TILE)
            return width, height, 0, 0, self.base
        width, height = _fit(width, height, 2048)
        divisor = _maximum(_minimum(width, height), 768)
        width, height = width * 768 // divisor, height * 768 // divisor
        columns, rows = _divide_up(width, TILE), _divide_up(height, TILE)
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
    """Count patches of 32 x 32 pixels: ``ceil(columns * rows * multiplier)``.

    Attributes:
        levels: The limits at each detail level; a missing level is not supported.
        multiplier: Tokens per patch, with at most two decimals.
    """

    name = "patches of 32 px"

    levels: Mapping[str, Level]
    multiplier: float
    source: str = _GUIDE_2026

    @property
    def details(self) -> tuple[str, ...]:
        """The detail levels that the model supports."""
        return tuple(name for name in DETAILS if name in self.levels)

    def count(self, width: IntOrArray, height: IntOrArray, detail: str) -> Counts:
        """Scale down to the level's longest side and into its patch budget, then count the patches."""
        level = self.levels[detail]
        width, height = _fit(width, height, level.side)
        columns, rows = _divide_up(width, PATCH), _divide_up(height, PATCH)
        if level.budget is not None:
            over = columns * rows > level.budget
            fitted_width, fitted_height = _fit_patches(width, height, level.budget)
            width, height = _choose(over, fitted_width, width), _choose(over, fitted_height, height)
            columns, rows = _divide_up(width, PATCH), _divide_up(height, PATCH)
        tokens = _divide_up(columns * rows * round(self.multiplier * 100), 100)
        return width, height, columns, rows, tokens


@dataclass(frozen=True)
class Fixed(Rule):
    """Count the same number for every image; the server's encoder determines the size.

    Attributes:
        tokens: Tokens of any image.
    """

    name = "a fixed count"

    tokens: int
    source: str

    def count(self, width: IntOrArray, height: IntOrArray, detail: str) -> Counts:
        """Return the fixed count; the size is the one at which the image is sent."""
        return *_fit(width, height, UNKNOWN_RULE_SIDE), 0, 0, self.tokens


def _choose(condition: Any, value: IntOrArray, other: IntOrArray) -> IntOrArray:
    """Return ``value`` where the condition holds, else ``other``."""
    return other + (value - other) * condition


def _minimum(one: IntOrArray, other: IntOrArray) -> IntOrArray:
    return _choose(one < other, one, other)


def _maximum(one: IntOrArray, other: IntOrArray) -> IntOrArray:
    return _choose(one > other, one, other)


def _divide_up(number: IntOrArray, divisor: int) -> IntOrArray:
    """Divide and round up."""
    return -(-number // divisor)


def _fit(width: IntOrArray, height: IntOrArray, side: int) -> tuple[IntOrArray, IntOrArray]:
    """Scale down to a longest side, as `fit_within` does."""
    divisor = _maximum(_maximum(width, height), side)
    return _maximum(width * side // divisor, 1), _maximum(height * side // divisor, 1)


def _fit_patches(width: IntOrArray, height: IntOrArray, budget: int) -> tuple[IntOrArray, IntOrArray]:
    """Scale sizes with too many patches into a budget, so that one side is a whole number of patches.

    The guide scales by sqrt(32^2 * budget / (width * height)), which leaves sqrt(budget * width / height) columns,
    and rows likewise; then by the smaller of floor(columns) / columns and floor(rows) / rows.
    """
    columns, rows = _square_root(budget * width // height), _square_root(budget * height // width)
    by_columns = columns * height < rows * width
    return (
        _choose(by_columns, PATCH * columns, PATCH * rows * width // height),
        _choose(by_columns, PATCH * columns * height // width, PATCH * rows),
    )


def _square_root(number: IntOrArray) -> IntOrArray:
    """Round a square root down."""
    if isinstance(number, int):
        return math.isqrt(number)
    return ((number + 0.5) ** 0.5).astype(number.dtype)  # half a unit more keeps perfect squares exact


def _levels(low: Level, high: Level, auto: Level, original: Level | None = None) -> dict[str, Level]:
    named = {"auto": auto, "low": low, "high": high}
    return named if original is None else {**named, "original": original}


_LOW_512 = Level(512, None)
_LOW_2048 = Level(2048, 6144)
_HIGH = Level(2048, 2500)
_ORIGINAL_6000 = Level(6000, 10_000)
_ORIGINAL_FULL = Level(65_535, None)
_SAME_6144 = _levels(_LOW_2048, _LOW_2048, _LOW_2048)
_SAME_1536 = _levels(Level(2048, 1536), Level(2048, 1536), Level(2048, 1536))

_ASTRA = Patches(_levels(_LOW_512, Level(65_535, 2500), _ORIGINAL_FULL, _ORIGINAL_FULL), 1.2)
_GPT_5_6 = Patches(_levels(_LOW_512, _HIGH, _ORIGINAL_FULL, _ORIGINAL_FULL), 1.2)
_GPT_5_5 = Patches(_levels(_LOW_512, _HIGH, _ORIGINAL_6000, _ORIGINAL_6000), 1.2)
_GPT_5_4 = Patches(_levels(_LOW_2048, _HIGH, _HIGH, _ORIGINAL_6000), 1.2)
_GPT_4O = Tiles(85, 170)
_GPT_5 = Tiles(70, 140)
_O_SERIES = Tiles(75, 150)

RULES: Mapping[str, Rule | None] = MappingProxyType(
    {
        "gpt-6-astra": _ASTRA,
        "gpt-5.6-sol": _GPT_5_6,
        "gpt-5.6-terra": _GPT_5_6,
        "gpt-5.6-luna": _GPT_5_6,
        "gpt-5.5": _GPT_5_5,
        "gpt-5.4": _GPT_5_4,
        "gpt-5.4-mini": _GPT_5_4,
        "gpt-5.4-nano": _GPT_5_4,
        "gpt-5.2": Patches(_SAME_6144, 1.2),
        "gpt-4.1-mini": Patches(_SAME_6144, 1.62),
        "gpt-5-mini": Patches(_SAME_1536, 1.2, _GUIDE_2025),
        "gpt-5-nano": Patches(_SAME_1536, 1.5, _GUIDE_2025),
        "gpt-4.1-nano": Patches(_SAME_1536, 2.46, _GUIDE_2025),
        "o4-mini": Patches(_SAME_1536, 1.72, _GUIDE_2025),
        "gpt-4o": _GPT_4O,
        "gpt-4.1": _GPT_4O,
        "gpt-4.5": _GPT_4O,
        "gpt-4-turbo": _GPT_4O,
        "gpt-4-vision-preview": _GPT_4O,
        "gpt-4o-mini": Tiles(2833, 5667),
        "gpt-5": _GPT_5,
        "gpt-5.1": _GPT_5,
        "gpt-5-chat-latest": _GPT_5,
        "o1": _O_SERIES,
        "o1-pro": _O_SERIES,
        "o3": _O_SERIES,
        "computer-use-preview": Tiles(65, 129),
        # LLaVA 1.5 only. LLaVA-NeXT uses up to 2,880 tokens (5 x 576), depending on the server.
        "llava": Fixed(576, _LLAVA),
        "demo": Tiles(85, 170, "the demo model counts like gpt-4o"),
    }
)
"""A row per model. Snapshots and fine-tunes use the row with the longest matching prefix. The exception is LLaVA: only
the names of LLaVA 1.5 use its row, because other models with "llava" in their name count differently."""

_calibrated_rules: dict[str, Rule] = {}


def rule_for(model: str) -> Rule | None:
    """Return the rule by which a model counts an image, or None if no rule is known."""
    return _calibrated_rules.get(model) or _table_rule(model)


@cache
def _table_rule(model: str) -> Rule | None:
    if is_llava_1_5(model):
        return RULES["llava"]
    owner, _, own_name = model.partition("/")  # as in a router's "openai/gpt-4o"
    if any(owner == service.owner for service in SERVICES.values()):
        model = own_name
    row = match_prefix(model, RULES)
    return None if row in (None, "llava") else RULES[row]


def keep_rule(model: str, rule: Rule) -> None:
    """Use a rule for a model for the rest of this process, such as one that `calibrate` found."""
    _calibrated_rules[model] = rule


def view_of(size: Size, model: str, detail: str | None = None) -> View | None:
    """Return how a model sees an image of a given size.

    Args:
        size: Width and height in pixels, both at least 1.
        model: The model's name; a snapshot or fine-tune uses its base model's rule.
        detail: "auto", "low", "high" or "original"; None means "auto", as in the API.

    Returns:
        The size as seen, the grid and the tokens; None if no rule is known.

    Raises:
        SettingsError: The size is not positive, or the model does not support the detail level.
        ImageTooLargeError: The image has more patches than the API accepts.
    """
    if min(size) < 1:
        raise SettingsError(f"An image cannot have {size[0]} x {size[1]} pixels: both sides must be at least 1.")
    detail = detail or "auto"
    rule = checked_rule(model, detail)
    return None if rule is None else rule.view(size, detail)


def checked_rule(model: str, detail: str) -> Rule | None:
    """Return a model's rule after checking the detail level; None if no rule is known.

    Raises:
        SettingsError: The detail level does not exist, or the model does not support it.
    """
    check_detail(detail)
    rule = rule_for(model)
    if rule is not None and detail not in rule.details:
        raise SettingsError(
            f"{model} does not support the detail level {detail!r}: use one of {', '.join(rule.details)}."
        )
    return rule


def fixed_tokens(model: str) -> int | None:
    """Return the tokens of any image if the model counts all images the same, else None.

    >>> fixed_tokens("llava")
    576
    """
    rule = rule_for(model)
    return rule.tokens if isinstance(rule, Fixed) else None


def fewest_tokens(size: Size, model: str, detail: str | None = None) -> int:
    """Return a lower bound on the tokens of an image: at detail auto, the server may choose any level."""
    rule = rule_for(model)
    if rule is None:
        return 1
    levels = (detail,) if detail in rule.details and detail != "auto" else rule.details
    return min(int(rule.count(*size, level)[-1]) for level in levels)


def sent_size(size: Size, model: str, detail: str | None = None, max_side: int | None = None) -> Size:
    """Return the size at which to send an image: the one to which the model would scale it anyway.

    If no rule is known, the longest side is at most 2,048 pixels, except at detail "original".

    Args:
        size: Width and height in pixels.
        model: The model's name.
        detail: "auto", "low", "high" or "original"; None means "auto".
        max_side: The longest side in pixels, in place of the 2,048; the model's own rule still applies.
    """
    if max_side is not None:
        size = fit_within(size, max_side)
    view = view_of(size, model, detail)
    if view is not None and fixed_tokens(model) is None:
        return view.size
    if max_side is not None or detail == "original":
        return size
    return fit_within(size, UNKNOWN_RULE_SIDE)
