"""The gate that requests pass before they are sent, which a comparison closes while a rate limit is reached."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol


class RequestGate(Protocol):
    """Delays the requests of one call."""

    async def admit(self, input_tokens: int | None, output_tokens: int) -> None:
        """Wait until a request may be sent.

        Args:
            input_tokens: The tokens of its texts and images, or None if they are not known.
            output_tokens: The maximum number of tokens in its answer.
        """

    async def admit_again(self) -> None:
        """Wait until the last request may be sent once more."""

    def note_sent(self) -> None:
        """Count the last request from now on."""

    def correct(self, tokens: int) -> None:
        """Replace the counted tokens of the last request with those that the server reported."""


active_gate: ContextVar[RequestGate | None] = ContextVar("active_gate", default=None)
"""The gate of the call that is being made, or None."""


def note_sent() -> None:
    """Tell the active gate, if there is one, that its request is sent now."""
    gate = active_gate.get()
    if gate is not None:
        gate.note_sent()


async def admit_again() -> None:
    """Wait until the request of the active gate may be sent once more; without a gate, return at once."""
    gate = active_gate.get()
    if gate is not None:
        await gate.admit_again()
