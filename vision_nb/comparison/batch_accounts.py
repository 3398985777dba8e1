"""What this process has reserved in budgets, and recorded in the ledger, for each batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from vision_nb.cost.budget import Budget

_accounts: dict[str, BatchAccount] = {}


@dataclass
class _Reservation:
    """What is reserved in a budget for a batch.

    Attributes:
        budget: The budget.
        left: What is reserved now.
        each: What was reserved for each question.
    """

    budget: Budget
    left: Decimal
    each: Decimal

    def give_back(self, amount: Decimal) -> None:
        """Give back an amount, or what is left of it."""
        amount = min(self.left, amount)
        self.left -= amount
        self.budget.settle_batch(amount)


class BatchAccount:
    """What is reserved for a batch's questions that are not collected, and the costs that are recorded."""

    def __init__(self) -> None:
        self._reservations: list[_Reservation] = []
        self._recorded: set[str] = set()

    @property
    def is_reserved(self) -> bool:
        """Whether anything is reserved."""
        return bool(self._reservations)

    def reserve(self, budgets: Iterable[tuple[Budget, Decimal]], questions: int) -> None:
        """Keep amounts reserved in budgets until the questions are collected by this process."""
        self._reservations = [_Reservation(one, amount, round(amount / questions, 9)) for one, amount in budgets]

    def record(self, key: str) -> bool:
        """Note that a question's cost is recorded, and return whether it is for the first time.

        An answer may be read again, also for another store.
        """
        is_new = key not in self._recorded
        self._recorded.add(key)
        return is_new

    def give_back(self, questions: int) -> None:
        """Give back what is reserved for some questions, which are collected."""
        for one in self._reservations:
            one.give_back(one.each * questions)

    def release(self) -> None:
        """Give back all that is still reserved."""
        reservations, self._reservations = self._reservations, []
        for one in reservations:
            one.give_back(one.left)


def account_of(token: str) -> BatchAccount:
    """Return the account of a batch by its token."""
    return _accounts.setdefault(token, BatchAccount())


def reserved_batches() -> list[str]:
    """Return the tokens of the batches for which anything is reserved."""
    return [token for token, account in list(_accounts.items()) if account.is_reserved]


def close_account(token: str) -> None:
    """Forget a batch whose answers cannot be read any more."""
    if account := _accounts.pop(token, None):
        account.release()
