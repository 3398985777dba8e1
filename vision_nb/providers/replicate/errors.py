"""What the errors of replicate and httpx mean, in our own words: the one edge where they are translated."""

from __future__ import annotations

from typing import Any

from vision_nb.errors import (
    AuthenticationError,
    MalformedResponseError,
    PredictionCanceledError,
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

_BY_STATUS: dict[int, type[ProviderError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: UnknownModelError,
    429: RateLimitError,
}
_ADVICE: dict[type[ProviderError], str] = {
    AuthenticationError: "check that the token is right (replicate.com/account/api-tokens)",
    UnknownModelError: "check the spelling of owner/name:version, and that you may use it",
    RateLimitError: "wait a moment, ask less at a time, or raise max_retries",
    RequestRejectedError: "change the request as the message says",
    ServerError: "try again in a moment",
}
_LOG_LINES = 8


def translate(error: Exception, *, model: str, timeout: float, partial_text: str) -> Exception:
    """The error of ours for one of replicate's or httpx's; an error that is not theirs stays itself.

    An error that has an attribute ``prediction`` came while that prediction was under way.
    """
    import httpx
    from replicate.exceptions import ModelError, ReplicateError

    prediction = getattr(error, "prediction", None)
    if isinstance(error, ModelError):
        return _ended(error.prediction, model, partial_text)
    if isinstance(error, (httpx.TimeoutException, TimeoutError)):
        return ProviderTimeoutError(_too_slow(prediction, model, timeout), partial_text=partial_text)
    if isinstance(error, (httpx.TransportError, httpx.InvalidURL)):
        reason = f" ({error})" if str(error) else ""
        under_way = f" while prediction {prediction.id} was under way" if prediction is not None else ""
        return ProviderConnectionError(
            f"Replicate cannot be reached{under_way}{reason}: check the network, and api_base where you set one.",
            partial_text=partial_text,
        )
    if isinstance(error, ReplicateError):
        return _refusal(error, model, partial_text)
    if prediction is not None and "given=aborted" in str(error):
        prediction.status = "canceled"  # before it had begun; the client (1.0.7) knows no such status and chokes
        return _ended(prediction, model, partial_text)
    if isinstance(error, ValueError):  # broken JSON, and JSON of another shape
        return MalformedResponseError(
            "Replicate sent something that is no valid answer: ask again, and check api_base where you set one.",
            partial_text=partial_text,
        )
    return error


def _ended(prediction: Any, model: str, partial_text: str) -> PredictionError:
    """A prediction that failed, or that somebody canceled."""
    lines = str(prediction.logs or "").strip().splitlines()
    last = f' Its log ends with "{lines[-1].strip()[:200]}".' if lines else ""
    facts: dict[str, Any] = {
        "prediction_id": prediction.id,
        "logs": "\n".join(lines[-_LOG_LINES:]),
        "partial_text": partial_text,
    }
    if prediction.status == "canceled":
        return PredictionCanceledError(f"Prediction {prediction.id} of {model} was canceled: ask again.{last}", **facts)
    said = str(prediction.error or "no reason given").strip().rstrip(".")[:300]
    return PredictionFailedError(
        f"Prediction {prediction.id} of {model} failed on Replicate: {said}. Try again, or change the question or "
        f"the picture.{last}",
        **facts,
    )


def _too_slow(prediction: Any, model: str, timeout: float) -> str:
    if prediction is None:
        return f"Replicate did not answer within {timeout:g} seconds: try again, or raise timeout."
    return (
        f"Prediction {prediction.id} of {model} was not done within {timeout:g} seconds and is canceled: raise "
        "timeout, as a model that nobody used for a while takes minutes to start."
    )


def _refusal(error: Any, model: str, partial_text: str) -> ProviderError:
    """An error that the server itself told."""
    from vision_nb.providers.replicate.transport import seconds_asked

    said = " ".join(str(error.detail or error.title or error.status).split()).rstrip(".")[:400]
    kind = kind_of(error.status, str(error.title))
    advice = "add credit at replicate.com/account/billing" if error.status == 402 else _ADVICE[kind]
    about = f" about {model}" if kind is UnknownModelError else ""
    return kind(
        f"Replicate refused{about} ({error.status}): {said}. What to do: {advice}.",
        status_code=error.status,
        partial_text=partial_text,
        retry_after=seconds_asked("", said) if kind is RateLimitError else None,
    )


def kind_of(status: int | None, title: str) -> type[ProviderError]:
    """The kind of an error by its HTTP status and the title of its body."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status is not None and status >= 500:
        return ServerError
    return UnknownModelError if "version" in title.lower() else RequestRejectedError
