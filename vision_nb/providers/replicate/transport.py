"""How requests to Replicate are repeated and how long they may take: one policy, driven sync and async.

The replicate client (1.0.7) repeats a GET up to ten times and the creation of a prediction never, tells nobody
when the server wants to be asked again, and lets a creation or an upload wait for ever. These transports are
mounted in the place of its own.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from itertools import count

import httpx

LONGEST_PAUSE = 60.0
"""Seconds; a server that wants a longer pause gets this one."""

_CANCEL_SECONDS = 5.0  # somebody waits for their interrupt
_SOON = re.compile(r"\bin ~?(\d+(?:\.\d+)?) ?s", re.IGNORECASE)


@dataclass(frozen=True)
class RetryPolicy:
    """When a request is sent again, and how long it may take.

    Attributes:
        max_retries: How often it may be sent again.
        timeout: Seconds for each of connecting, sending and waiting for data.
    """

    max_retries: int
    timeout: float

    def prepare(self, request: httpx.Request) -> None:
        """Give a request the timeouts that it lacks, and a cancellation short ones."""
        given, timeout = request.extensions.get("timeout", {}), self.timeout
        if _is_cancellation(request):
            given, timeout = {}, min(self.timeout, _CANCEL_SECONDS)
        waits = {name: given.get(name) or timeout for name in ("connect", "read", "write", "pool")}
        request.extensions = {**request.extensions, "timeout": waits}

    def pause(
        self, request: httpx.Request, outcome: httpx.Response | httpx.TransportError, attempt: int
    ) -> float | None:
        """Seconds until a request is sent again; None where its outcome stands.

        Args:
            request: The request.
            outcome: The response, its body read where its status is an error, or what went wrong.
            attempt: How often it has been sent again already.
        """
        if attempt >= self.max_retries or _is_cancellation(request):
            return None
        asked = None
        if isinstance(outcome, httpx.Response):
            if outcome.status_code != 429 and outcome.status_code < 500:
                return None
            asked = seconds_asked(outcome.headers.get("Retry-After", ""), outcome.text)
        elif not _is_harmless_to_repeat(request, outcome):
            return None
        if asked is not None:
            return min(asked, LONGEST_PAUSE)
        return float(min(0.5 * 2**attempt, 8.0) * random.uniform(0.75, 1))


def seconds_asked(header: str, body: str = "") -> float | None:
    """How long a server wants to be left alone; None where it does not say.

    Args:
        header: Its Retry-After header: seconds, or a date.
        body: Its error. Replicate's has a field retry_after, or says "resets in ~30s".

    >>> seconds_asked("", "Request was throttled. Expected available in 1 second.")
    1.0
    """
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        pass
    try:
        return max(0.0, float(json.loads(body)["retry_after"]))
    except (ValueError, TypeError, KeyError):
        pass
    found = _SOON.search(body)
    return float(found[1]) if found else None


def _is_cancellation(request: httpx.Request) -> bool:
    return request.method == "POST" and request.url.path.endswith("/cancel")


def _is_harmless_to_repeat(request: httpx.Request, error: httpx.TransportError) -> bool:
    """Whether a request did nothing at the server, or nothing that counts: a prediction costs money."""
    if isinstance(error, httpx.ConnectError):
        return True
    return request.method == "GET" and isinstance(error, (httpx.NetworkError, httpx.RemoteProtocolError))


@cache
def _certificates() -> ssl.SSLContext:
    """Loaded once: it takes as long as a short request, and every model has clients of its own."""
    return httpx.create_ssl_context()


class Transport(httpx.BaseTransport):
    """Sends requests by the policy."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._rule, self._inner = policy, httpx.HTTPTransport(verify=_certificates())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request until its outcome stands."""
        self._rule.prepare(request)
        outcome: httpx.Response | httpx.TransportError
        for attempt in count():
            try:
                outcome = self._inner.handle_request(request)
                if outcome.status_code >= 400:
                    outcome.read()
            except httpx.TransportError as error:
                outcome = error
            pause = self._rule.pause(request, outcome, attempt)
            if pause is None:
                break
            time.sleep(pause)
        if isinstance(outcome, httpx.TransportError):
            raise outcome
        return outcome

    def close(self) -> None:
        """Close every connection."""
        self._inner.close()


class AsyncTransport(httpx.AsyncBaseTransport):
    """The asynchronous twin of `Transport`."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._rule, self._inner = policy, httpx.AsyncHTTPTransport(verify=_certificates())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request until its outcome stands."""
        self._rule.prepare(request)
        outcome: httpx.Response | httpx.TransportError
        for attempt in count():
            try:
                outcome = await self._inner.handle_async_request(request)
                if outcome.status_code >= 400:
                    await outcome.aread()
            except httpx.TransportError as error:
                outcome = error
            pause = self._rule.pause(request, outcome, attempt)
            if pause is None:
                break
            await asyncio.sleep(pause)
        if isinstance(outcome, httpx.TransportError):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()
