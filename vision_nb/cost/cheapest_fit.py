"""The smaller sizes at which an image costs fewer tokens, and the savings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from vision_nb.checks.arguments import checks_arguments
from vision_nb.cost.accounting import pricing_of
from vision_nb.cost.image_rules import checked_row, view_of
from vision_nb.cost.image_tokens import as_size
from vision_nb.cost.model_reference import counted_model
from vision_nb.images.decode import Size
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.rendering import html
from vision_nb.rendering.format import format_count, format_price, pluralize
from vision_nb.rendering.terminal import Report, TerminalPart, TextTable
from vision_nb.responses import Usage

_MIN_SAVING = 0.25  # of the previous step: without it, patches would produce thousands of steps
_MIN_TOKENS = 0.1  # of the full count: below it, little is left of the image


@dataclass(frozen=True, repr=False)
class Step:
    """A smaller size with fewer tokens.

    Attributes:
        size: Width and height in pixels: the largest with this count.
        tokens: Tokens at this size.
        saved_tokens: How many tokens fewer than at full size.
        saved_usd: Their price in US dollars, or None if it is not known.
        is_estimate: Whether the tokens at this size are an estimate.
    """

    size: Size
    tokens: int
    saved_tokens: int
    saved_usd: Decimal | None
    is_estimate: bool = False

    def __repr__(self) -> str:
        tokens = format_count(self.tokens, is_estimate=self.is_estimate)
        saved = f"saves {pluralize(self.saved_tokens, 'token')}, {format_price(self.saved_usd)}"
        return f"Step({self.size[0]} x {self.size[1]}: {tokens} tokens, {saved})"


@dataclass(frozen=True, repr=False)
class Fits(Report):
    """The smaller sizes at which an image costs fewer tokens, largest first; displays as a table.

    Attributes:
        model: The model's name.
        size: The image's own size in pixels.
        tokens: Its tokens, or None if the model's rule is not known.
        steps: The smaller sizes; empty if none of them costs less.
        is_estimate: Whether the image's own tokens are an estimate.
    """

    model: str
    size: Size
    tokens: int | None
    steps: tuple[Step, ...]
    is_estimate: bool = False

    def _repr_markdown_(self) -> str:
        return self._unknown_rule if self.tokens is None else html.markdown_table(*self._table(self.tokens))

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        return [self._unknown_rule if self.tokens is None else TextTable(*self._table(self.tokens), numbers_from=1)]

    @property
    def _unknown_rule(self) -> str:
        return f"The token rule of {self.model} for images is not known."

    def _table(self, tokens: int) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        full = format_count(tokens, is_estimate=self.is_estimate)
        rows = [(f"{self.size[0]} x {self.size[1]} (full size)", full, "", "")]
        for step in self.steps:
            fewer = format_count(step.tokens, is_estimate=step.is_estimate)
            percent = f"{step.saved_tokens / tokens:.0%}"
            saved = "nothing" if step.saved_usd == 0 else format_price(step.saved_usd)
            rows.append((f"{step.size[0]} x {step.size[1]}", fewer, percent, saved))
        return (f"pixels, {self.model}", "tokens", "saved", "saved per image"), rows


@checks_arguments
def cheapest_fit(image_or_size: ImageSource | Size, model: Any = "gpt-4o", detail: str = "auto") -> Fits:
    """Find the smaller sizes at which an image costs fewer tokens.

    Images are always scaled down to the size that the model uses before they are sent, so using that size saves
    nothing. At the sizes returned here, the model sees less detail.

    Args:
        image_or_size: A (width, height) in pixels, or any image source.
        model: A model's name, such as "gpt-4o" or "provider:model", or a model object.
        detail: "auto", "low", "high" or "original".

    Raises:
        SettingsError: The size is not positive, or the model does not support the detail level.
        ImageError: The image cannot be read.

    >>> [(step.size, step.tokens) for step in vn.cheapest_fit((1024, 1024), "gpt-4o", "high").steps]
    [((512, 512), 255)]
    """
    size = as_size(image_or_size) or ImageDocument.of(image_or_size).size
    found, price = counted_model(model), pricing_of(model)
    row, view = checked_row(found.model, detail), view_of(size, found.model, detail)
    if row is None or view is None:
        return Fits(found.model, size, None, ())
    steps: list[Step] = []
    lowest = view.tokens
    for smaller in _candidates(row.rule.sent(size, detail), row.rule.unit):
        seen = row.view(smaller, detail)
        tokens = seen.tokens
        if tokens < view.tokens * _MIN_TOKENS:
            break
        if tokens < lowest * (1 - _MIN_SAVING):
            saved = view.tokens - tokens
            steps.append(Step(smaller, tokens, saved, price(Usage(saved, 0)), seen.is_estimate))
            lowest = tokens
    return Fits(found.model, size, view.tokens, tuple(steps), view.is_estimate)


def _candidates(size: Size, unit: int) -> list[Size]:
    """Return sizes with the same aspect ratio and a whole number of tiles or patches on one side, largest first."""
    if not unit:
        return []
    width, height = size
    by_width = {(side, max(1, height * side // width)) for side in range(unit, width, unit)}
    by_height = {(max(1, width * side // height), side) for side in range(unit, height, unit)}
    return sorted(by_width | by_height, reverse=True)
