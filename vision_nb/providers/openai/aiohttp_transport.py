"""`AiohttpTransport`: sends the requests of a run with aiohttp.

httpx2's own transport takes several times the processor time, and looks through all connections for each request. What
the client does around it stays the same: redirects, hooks, timeouts and the client's exceptions. A run opens and closes
it on its own event loop: aiohttp complains about connections that are left open.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

_MAX_CONNECTIONS = 1000  # the limit of the openai client
_KEEP_ALIVE = 5.0  # seconds, as in httpx2
_MAX_HEADER_BYTES = 64 * 1024
_PART = 64 * 1024  # bytes of a request that are written at a time
_OWN_HEADERS = ("accept", "accept-encoding", "content-type", "user-agent")  # aiohttp adds those that are missing
_CUT_OFF = "peer closed connection without sending complete message body"  # httpx2's own words
_NOTHING = "Server disconnected without sending a response."


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends requests with aiohttp.

    Args:
        ssl_context: The certificates to trust.
    """

    def __init__(self, ssl_context: ssl.SSLContext) -> None:
        ssl_context.set_alpn_protocols(["http/1.1"])  # httpx2 does so when it connects
        self._ssl_context = ssl_context
        self._session: ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request without following redirects.

        Raises:
            httpx2.TransportError: There is no response.
        """
        import aiohttp
        from yarl import URL

        session = self._session or self._open()
        timeout: Mapping[str, float | None] = request.extensions.get("timeout", {})
        # aiohttp adds its own header to a request of unknown length.
        headers = [(name, value) for name, value in request.headers.multi_items() if name != "transfer-encoding"]
        content = _small(request)
        failure: Exception | None = None
        try:
            async with asyncio.timeout(None) as writing:
                response = await session.request(
                    request.method,
                    URL(str(request.url), encoded=True),
                    headers=headers,
                    skip_auto_headers=_OWN_HEADERS,
                    data=_parts(request, writing, timeout.get("write")) if content is None else content or None,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(
                        connect=timeout.get("pool"),
                        sock_connect=timeout.get("connect"),
                        sock_read=timeout.get("read"),
                    ),
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = httpx2.WriteTimeout("") if writing.expired() else _mapped(error)
        if failure is not None:
            await _forget_exceptions()
            raise failure
        return httpx2.Response(
            response.status,
            headers=response.raw_headers,
            stream=_Body(response),
            extensions={
                "http_version": b"HTTP/1.1",
                "reason_phrase": (response.reason or "").encode("ascii", "ignore"),
            },
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> ClientSession:
        import aiohttp

        connector = aiohttp.TCPConnector(
            limit=_MAX_CONNECTIONS,
            keepalive_timeout=_KEEP_ALIVE,
            ssl=self._ssl_context,
            resolver=aiohttp.ThreadedResolver(),  # as httpx2: that of aiodns does not know all names of this machine
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),  # the client has its own
            auto_decompress=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )
        return self._session


class _Body(httpx2.AsyncByteStream):
    """The body of a response, as it arrives."""

    def __init__(self, response: ClientResponse) -> None:
        self._response: ClientResponse | None = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        failure: Exception | None = None
        if self._response is None:
            raise httpx2.StreamClosed
        content: Any = self._response.content
        try:
            async for data in content.iter_any():
                yield data
        except Exception as error:  # also those of aiohttp's parser
            failure = _mapped(error)
        if failure is not None:
            if rest := b"".join(content._buffer):  # it arrived before the failure, but aiohttp raises that first
                yield rest
            await _forget_exceptions()
            raise failure

    async def aclose(self) -> None:
        response, self._response = self._response, None  # which holds the request's headers
        if response is not None:
            response.close()


async def _forget_exceptions() -> None:
    """Keep an exception of aiohttp, which holds the request's headers, out of the context of the next one.

    A task that is written in Python, as nest_asyncio2 has them, resumes within the ``except`` of what it waited for.
    """
    await asyncio.sleep(0)


def _small(request: httpx2.Request) -> bytes | None:
    """Return a request's body if it is in memory and small; otherwise, return None."""
    try:
        return request.content if len(request.content) <= _PART else None
    except httpx2.RequestNotRead:  # such as a file
        return None


async def _parts(request: httpx2.Request, writing: asyncio.Timeout, seconds: float | None) -> AsyncIterator[bytes]:
    """Yield a request's body in parts, each of which has to be written in time."""
    loop = asyncio.get_running_loop()

    def allow(seconds: float | None) -> None:
        with suppress(RuntimeError):  # the answer has begun to arrive, and its own timeout applies
            writing.reschedule(None if seconds is None else loop.time() + seconds)

    assert isinstance(request.stream, AsyncIterable)
    async for content in request.stream:
        for start in range(0, len(content), _PART):
            allow(seconds)
            yield content[start : start + _PART]
    allow(None)


def _mapped(error: Exception) -> httpx2.TransportError:
    """Return httpx2's exception for one of aiohttp."""
    import aiohttp
    from aiohttp.http_exceptions import HttpProcessingError

    words = str(error.__cause__ or error)  # aiohttp's own words contain addresses, and reprs of its objects
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return httpx2.ConnectTimeout("")
    if isinstance(error, TimeoutError):  # aiohttp's other timeouts too
        return httpx2.ReadTimeout("")
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ClientSSLError)):
        return httpx2.ConnectError(words)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return httpx2.RemoteProtocolError(_NOTHING)
    if isinstance(error, aiohttp.ClientPayloadError):
        return httpx2.RemoteProtocolError(_CUT_OFF)
    if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError)):
        return httpx2.RemoteProtocolError(error.message or _CUT_OFF)
    if isinstance(error, ValueError):  # an invalid header
        return httpx2.LocalProtocolError(str(error))
    return httpx2.ReadError(words)
