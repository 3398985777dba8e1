"""Token prices, from the dated price list in the package genai-prices, or as set by the user."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from itertools import count

from vision_nb.checks.arguments import checks_arguments
from vision_nb.cost.model_reference import check_model_name, without_provider
from vision_nb.cost.price_list import listed_price
from vision_nb.errors import SettingsError
from vision_nb.responses import Usage
from vision_nb.services.registry import find_service
from vision_nb.services.table import OTHER_PROVIDERS

BATCH_TIER = "batch"
"""The service tier of answers from a batch."""
_BATCH_SHARE = Decimal("0.5")
"""The price of an answer from a batch as a share of the standard price.

OpenAI, Batch API FAQ: "50% cost discount vs. the synchronous APIs"; Azure OpenAI, Batch guide: 50% less than the
global standard price (read 2026-11).
"""
_MILLION = 1_000_000
_set_prices: dict[str, tuple[Decimal, Decimal]] = {}
_changes = count(1)
_version = 0


@checks_arguments
def set_price(model: str, input: float | str | Decimal, output: float | str | Decimal) -> None:
    """Set a model's price, which overrides the price list, for all service tiers.

    Args:
        model: The model's name, with or without its provider; the price applies to the model of every provider.
        input: US dollars per million input tokens.
        output: US dollars per million output tokens.

    Raises:
        SettingsError: A price is not a number, or is negative, or the model's name is not a string.

    >>> vn.set_price("my-llava", input=0.2, output=0.8)
    """
    check_model_name(model)
    _set_prices[without_provider(model)] = (
        parse_usd(input, "input= (per million tokens)"),
        parse_usd(output, "output= (per million tokens)"),
    )
    global _version
    _version = next(_changes)


def price_version() -> int:
    """Return a number that changes when the user sets a price: prices computed before then may be out of date."""
    return _version


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
            that is not on the list is unknown. "batch" costs half the standard price, also of a price that was set.
    """
    if service_tier == BATCH_TIER:
        standard = price(usage, provider=provider, model=model)
        return None if standard is None else standard * _BATCH_SHARE
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    if has_set_price(model):
        input_price, output_price = _set_prices[model]
        return (input_price * usage.input_tokens + output_price * usage.output_tokens) / _MILLION
    price_id = _price_id(provider)
    if price_id is None:
        return None
    if "{}" in price_id:  # a router, which sells the models of partners at their prices
        model, _, partner = model.partition(":")
        price_id = price_id.format(partner)
    return listed_price(usage, price_id=price_id, model=model, service_tier=service_tier)


def _price_id(provider: str) -> str | None:
    """Return the name of a provider in genai-prices, or None if it has no price per token there."""
    if provider in OTHER_PROVIDERS:
        return provider if provider == "azure" else None
    service = find_service(provider)
    return None if service is None else service.price_id


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
