"""Faults that a demo server can produce on request, and its regular errors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Fault:
    r"""A fault in the response to one request; by default, none.

    Attributes of an error or another answer:
        status: The HTTP status; without a ``body`` or ``events``, the status's usual error is sent.
        body: The JSON value, text or bytes that are sent instead of the answer, or of the status's usual error.
        events: The events that are sent instead of the answer, streamed or not, at the server's speed. Text and bytes
            are sent unchanged, other values as ``data: JSON``. The answer ends after the last one: no end marker is
            added. The iterable may be endless, such as ``itertools.repeat(": keep-alive\n\n")``.
        headers: Headers that are added to the answer or replace its own, such as Location or Content-Encoding. A
            Content-Length may be wrong.
        retry_after: Seconds, or any text, sent as the Retry-After header.
        content_type: The Content-Type header, regardless of the body.
        garbage: A stream contains an event that is not JSON; any other answer is HTML.

    Attributes that change the answer of the demo model:
        text: The answer's text, such as "<think>Hm.</think>Three."
        message: Fields that are added to the message or replace its own, such as ``reasoning_content``, or
            ``content`` as a list of parts. In a stream, texts become deltas in the order given here, with those of
            ``content`` last; any other value becomes one delta.
        choice: Fields of the choice, such as ``error`` or ``finish_reason``; in a stream, of its last event.
        answer: Fields of the whole JSON object, at any depth, such as ``{"usage": {"cost": 0.01}}``. In a stream,
            ``usage`` belongs to the event with the token counts, ``error`` to the last event with a choice, and all
            others to every event.
        finish_reason: The finish reason, instead of "stop" or "length".
        empty_choices: The list of choices is empty, in every event of a stream.
        no_usage: The answer contains no token counts.
        prediction_error: Replicate only: the error with which a prediction fails in the middle of its output.
        prediction_logs: Replicate only: the logs of a prediction.

    Attributes of the connection:
        cut_after: Stop after this many events of a stream, or bytes of any other answer; a negative number counts from
            the end, so that -1 leaves out a stream's end marker. 0 closes the connection before anything is sent. A
            shorter answer is sent whole.
        end: How an answer stops at ``cut_after``: "broken" closes the connection in mid-answer, "clean" ends the answer
            as if it were complete, and "mid_line" sends half of the next event first and then ends cleanly.
        content_length: False sends neither a Content-Length header nor chunks: the answer ends when the connection
            does, so that a client cannot tell whether it is complete.
        delay: Seconds before anything is sent.
        hang: Seconds of silence in the middle of the answer.
        drip: Seconds between the individual bytes of the body.
        header_drip: Seconds between the individual bytes of the status line and the headers.
    """

    status: int | None = None
    retry_after: float | str | None = None
    body: Any | None = None
    delay: float = 0
    cut_after: int | None = None
    garbage: bool = False
    content_type: str | None = None
    empty_choices: bool = False
    no_usage: bool = False
    hang: float = 0
    finish_reason: str | None = None
    text: str | None = None
    prediction_error: str | None = None
    prediction_logs: str = ""
    events: Iterable[Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    message: Mapping[str, Any] = field(default_factory=dict)
    choice: Mapping[str, Any] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)
    end: Literal["broken", "clean", "mid_line"] = "broken"
    content_length: bool = True
    drip: float = 0
    header_drip: float = 0

    def cut_at(self, length: int) -> int | None:
        """Return the number of events or bytes after which an answer is cut off; None if it is not."""
        if self.cut_after is None or self.cut_after >= length:
            return None
        return self.cut_after if self.cut_after >= 0 else max(0, length + self.cut_after)


@dataclass(frozen=True)
class BatchFault:
    """What goes wrong with one batch; by default, nothing.

    Attributes:
        fails: The message with which the whole batch fails when its file is validated.
        expires: Whether the batch expires: requests that are not finished are in the error file.
        finished: How many requests are answered before the batch expires or is canceled; None for all.
        missing: The indices of requests that are in neither file.
        line_errors: The messages with which single requests are refused, by index.
        bodies: Fields that replace those of single answers, by index, such as ``{0: {"choices": [...]}}``.
        extra_lines: Lines at the beginning of the output file, such as "not JSON".
    """

    fails: str | None = None
    expires: bool = False
    finished: int | None = None
    missing: Collection[int] = ()
    line_errors: Mapping[int, str] = field(default_factory=dict)
    bodies: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    extra_lines: Sequence[str] = ()


def merged(value: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge changed fields into a JSON object; nested objects are merged too, other values replaced.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
    {'a': {'b': 3, 'c': 2}}
    """
    result = dict(value)
    for name, change in changes.items():
        old = value.get(name)
        both = isinstance(old, Mapping) and isinstance(change, Mapping)
        result[name] = merged(old, change) if both else change  # type: ignore[arg-type]  # old is a mapping
    return result


class Refusal(Exception):  # noqa: N818  # it becomes an HTTP answer and never leaves the server
    """A request that the server refuses.

    Attributes:
        status: The HTTP status.
        body: The JSON value to send.
    """

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


def error_body(
    message: str, *, code: str | None = None, param: str | None = None, type: str = "invalid_request_error"
) -> dict[str, Any]:
    """Return an error in the format of OpenAI's API."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def status_error(status: int, message: str | None = None) -> dict[str, Any]:
    """Return the error that OpenAI's API sends with a status, by default with its usual message."""
    usual, code = _USUAL_ERRORS.get(status, (f"The request failed with status {status}.", None))
    kind = "server_error" if status >= 500 else "requests" if status == 429 else "invalid_request_error"
    return error_body(message or usual, code=None if message else code, type=kind)


_USUAL_ERRORS = {
    401: ("Incorrect API key provided.", "invalid_api_key"),
    403: ("You are not allowed to use this model.", None),
    404: ("The model does not exist or you do not have access to it.", "model_not_found"),
    429: ("Rate limit reached for requests. Please try again later.", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request. Sorry about that!", None),
    503: ("The engine is currently overloaded, please try again later.", None),
}
