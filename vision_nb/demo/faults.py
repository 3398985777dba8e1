"""How a demo server can be told to fail, and the refusals that it raises by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request; a field left alone goes well.

    Attributes:
        status: The HTTP status of an error that is sent in place of the answer.
        retry_after: Seconds, sent as the Retry-After header.
        body: The JSON value, or the text, that is sent in place of the answer, or of the status's usual error.
        delay: Seconds before anything is sent.
        cut_after: The connection is closed after so many events of a stream, or bytes of any other answer; with
            0 before anything is sent. A shorter answer is sent whole.
        garbage: A stream has an event in its middle that is not JSON; any other answer is HTML instead.
        content_type: The Content-Type header, whatever the body is.
        empty_choices: The list of choices is empty, in every event of a stream.
        no_usage: The answer does not say how many tokens it took.
        hang: Seconds of silence in the middle of the answer.
        finish_reason: Why the answer ends, in place of "stop" or "length".
        text: The answer, in place of what the stand-in would say.
        prediction_error: Why a prediction fails in the middle of its answer, after it was created well; Replicate's
            protocol alone has such.
        prediction_logs: What such a prediction's log says, or that of one which does well.
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

    @classmethod
    def rate_limited(cls, retry_after: float | None = None) -> Self:
        """Too many requests: status 429, with a Retry-After header where ``retry_after`` seconds are given."""
        return cls(status=429, retry_after=retry_after)

    @classmethod
    def refused(cls, status: int, message: str, *, code: str | None = None, type: str | None = None) -> Self:
        """An error in OpenAI's shape, such as 400 with the code "content_filter" or "context_length_exceeded"."""
        return cls(status=status, body=error_body(message, code=code, type=type or usual_type(status)))


class Refusal(Exception):  # noqa: N818  # it becomes an HTTP answer, and never leaves the server
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
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    type: str = "invalid_request_error",
) -> dict[str, Any]:
    """An error as OpenAI's API words it."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def usual_type(status: int) -> str:
    """The ``type`` that OpenAI's API gives most errors of a status."""
    if status == 429:
        return "requests"
    return "server_error" if status >= 500 else "invalid_request_error"


def usual_error(status: int) -> dict[str, Any]:
    """The error that OpenAI's API most often sends with a status."""
    message, code = _USUAL.get(status, (f"The request ended with status {status}.", None))
    return error_body(message, code=code, type=usual_type(status))


_USUAL = {
    401: ("Incorrect API key provided.", "invalid_api_key"),
    403: ("You are not allowed to use this model.", None),
    404: ("The model does not exist or you do not have access to it.", "model_not_found"),
    429: ("Rate limit reached for requests. Please try again later.", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request. Sorry about that!", None),
    503: ("The engine is currently overloaded, please try again later.", None),
}
