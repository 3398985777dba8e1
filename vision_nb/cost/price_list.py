"""Token prices in the package genai-prices, which are looked up once a minute for each model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from vision_nb.cost.model_names import base_name
from vision_nb.responses import Usage

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import PriceCalculation, TieredPrices

_STANDARD_TIERS = (None, "", "auto", "default")  # OpenAI, Chat Completions reference, service_tier, read 2026-11
_MILLION = 1_000_000
_PROBE = Usage(3, 2, 1)


@dataclass(frozen=True)
class _Rates:
    """The prices of a model in US dollars per million tokens, as far as they depend on the tokens alone."""

    input: Decimal | TieredPrices
    cached_input: Decimal | TieredPrices
    output: Decimal | TieredPrices

    def price(self, usage: Usage) -> Decimal | None:
        """Return the price of some usage, or None if its counts are invalid."""
        total, output, cached = usage.input_tokens, usage.output_tokens, usage.cached_input_tokens
        if total is None or output is None or output < 0 or not 0 <= cached <= total:
            return None
        usd = _rate(self.input, total) * (total - cached) + _rate(self.output, total) * output
        return (usd + _rate(self.cached_input, total) * cached if cached else usd) / _MILLION


def _rate(price: Decimal | TieredPrices, input_tokens: int) -> Decimal:
    """Return the price of a token; the number of input tokens decides the tier of all tokens."""
    if isinstance(price, Decimal):
        return price
    return next((tier.price for tier in reversed(price.tiers) if input_tokens > tier.start), price.base)


@dataclass(frozen=True, eq=False)
class _Lookups:
    """What was found in a price list within one minute: some prices depend on the date and the time of day."""

    snapshot: DataSnapshot | None = None
    minute: int = 0
    pricings: dict[tuple[str, str, str | None], Callable[[Usage], Decimal | None]] = field(default_factory=dict)


_lookups = _Lookups()


def listed_price(usage: Usage, *, price_id: str, model: str, service_tier: str | None) -> Decimal | None:
    """Return the price of some usage in US dollars, or None if it is not on the list.

    Args:
        usage: The tokens; both counts are known.
        price_id: The provider's name in genai-prices.
        model: The model's name.
        service_tier: The service tier; None for the standard one. The price of a tier without rates of its own is
            unknown.
    """
    # genai-prices takes half a second to import.
    from genai_prices.data_snapshot import get_snapshot

    global _lookups
    lookups, snapshot, minute = _lookups, get_snapshot(), int(time.time() // 60)
    if lookups.snapshot is not snapshot or lookups.minute != minute:
        _lookups = lookups = _Lookups(snapshot, minute)
    key = price_id, model, None if service_tier in _STANDARD_TIERS else service_tier
    pricing = lookups.pricings.get(key)
    if pricing is None:
        lookups.pricings[key] = pricing = _find_pricing(*key)
    return pricing(usage)


def _find_pricing(price_id: str, model: str, tier: str | None) -> Callable[[Usage], Decimal | None]:
    """Return what prices a model's tokens: its rates, or genai-prices if the price depends on something else too."""
    found = _calculate(_PROBE, price_id, model, tier)
    if found is None or (tier is not None and not _has_rates(found, tier)):
        return lambda usage: None
    prices, free = found.model_price, Decimal(0)
    uncached, output = prices.input_mtok or free, prices.output_mtok or free
    rates = _Rates(uncached, prices.cache_read_mtok or uncached, output)
    if rates.price(_PROBE) == found.total_price:
        return rates.price
    return partial(_calculated_price, price_id=price_id, model=model, tier=tier)


def _calculated_price(usage: Usage, *, price_id: str, model: str, tier: str | None) -> Decimal | None:
    found = _calculate(usage, price_id, model, tier)
    return None if found is None else found.total_price


def _calculate(usage: Usage, price_id: str, model: str, tier: str | None) -> PriceCalculation | None:
    """Return a price with its model, or None if the model is not on the list or a count is invalid."""
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    tokens = PricedUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_input_tokens or None,
    )
    context = None if tier is None else {"service_tier": tier}
    try:
        return calc_price(tokens, base_name(model), provider_id=price_id, price_context=context)
    except (LookupError, ValueError):
        return None


def _has_rates(found: PriceCalculation, tier: str) -> bool:
    """Return whether a price was computed with a service tier's own rates.

    genai-prices (0.2.3) falls back to the standard rates if it does not know the tier's rates, and for a model that it
    knows from another provider, such as most of Azure's.
    """
    if not any(model is found.model for model in found.provider.models):
        return False
    now = datetime.now(UTC)
    rates = [
        vars(variant.prices)
        for variant in found.model.price_variants or ()
        if variant.when == {"service_tier": tier} and (variant.constraint is None or variant.constraint.active(now))
    ]
    standard = vars(found.model.get_prices(now))
    needed = [name for name in ("input_mtok", "cache_read_mtok", "output_mtok") if standard.get(name) is not None]
    return all(any(own.get(name) is not None for own in rates) for name in needed)
