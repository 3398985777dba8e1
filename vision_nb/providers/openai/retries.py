"""Decide whether to retry a request to an OpenAI-compatible server.

The openai client also retries after a timeout, so the same answer may be billed several times. It retries after every
status 500, even if the body states that the request can never succeed. Calls are therefore made without the client's
retries, and retried by the rules of this module.
"""

from __future__ import annotations

import re

from vision_nb.errors import (
    ProviderConnectionError,
    ProviderError,
    ProviderTimeoutError,
    QuotaExceededError,
    RateLimitError,
    RequestTooLargeError,
    ServerError,
)
from vision_nb.providers.retries import MAX_WAIT, backoff, caller_repeats

_HOPELESS = re.compile(
    r"""
    context[ ]?(length|window|size|limit) | n_ctx | too\ many\ tokens | exceeds?\ the\ (available|maximum)
    | (fetch|download|load|open|retriev|access|read|get|process|decod|identify|pars)\w*\s(\S+\s){0,3}
      (image|media|url|file)
    | (image|media|url|file)\b.{0,40}\b
      (download|fetch|unreachable|not\ found|invalid|corrupt|unsupported|not\ supported)
    | invalid\ (image|url|base64) | mmproj | (not|n't)\ support\ (image|vision|multi)
    | (BadRequest|UnprocessableEntity|NotFound|Authentication|PermissionDenied|ContextWindowExceeded
       |ContentPolicyViolation|UnsupportedParams)Error
    | response[ _]?format | json[ _]?schema | grammar
    | validation\ error | invalid_request_error | name\ or\ service\ not\ known | getaddrinfo
    | (status|code|error|http)\D{0,12}\b4(0[0-7]|1\d|2[0-8])\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What the body of a status 500 or 502 says if the request itself is the reason.

From the messages of llama.cpp, llama-cpp-python, vLLM, Ollama and LiteLLM's proxy, which wraps the status of the
server behind it into its own (read 2026-11).
"""
_UNREPEATABLE = (501, 505)  # the server lacks the function


def pause_before_retry(error: Exception, mapped: Exception, *, retries: int, max_retries: int) -> float | None:
    """Return the seconds to wait before a retry, or None for no retry.

    Args:
        error: The openai client's exception.
        mapped: Our exception for it.
        retries: The number of retries so far.
        max_retries: The maximum number of retries.
    """
    if retries >= max_retries or not isinstance(mapped, ProviderError):
        return None
    if isinstance(mapped, (QuotaExceededError, RequestTooLargeError)) or mapped.may_be_billed:
        return None
    if isinstance(mapped, RateLimitError):
        return None if caller_repeats() else _pause(mapped, retries)
    if isinstance(mapped, ProviderConnectionError) and mapped.status_code is None:
        return backoff(retries)
    response = getattr(error, "response", None)
    if response is None or response.headers.get("x-should-retry") == "false":
        return None
    if mapped.status_code == 409:  # another request holds a lock
        return _pause(mapped, retries)
    if not isinstance(mapped, (ServerError, ProviderTimeoutError)) or mapped.status_code in _UNREPEATABLE:
        return None
    return None if _HOPELESS.search(response.text[:10_000]) else _pause(mapped, retries)


def _pause(error: ProviderError, retries: int) -> float | None:
    requested = error.retry_after
    if requested is not None and requested > MAX_WAIT:
        return None  # raised with its retry_after, so that the caller can decide
    return requested or backoff(retries)
