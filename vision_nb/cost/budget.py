"""Limits on the total cost of calls, enforced before each call is sent."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from decimal import Decimal

from vision_nb.checks.context_values import context_value
from vision_nb.errors import BudgetExceededError
from vision_nb.rendering.format import format_usd

active_budget: ContextVar[Budget | None] = ContextVar("active_budget", default=None)
"""The budget whose `Budget.active` block is running, or None."""


class Budget:
    """A limit on the total price of calls. Safe to use from several threads.

    Each call reserves its highest possible price before it is sent. When the call ends, its actual cost replaces the
    reservation.

    Args:
        limit: US dollars that all calls together may cost; None for no limit.
        spent: US dollars already spent at the start.
        name: How to refer to the limit in an error message, such as "vn.ledger.budget".
    """

    def __init__(self, limit: Decimal | None = None, *, spent: Decimal = Decimal(0), name: str = "budget=") -> None:
        self.limit = limit
        self._name = name
        self._spent, self._reserved = spent, Decimal(0)
        self._in_batches = Decimal(0)  # of what is reserved: it stays so for up to a day
        self._lock = threading.Lock()
        # Garbage collection can end a stream, and so call settle(), while this thread holds the lock: settle() only
        # appends to this queue, which takes no lock, and everything that reads the totals empties it first.
        self._settled: deque[tuple[Decimal, Callable[[], Decimal | None] | None]] = deque()

    @property
    def spent(self) -> Decimal:
        """The cost of the calls so far in US dollars."""
        with self._lock:
            self._update()
            return self._spent

    def __repr__(self) -> str:
        limit = "no limit" if self.limit is None else f"of {format_usd(self.limit)}"
        return f"Budget({format_usd(self.spent)} spent, {limit})".replace(" spent, of", " spent of")

    def reserve(self, amount: Decimal, what: str, *, is_batch: bool = False) -> Decimal:
        """Reserve the highest possible price of a call or a batch.

        Args:
            amount: US dollars.
            what: What it is for, as the beginning of the error message: "A call to openai:gpt-4o".
            is_batch: Whether this is for a batch, whose end no call waits for; `settle_batch` gives it back.

        Returns:
            The reserved amount, to pass to `settle`.

        Raises:
            BudgetExceededError: The call could exceed the limit.
        """
        limit = self.limit  # another thread may lift it meanwhile
        if limit is None:
            return Decimal(0)
        with self._lock:
            self._update()
            spent, reserved, in_batches = self._spent, self._reserved, self._in_batches
            if not amount or spent + reserved + amount <= limit:
                self._reserved += amount
                self._in_batches += amount if is_batch else 0
                return amount
        others = "batches and calls in progress" if in_batches else "calls in progress"
        in_progress = f" and {format_usd(reserved)} is reserved for {others}" if reserved else ""
        used = f"{format_usd(spent)} of the budget of {format_usd(limit)} is spent{in_progress}"
        left = used if spent or reserved else f"the budget is {format_usd(limit)}"
        raise BudgetExceededError(
            f"{what} could cost {format_usd(amount)}, but {left}: raise {self._name}, or set a lower max_new_tokens.",
            may_pass_later=spent + in_batches + amount <= limit,
        )

    def settle(self, reserved: Decimal, price: Callable[[], Decimal | None] | None) -> None:
        """Replace a reservation with the call's actual cost. Never blocks.

        Args:
            reserved: The amount that `reserve` returned.
            price: Returns the price in US dollars, or None if it is unknown, in which case the reservation counts
                as spent. It is called when the total is next needed. None if the call failed and cost nothing.
        """
        if reserved or price is not None:
            self._settled.append((reserved, price))

    def settle_batch(self, reserved: Decimal) -> None:
        """Give back what is reserved for a batch, whose answers are settled one by one.

        Args:
            reserved: The amount that `reserve` returned, or a part of it.
        """
        with self._lock:
            self._in_batches -= reserved
        self.settle(reserved, None)

    def reset(self) -> None:
        """Start counting from zero again; reservations of calls in progress remain."""
        with self._lock:
            self._update()
            self._spent = Decimal(0)

    def active(self) -> AbstractContextManager[None]:
        """Apply this budget to the calls made in a ``with`` block.

        The ledger's budget applies too. Asynchronous calls wait while calls in progress may still leave enough of the
        budget; other calls raise BudgetExceededError.
        """
        return context_value(active_budget, self)

    def _update(self) -> None:
        """Add the amounts settled since the last update; the caller must hold the lock."""
        while self._settled:
            reserved, price = self._settled[0]
            usd = Decimal(0) if price is None else price()
            self._settled.popleft()
            self._reserved -= reserved
            self._spent += reserved if usd is None else usd
