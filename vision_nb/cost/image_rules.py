"""How many tokens a model counts for an image, and the size at which the model sees it.

Two small rules and a table of rows cover the known models. A model on no row has no known rule, and is
never given another model's. Every row names its source and the date on which it was read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

from vision_nb.cost.llava import is_llava_1_5
from vision_nb.errors import ImageTooLargeError, SettingsError
from vision_nb.images.decode import Size
from vision_nb.images.detail import DETAILS, check_detail
from vision_nb.images.prepare import fit_within

MAX_PATCHES = 30_000
"""More patches than this in one image are refused by OpenAI's API (images and vision guide, 2026-11)."""

_GUIDE_2026 = "OpenAI, Images and vision guide, read 2026-11"
_GUIDE_2025 = "OpenAI, Images and vision guide, 2025 edition (model deprecated), read 2026-11"
_LLAVA = "LLaVA 1.5 configuration: a 336-pixel encoder with 14-pixel patches, (336 / 14)^2; read 2026-11"

PATCH, TILE = 32, 512  # the sides of a patch and of a tile in pixels
ROUNDING = 1e-9  # keeps a product such as 33 * 32 from landing a hair under the whole number


@dataclass(frozen=True)
class View:
    """An image as a model sees it.

    Attributes:
        size: Width and height in pixels after the model's own scaling.
        grid: Columns and rows of tiles or patches; (0, 0) where the detail level cuts none.
        tokens: Input tokens the image costs.
    """

    size: Size
    grid: Size
    tokens: int


@dataclass(frozen=True)
class Tiles:
    """Count by tiles of 512 x 512 pixels: ``base + tile * columns * rows``.

    Attributes:
        base: Tokens that every image costs, and all that it costs at detail low.
        tile: Tokens for each tile.
    """

    base: int
    tile: int
    source: str = _GUIDE_2026
    name: str = "tiles of 512 px"
    details: tuple[str, ...] = ("auto", "low", "high")

    def view(self, size: Size, detail: str) -> View:
        """Scale to fit 2,048 x 2,048, then the short side to 768, never up; then count the tiles."""
        if detail == "low":
            return View(fit_within(size, TILE), (0, 0), self.base)
        width, height = fit_within(size, 2048)
        short = min(width, height)
        if short > 768:
            width, height = width * 768 // short, height * 768 // short
        columns, rows = math.ceil(width / TILE), math.ceil(height / TILE)
        return View((width, height), (columns, rows), self.base + self.tile * columns * rows)


@dataclass(frozen=True)
class Level:
    """What a patch-counting model does at one detail level.

    Attributes:
        side: The largest side in pixels.
        budget: The most patches, or None where the level has no budget.
    """

    side: int
    budget: int | None


@dataclass(frozen=True)
class Patches:
    """Count by patches of 32 x 32 pixels: ``ceil(columns * rows * multiplier)``.

    Attributes:
        levels: What happens at each detail level; a level that is missing is not supported.
        multiplier: Tokens for each patch.
    """

    levels: Mapping[str, Level]
    multiplier: float
    source: str = _GUIDE_2026
    name: str = "patches of 32 px"
    details: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", MappingProxyType(dict(self.levels)))
        object.__setattr__(self, "details", tuple(name for name in DETAILS if name in self.levels))

    def view(self, size: Size, detail: str) -> View:
        """Scale to the level's largest side and into its budget, never up; then count the patches.

        Raises:
            ImageTooLargeError: The image would have more than 30,000 patches, which the API refuses.
        """
        level = self.levels[detail]
        size = fit_within(size, level.side)
        columns, rows = _patch_grid(size)
        if level.budget is not None and columns * rows > level.budget:
            size = _fit_patches(size, level.budget)
            columns, rows = _patch_grid(size)
        if columns * rows > MAX_PATCHES:
            raise ImageTooLargeError(
                f"An image of {size[0]} x {size[1]} pixels has {columns * rows:,} patches at detail "
                f"{detail}, and OpenAI refuses more than {MAX_PATCHES:,}: use a lower detail or a smaller image."
            )
        tokens = math.ceil(columns * rows * self.multiplier - ROUNDING)
        return View(size, (columns, rows), tokens)


@dataclass(frozen=True)
class Fixed:
    """Every image costs the same, whatever its size."""

    tokens: int
    source: str
    name: str = "a fixed count"
    details: tuple[str, ...] = ("auto", "low", "high")

    def view(self, size: Size, detail: str) -> View:
        """Give the fixed count; the size is left to the server's own encoder."""
        return View(fit_within(size, UNKNOWN_RULE_SIDE), (0, 0), self.tokens)


Rule = Tiles | Patches | Fixed

UNKNOWN_RULE_SIDE = 2048
"""The longest side, in pixels, of an image sent to a model whose rule is not known."""


def _patch_grid(size: Size) -> Size:
    return math.ceil(size[0] / PATCH), math.ceil(size[1] / PATCH)


def _fit_patches(size: Size, budget: int) -> Size:
    """Shrink a size until its patches are within the budget, by the guide's two-step scale."""
    width, height = size
    scale = math.sqrt(PATCH**2 * budget / (width * height))
    columns, rows = width * scale / PATCH, height * scale / PATCH
    scale *= min(math.floor(columns) / columns, math.floor(rows) / rows)
    return math.floor(width * scale + ROUNDING), math.floor(height * scale + ROUNDING)


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
        # LLaVA 1.5 alone. LLaVA-NeXT takes up to 2,880 tokens (5 x 576), and how many depends on the server.
        "llava": Fixed(576, _LLAVA),
        "demo": Tiles(85, 170, "the demo model counts as gpt-4o does"),
    }
)
"""One row a model. Snapshots and fine-tunes follow the longest row that their name begins with; LLaVA 1.5 has names
of its own, and many models that are called after it are none of its sizes."""


def base_name(model: str) -> str:
    """Strip what a fine-tune puts round its base model's name.

    >>> base_name("ft:gpt-4o-2024-08-06:my-team::abc123")
    'gpt-4o-2024-08-06'
    """
    return model.split(":")[1] if model.startswith("ft:") and ":" in model[3:] else model.removeprefix("ft:")


def match_prefix(model: str, names: Mapping[str, object] | tuple[str, ...]) -> str | None:
    """The longest of ``names`` that is ``model`` or that ``model`` continues after a dash or colon.

    >>> match_prefix("gpt-4o-mini-2024-07-18", ("gpt-4o", "gpt-4o-mini"))
    'gpt-4o-mini'
    >>> match_prefix("gpt-4omega", ("gpt-4o",)) is None
    True
    """
    name = base_name(model)
    fitting = [known for known in names if name == known or name.startswith((known + "-", known + ":"))]
    return max(fitting, key=len, default=None)


def rule_for(model: str) -> Rule | None:
    """The rule by which a model counts an image, or None where no rule is known."""
    if model in _kept_rules:
        return _kept_rules[model]
    return _table_rule(model)


@cache
def _table_rule(model: str) -> Rule | None:
    if is_llava_1_5(model):
        return RULES["llava"]
    known = match_prefix(model, RULES)
    return None if known in (None, "llava") else RULES[known]


_kept_rules: dict[str, Rule] = {}


def keep_rule(model: str, rule: Rule) -> None:
    """Count images for a model by a rule from now on, such as one that `calibrate` found."""
    _kept_rules[model] = rule


def view_of(size: Size, model: str, detail: str | None = None) -> View | None:
    """How a model sees an image of a given size.

    Args:
        size: Width and height in pixels, both at least 1.
        model: The model's name; a snapshot or fine-tune follows its base model.
        detail: "auto", "low", "high" or "original"; None means "auto", as the API takes it.

    Returns:
        The size as seen, the grid and the tokens; None where no rule is known.

    Raises:
        SettingsError: The size is not positive, or the model does not know the detail level.
        ImageTooLargeError: The image has more patches than the API takes.
    """
    if min(size) < 1:
        raise SettingsError(f"An image cannot be {size[0]} x {size[1]} pixels: both sides must be at least 1.")
    detail = detail or "auto"
    rule = checked_rule(model, detail)
    return None if rule is None else rule.view(size, detail)


def checked_rule(model: str, detail: str) -> Rule | None:
    """The rule of a model that knows a detail level, or None where no rule is known.

    Raises:
        SettingsError: The model, or any model, does not know the detail level.
    """
    check_detail(detail)
    rule = rule_for(model)
    if rule is not None and detail not in rule.details:
        raise SettingsError(f"{model} has no detail level {detail!r}: it knows {', '.join(rule.details)}.")
    return rule


def fixed_tokens(model: str) -> int | None:
    """The tokens of any image for a model that counts all alike; None for the others, whose rules need its size.

    >>> fixed_tokens("llava")
    576
    """
    rule = rule_for(model)
    return rule.tokens if isinstance(rule, Fixed) else None


def sent_size(size: Size, model: str, detail: str | None = None) -> Size:
    """The size at which to send an image: what the model would shrink it to anyway.

    Where no rule is known, the longest side is 2,048 pixels at most.
    """
    view = view_of(size, model, detail)
    return fit_within(size, UNKNOWN_RULE_SIDE) if view is None else view.size
