"""Replicate's predictions, errors and events as JSON and bytes. Pure functions of the time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_USUAL_PROBLEMS = {
    401: ("Unauthenticated", "You did not pass a valid authentication token"),
    402: ("Insufficient credit", "You have insufficient credit to run this model."),
    403: ("Forbidden", "You do not have permission to perform this action."),
    404: ("Not found", "The requested resource could not be found."),
    500: ("Internal server error", "Something went wrong."),
    503: ("Service unavailable", "The service is temporarily unavailable."),
}


def problem(status: int, title: str, detail: str) -> dict[str, Any]:
    """Return an error in Replicate's format, which follows RFC 7807."""
    return {"title": title, "detail": detail, "status": status}


def status_problem(status: int, retry_after: float | str | None = None) -> dict[str, Any]:
    """Return the error that Replicate usually sends with a status."""
    if status == 429:
        reset = "" if retry_after is None else f" Your rate limit resets in ~{retry_after}s."
        return problem(status, "Request was throttled", f"Request was throttled.{reset}")
    title, detail = _USUAL_PROBLEMS.get(status, (f"Status {status}", f"The request failed with status {status}."))
    return problem(status, title, detail)


UNKNOWN_VERSION = problem(
    422,
    "Invalid version or not permitted",
    "The specified version does not exist (or perhaps you don't have permission to use it?)",
)


@dataclass
class Prediction:
    """A prediction, whose progress is computed from the time.

    Attributes:
        id: Its ID.
        model: "owner/name".
        version: The ID of the model's version.
        inputs: The client's inputs.
        streams: Whether the output is a growing list, rather than one string at the end.
        created: Seconds on a monotonic clock.
        logs: What the model logged.
        pieces: All tokens of the output; None until they are known.
        started: When the output starts, on the same clock.
        tokens_per_second: The speed of the output.
        error: Why the prediction fails in the middle of its output; None if it does not.
        canceled: When it was canceled; None if it was not.
        timestamp: The date and time that the JSON shows.
    """

    id: str
    model: str
    version: str
    inputs: Mapping[str, Any]
    streams: bool
    created: float
    logs: str = ""
    pieces: Sequence[str] | None = None
    started: float = 0.0
    tokens_per_second: float = float("inf")
    error: str | None = None
    canceled: float | None = None
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))

    def begin(self, pieces: Sequence[str], now: float, tokens_per_second: float, error: str | None) -> None:
        """Start the output, unless the prediction was already canceled."""
        self.error = error
        if self.canceled is None:
            self.pieces, self.started, self.tokens_per_second = pieces, now, tokens_per_second

    @property
    def _length(self) -> int:
        """Return the number of tokens that the output will have."""
        pieces = self.pieces or ()
        return len(pieces) // 2 if self.error else len(pieces)

    @property
    def _duration(self) -> float:
        return self._length / self.tokens_per_second

    def output(self, now: float) -> Sequence[str]:
        """Return the tokens so far."""
        if self.pieces is None:
            return ()
        elapsed = (now if self.canceled is None else min(now, self.canceled)) - self.started
        return self.pieces[: self._length if elapsed >= self._duration else int(elapsed * self.tokens_per_second)]

    def status(self, now: float) -> str:
        """Return "starting", "processing", "succeeded", "failed" or "canceled"."""
        if self.canceled is not None:
            return "canceled"
        if self.pieces is None:
            return "starting"
        if now < self.started + self._duration:
            return "processing"
        return "failed" if self.error else "succeeded"

    def is_finished(self, now: float) -> bool:
        """Return whether the prediction has ended."""
        return self.status(now) not in ("starting", "processing")

    def as_json(self, now: float, base: str) -> dict[str, Any]:
        """Return the prediction as the API shows it.

        Args:
            now: The time on the clock of ``created``.
            base: The server's address.
        """
        status, finished = self.status(now), self.is_finished(now)
        url = f"{base}/v1/predictions/{self.id}"
        pieces = self.output(now)
        output: list[str] | str | None = None
        if self.pieces is not None and self.streams:
            output = [*pieces]
        elif status == "succeeded":
            output = "".join(pieces)
        end = self.started + self._duration if self.canceled is None else self.canceled
        predict_time = max(0.0, end - self.started) if self.started else 0.0
        shown_time = self.timestamp.isoformat()
        return {
            "id": self.id,
            "model": self.model,
            "version": self.version,
            "input": dict(self.inputs),
            "output": output,
            "logs": self.logs,
            "error": self.error if status == "failed" else None,
            "status": status,
            "created_at": shown_time,
            "started_at": shown_time if self.pieces is not None else None,
            "completed_at": shown_time if finished else None,
            "metrics": {"predict_time": predict_time, "total_time": max(0.0, end - self.created)} if finished else {},
            "urls": {"get": url, "cancel": f"{url}/cancel", **({"stream": f"{url}/stream"} if self.streams else {})},
        }


def event(kind: str, data: str, id: str | None = None) -> bytes:
    """Return a server-sent event; each line of the text becomes a separate data line."""
    lines = "".join(f"data: {line}\n" for line in re.split("\r\n|\r|\n", data))
    head = f"event: {kind}\n" if id is None else f"event: {kind}\nid: {id}\n"
    return f"{head}{lines}\n".encode("utf-8", "replace")
