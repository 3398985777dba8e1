"""The accounting of a call: reserve its price, then record it in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from vision_nb.cost.answer_cost import estimated_usage
from vision_nb.cost.budget import Budget, active_budget
from vision_nb.cost.call_gate import CallGate
from vision_nb.cost.ledger import Entry, ledger
from vision_nb.cost.model_reference import PricedModel, counted_model, pricing_service
from vision_nb.cost.prices import has_set_price, price
from vision_nb.cost.request_gate import active_gate
from vision_nb.errors import BudgetExceededError, ProviderError, SettingsError
from vision_nb.rendering.demo_badge import demo_label
from vision_nb.responses import Response, Usage

LONGEST_ANSWER = 4096
"""Output tokens to reserve for an answer without a length limit."""

LENGTH_LIMITS = ("max_new_tokens", "max_tokens", "max_completion_tokens", "max_output_tokens")
"""The names of the one parameter that limits an answer's length."""

_BUDGET_POLL = 0.05
"""Seconds between attempts to reserve: calls settle on any thread, so there is no single event loop to notify."""


@dataclass(frozen=True)
class ModelPricing:
    """Prices a model's tokens without keeping the model or its key in memory.

    Args:
        provider: "openai", "azure", "local" and so on.
        model: The model whose price applies.
        is_free: Whether answers cost nothing unless `set_price` sets a price, or the demo plays a model with a price.
        is_renamed: Whether ``model`` is a name that the user chose, so that only an answer names the model.
    """

    provider: str
    model: str
    is_free: bool
    is_renamed: bool = False

    def __call__(self, usage: Usage, *, model: str = "", service_tier: str | None = None) -> Decimal | None:
        """Return the price of some usage in US dollars, or None if it is unknown; see `Pricing`."""
        if self.is_free and not has_set_price(self.model):
            service = pricing_service(self.provider, self.model)
            usd = price(usage, provider=service, model=self.model, service_tier=service_tier) if service else None
            return usd or Decimal(0)
        priced = model if model and self.is_renamed and not has_set_price(self.model) else self.model
        return price(usage, provider=self.provider, model=priced, service_tier=service_tier)


def pricing_of(model: Any) -> Callable[[Usage], Decimal | None]:
    """Return the function that prices the tokens of a model object, or of the model of a name.

    Raises:
        SettingsError: As for `counted_model`.
    """
    if isinstance(model, PricedModel):
        return model.price
    found = counted_model(model)
    return ModelPricing(found.provider, found.model, found.is_free)


@dataclass(frozen=True)
class InputTokens:
    """The input tokens of a request, counted before it is sent.

    Attributes:
        text: Approximate tokens of all texts.
        images: Tokens of each image, or None where they are unknown.
        is_estimate: Whether those of an image are an estimate.
    """

    text: int
    images: Sequence[int | None] = ()
    is_estimate: bool = False

    @property
    def known(self) -> int:
        """The approximate tokens of the texts, plus the known tokens of the images."""
        return self.text + sum(tokens or 0 for tokens in self.images)

    @property
    def total(self) -> int | None:
        """The tokens of the whole request, or None if those of an image are unknown."""
        return None if None in self.images else self.known


class CallAccounting:
    """The accounting of one call, from before it is sent until it has ended.

    Args:
        model: The model's full name.
        pricing: Prices its tokens.
        tokens: The request's input tokens.
        longest_answer: The maximum number of output tokens.
        service_tier: The service tier that is asked for, or None.
    """

    def __init__(
        self,
        model: str,
        pricing: ModelPricing,
        tokens: InputTokens,
        *,
        longest_answer: int,
        service_tier: str | None = None,
    ) -> None:
        self.tokens, self.service_tier = tokens, service_tier
        self._model, self._pricing = model, pricing
        self._most_usage = Usage(tokens.total, longest_answer)
        self._run_budget, self._gate = active_budget.get(), active_gate.get()
        self._reserved: dict[Budget, Decimal] = {}
        self._is_settled = self._may_be_billed = False
        if is_limited():
            self._highest_price()  # loads the price list before the call is sent

    def reserve(self) -> None:
        """Reserve the call's highest price in the budgets that apply to it, and then wait for the rate limit.

        Raises:
            BudgetExceededError: The call could exceed a budget, or its price is unknown.
            SettingsError: As for `_reserve`, or as for `RateLimit.check`.
            RequestTooLargeError: As for `RateLimit.check`.
        """
        self._reserve()
        if isinstance(self._gate, CallGate):  # other gates admit only asynchronous calls
            with self._released_on_error():
                self._gate.admit(self._most_usage.input_tokens, self._most_usage.output_tokens or 0)

    def _reserve(self) -> None:
        """Reserve the call's highest price in the budgets that apply to it.

        Raises:
            BudgetExceededError: The call could exceed a budget, or its price is unknown.
            SettingsError: Only a comparison's own budget applies, and the call's price is unknown.
        """
        limited = [budget for budget in _budgets(self._run_budget) if budget.limit is not None]
        highest = self._highest_price() if limited else Decimal(0)
        if highest is None:
            raise self._unknown_price()
        what = f"A call to {self._model} (up to {self._most_usage.output_tokens:,} output tokens)"
        try:
            for budget in limited:
                self._reserved[budget] = budget.reserve(highest, what)
        except BudgetExceededError:
            self._release()
            raise

    def _highest_price(self) -> Decimal | None:
        """Return the highest price of the call, or None if it is unknown: a server may answer in the standard tier."""
        prices = [self._pricing(self._most_usage, service_tier=tier) for tier in {None, self.service_tier}]
        return None if None in prices else max(price for price in prices if price is not None)

    async def areserve(self) -> None:
        """Reserve as `reserve` does, but wait for other calls if a budget is active, and then for the rate limit."""
        while True:
            try:
                self._reserve()
            except BudgetExceededError as error:
                if self._run_budget is None or not error.may_pass_later:
                    raise
            else:
                break
            # A call in progress may need the slot of this one to end: it may be waiting for a rate limit.
            await (asyncio.sleep if self._gate is None else self._gate.sleep)(_BUDGET_POLL)
        if self._gate is not None:
            with self._released_on_error():
                await self._gate.aadmit(self._most_usage.input_tokens, self._most_usage.output_tokens or 0)

    def note_failure(self, error: BaseException) -> None:
        """Note that the call failed: if it may still be billed, `settle` records an estimate.

        Args:
            error: Our exception, or an interrupt.
        """
        is_interrupt = not isinstance(error, Exception)
        self._may_be_billed = is_interrupt or (isinstance(error, ProviderError) and error.may_be_billed)

    def note_accepted(self) -> None:
        """Note that the server answers: unless the call fails, `settle` records it, even if the answer is empty."""
        self._may_be_billed = True

    def settle(self, response: Response) -> None:
        """Record the call with the part of the answer that has arrived.

        Only the first invocation has an effect. It never blocks, because garbage collection may invoke it.
        """
        if self._is_settled:
            return
        self._is_settled = True
        if not (_has_arrived(response) or response.usage or self._may_be_billed):
            self._release()
            return
        usage, is_estimate = self._usage_of(response)
        if self._gate is not None and not is_estimate and None not in (usage.input_tokens, usage.output_tokens):
            self._gate.correct(usage.input_tokens or 0, usage.output_tokens or 0)
        pricing = partial(self._pricing, model=response.model, service_tier=response.service_tier)
        latency, reported = response.latency or 0.0, response.reported_cost
        model = demo_label(self._model) if response.is_demo else self._model
        entry = Entry(
            model,
            usage,
            is_estimate,
            self.tokens.total,
            pricing,
            latency,
            reported,
            expected_is_estimate=self.tokens.is_estimate,
            is_demo=response.is_demo,
        )
        ledger.record(entry, self._reserved.get(ledger.spending, Decimal(0)))
        if self._run_budget is not None:
            reserved = self._reserved.get(self._run_budget, Decimal(0))
            is_known = reported is not None or not is_estimate
            self._run_budget.settle(reserved, lambda: entry.usd if is_known else None)

    @contextmanager
    def _released_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        for budget, amount in self._reserved.items():
            budget.settle(amount, None)
        self._reserved.clear()

    def _unknown_price(self) -> Exception:
        what, advice = unknown_and_advice(self._pricing)
        if ledger.budget is not None:
            return BudgetExceededError(
                f"The {what} of this call to {self._model} is unknown, so it could exceed the budget of "
                f"{ledger.budget:f} USD: {advice}, or lift the limit with vn.ledger.budget = None."
            )
        return SettingsError(
            f"The {what} of this call to {self._model} is unknown, so budget= cannot be enforced: omit it, or {advice}."
        )

    def _usage_of(self, response: Response) -> tuple[Usage, bool]:
        """Return the reported or estimated usage, and whether it is an estimate."""
        reported = response.usage
        if reported is None and not _has_arrived(response):
            return self._most_usage, True
        if reported is not None and reported.input_tokens is not None and not response.usage_is_implausible:
            return reported, False
        return estimated_usage(response, self._pricing.model, self.tokens.total), True


active_accounting: ContextVar[Callable[..., CallAccounting]] = ContextVar("active_accounting", default=CallAccounting)
"""Creates the accounting of the calls that are being made; a worker of a cluster reports them to the notebook."""


def unknown_and_advice(pricing: ModelPricing) -> tuple[str, str]:
    """Return what is unknown of a call without a known price, and what to do about it.

    Args:
        pricing: The model's prices, which may be known.
    """
    if pricing(Usage(1, 1)) is None:
        return "price", "set a price with vn.set_price(...)"
    return "number of input tokens", "choose a model whose image tokens are known"


def _has_arrived(response: Response) -> bool:
    return any(choice.text or choice.reasoning for choice in response.choices)


def is_limited() -> bool:
    """Return whether a budget limits the calls that are made now."""
    return any(budget.limit is not None for budget in _budgets(active_budget.get()))


def _budgets(run_budget: Budget | None) -> list[Budget]:
    return [ledger.spending] if run_budget is None else [ledger.spending, run_budget]


def longest_answer(settings: Mapping[str, Any], unlimited: int = LONGEST_ANSWER) -> int:
    """Return the maximum number of output tokens that a call's settings allow, in all of its choices.

    Args:
        settings: The call's settings.
        unlimited: What to return if there is no limit.
    """
    limits = (settings[name] for name in LENGTH_LIMITS if name in settings)
    limit = next(limits, unlimited)
    try:
        return int(limit) * number_of_choices(settings)
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"The length limit must be a number of tokens, not {limit!r:.80}.") from error


def number_of_choices(settings: Mapping[str, Any]) -> int:
    """Return the number of answers that a call's settings ask for; 1 if it is invalid, which the server refuses."""
    number = settings.get("n", 1)
    return number if isinstance(number, int) and number > 0 else 1
