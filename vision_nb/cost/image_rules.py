"""Token rules by model: how many tokens a model counts for an image, and the size at which it sees the image."""

from __future__ import annotations

import re
from functools import cache

from vision_nb.cost.model_names import match_prefix
from vision_nb.cost.rule_kinds import UNKNOWN_RULE_SIDE, Fixed, Rule, View
from vision_nb.cost.rule_table import RULES, Row
from vision_nb.errors import SettingsError
from vision_nb.images.decode import Size
from vision_nb.images.detail import check_detail
from vision_nb.images.prepare import fit_within
from vision_nb.services.table import SERVICES

_calibrated_rules: dict[str, Row] = {}


def row_for(model: str) -> Row | None:
    """Return the row of a model's rule, or None if no rule is known."""
    return _calibrated_rules.get(model) or _table_row(model)


def rule_for(model: str) -> Rule | None:
    """Return the rule by which a model counts an image, or None if no rule is known."""
    row = row_for(model)
    return None if row is None else row.rule


@cache
def _table_row(model: str) -> Row | None:
    owner, _, own_name = model.partition("/")  # as in a router's "openai/gpt-4o"
    if any(owner == service.owner for service in SERVICES.values()):
        model = own_name
    exact = match_prefix(model, (row.name for row in RULES.values() if row.names is None))
    if exact is not None:
        return RULES[exact]
    groups = (row for row in RULES.values() if row.names and re.fullmatch(row.names, model, re.IGNORECASE))
    return next(groups, None)


def keep_row(model: str, row: Row) -> None:
    """Use a row for a model for the rest of this process, such as one that `calibrate` found."""
    _calibrated_rules[model] = row


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
    row = checked_row(model, detail)
    return None if row is None else row.view(size, detail)


def checked_row(model: str, detail: str) -> Row | None:
    """Return the row of a model's rule after checking the detail level; None if no rule is known.

    Raises:
        SettingsError: The detail level does not exist, or the model does not support it.
    """
    check_detail(detail)
    row = row_for(model)
    if row is not None and detail not in row.rule.details:
        raise SettingsError(
            f"{model} does not support the detail level {detail!r}: use one of {', '.join(row.rule.details)}."
        )
    return row


def fixed_tokens(model: str) -> int | None:
    """Return the tokens of any image if the model counts all images the same, else None.

    >>> fixed_tokens("llava")
    576
    """
    rule = rule_for(model)
    return rule.tokens if isinstance(rule, Fixed) else None


def fewest_tokens(size: Size, model: str, detail: str | None = None) -> int:
    """Return a lower bound on the tokens of an image.

    At detail auto, the server may choose any level. A count that is an estimate, or a rule that was never compared with
    real counts, is not a bound.
    """
    row = row_for(model)
    if row is None or row.checked is None or row.is_estimate(size):
        return 1
    rule = row.rule
    levels = (detail,) if detail in rule.details and detail != "auto" else rule.details
    return min(int(rule.count(*size, level)[-1]) for level in levels)


def sent_size(size: Size, model: str, detail: str | None = None, max_side: int | None = None) -> Size:
    """Return the size at which to send an image: the one to which the model would scale it down anyway.

    If no rule is known, the longest side is at most 2,048 pixels, except at detail "original".

    Args:
        size: Width and height in pixels.
        model: The model's name.
        detail: "auto", "low", "high" or "original"; None means "auto".
        max_side: The longest side in pixels, in place of the 2,048; the model's own rule still applies.
    """
    if max_side is not None:
        size = fit_within(size, max_side)
    row = checked_row(model, detail or "auto")
    if row is not None and not (isinstance(row.rule, Fixed) and row.rule.encoder_side is None):
        return row.rule.sent(size, detail or "auto")
    if max_side is not None or detail == "original":
        return size
    return fit_within(size, UNKNOWN_RULE_SIDE)
