"""What tokens cost, from the dated price list that the package genai-prices carries."""

from __future__ import annotations

from decimal import Decimal

from vision_nb.cost.rules import base_name
from vision_nb.responses import Usage

PROVIDER_IDS = {"openai": "openai", "azure": "azure"}
"""Our provider names, as genai-prices calls them. The other providers have no price a token."""


def price(usage: Usage, *, provider: str, model: str) -> Decimal | None:
    """The price of some usage in US dollars, or None where it is not known.

    Args:
        usage: Reported or estimated tokens.
        provider: "openai", "azure", "local" and so on.
        model: The model's own name, not a deployment's.
    """
    if provider == "demo":
        return Decimal(0)
    if provider not in PROVIDER_IDS or usage.input_tokens is None or usage.output_tokens is None:
        return None
    # genai-prices takes half a second to import: only those who ask for a price wait for it.
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    tokens = PricedUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_input_tokens or None,
    )
    try:
        return calc_price(tokens, base_name(model), provider_id=PROVIDER_IDS[provider]).total_price
    except LookupError:
        return None
