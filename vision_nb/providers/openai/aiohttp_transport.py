"""`AiohttpTransport`: sends the requests of an asynchronous httpx2 client with aiohttp.

httpx2's own transport takes several times the processor time, and looks through all connections for each request. What
the client does around it stays the same: redirects, hooks, timeouts and the client's exceptions.
"""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections.abc import AsyncIterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

_OLDEST = (3, 14)  # the version of aiohttp that the openai client requires, 3.14.4 (its extra "aiohttp", 3.57)
_MAX_CONNECTIONS = 1000  # the limit of the openai client
_KEEP_ALIVE = 5.0  # seconds, as in httpx2
_MAX_HEADER_BYTES = 64 * 1024
_PART = 64 * 1024  # bytes of a request that are written at a time
_OWN_HEADERS = ("accept", "accept-encoding", "content-type", "user-agent")  # aiohttp adds those that are missing
_CUT_OFF = "peer closed connection without sending complete message body"  # httpx2's own words
_NOTHING = "Server disconnected without sending a response."


@cache
def is_available() -> bool:
    """Return whether a version of aiohttp is installed that this module works with."""
    try:
        return tuple(map(int, version("aiohttp").split(".")[:2])) >= _OLDEST
    except (PackageNotFoundError, ValueError):
        return False


def use_aiohttp(client: httpx2.AsyncClient) -> None:
    """Let a client send the requests that go through no proxy with aiohttp, if it is installed.

    Args:
        client: A client with its default transport, which has sent nothing yet.
    """
    if not is_available():
        return
    transport: Any = client._transport
    client._transport = AiohttpTransport(transport._pool._ssl_context)


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends requests with aiohttp.

    Args:
        ssl_context: The certificates to trust.
    """

    def __init__(self, ssl_context: ssl.SSLContext) -> None:
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
        content = await request.aread()
        failure: Exception | None = None
        try:
            async with asyncio.timeout(None) as writing:
                response = await session.request(
                    request.method,
                    URL(str(request.url), encoded=True),
                    headers=request.headers.multi_items(),
                    skip_auto_headers=_OWN_HEADERS,
                    data=content if len(content) <= _PART else _parts(content, writing, timeout.get("write")),
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(
                        connect=timeout.get("pool"),
                        sock_connect=timeout.get("connect"),
                        sock_read=timeout.get("read"),
                    ),
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = httpx2.WriteTimeout("") if writing.expired() else _mapped(error)
        if failure is not None:  # raised here, without aiohttp's exceptions: they hold the request's headers
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

        connector = aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE, ssl=self._ssl_context)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),  # the client has its own
            auto_decompress=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )
        # Otherwise, aiohttp prints a message when Python exits; its own close() has to be awaited.
        weakref.finalize(self, connector._close, abort_ssl=True)
        return self._session


class _Body(httpx2.AsyncByteStream):
    """The body of a response, as it arrives."""

    def __init__(self, response: ClientResponse) -> None:
        self._response: ClientResponse | None = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        failure: Exception | None = None
        if self._response is None:
            raise httpx2.StreamClosed
        try:
            async for data in self._response.content.iter_any():
                yield data
        except Exception as error:  # also those of aiohttp's parser
            failure = _mapped(error)
        if failure is not None:
            raise failure

    async def aclose(self) -> None:
        response, self._response = self._response, None  # which holds the request's headers
        if response is not None:
            response.close()


async def _parts(content: bytes, writing: asyncio.Timeout, seconds: float | None) -> AsyncIterator[bytes]:
    """Yield a request's body in parts, each of which has to be written in time."""
    view, loop = memoryview(content), asyncio.get_running_loop()
    for start in range(0, len(content), _PART):
        if seconds is not None:
            writing.reschedule(loop.time() + seconds)
        yield bytes(view[start : start + _PART])
    writing.reschedule(None)


def _mapped(error: Exception) -> httpx2.TransportError:
    """Return httpx2's exception for one of aiohttp."""
    import aiohttp
    from aiohttp.http_exceptions import HttpProcessingError

    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return httpx2.ConnectTimeout("")
    if isinstance(error, TimeoutError):  # aiohttp's other timeouts too
        return httpx2.ReadTimeout("")
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ClientSSLError)):
        return httpx2.ConnectError(str(error))
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return httpx2.RemoteProtocolError(_NOTHING)
    if isinstance(error, aiohttp.ClientPayloadError):
        return httpx2.RemoteProtocolError(_CUT_OFF)
    if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError)):
        return httpx2.RemoteProtocolError(error.message or _CUT_OFF)
    if isinstance(error, ValueError):  # an invalid header
        return httpx2.LocalProtocolError(str(error))
    return httpx2.ReadError(str(error))
