"""The budget of a comparison."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from vision_nb.cost.budget import Budget
from vision_nb.cost.prices import parse_usd
from vision_nb.errors import SettingsError
from vision_nb.providers.base import MultiModalLLM
from vision_nb.responses import Usage


def run_budget(
    models: Iterable[MultiModalLLM], limit: float | Decimal | None, *, spent: Decimal = Decimal(0)
) -> Budget:
    """Return the budget of a run.

    Args:
        models: The models to compare.
        limit: US dollars that the run may cost, or None for no limit.
        spent: The cost of an earlier part of the run in US dollars.

    Raises:
        SettingsError: The limit is not an amount, or the price of a model is unknown.
    """
    if limit is None:
        return Budget(spent=spent)
    unpriced = [str(model) for model in models if model.price(Usage(1, 1)) is None]
    if unpriced:
        raise SettingsError(
            f"The price of {', '.join(unpriced)} is unknown, so budget= cannot be enforced: omit it, set a price "
            "with vn.set_price(...), or compare without this model."
        )
    return Budget(parse_usd(limit, "budget="), spent=spent)
