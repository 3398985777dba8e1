"""Connections to Replicate, with timeouts and retries.

The replicate client (1.0.7) retries a GET up to ten times, ignores the pause that Replicate's errors request, and
sets no timeout for creating predictions and uploading files. The transports of this module replace its own.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.request import getproxies, proxy_bypass

import httpx

from vision_nb.cost.call_gate import admit_again
from vision_nb.cost.request_gate import aadmit_again, note_sent
from vision_nb.errors import RedirectError, SettingsError
from vision_nb.notebook.wait_line import asleep, sleep
from vision_nb.privacy.api_keys import Secret, aauthorize, authorize
from vision_nb.privacy.redaction import StreamRedactor, redact_logs
from vision_nb.providers.addresses import is_on_this_machine
from vision_nb.providers.deadline import answer_deadline, limit_reads, time_left
from vision_nb.providers.rate_limit_headers import note_rate_limits
from vision_nb.providers.redirects import check_redirect, is_same_server
from vision_nb.providers.replicate.errors import requested_pause
from vision_nb.providers.retries import ASKED_TO_WAIT, MAX_WAIT, backoff, caller_repeats

if TYPE_CHECKING:
    from replicate.client import Client

HttpClient = TypeVar("HttpClient", httpx.Client, httpx.AsyncClient)

_REPLICATE = "https://api.replicate.com"
_CANCEL_TIMEOUT = 5.0  # seconds; after an interrupt the user waits for the cancellation


@dataclass(frozen=True)
class Connection(Generic[HttpClient]):
    """The replicate client, and an HTTP client that shares its connections.

    The replicate client offers no public way to read a raw stream of events, or to close its connections.

    Attributes:
        client: The replicate client.
        http: The HTTP client; closing it closes the connections of both.
        server: The API's server.
    """

    client: Client
    http: HttpClient
    server: Server


def connect(
    api_token: Secret, login: Secret | None, base_url: str | None, policy: RetryPolicy
) -> Connection[httpx.Client]:
    """Make the clients for synchronous calls.

    Args:
        api_token: The API token.
        login: The user name and password in the server's address.
        base_url: The server's base URL; None for Replicate's own.
        policy: Timeouts and retries.
    """
    redact_logs()
    headers = _authorization(api_token, login)
    server = Server(base_url, (api_token, login))
    transport = Transport(policy, server)
    http = httpx.Client(transport=transport, headers=headers)
    return Connection(_replicate_client(api_token, base_url, transport, headers), http, server)


def aconnect(
    api_token: Secret, login: Secret | None, base_url: str | None, policy: RetryPolicy
) -> Connection[httpx.AsyncClient]:
    """Make the clients for asynchronous calls; see `connect`."""
    redact_logs()
    headers = _authorization(api_token, login)
    server = Server(base_url, (api_token, login))
    transport = AsyncTransport(policy, server)
    http = httpx.AsyncClient(transport=transport, headers=headers)
    return Connection(_replicate_client(api_token, base_url, transport, headers), http, server)


def _authorization(api_token: Secret, login: Secret | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {api_token.token}" if login is None else f"Basic {login.token}"}


def _replicate_client(
    api_token: Secret, base_url: str | None, transport: Transport | AsyncTransport, headers: dict[str, str]
) -> Client:
    from replicate.client import Client

    return Client(
        api_token=api_token.token,
        base_url=base_url,
        headers=dict(headers),
        transport=transport,
        mounts={"all://": transport},  # bypasses the retries that the client wraps around any transport
    )


class Server:
    """The API's server, the only server that receives the token.

    Args:
        base_url: Its base URL; None for Replicate's own.
        secrets: What authenticates requests, kept while the client is in use.
    """

    def __init__(self, base_url: str | None, secrets: tuple[Secret | None, ...]) -> None:
        self._url = httpx.URL(base_url or _REPLICATE)
        self._secrets = secrets

    def proxy(self) -> httpx.Proxy | None:
        """Return the proxy for the API that the environment or the system names, as other HTTP clients use it.

        Raises:
            SettingsError: The proxy does not speak HTTP.
        """
        if is_on_this_machine(str(self._url)) or proxy_bypass(self._url.host):
            return None
        found = getproxies()
        address = found.get(self._url.scheme) or found.get("all")
        if not address:
            return None
        scheme, separator, _ = address.partition("://")
        if separator and scheme not in ("http", "https"):
            raise SettingsError(
                f"Replicate cannot be reached through a {scheme} proxy: set HTTPS_PROXY to an HTTP proxy."
            )
        return httpx.Proxy(address if separator else f"http://{address}")

    def may_receive_token(self, url: httpx.URL) -> bool:
        """Return whether the token may be sent to a URL: only the API's own server gets it.

        The streams of predictions need none: Replicate's JavaScript client reads them without one (lib/stream.js of
        replicate/replicate-javascript, read 2026-11).
        """
        return is_same_server(url, self._url)

    def may_stream(self, url: str) -> bool:
        """Return whether a prediction's event stream may be read from a URL that the server names."""
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            return False
        is_replicate = parsed.scheme == "https" and parsed.host.endswith((".replicate.com", ".replicate.net"))
        return is_replicate or self.may_receive_token(parsed)


@dataclass(frozen=True)
class RetryPolicy:
    """Decide whether to retry a request, and how long it may take.

    Attributes:
        max_retries: Maximum number of retries.
        timeout: Seconds allowed for each of connecting, sending and waiting for data.
    """

    max_retries: int
    timeout: float

    def set_timeouts(self, request: httpx.Request) -> None:
        """Set the timeouts of a request, which the replicate client leaves out in places."""
        request.headers["Accept-Encoding"] = "identity"  # see RedactedBody
        timeout = min(self.timeout, _CANCEL_TIMEOUT) if _is_cancellation(request) else self.timeout
        request.extensions = {**request.extensions, "timeout": httpx.Timeout(timeout).as_dict()}

    def pause(
        self, request: httpx.Request, outcome: httpx.Response | httpx.TransportError, retries: int
    ) -> float | None:
        """Return the seconds to wait before the next retry, or None to accept the outcome.

        Args:
            request: The request.
            outcome: The response (with its body read if it is an error), or the exception.
            retries: Number of retries so far.
        """
        if retries >= self.max_retries or _is_cancellation(request) or not _may_retry(request, outcome):
            return None
        if isinstance(outcome, httpx.Response):
            if outcome.status_code == 429 and _creates_prediction(request) and caller_repeats():
                return None
            requested = requested_pause(outcome.headers.get("Retry-After", ""), outcome.text)
            if requested is not None:
                return _if_in_time(min(requested, MAX_WAIT))
        return _if_in_time(backoff(retries))


def _if_in_time(pause: float) -> float | None:
    """Return a pause, or None if the deadline of the answer passes before its end."""
    return pause if pause < time_left() else None


def _may_retry(request: httpx.Request, outcome: httpx.Response | httpx.TransportError) -> bool:
    """Return whether a request failed temporarily, and repeating it cannot start a second prediction.

    Every prediction is billed, and Replicate has no idempotency key. So the request that creates one is repeated
    only if no prediction can exist: no connection was made, or the rate limiter refused the request (429). After
    any 5xx a prediction may exist, even after a 503: a gateway also sends 503 when it loses the connection to the
    server behind it after it has passed the request on. Replicate's JavaScript client follows the same rule.
    """
    if isinstance(outcome, httpx.ConnectError):
        return True
    if isinstance(outcome, httpx.TransportError):
        return not _creates_prediction(request) and isinstance(outcome, (httpx.NetworkError, httpx.RemoteProtocolError))
    return outcome.status_code == 429 or (outcome.status_code >= 500 and not _creates_prediction(request))


def _creates_prediction(request: httpx.Request) -> bool:
    return request.method == "POST" and request.url.path.endswith("/predictions")


def _is_cancellation(request: httpx.Request) -> bool:
    return request.method == "POST" and request.url.path.endswith("/cancel")


def _deadline_of_cancellation(request: httpx.Request) -> AbstractContextManager[None]:
    """Limit the time of a cancellation, which follows the end of an answer and so has a deadline of its own."""
    return answer_deadline(_CANCEL_TIMEOUT) if _is_cancellation(request) else nullcontext()


@cache
def _certificates() -> ssl.SSLContext:
    """Load the certificates once: it takes as long as a short request."""
    return httpx.create_ssl_context()


class RedactedBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of a response, without the token of its request.

    Args:
        source: The original body, uncompressed.
    """

    def __init__(self, source: Any) -> None:
        self._source, self._redactor = source, StreamRedactor()

    def __iter__(self) -> Iterator[bytes]:
        for data in self._source:
            yield self._redactor.feed(data)
        yield self._redactor.feed(b"", last=True)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._source:
            yield self._redactor.feed(data)
        yield self._redactor.feed(b"", last=True)

    def close(self) -> None:
        """Close the connection."""
        self._source.close()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._source.aclose()


class Transport(httpx.BaseTransport):
    """Send requests according to a `RetryPolicy`."""

    def __init__(self, policy: RetryPolicy, server: Server) -> None:
        self._policy, self._server = policy, server
        self._inner = httpx.HTTPTransport(verify=_certificates(), proxy=server.proxy())
        limit_reads(self._inner)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request with the token if it is for the API, and retry it according to the policy."""
        self._policy.set_timeouts(request)
        hidden = authorize(request.headers, is_allowed=self._server.may_receive_token(request.url))
        try:
            with _deadline_of_cancellation(request):
                response = self._send(request)
        finally:
            request.headers.update(hidden)
        try:
            check_redirect(response, request.url, "Replicate")
        except RedirectError as error:
            response.close()
            raise httpx.TransportError("redirected") from error
        response.stream = response.stream if response.is_stream_consumed else RedactedBody(response.stream)
        return response

    def _send(self, request: httpx.Request) -> httpx.Response:
        retries = 0
        while True:
            try:
                if _creates_prediction(request):
                    note_sent()
                response = self._inner.handle_request(request)
                if _creates_prediction(request):
                    note_rate_limits(response.headers, response.status_code)
                if response.is_error or _is_cancellation(request):
                    response.read()
            except httpx.TransportError as error:
                pause = self._policy.pause(request, error, retries)
                if pause is None:
                    raise
            else:
                pause = self._policy.pause(request, response, retries)
                if pause is None:
                    return response
            sleep(pause, ASKED_TO_WAIT)
            retries += 1
            if _creates_prediction(request):
                admit_again()

    def close(self) -> None:
        """Close all connections."""
        self._inner.close()


class AsyncTransport(httpx.AsyncBaseTransport):
    """Asynchronous version of `Transport`."""

    def __init__(self, policy: RetryPolicy, server: Server) -> None:
        self._policy, self._server = policy, server
        self._inner = httpx.AsyncHTTPTransport(verify=_certificates(), proxy=server.proxy())
        limit_reads(self._inner)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request with the token if it is for the API, and retry it according to the policy."""
        self._policy.set_timeouts(request)
        hidden = await aauthorize(request.headers, is_allowed=self._server.may_receive_token(request.url))
        try:
            with _deadline_of_cancellation(request):
                response = await self._send(request)
        finally:
            request.headers.update(hidden)
        try:
            check_redirect(response, request.url, "Replicate")
        except RedirectError as error:
            await response.aclose()
            raise httpx.TransportError("redirected") from error
        response.stream = response.stream if response.is_stream_consumed else RedactedBody(response.stream)
        return response

    async def _send(self, request: httpx.Request) -> httpx.Response:
        retries = 0
        while True:
            try:
                if _creates_prediction(request):
                    note_sent()
                response = await self._inner.handle_async_request(request)
                if _creates_prediction(request):
                    note_rate_limits(response.headers, response.status_code)
                if response.is_error or _is_cancellation(request):
                    await response.aread()
            except httpx.TransportError as error:
                pause = self._policy.pause(request, error, retries)
                if pause is None:
                    raise
            else:
                pause = self._policy.pause(request, response, retries)
                if pause is None:
                    return response
            await asleep(pause, ASKED_TO_WAIT)
            retries += 1
            if _creates_prediction(request):
                await aadmit_again()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()
