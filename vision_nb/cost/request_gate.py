"""The gate that requests pass before they are sent, which is closed while a rate limit is reached."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, Protocol

Resource = Literal["requests", "tokens", "input_tokens", "output_tokens", "attempts"]
"""What a rate limit counts; attempts are limited by the Retry-After header of a refusal."""


@dataclass(frozen=True)
class LimitReport:
    """What a server reports about one of its rate limits when it answers.

    Attributes:
        resource: What it counts.
        remaining: How many are left.
        reset: Seconds until the limit is available again in full.
        limit: The limit, or None if the server does not report it.
    """

    resource: Resource
    remaining: int
    reset: float
    limit: int | None = None


class RequestGate(Protocol):
    """Delays the requests of one call."""

    @property
    def is_limited(self) -> bool:
        """Whether a request may have to wait now."""

    async def aadmit(self, input_tokens: int | None, output_tokens: int) -> None:
        """Wait until a request may be sent.

        Args:
            input_tokens: The tokens of its texts and images, or None if they are not known.
            output_tokens: The maximum number of tokens in its answer.
        """

    async def aadmit_again(self) -> None:
        """Wait until the last request may be sent once more."""

    async def sleep(self, seconds: float) -> None:
        """Wait some seconds, and let other calls be made meanwhile."""

    def note_sent(self) -> None:
        """Count the last request from now on."""

    def note_reports(self, reports: Sequence[LimitReport], *, is_refused: bool) -> None:
        """Take note of the rate limits that the server reported in response to the last request.

        Args:
            reports: The limits.
            is_refused: Whether the request exceeded a limit.
        """

    def correct(self, input_tokens: int, output_tokens: int) -> None:
        """Replace the counted tokens of the last request with those that the server reported."""


active_gate: ContextVar[RequestGate | None] = ContextVar("active_gate", default=None)
"""The gate of the call that is being made, or None."""


def note_sent() -> None:
    """Tell the active gate, if there is one, that its request is sent now."""
    gate = active_gate.get()
    if gate is not None:
        gate.note_sent()


async def aadmit_again() -> None:
    """Wait until the request of the active gate may be sent once more; without a gate, return at once."""
    gate = active_gate.get()
    if gate is not None:
        await gate.aadmit_again()
