"""Replicate's predictions, errors and events as JSON and bytes. Pure, given the time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


def problem(status: int, title: str, detail: str) -> dict[str, Any]:
    """An error as Replicate words it, after RFC 7807."""
    return {"title": title, "detail": detail, "status": status}


def usual_problem(status: int, retry_after: float | None = None) -> dict[str, Any]:
    """The error that Replicate most often sends with a status."""
    if status == 429:
        soon = f" Your rate limit resets in ~{retry_after:g}s." if retry_after is not None else ""
        return problem(status, "Request was throttled", f"Request was throttled.{soon}")
    title, detail = _USUAL.get(status, (f"Status {status}", f"The request ended with status {status}."))
    return problem(status, title, detail)


_USUAL = {
    401: ("Unauthenticated", "You did not pass a valid authentication token"),
    402: ("Insufficient credit", "You have insufficient credit to run this model."),
    403: ("Forbidden", "You do not have permission to perform this action."),
    404: ("Not found", "The requested resource could not be found."),
    500: ("Internal server error", "Something went wrong."),
    503: ("Service unavailable", "The service is temporarily unavailable."),
}
UNKNOWN_VERSION = problem(
    422,
    "Invalid version or not permitted",
    "The specified version does not exist (or perhaps you don't have permission to use it?)",
)


@dataclass
class Prediction:
    """A prediction; how far it has come follows from the clock.

    Attributes:
        id: What to call it.
        model: "owner/name".
        version: The version's id.
        inputs: As the client gave them.
        streams: Whether the output is a list that grows, rather than one string at the end.
        created: Seconds on a clock that never goes back.
        pieces: The answer's tokens; None until it is known.
        started: When the first of them came.
        pace: Tokens a second.
        error: Why it fails in the middle of its answer; None where it does not.
        logs: What the model wrote to its log.
        canceled: When it was canceled; None where it was not.
        stamp: The date and time to show.
    """

    id: str
    model: str
    version: str
    inputs: Mapping[str, Any]
    streams: bool
    created: float
    pieces: Sequence[str] | None = None
    started: float = 0.0
    pace: float = float("inf")
    error: str | None = None
    logs: str = ""
    canceled: float | None = None
    stamp: datetime = field(default_factory=lambda: datetime.now(UTC))

    def begin(self, pieces: Sequence[str], now: float, pace: float) -> None:
        """Start to give the answer, unless it was canceled before."""
        if self.canceled is None:
            self.pieces, self.started, self.pace = pieces, now, pace

    @property
    def _end(self) -> float:
        """When its last token comes."""
        return self.started + self._total / self.pace

    @property
    def _total(self) -> int:
        pieces = self.pieces or ()
        return len(pieces) // 2 if self.error else len(pieces)

    def said(self, now: float) -> Sequence[str]:
        """The tokens that have come."""
        if self.pieces is None:
            return ()
        passed = (now if self.canceled is None else min(now, self.canceled)) - self.started
        count = self._total if passed >= self._total / self.pace else int(passed * self.pace)
        return self.pieces[:count]

    def status(self, now: float) -> str:
        """One of "starting", "processing", "succeeded", "failed" and "canceled"."""
        if self.canceled is not None:
            return "canceled"
        if self.pieces is None:
            return "starting"
        if now < self._end:
            return "processing"
        return "failed" if self.error else "succeeded"

    def is_finished(self, now: float) -> bool:
        """Whether it has ended, one way or another."""
        return self.status(now) not in ("starting", "processing")

    def as_json(self, now: float, base: str) -> dict[str, Any]:
        """The prediction as the API shows it.

        Args:
            now: The time on the clock of ``created``.
            base: The server's address.
        """
        status, url = self.status(now), f"{base}/v1/predictions/{self.id}"
        finished = self.is_finished(now)
        text = "".join(self.said(now))
        output: Any = [*self.said(now)] if self.streams else text
        shown = bool(self.pieces is not None and (self.streams or status == "succeeded"))
        end = self._end if self.canceled is None else self.canceled
        ran = max(0.0, end - self.started) if self.started else 0.0
        return {
            "id": self.id,
            "model": self.model,
            "version": self.version,
            "input": dict(self.inputs),
            "output": output if shown else None,
            "logs": self.logs,
            "error": self.error if status == "failed" else None,
            "status": status,
            "created_at": self.stamp.isoformat(),
            "started_at": self.stamp.isoformat() if self.pieces is not None else None,
            "completed_at": self.stamp.isoformat() if finished else None,
            "metrics": {"predict_time": ran, "total_time": max(0.0, end - self.created)} if finished else {},
            "urls": {"get": url, "cancel": f"{url}/cancel", **({"stream": f"{url}/stream"} if self.streams else {})},
        }


def file_json(id: str, name: str, content_type: str, size: int, sha256: str, base: str) -> dict[str, Any]:
    """An uploaded file as the API shows it.

    Args:
        id: What to call it.
        name: The client's name for it.
        content_type: Its MIME type, as the client says.
        size: Its bytes.
        sha256: Their digest.
        base: The server's address.
    """
    return {
        "id": id,
        "name": name,
        "content_type": content_type,
        "size": size,
        "etag": sha256[:32],
        "checksums": {"sha256": sha256},
        "metadata": {},
        "created_at": datetime.now(UTC).isoformat(),
        "expires_at": None,
        "urls": {"get": f"{base}/v1/files/{id}"},
    }


def event(kind: str, data: str, id: str | None = None) -> bytes:
    """One server-sent event; a text of several lines takes several."""
    lines = "".join(f"data: {line}\n" for line in re.split("\r\n|\r|\n", data))
    numbered = "" if id is None else f"id: {id}\n"
    return f"event: {kind}\n{numbered}{lines}\n".encode("utf-8", "replace")
