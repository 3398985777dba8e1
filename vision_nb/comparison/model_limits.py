"""The limits of each model of a comparison: concurrent calls, and requests and tokens per minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from vision_nb.checks.numbers import plain_number
from vision_nb.checks.spelling import similar
from vision_nb.cost.model_reference import parse_model_name
from vision_nb.cost.rate_limit import RateLimit, how_to_limit
from vision_nb.errors import SettingsError
from vision_nb.providers.base import MultiModalLLM

V = TypeVar("V")

DEFAULT_CONCURRENCY = 8

RateLimits = RateLimit | Mapping[str, RateLimit] | None


def _full_name(name: str) -> str:
    """Return a model's name with its provider; other names are returned unchanged."""
    try:
        return str(parse_model_name(name))
    except SettingsError:
        return name


def _by_full_name(names: Sequence[str], values: Mapping[str, V], argument: str) -> dict[str, V]:
    """Return the values of an argument by the full names of the models.

    Args:
        names: The full names of the models.
        values: The values by names with or without their provider.
        argument: The argument's name, for the error message.

    Raises:
        SettingsError: A name is not one of the models, or a model is named twice.
    """
    found: dict[str, V] = {}
    for given, value in values.items():
        name = given if given in names else _full_name(given)
        if name not in names:
            near = similar(str(given), [*names, *(name.partition(":")[2] for name in names)])
            raise SettingsError(
                f"{argument} names {given!r:.80}, which is not one of the models: "
                + (f"did you mean {near!r:.80}?" if near else f"{', '.join(names)[:120]}.")
            )
        if name in found:
            raise SettingsError(f"{argument} names the model {name!r:.80} twice: remove one of them.")
        found[name] = value
    return found


def rate_limits_of(llms: Sequence[MultiModalLLM], rate_limits: RateLimits) -> tuple[RateLimit | None, ...]:
    """Return the rate limit of each model, or None for a model without one.

    Args:
        llms: The models.
        rate_limits: One rate limit that each model has, or a mapping from model names to rate limits, or None. A model
            that it does not name keeps its own ``rate_limit``.

    Raises:
        SettingsError: A value is not a `RateLimit`, or a name is not one of the models.
    """
    names = [str(llm) for llm in llms]
    given = dict.fromkeys(names, rate_limits) if isinstance(rate_limits, RateLimit) else rate_limits or {}
    values = given.values() if isinstance(given, Mapping) else [given]
    wrong = [value for value in values if not isinstance(value, RateLimit)]
    if wrong:
        raise SettingsError(
            f"rate_limits takes a RateLimit, or a mapping from model names to them, not {wrong[0]!r:.80}: write "
            f"{how_to_limit(wrong[0])}."
        )
    limits = _by_full_name(names, given, "rate_limits")
    return tuple(limits.get(name, llm.rate_limit) for name, llm in zip(names, llms, strict=True))


def concurrency_limits(
    llms: Sequence[MultiModalLLM], concurrency: int | Mapping[str, int], *, calls: int
) -> tuple[tuple[int, ...], int | None]:
    """Return the maximum number of concurrent calls to each model, and to all models together or None.

    Args:
        llms: The models.
        concurrency: One number for all models together, or a mapping from model names to numbers.
        calls: The number of calls to each model.

    Raises:
        SettingsError: A number is not a positive integer, or a name is not one of the models.
    """
    names = [str(llm) for llm in llms]
    if isinstance(concurrency, Mapping):
        concurrency = _by_full_name(names, concurrency, "concurrency")
        limits, total = tuple(concurrency.get(name, DEFAULT_CONCURRENCY) for name in names), None
    else:
        limits, total = (concurrency,) * len(names), concurrency
    if any(type(plain_number(limit)) is not int or limit < 1 for limit in limits):
        raise SettingsError(f"concurrency must be an integer of at least 1: got {concurrency!r:.80}.")
    return tuple(min(limit, calls) for limit in limits), total
