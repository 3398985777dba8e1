"""A limit on what a run may cost, kept before each call."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from vision_nb.comparison.grid import Grid
from vision_nb.cost.accounting import longest_answer
from vision_nb.cost.estimate import input_tokens
from vision_nb.cost.prices import parse_usd
from vision_nb.errors import BudgetExceededError, ImageError, SettingsError
from vision_nb.images.document import ImageDocument
from vision_nb.providers.base import MultiModalLLM
from vision_nb.rendering.format import format_usd
from vision_nb.responses import Usage


class Budget:
    """Counts what is spent and what calls under way may still cost.

    A call is let through only if everything spent, everything set aside and the call itself stay within the
    limit; while others are under way it waits for what they turn out to cost.

    Args:
        grid: What is to be asked.
        limit: US dollars, or None for no limit.
        spent: What an earlier part of the run has cost.

    Raises:
        SettingsError: The limit is no amount, or the price of a model is not known.
    """

    def __init__(self, grid: Grid, limit: float | Decimal | None, *, spent: Decimal = Decimal(0)) -> None:
        self.spent = spent
        self.limit = None if limit is None else parse_usd(limit, "budget=")
        self._reserved: dict[int, Decimal] = {}
        self._settled = asyncio.Condition()
        if self.limit is not None:
            unpriced = [str(model) for model in grid.models if model.price(Usage(1, 1)) is None]
            if unpriced:
                raise SettingsError(
                    f"A budget needs prices, and that of {', '.join(unpriced)} is not known: leave budget= out, or "
                    "compare it in a run of its own."
                )

    async def reserve(self, row: int, llm: MultiModalLLM, prompt: str, document: ImageDocument) -> None:
        """Set aside what a call may cost, once there is room for it.

        Raises:
            BudgetExceededError: It could pass the limit, whatever the calls under way turn out to cost.
        """
        if self.limit is None or llm.is_free:
            return
        worst = await asyncio.to_thread(_worst_price, llm, prompt, document)
        async with self._settled:
            while self.spent + sum(self._reserved.values()) + worst > self.limit:
                if not self._reserved:
                    raise BudgetExceededError(
                        f"the next call could pass the budget of {self.limit:f} USD: {format_usd(self.spent)} is spent"
                    )
                await self._settled.wait()
            self._reserved[row] = worst

    def spend(self, row: int, usd: Decimal | None) -> None:
        """Count what a call has cost; where it is not known, all that was set aside for it."""
        self.spent += self._reserved.get(row, Decimal(0)) if usd is None else usd

    def release(self, row: int) -> None:
        """Take back what was set aside for a call, and let others look again."""
        if self._reserved.pop(row, None) is not None:
            asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._settled:
            self._settled.notify_all()


def _worst_price(llm: MultiModalLLM, prompt: str, document: ImageDocument) -> Decimal:
    """The most that a call can cost, about; a picture that cannot be read costs nothing, as it is not sent."""
    try:
        tokens = input_tokens(prompt, document.size, llm.counted_model, document.detail or llm.image_detail)
    except ImageError:
        return Decimal(0)
    price = None if tokens is None else llm.price(Usage(tokens, longest_answer(llm.settings())))
    if price is None:
        raise SettingsError(f"A budget needs prices, and {llm} has no known count for an image: leave budget= out.")
    return price
