"""Which family counts behind a name that says nothing: told from three blank squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vision_nb.cost.image_rules import RULES, Rule, keep_rule
from vision_nb.errors import MalformedResponseError, RequestRejectedError, SettingsError
from vision_nb.images.decode import Size
from vision_nb.images.detail import Detail
from vision_nb.images.document import ImageDocument

PROBES: tuple[tuple[int, Detail], ...] = ((1024, "high"), (2048, "high"), (2048, "original"))
"""Side in pixels and detail level of the squares: enough to tell the families apart."""

_PROMPT = "Answer with one word: blank."
_TOLERANCE = 3  # tokens: bills may differ by one, and an image part adds one or two of its own


@dataclass(frozen=True)
class Calibration:
    """What three blank squares cost, and the families that count so.

    Attributes:
        model: The model asked, by the name under which it counts.
        tokens: Tokens of each square; None where the detail level was refused.
        families: The models of the rule table that count the same, in the table's order.
        rule: Their rule, or None where no known one fits.
    """

    model: str
    tokens: tuple[int | None, ...]
    families: tuple[str, ...]
    rule: Rule | None

    def keep(self) -> None:
        """Count images for this model by the rule that was found, from now on in this process.

        Raises:
            SettingsError: No known rule fits.
        """
        if self.rule is None:
            raise SettingsError(f"No known rule counts {self.tokens} for the three squares: there is none to keep.")
        keep_rule(self.model, self.rule)


def calibrate(llm: Any) -> Calibration:
    """Find out how a model counts images by sending it a text and three blank squares: four small calls.

    Args:
        llm: The model object, such as an Azure deployment whose model is not known.

    Raises:
        MalformedResponseError: The server does not report its input tokens.
        ProviderError: A call failed.

    >>> found = vn.calibrate(vn.connect("demo:our-deployment"))
    >>> found.families[0], found.tokens
    ('gpt-4o', (765, 765, None))
    """
    bare = _input_tokens(llm, ())
    counts: list[int | None] = []
    for side, detail in PROBES:
        try:
            counts.append(_input_tokens(llm, [_blank(side, detail)]) - bare)
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


def _blank(side: int, detail: Detail) -> ImageDocument:
    from PIL import Image

    return ImageDocument.of(Image.new("L", (side, side), 255), detail=detail)


def _fits(rule: Rule, counts: list[int | None]) -> bool:
    for (side, detail), count in zip(PROBES, counts, strict=True):
        size: Size = (side, side)
        expected = rule.view(size, detail).tokens if detail in rule.details else None
        if (count is None) != (expected is None):
            return False
        if count is not None and expected is not None and abs(count - expected) > _TOLERANCE:
            return False
    return True
