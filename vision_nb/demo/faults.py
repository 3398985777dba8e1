"""Faults that a demo server can be told to produce, and the errors it sends by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request; the default is nothing.

    Attributes:
        status: The HTTP status of an error that is sent instead of the answer.
        retry_after: Seconds, sent as the Retry-After header.
        body: The JSON value or text that is sent instead of the answer, or of the status's usual error.
        delay: Seconds before anything is sent.
        cut_after: Close the connection after this many events of a stream, or bytes of any other answer; 0 closes
            it before anything is sent. A shorter answer is sent whole.
        garbage: A stream contains an event that is not JSON; any other answer is HTML.
        content_type: The Content-Type header, whatever the body is.
        empty_choices: The list of choices is empty, in every event of a stream.
        no_usage: The answer contains no token counts.
        hang: Seconds of silence in the middle of the answer.
        finish_reason: The finish reason, instead of "stop" or "length".
        text: The answer's text, instead of the demo model's.
        prediction_error: Replicate only: the error with which a prediction fails in the middle of its output.
        prediction_logs: Replicate only: the logs of a prediction.
    """

    status: int | None = None
    retry_after: float | None = None
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
