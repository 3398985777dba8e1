"""Token prices, from the dated price list in the package genai-prices, or as set by the user."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from vision_nb.cost.model_names import base_name
from vision_nb.cost.model_reference import without_provider
from vision_nb.errors import SettingsError
from vision_nb.responses import Usage
from vision_nb.services import OTHER_PROVIDERS, find_service

if TYPE_CHECKING:
    from genai_prices.types import PriceCalculation

_STANDARD_TIERS = (None, "", "auto", "default")  # OpenAI, Chat Completions reference, service_tier, read 2026-11
_MILLION = 1_000_000
_set_prices: dict[str, tuple[Decimal, Decimal]] = {}


def set_price(model: str, input: float | str | Decimal, output: float | str | Decimal) -> None:
    """Set a model's price, which overrides the price list, for all service tiers.

    Args:
        model: The model's name, with or without its provider; the price applies to the model of every provider.
        input: US dollars per million input tokens.
        output: US dollars per million output tokens.

    Raises:
        SettingsError: A price is not a number, or is negative.

    >>> set_price("my-llava", input=0.2, output=0.8)
    """
    _set_prices[without_provider(model)] = (
        parse_usd(input, "input= (per million tokens)"),
        parse_usd(output, "output= (per million tokens)"),
    )


def has_set_price(model: str) -> bool:
    """Return whether the user has set a model's price."""
    return model in _set_prices


def price(usage: Usage, *, provider: str, model: str, service_tier: str | None = None) -> Decimal | None:
    """Return the price of some usage in US dollars, or None if it is not known.

    Args:
        usage: Reported or estimated tokens.
        provider: "openai", "azure", "local" or another provider.
        model: The model's name, not the deployment's.
        service_tier: The service tier, such as "flex" or "priority"; None for the standard one. The price of a tier
            that is not on the list is unknown.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    if has_set_price(model):
        input_price, output_price = _set_prices[model]
        return (input_price * usage.input_tokens + output_price * usage.output_tokens) / _MILLION
    price_id = _price_id(provider)
    if price_id is None:
        return None
    # genai-prices takes half a second to import.
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    tokens = PricedUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_input_tokens or None,
    )
    context = None if service_tier in _STANDARD_TIERS else {"service_tier": str(service_tier)}
    try:
        found = calc_price(tokens, base_name(model), provider_id=price_id, price_context=context)
    except (LookupError, ValueError):  # not on the list, or an invalid count
        return None
    return found.total_price if context is None or _has_rates(found, context) else None


def _price_id(provider: str) -> str | None:
    """Return the name of a provider in genai-prices, or None if it has no price per token there."""
    if provider in OTHER_PROVIDERS:
        return provider if provider == "azure" else None
    service = find_service(provider)
    return None if service is None else service.price_id


def _has_rates(found: PriceCalculation, context: dict[str, str]) -> bool:
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
        if variant.when == context and (variant.constraint is None or variant.constraint.active(now))
    ]
    standard = vars(found.model.get_prices(now))
    needed = [name for name in ("input_mtok", "cache_read_mtok", "output_mtok") if standard.get(name) is not None]
    return all(any(own.get(name) is not None for own in rates) for name in needed)


def parse_usd(value: float | str | Decimal, name: str) -> Decimal:
    """Return an amount of US dollars as a Decimal.

    Args:
        value: The amount; not negative.
        name: The argument's name in error messages.

    Raises:
        SettingsError: The value is not a number, is negative, or is not finite.
    """
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise SettingsError(f"{name} must be an amount of US dollars, zero or more: got {value!r:.80}.")
    return amount
