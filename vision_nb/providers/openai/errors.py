"""What the openai client's errors mean, in our own words: the one edge where they are translated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from vision_nb.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    MalformedResponseError,
    ProviderConnectionError,
    ProviderError,
    ProviderTimeoutError,
    QuotaExceededError,
    RateLimitError,
    RequestRejectedError,
    ServerError,
    UnknownModelError,
)

_BY_CODE: dict[str, type[ProviderError]] = {
    "context_length_exceeded": ContextLengthError,
    "content_filter": ContentFilterError,
    "content_policy_violation": ContentFilterError,
    "model_not_found": UnknownModelError,
    "DeploymentNotFound": UnknownModelError,
    "invalid_api_key": AuthenticationError,
    "insufficient_quota": QuotaExceededError,
    "rate_limit_exceeded": RateLimitError,
}
_BY_STATUS: dict[int, type[ProviderError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    429: RateLimitError,
}
_ADVICE: dict[type[ProviderError], str] = {
    AuthenticationError: "check that the key is right, not expired, and allowed to use this model",
    UnknownModelError: "check the spelling, and that the key may use it",
    RateLimitError: "wait a moment, ask less at a time, or raise max_retries",
    QuotaExceededError: "look at the account's plan and billing",
    ContextLengthError: "send fewer or smaller pictures, or a shorter conversation",
    ContentFilterError: "change the question or the picture",
    RequestRejectedError: "change the request as the message says",
    ServerError: "try again in a moment",
}


def refuses(error: Exception, parameter: str) -> bool:
    """Whether a server refused a request because of one of its parameters, which its error then names."""
    import openai

    if not isinstance(error, (openai.BadRequestError, openai.UnprocessableEntityError)) and not (
        # llama-cpp-python's server calls a request that does not validate its own failure
        isinstance(error, openai.InternalServerError) and "validation error" in str(error)
    ):
        return False
    # The values alone: "detail" is also what FastAPI calls the error itself.
    return any(re.search(rf"\b{re.escape(parameter)}\b", text) for text in _texts(error.body or str(error)))


def _texts(body: object) -> Iterator[str]:
    """Every text within a JSON value, without the names of its fields."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, Mapping):
        for value in body.values():
            yield from _texts(value)
    elif isinstance(body, list):
        for value in body:
            yield from _texts(value)


def map_error(error: Exception, *, service: str, server: str | None, model: str, partial_text: str) -> Exception:
    """The error of ours for one of the openai client's; an error that is not the client's stays itself.

    Args:
        error: The client's error.
        service: What to call who was asked.
        server: Its address, where it is not the service's own.
        model: The model's name.
        partial_text: What had arrived of the answer.
    """
    import openai

    place = service if server is None else f"{service} at {server}"
    if isinstance(error, openai.APITimeoutError):
        return ProviderTimeoutError(
            f"{place} did not answer in time: try again, or raise timeout.", partial_text=partial_text
        )
    if isinstance(error, openai.APIConnectionError):
        reason = f" ({error.__cause__})" if error.__cause__ is not None and str(error.__cause__) else ""
        if partial_text:
            return ProviderConnectionError(
                f"{place} hung up in mid-answer{reason}: what had arrived is kept; ask again for the whole.",
                partial_text=partial_text,
            )
        return ProviderConnectionError(
            f"{place} cannot be reached{reason}: check the address, the network, and that the server runs."
        )
    if isinstance(error, (openai.APIResponseValidationError, json.JSONDecodeError, UnicodeDecodeError)):
        return MalformedResponseError(
            f"{service} sent something that is no valid answer: check that the base URL ends in /v1, or ask again.",
            partial_text=partial_text,
        )
    if isinstance(error, openai.APIError):
        return _refusal(error, service, model, partial_text)
    if isinstance(error, openai.OpenAIError):
        return RequestRejectedError(f"The openai client refused: {error}", partial_text=partial_text)
    return error


def _refusal(error: Exception, service: str, model: str, partial_text: str) -> ProviderError:
    """An error that the server itself told."""
    status = getattr(error, "status_code", None)
    body = getattr(error, "body", None)  # text where a server's error is no object: the client calls it "Error"
    said = str(body if isinstance(body, str) and body.strip() else getattr(error, "message", error)).strip().rstrip(".")
    said = re.sub(r"^Error code: \d+ - ", "", said)  # the client's own words, of a number that stands before them
    kind = _kind(str(getattr(error, "code", None)), status, said)
    about = f" about {model!r}" if kind is UnknownModelError else ""
    number = f" ({status})" if status else ""
    return kind(
        f"{service} refused{about}{number}: {said[:400]}. What to do: {_ADVICE[kind]}.",
        status_code=status,
        partial_text=partial_text,
        retry_after=_retry_after(error),
    )


def _retry_after(error: Exception) -> float | None:
    """The Retry-After header in seconds; its other form, a date, is rare and left to the caller's own pace."""
    response = getattr(error, "response", None)
    value = "" if response is None else response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        return None


def _kind(code: str, status: int | None, said: str) -> type[ProviderError]:
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    lowered = said.lower()
    if status == 404 and "model" in lowered:
        return UnknownModelError
    # Within a stream an error has no status of its own.
    if status in (None, 400, 413) and "context" in lowered and ("length" in lowered or "exceed" in lowered):
        return ContextLengthError
    if "exceeds n_ctx" in lowered:  # llama-cpp-python's server, with status 500
        return ContextLengthError
    if status is not None and status < 500:
        return RequestRejectedError
    return ServerError
