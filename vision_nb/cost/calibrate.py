"""Infer a deployment's token rule from three blank test images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vision_nb.cost.image_rules import RULES, Rule, keep_rule
from vision_nb.errors import MalformedResponseError, RequestRejectedError, SettingsError
from vision_nb.images.detail import Detail
from vision_nb.images.document import ImageDocument

TEST_IMAGES: tuple[tuple[int, Detail], ...] = ((1024, "high"), (2048, "high"), (2048, "original"))
"""Side in pixels and detail level of the square test images, which distinguish the known rules."""

_PROMPT = "Answer with one word: blank."
_TOLERANCE = 3  # tokens: reported counts vary by one, and an image part adds one or two of its own


@dataclass(frozen=True)
class Calibration:
    """The token counts of three test images, and the models that count the same.

    Attributes:
        model: The name of the calibrated model.
        tokens: Tokens of each image; None if the server refused the detail level.
        families: The models in the rule table with the same counts, in the table's order.
        rule: The rule of these models, or None if no known rule fits.
    """

    model: str
    tokens: tuple[int | None, ...]
    families: tuple[str, ...]
    rule: Rule | None

    def keep(self) -> None:
        """Use the rule for this model for the rest of this process.

        Raises:
            SettingsError: No known rule fits.
        """
        if self.rule is None:
            raise SettingsError(f"No known rule counts {self.tokens} tokens for the test images of {self.model}.")
        keep_rule(self.model, self.rule)


def calibrate(llm: Any) -> Calibration:
    """Infer how a model counts images from four small calls: a text and three blank images.

    Args:
        llm: The model object, such as an Azure deployment of an unknown model.

    Raises:
        MalformedResponseError: The server does not report its input tokens.
        ProviderError: A call failed.

    >>> found = vn.calibrate(vn.connect("demo:our-deployment"))
    >>> found.families[0], found.tokens
    ('gpt-4o', (765, 765, None))
    """
    text_only = _input_tokens(llm, ())
    counts: list[int | None] = []
    for side, detail in TEST_IMAGES:
        try:
            counts.append(_input_tokens(llm, [_blank_image(side, detail)]) - text_only)
        except (RequestRejectedError, SettingsError):
            counts.append(None)
    families = tuple(name for name, rule in RULES.items() if name != "demo" and rule and _fits(rule, counts))
    rule = RULES[families[0]] if families else None
    return Calibration(llm.counted_model, tuple(counts), families, rule)


def _input_tokens(llm: Any, images: Any) -> int:
    usage = llm.complete(_PROMPT, images, max_new_tokens=16).usage
    if usage is None or usage.input_tokens is None:
        raise MalformedResponseError(f"{llm} does not report its input tokens, so it cannot be calibrated.")
    return int(usage.input_tokens)


def _blank_image(side: int, detail: Detail) -> ImageDocument:
    from PIL import Image

    return ImageDocument.of(Image.new("L", (side, side), 255), detail=detail)


def _fits(rule: Rule, counts: list[int | None]) -> bool:
    expected = (
        rule.view((side, side), detail).tokens if detail in rule.details else None for side, detail in TEST_IMAGES
    )
    return all(map(_is_close, counts, expected))


def _is_close(count: int | None, expected: int | None) -> bool:
    if count is None or expected is None:
        return count is expected
    return abs(count - expected) <= _TOLERANCE
