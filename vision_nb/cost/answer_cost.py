"""The tokens and the price of an answer: reported, or estimated if it was cut off before the server reported them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from vision_nb.cost.text_tokens import text_tokens
from vision_nb.responses import UNFINISHED, Response, Usage


@dataclass(frozen=True)
class AnswerCost:
    """The tokens and the price of an answer.

    Attributes:
        usage: The tokens, or None if they are unknown.
        usd: The price in US dollars, or None if it is unknown.
        is_estimate: Whether both are estimates.
    """

    usage: Usage | None
    usd: Decimal | None
    is_estimate: bool = False


def answer_cost(response: Response) -> AnswerCost:
    """Return the tokens and the price of an answer; if it was cut off, the same estimate as in the ledger."""
    if response.usage is not None or response.finish_reason not in UNFINISHED:
        return AnswerCost(response.usage, response.cost)
    usage = estimated_usage(response, response.model, response.expected_tokens)
    usd = response.reported_cost
    if usd is None and response.pricing is not None:
        usd = response.pricing(usage, model=response.model, service_tier=response.service_tier)
    return AnswerCost(usage, usd, is_estimate=True)


def estimated_usage(response: Response, model: str, input_tokens: int | None) -> Usage:
    """Estimate the tokens of an answer whose server reported none, or fewer than were sent.

    Args:
        response: The answer; its output tokens are used if they were reported.
        model: The model whose vocabulary counts its text.
        input_tokens: The input tokens, as counted before the call, or None.
    """
    output = None if response.usage is None else response.usage.output_tokens
    if output is None:
        text = "".join(choice.reasoning + choice.text for choice in response.choices)
        output = text_tokens(text, model).tokens
    return Usage(input_tokens, output)
