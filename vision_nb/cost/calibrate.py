"""Infer how a model counts images from three blank test images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from vision_nb.checks.arguments import checks_arguments
from vision_nb.cost.image_rules import keep_row, row_for
from vision_nb.cost.rule_kinds import Fixed, PaddedPatches, RoundedPatches, Rule
from vision_nb.cost.rule_table import RULES, Row
from vision_nb.errors import MalformedResponseError, RequestRejectedError, SettingsError
from vision_nb.images.decode import Size
from vision_nb.images.detail import Detail
from vision_nb.images.document import ImageDocument
from vision_nb.rendering.terminal import Report, TerminalPart

TestImages = tuple[tuple[Size, Detail | None], ...]

TEST_IMAGES: TestImages = (((1024, 1024), "high"), ((2048, 2048), "high"), ((2048, 2048), "original"))
"""Size in pixels and detail level of the test images, which distinguish the known rules."""

TEST_IMAGES_WITHOUT_DETAIL: TestImages = (((1024, 1024), None), ((2048, 2048), None), ((2048, 1024), None))
"""The test images for services without detail levels."""

_PROMPT = "Answer with one word: blank."
_TOLERANCE = 3  # tokens: reported counts vary by one, and an image part adds one or two of its own
_FIXED_TOLERANCE = 0.05  # of the highest count: those of some models depend on the shape a little


@dataclass(frozen=True, repr=False)
class Calibration(Report):
    """The token counts of three test images, and the models that count the same.

    Attributes:
        model: The name of the calibrated model.
        tokens: Tokens of each image; None if the server refused the detail level.
        families: The rows of the rule table with the same counts, the model's own first.
        rule: The rule of these models, or the model's own rule with the limit that was counted; None if no known rule
            fits.
    """

    model: str
    tokens: tuple[int | None, ...]
    families: tuple[str, ...]
    rule: Rule | None

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        counts = ", ".join("refused" if count is None else f"{count:,}" for count in self.tokens)
        yield f"{self.model}: {counts} tokens for the test images"
        if self.families:
            yield f"These models count the same: {', '.join(self.families)}."
        else:
            yield "No known model counts the same." if self.rule is None else f"Adjusted rule: {self.rule.name}."

    def keep(self) -> None:
        """Use the rule for this model for the rest of this process: its counts are no longer estimates.

        Raises:
            SettingsError: No known rule fits.
        """
        if self.rule is None:
            raise SettingsError(
                f"No known rule counts {self.tokens} tokens for the test images of {self.model}: its token counts stay "
                "unknown."
            )
        checked = f"{len(self.tokens)} blank images, counted by the server"
        keep_row(self.model, Row(self.model, self.rule, "calibrate()", checked, read=date.today().isoformat()))


@checks_arguments
def calibrate(llm: Any) -> Calibration:
    """Infer how a model counts images from four small calls: a text and three blank images.

    For a model whose counts are estimates, this measures them.

    Args:
        llm: The model object, such as an Azure deployment of an unknown model.

    Raises:
        SettingsError: The value is not a model object.
        MalformedResponseError: The server does not report its input tokens.
        ProviderError: A call failed.

    >>> found = vn.calibrate(vn.connect("demo:our-deployment"))
    >>> found.families[0], found.tokens
    ('gpt-4o', (765, 765, None))
    """
    if not hasattr(llm, "takes_detail"):
        raise SettingsError(f"calibrate() takes a model object, as vn.connect() returns it, not {llm!r:.80}.")
    text_only = _input_tokens(llm, ())
    images = TEST_IMAGES if llm.takes_detail else TEST_IMAGES_WITHOUT_DETAIL
    counts: list[int | None] = []
    for size, detail in images:
        try:
            counts.append(_input_tokens(llm, [_blank_image(size, detail)]) - text_only)
        except (RequestRejectedError, SettingsError):
            counts.append(None)
    own = row_for(llm.counted_model)
    rows = [row for row in RULES.values() if row.name != "demo" and _fits(row.rule, images, counts)]
    rows.sort(key=lambda row: row is not own)
    rule = rows[0].rule if rows else None if own is None else _adjusted(own.rule, images, counts)
    return Calibration(llm.counted_model, tuple(counts), tuple(row.name for row in rows), rule)


def _input_tokens(llm: Any, images: Any) -> int:
    usage = llm.complete(_PROMPT, images, max_new_tokens=16).usage
    if usage is None or usage.input_tokens is None:
        raise MalformedResponseError(f"{llm} does not report its input tokens, so it cannot be calibrated.")
    return int(usage.input_tokens)


def _blank_image(size: Size, detail: Detail | None) -> ImageDocument:
    from PIL import Image

    return ImageDocument.of(Image.new("L", size, 255), detail=detail)


def _adjusted(rule: Rule, images: TestImages, counts: Sequence[int | None]) -> Rule | None:
    """Return a rule with the limit that a server applies, if that explains its counts; else None."""
    known = [count for count in counts if count is not None]
    if not known:
        return None
    if isinstance(rule, Fixed) and max(known) - min(known) <= _FIXED_TOLERANCE * max(known):
        return replace(rule, tokens=max(known))
    if isinstance(rule, (PaddedPatches, RoundedPatches)):
        adjusted = replace(rule, max_patches=max(known))
        return adjusted if _fits(adjusted, images, counts) else None
    return None


def _fits(rule: Rule, images: TestImages, counts: Sequence[int | None]) -> bool:
    """Return whether a rule explains the counts; servers may ignore detail levels that a model does not have."""
    for (size, detail), count in zip(images, counts, strict=True):
        level = detail or "auto"
        if level in rule.details or (not rule.has_levels and count is not None):
            expected = rule.view(size, level).tokens
            if count is None or abs(count - expected) > _TOLERANCE:
                return False
        elif count is not None:
            return False
    return True
