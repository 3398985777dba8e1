"""One call's place in the ledger: admitted before it is sent, written down when it has ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from vision_nb.cost.image_rules import fixed_tokens, view_of
from vision_nb.cost.ledger import Entry, ledger
from vision_nb.cost.text_tokens import text_tokens
from vision_nb.errors import ImageError, SettingsError
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage
from vision_nb.responses import Response, Usage

if TYPE_CHECKING:
    from vision_nb.cost.estimate import PricedModel

LONGEST_ANSWER = 4096
"""Tokens set aside for an answer where no limit is set and there is a budget."""


class CallAccounting:
    """What one call was expected to take, until it is settled.

    Args:
        llm: The model.
        messages: What it is asked.
        settings: The settings of the call.

    Attributes:
        sent_tokens: The input tokens at least: those of the text, and of the pictures whose tokens are known.
    """

    def __init__(self, llm: PricedModel, messages: Sequence[ChatMessage], settings: Mapping[str, Any]) -> None:
        self._llm = llm
        self._settled = False
        self._started = time.perf_counter()
        text, pictures = input_tokens(llm, messages, settings, remote=ledger.budget is not None)
        known = [tokens for tokens in pictures if tokens is not None]
        self._expected = text + sum(known) if len(known) == len(pictures) else None
        self.sent_tokens = text + sum(known)
        self._longest = longest_answer(settings)
        self._reserved = Decimal(0)

    def admit(self) -> None:
        """Set aside what the call may cost.

        Raises:
            BudgetExceededError: The call could pass the ledger's budget.
        """
        self._reserved = ledger.reserve(str(self._llm), lambda: self._llm.price(Usage(self._expected, self._longest)))

    def settle(self, response: Response | None) -> None:
        """Write the call down, whole or as far as it came; None where it failed before it gave anything."""
        if self._settled:
            return
        self._settled = True
        entry = None
        if response is not None and (response.text or response.usage):
            usage, is_estimate = self._usage_of(response)
            latency = time.perf_counter() - self._started
            entry = Entry(str(self._llm), usage, is_estimate, self._expected, self._llm.price, latency)
        ledger.settle(self._reserved, entry)

    def _usage_of(self, response: Response) -> tuple[Usage, bool]:
        reported = response.usage
        if reported is not None and reported.input_tokens is not None and not response.usage_is_implausible:
            return reported, False
        answered = None if reported is None else reported.output_tokens
        if answered is None:
            answered = text_tokens(response.text, self._llm.counted_model).tokens
        return Usage(self._expected, answered), True


def longest_answer(settings: Mapping[str, Any], unlimited: int = LONGEST_ANSWER) -> int:
    """The most tokens of an answer by the settings of a call, under whichever name they limit it."""
    limits = (settings[name] for name in ("max_new_tokens", "max_tokens", "max_completion_tokens") if name in settings)
    return int(next(limits, unlimited))


def input_tokens(
    llm: PricedModel, messages: Sequence[ChatMessage], settings: Mapping[str, Any], *, remote: bool
) -> tuple[int, list[int | None]]:
    """The input tokens of a request: about those of its text, and those of each picture, None where not known.

    Args:
        llm: The model.
        messages: What it is asked.
        settings: The settings of the call.
        remote: Whether to look at the header of a picture behind a URL, which takes a request of its own.
    """
    text = sum(text_tokens(message.text, llm.counted_model).tokens for message in messages)
    pictures = [document for message in messages for document in message.image_documents]
    return text, [_picture_tokens(llm, document, settings, remote=remote) for document in pictures]


def _picture_tokens(
    llm: PricedModel, document: ImageDocument, settings: Mapping[str, Any], *, remote: bool
) -> int | None:
    fixed = fixed_tokens(llm.counted_model)
    if fixed is not None:
        return fixed
    if document.is_remote and not remote:
        return None
    try:
        view = view_of(document.size, llm.counted_model, document.detail or settings.get("image_detail"))
    except (ImageError, SettingsError):
        return None  # building the request raises what is wrong
    return None if view is None else view.tokens
