"""Map errors of replicate and httpx to our own."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

from vision_nb.errors import (
    AuthenticationError,
    MalformedResponseError,
    PredictionCanceledError,
    PredictionDownloadError,
    PredictionError,
    PredictionFailedError,
    ProviderConnectionError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitError,
    RequestRejectedError,
    ServerError,
    UnknownModelError,
)
from vision_nb.providers.deadline import AnswerDeadlineError
from vision_nb.providers.retries import parse_retry_after
from vision_nb.rendering.format import as_sentence

_BY_STATUS: dict[int, type[ProviderError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: UnknownModelError,
    429: RateLimitError,
}
_ADVICE: dict[type[ProviderError], str] = {
    AuthenticationError: "Check the API token (replicate.com/account/api-tokens)",
    UnknownModelError: "Check the spelling of owner/name:version, and that you have access to it",
    RateLimitError: "Wait a moment, send fewer requests at a time, or raise max_retries",
    RequestRejectedError: "Correct the request",
    ServerError: "Try again in a moment",
}
_NO_CREDIT = "Add credit at replicate.com/account/billing"
_MAYBE_CREATED = "The prediction may have been created: check replicate.com/predictions before you try again"
_LOG_LINES = 8
_NO_DOWNLOAD = re.compile(r"Error: .* for url: |Max retries exceeded with url: ")  # the words of requests
_RESET_TIME = re.compile(r"\bin ~?(\d+(?:\.\d+)?) ?s", re.IGNORECASE)


def map_error(error: Exception, *, model: str, timeout: float, partial_text: str) -> Exception:
    """Map an exception of replicate or httpx to ours; return other exceptions unchanged.

    Args:
        error: The exception; its attribute ``prediction``, if it has one, is the prediction that was running.
        model: The model's name.
        timeout: The timeout in seconds, for the message.
        partial_text: The text that a stream had delivered before the error.
    """
    import httpx
    from replicate.exceptions import ModelError, ReplicateError

    prediction = getattr(error, "prediction", None)
    not_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.InvalidURL))
    may_be_billed = prediction is not None or not not_sent
    advice = "Check the network, and api_base if you set it" if prediction or not_sent else _MAYBE_CREATED
    if isinstance(error, ModelError):
        return _ended(error.prediction, model, partial_text)
    if isinstance(error, (AnswerDeadlineError, httpx.TimeoutException, TimeoutError)):
        is_whole = isinstance(error, AnswerDeadlineError)
        message = _timeout_message(prediction, model, None if is_whole else timeout, advice)
        return ProviderTimeoutError(message, partial_text=partial_text, may_be_billed=may_be_billed)
    if isinstance(error, (httpx.TransportError, httpx.InvalidURL)):
        reason = f" ({error!s:.80})" if str(error) else ""
        during = f" while prediction {prediction.id} was running" if prediction else ""
        return ProviderConnectionError(
            f"The connection to Replicate failed{during}{reason}. {advice}.",
            partial_text=partial_text,
            may_be_billed=may_be_billed,
        )
    if isinstance(error, ReplicateError):
        return _refused(error, prediction, model, partial_text)
    if prediction is not None and "given=aborted" in str(error):
        # Canceled before it started: a status that the client (1.0.7) does not know and fails to parse.
        prediction.status = "canceled"
        return _ended(prediction, model, partial_text)
    if isinstance(error, (ValueError, AttributeError, TypeError, KeyError)):  # invalid JSON, or an unexpected shape
        return MalformedResponseError(
            "Replicate sent an invalid response. Ask again, and check api_base if you set it.",
            partial_text=partial_text,
        )
    return error


def _timeout_message(prediction: Any, model: str, timeout: float | None, advice: str) -> str:
    """Return the message for a request that timed out, or for an answer that took too long (timeout None)."""
    if timeout is None:
        what = advice if prediction is None else f"Prediction {prediction.id} was canceled"
        return f"Replicate did not finish its answer in time. {what}; raise total_timeout= or timeout=."
    if prediction is None:
        return f"Replicate did not respond within {timeout:g} seconds. {advice}, or raise timeout."
    return (
        f"Prediction {prediction.id} of {model} did not finish within {timeout:g} seconds and was canceled. "
        "Raise timeout: a model that has not been used for a while can take minutes to start."
    )


def _ended(prediction: Any, model: str, partial_text: str) -> PredictionError:
    """Return the error for a prediction that failed or was canceled."""
    lines = str(prediction.logs or "").strip().splitlines()
    log_end = f' Its log ends with "{lines[-1].strip()[:80]}".' if lines else ""
    details: dict[str, Any] = {
        "prediction_id": prediction.id,
        "logs": "\n".join(lines[-_LOG_LINES:]),
        "partial_text": partial_text,
    }
    if prediction.status == "canceled":
        return PredictionCanceledError(
            f"Prediction {prediction.id} of {model} was canceled. Ask again to start another.{log_end}", **details
        )
    reason = as_sentence(str(prediction.error or "no reason given").strip()[:100])
    kind, advice = PredictionFailedError, "Try again, or change the question or the image"
    if _is_failed_download(prediction):
        kind, log_end = PredictionDownloadError, ""  # the log ends with the same words
        advice = "Check that the URL is correct and public, or pass inline_urls=True to send the image itself"
    return kind(f"Prediction {prediction.id} of {model} failed on Replicate: {reason} {advice}.{log_end}", **details)


def _is_failed_download(prediction: Any) -> bool:
    """Return whether the error names the server of an image that was sent as a URL; models download weights too."""
    urls = re.findall(r"https?://([^/:\"]+)", json.dumps(prediction.input, default=str))
    error = str(prediction.error)
    return _NO_DOWNLOAD.search(error) is not None and any(host in error for host in urls)


def _refused(error: Any, prediction: Any, model: str, partial_text: str) -> ProviderError:
    """Return the error for an HTTP error status."""
    detail = as_sentence(" ".join(str(error.detail or error.title or error.status).split())[:150])
    kind = error_class(error.status, str(error.title))
    advice = _ADVICE[kind]
    if error.status == 402:
        advice = _NO_CREDIT
    elif kind is ServerError and prediction is None:
        advice = _MAYBE_CREATED
    return kind(
        f"Replicate returned error {error.status} for {model}: {detail} {advice}.",
        status_code=error.status,
        partial_text=partial_text,
        retry_after=requested_pause("", detail) if kind is RateLimitError else None,
        may_be_billed=prediction is not None or kind is ServerError,
    )


def error_class(status: int | None, title: str) -> type[ProviderError]:
    """Return the exception class for an HTTP status and the title in the body of the response."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status is not None and status >= 500:
        return ServerError
    return UnknownModelError if "version" in title.lower() else RequestRejectedError


def requested_pause(header: str, body: str = "") -> float | None:
    """Return the seconds after which a server allows the next request; None if it is not specified.

    Args:
        header: The Retry-After header: seconds, or a date.
        body: The body of the error: Replicate's has a field retry_after, or says "resets in ~30s".

    >>> requested_pause("", "Request was throttled. Expected available in 1 second.")
    1.0
    """
    requested = parse_retry_after(header)
    if requested is not None:
        return requested
    with suppress(ValueError, TypeError, KeyError):
        requested = parse_retry_after(str(json.loads(body)["retry_after"]))
    if requested is not None:
        return requested
    found = _RESET_TIME.search(body)
    return float(found[1]) if found else None
