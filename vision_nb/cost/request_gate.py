"""The gate that requests pass before they are sent, which is closed while a rate limit is reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, Protocol

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


class RemoteGate:
    """The gate of a call on behalf of another process, which has admitted its request and knows the limits.

    Args:
        tell: Sends the other process a message for `take_note`: its kind, and more about it.
        has_limit: Whether a limit counts the request from when it is sent.
    """

    is_limited = True

    def __init__(self, tell: Callable[[str, Any], None], *, has_limit: bool = False) -> None:
        self._tell, self._has_limit = tell, has_limit

    async def aadmit(self, input_tokens: int | None, output_tokens: int) -> None:
        """Return at once; see `RequestGate`."""

    async def aadmit_again(self) -> None:
        """Return at once; see `RequestGate`."""

    async def sleep(self, seconds: float) -> None:
        """Wait some seconds; see `RequestGate`."""
        await asyncio.sleep(seconds)

    def note_sent(self) -> None:
        """Say that the request is sent now, if that counts; see `RequestGate`."""
        if self._has_limit:
            self._tell("sent", None)

    def note_reports(self, reports: Sequence[LimitReport], *, is_refused: bool) -> None:
        """Pass on the rate limits that the server reported; see `RequestGate`."""
        if reports or is_refused:
            self._tell("reports", (list(reports), is_refused))

    def correct(self, input_tokens: int, output_tokens: int) -> None:
        """Return at once: the other process knows the tokens from the answer; see `RequestGate`."""


def take_note(gate: RequestGate | None, kind: str, data: Any) -> None:
    """Tell a gate what a `RemoteGate` said.

    Args:
        gate: The gate; None to do nothing.
        kind: The kind of message.
        data: More about it.
    """
    if gate is not None:
        if kind == "sent":
            gate.note_sent()
        else:
            reports, is_refused = data
            gate.note_reports(reports, is_refused=is_refused)


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
