"""Map the openai client's exceptions to ours; no other module does this."""

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
    RequestTooLargeError,
    ServerDownloadError,
    ServerError,
    SettingsError,
    UnknownModelError,
    UploadNotFoundError,
)
from vision_nb.providers.openai.chunk_stream import ANSWER_BEGAN
from vision_nb.providers.openai.server_message import clean, server_message
from vision_nb.providers.rate_limit_headers import retry_after, wait_after_refusal
from vision_nb.rendering.format import as_sentence

_BY_CODE: dict[str, type[ProviderError]] = {
    "context_length_exceeded": ContextLengthError,
    "content_filter": ContentFilterError,
    "content_policy_violation": ContentFilterError,
    "model_not_found": UnknownModelError,
    "DeploymentNotFound": UnknownModelError,
    "invalid_api_key": AuthenticationError,
    "insufficient_quota": QuotaExceededError,
    "rate_limit_exceeded": RateLimitError,
    # of a response that failed (openai 3.57, ResponseError, read 2026-11)
    "image_content_policy_violation": ContentFilterError,
    "bio_policy": ContentFilterError,
    "misalignment_policy_violation": ContentFilterError,
    "image_file_not_found": UploadNotFoundError,
    **dict.fromkeys(
        "invalid_prompt invalid_image invalid_image_format invalid_base64_image image_too_large "
        "image_too_small image_parse_error invalid_image_mode image_file_too_large unsupported_image_media_type "
        "empty_image_file".split(),
        RequestRejectedError,
    ),
    **dict.fromkeys(("invalid_image_url", "failed_to_download_image"), ServerDownloadError),
}
_GATEWAY_TIMEOUTS = (408, 504)  # a proxy gave up waiting for the model, which may still be answering
_BROKEN_OFF = "without sending complete message body"  # of httpx or httpx2: a part of the answer had arrived
_IS_END = f"{_BROKEN_OFF}|disconnected without sending"  # a connection that was closed, at any point
_BY_STATUS: dict[int, type[ProviderError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    429: RateLimitError,
}
_ADVICE: dict[type[ProviderError], str] = {
    AuthenticationError: "Check that the key is correct, has not expired, and may use this model.",
    UnknownModelError: "Check the spelling, and that the key may use the model.",
    RateLimitError: "Wait a moment, send fewer requests at a time, or raise max_retries.",
    QuotaExceededError: "Check the account's plan and billing.",
    RequestTooLargeError: "Send fewer or smaller images: the same request will always be refused.",
    ContextLengthError: "Send fewer or smaller images, or a shorter conversation.",
    ContentFilterError: "Change the question or the image.",
    UploadNotFoundError: "Upload the image again.",
    RequestRejectedError: "Change the request accordingly.",
    ServerDownloadError: "Check that the URL is correct and public, or pass inline_urls=True to send the image itself.",
    ServerError: "Try again in a moment.",
    ProviderTimeoutError: "Try again, or raise timeout.",
}

_UNKNOWN_MODEL = (
    # LiteLLM; then servers that report "Model 'NAME' not found" with another status than 404
    r"(?i)(invalid|unknown) model name"
    r"|\bmodel:? [^\s.,;]+(\.[^\s.,;]+)* ((was|is) )?(not found|(does not|doesn't) exist|is not a valid model)"
)


_CONTEXT_OVERFLOW = (
    r"(?i)exceeds? (?:the )?(?:n_ctx|available context|context (?:size|window|length))|maximum context length"
    r"|(?:prompt|input) (?:is )?(?:too long|length exceeds)|longer than the (?:maximum )?(?:model|context) length"
    r"|context (?:the )?overflows?|greater than the context length|context length of only"
)
"""How vLLM, Ollama, llama.cpp, llama-cpp-python and LM Studio say that a request is too long."""

_NO_PROJECTOR = (
    r"(?i)mmproj|image input is not supported|does not support (?:image|vision|multimodal)|not a multimodal model"
    r"|missing data required for image"
)
"""How llama.cpp, Ollama and vLLM say that a model cannot read images."""

_NO_DOWNLOAD = (
    r"(?i)(?:error|time(?:d )?out) while downloading"
    r"|(?:fail(?:ed|ure)?|unable|could not|couldn't|cannot|can't) (?:to )?"
    r"(?:(?:download|fetch|retriev)\w* .{0,40}(?:image|file|url|https?:)"
    r"|(?:load|access|open)\w* .{0,40}(?:url|https?:))"
)
"""How OpenAI, vLLM, Ollama, LocalAI and LiteLLM say that they could not download an image (read 2026-11)."""

_NO_IMAGE_URLS = (
    r"(?i)(?:remote|http|external) (?:image )?urls? (?:is|are) not|invalid url.{0,40}base64"
    r"|(?:only|must be).{0,40}base64|base64.{0,40}(?:required|only|expected)"
)
"""How local servers say that they do not download images."""

_INVALID_KEY = r"(?i)(?:invalid|incorrect) api key|api key (?:is )?(?:not valid|invalid|expired)"
"""Gemini ("API key not valid") and xAI ("Incorrect API key provided") use status 400 (read 2026-11)."""


_NO_UPLOAD = (
    r"(?i)\b(?:file|assistant)-\w{8,}\b.{0,60}\b(?:not found|not exist|expired|deleted)"
    r"|\b(?:no such|not find|not found|not exist|expired|deleted)\b.{0,60}\b(?:file|assistant)-\w{8,}"
)
"""How OpenAI and Azure OpenAI say that an uploaded file is not there (messages in public reports, read 2026-11)."""


def is_hopeless(message: str) -> bool:
    """Return whether a request that a server refused with this message would be refused again."""
    return bool(re.search(_CONTEXT_OVERFLOW, message) or re.search(_NO_PROJECTOR, message))


class ReportedError(Exception):
    """An error that a server reported in place of an answer, with status 200.

    Args:
        body: The server's message, as JSON values or text.
    """

    def __init__(self, body: object) -> None:
        super().__init__()
        self.body = body

    def __str__(self) -> str:
        return server_message(self.body)  # not kept: it is shortened, and could hold a part of a key


def check_missing(error: Exception) -> None:
    """Raise an error again unless it says that a file or batch does not exist."""
    if getattr(error, "status_code", None) != 404:
        raise error


def refuses(error: Exception, parameter: str) -> bool:
    """Return whether a server rejected a request because of a parameter.

    Servers name the parameter in the error message.
    """
    import openai

    if not isinstance(error, (openai.BadRequestError, openai.UnprocessableEntityError)) and not (
        # llama-cpp-python's server reports an invalid request as its own failure
        isinstance(error, openai.InternalServerError) and "validation error" in str(error)
    ):
        return False
    # Only the values are searched: "detail" is also the name of the field in which FastAPI puts the error.
    return any(re.search(rf"\b{re.escape(parameter)}\b", text) for text in _texts(error.body or str(error)))


_SCHEMA_WORDS = (
    r"(?i)response[ _]?(format|schema)|json[ _]?schema|\bschema\b|structured[ _]outputs?|grammar|guided[ _]"
    r"|output_config"
)
"""How servers name the parameter with a schema when they refuse it.

From the messages of OpenAI, Azure OpenAI, Gemini, Groq, vLLM, llama.cpp and LM Studio (read 2026-11).
"""


def refuses_schema(error: BaseException) -> bool:
    """Return whether a server rejected a request because of the schema of the answer."""
    import openai

    if isinstance(error, openai.APIStatusError):
        is_about_request = error.status_code in (400, 404, 415, 422, 500, 501)
    else:
        is_about_request = isinstance(error, (openai.APIError, ReportedError))  # reported with status 200
    body = getattr(error, "body", None)
    return is_about_request and any(re.search(_SCHEMA_WORDS, text) for text in _texts(body or str(error)))


def _texts(body: object) -> Iterator[str]:
    """Yield every text in a JSON value, but not the names of its fields."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, Mapping):
        for value in body.values():
            yield from _texts(value)
    elif isinstance(body, list):
        for value in body:
            yield from _texts(value)


def map_error(
    error: Exception, *, service: str, server: str | None, model: str, timeout: float, partial_text: str
) -> Exception:
    """Map an exception of the openai client, or one that it lets through, to ours.

    Args:
        error: The exception.
        service: The server's name in the message.
        server: Its address, or None if it is the service's own.
        model: The model's name.
        timeout: The timeout in seconds.
        partial_text: The part of the answer that had arrived.
    """
    import httpx2
    import openai

    place = service if server is None else f"{service} at {server}"
    if isinstance(error, (openai.APITimeoutError, TimeoutError)):
        return _timeout_error(error, place, timeout, partial_text)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        reason = f" ({cause})" if cause is not None and str(cause) else ""
        if isinstance(cause, httpx2.RemoteProtocolError) and not re.search(_IS_END, str(cause)):
            return MalformedResponseError(
                f"{place:.90} sent an invalid HTTP response ({clean(str(cause)):.60}): check the address, and ask "
                "again. The call was not repeated, because it may be billed.",
                partial_text=partial_text,
                may_be_billed=True,
            )
        if partial_text:
            return ProviderConnectionError(
                f"{place} closed the connection in the middle of the answer{reason}: ask again. The text so far is in "
                ".partial_text.",
                partial_text=partial_text,
            )
        if _BROKEN_OFF in str(cause) or error.request.extensions.get(ANSWER_BEGAN):
            return ProviderConnectionError(
                f"{place} closed the connection in the middle of the answer{reason}: ask again. The call was not "
                "repeated, because it may be billed.",
                may_be_billed=True,
            )
        return ProviderConnectionError(
            f"{place} cannot be reached{reason}: check the address, the network, and that the server is running."
        )
    if isinstance(error, (openai.APIResponseValidationError, json.JSONDecodeError, UnicodeDecodeError)):
        return MalformedResponseError(
            f"The response from {service} is not valid: check that the base URL ends in /v1, or ask again.",
            partial_text=partial_text,
        )
    if isinstance(error, (openai.APIError, ReportedError)):
        return _api_error(error, service, server, model, partial_text)
    if getattr(error, "is_about_answer", False):  # raised by the hooks of the HTTP client
        return MalformedResponseError(f"The answer from {service} cannot be read. {error}", partial_text=partial_text)
    if isinstance(error, openai.OpenAIError):
        return RequestRejectedError(f"The openai client rejected the request: {error}", partial_text=partial_text)
    if isinstance(error, AssertionError):  # raised by a test, or by an internal mistake
        return error
    reason = clean(f"{type(error).__name__}: {error}")
    if isinstance(error, (TypeError, UnicodeError, httpx2.InvalidURL, OverflowError)):
        return SettingsError(f"The request to {place} could not be sent ({reason}): check its parameters.")
    return MalformedResponseError(  # for example a RecursionError, or a number of 6,000 digits
        f"The response from {service} cannot be read ({reason}): ask again.", partial_text=partial_text
    )


def _timeout_error(error: Exception, place: str, timeout: float, partial_text: str) -> ProviderTimeoutError:
    if type(error.__cause__).__name__ in ("ConnectTimeout", "PoolTimeout"):  # of httpx or httpx2: nothing was sent
        return ProviderTimeoutError(
            f"{place} did not accept a connection within {timeout:g} seconds: check the address and the network, or "
            "raise timeout=.",
            partial_text=partial_text,
        )
    reason = f"sent nothing for {timeout:g} seconds: raise timeout=, for example timeout={max(600, timeout * 4):g}"
    is_read_timeout = type(error.__cause__).__name__ in ("ReadTimeout", "WriteTimeout")
    if not is_read_timeout:  # the deadline of the whole answer
        reason = "did not finish its answer in time: raise total_timeout= or timeout="
    return ProviderTimeoutError(
        f"{place} {reason}. The call was not repeated, because it may be billed.",
        partial_text=partial_text,
        may_be_billed=True,
    )


_VERSION = r"/(?:v\d|openai)"


def _filtered_categories(body: object) -> list[str]:
    """Return the categories of Azure's content filter that refused a request."""
    inner = body.get("innererror") if isinstance(body, Mapping) else None
    results = inner.get("content_filter_result") if isinstance(inner, Mapping) else None
    if not isinstance(results, Mapping):
        return []
    return [
        clean(str(name)) for name, result in results.items() if isinstance(result, Mapping) and result.get("filtered")
    ]


def _api_error(error: Exception, service: str, server: str | None, model: str, partial_text: str) -> ProviderError:
    """Return our exception for an error that the server reported."""
    status = getattr(error, "status_code", None)
    body = getattr(error, "body", None)
    response = getattr(error, "response", None)
    text = server_message(body) or (server_message(response.text) if response is not None else "")
    code = body.get("code") if isinstance(body, Mapping) else None
    kind = _kind(str(getattr(error, "code", None) or code), status, text)
    if kind in (RequestRejectedError, ServerError) and re.search(_NO_DOWNLOAD, text):
        kind = ServerDownloadError
    about = f" for {model!r}" if kind is UnknownModelError else ""
    number = f" {status}" if status else ""
    advice = _ADVICE[kind]
    if re.search(_NO_PROJECTOR, text) and kind is RequestRejectedError:
        advice = "The model cannot see images: use a vision model, or give the server its mmproj file."
    elif re.search(_NO_IMAGE_URLS, text) and kind in (RequestRejectedError, ServerError):
        advice = "If the server does not download images, pass inline_urls=True."
    elif status in (404, 405) and server is not None and not re.search(_VERSION, server):
        advice = f"The base URL lacks /v1: try {server.rstrip('/')}/v1."
    elif kind is ContentFilterError and (filtered := _filtered_categories(body)):
        advice = f"Filtered: {', '.join(filtered)}. {advice}"
    reason = as_sentence(text or "it gave no reason")
    return kind(
        f"{service} returned error{number}{about}: {reason} {advice}",
        status_code=status,
        partial_text=partial_text,
        retry_after=_retry_after(error),
        may_be_billed=status in _GATEWAY_TIMEOUTS,
    )


def _retry_after(error: Exception) -> float | None:
    """Return the seconds that the server asks to wait, or None."""
    response = getattr(error, "response", None)
    if response is None:
        return None
    return (wait_after_refusal if response.status_code == 429 else retry_after)(response.headers)


def _exceeds_limit(text: str) -> bool:
    """Return whether a rate limit error says that the request alone is larger than the limit.

    >>> _exceeds_limit("Request too large on tokens per min (TPM): Limit 30000, Requested 36055.")
    True
    """
    found = re.search(r"\blimit:?\s*([\d,]+).*?\brequested:?\s*(?:about\s+)?([\d,]+)", text, re.IGNORECASE | re.DOTALL)
    if found is None:
        return text.lower().startswith("request too large")
    limit, requested = (int(number.replace(",", "")[:15] or 0) for number in found.groups())
    return requested > limit > 0


def _kind(code: str, status: int | None, text: str) -> type[ProviderError]:
    if (status == 429 or code == "rate_limit_exceeded") and _exceeds_limit(text):
        return RequestTooLargeError
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status == 400 and re.search(_INVALID_KEY, text):
        return AuthenticationError
    lowered = text.lower()
    if status == 403 and "flagged" in lowered:  # by OpenRouter's moderation
        return ContentFilterError
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status in (None, 400, 404) and re.search(_NO_UPLOAD, text):
        return UploadNotFoundError
    if status == 408:
        return ProviderTimeoutError
    if status == 404 and "model" in lowered:
        return UnknownModelError
    if (status is None or status < 500) and re.search(_UNKNOWN_MODEL, text):
        return UnknownModelError
    # An error within a stream has no status.
    if status in (None, 400, 413) and "context" in lowered and ("length" in lowered or "exceed" in lowered):
        return ContextLengthError
    if re.search(_CONTEXT_OVERFLOW, text):  # llama.cpp and llama-cpp-python report it with status 500
        return ContextLengthError
    if re.search(_NO_PROJECTOR, text):
        return RequestRejectedError
    if status is not None and status < 500:
        return RequestRejectedError
    return ServerError
