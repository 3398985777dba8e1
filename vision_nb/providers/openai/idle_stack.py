"""`IdleStack`: a pool of connections that checks only the connection it is going to use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpcore2


class IdleStack(httpcore2.AsyncConnectionPool):
    """Uses the connection that became idle last, and closes those that have been idle for too long.

    Args:
        pool: A pool that has not been used: it has the settings, and creates the connections.
    """

    def __init__(self, pool: httpcore2.AsyncConnectionPool) -> None:
        self._pool = pool
        self._free = asyncio.Semaphore(pool._max_connections)
        self._idle: list[Any] = []  # the last one became idle last
        self._used: set[Any] = set()

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        """Send a request, and return the response, which must be closed.

        Raises:
            httpcore2.PoolTimeout: As many connections as allowed stayed in use for too long.
            httpcore2.UnsupportedProtocol: The URL does not begin with http:// or https://.
        """
        if request.url.scheme not in (b"http", b"https"):
            raise httpcore2.UnsupportedProtocol("Request URL must begin with http:// or https://.")
        if self._free.locked():
            try:
                async with asyncio.timeout(request.extensions.get("timeout", {}).get("pool")):
                    await self._free.acquire()
            except TimeoutError:
                raise httpcore2.PoolTimeout from None
        else:
            await self._free.acquire()
        connection, origin = None, request.url.origin
        try:
            connection = await self._newest(origin) or self._pool.create_connection(origin)
            self._used.add(connection)
            response = await connection.handle_async_request(request)
        except BaseException:
            self._free.release()
            if connection is not None:
                self._used.discard(connection)
                await connection.aclose()
            raise
        return httpcore2.Response(
            response.status,
            headers=response.headers,
            content=_Stream(response.stream, self, connection),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        while self._idle or self._used:
            await (self._idle or self._used).pop().aclose()

    async def put_back(self, connection: Any) -> None:
        """Take back a connection after its response, and close those that have been idle for too long."""
        is_kept = connection in self._used and connection.is_idle()
        self._used.discard(connection)
        self._free.release()
        if is_kept:
            self._idle.append(connection)
        else:
            await connection.aclose()
        while self._idle and self._idle[0].has_expired():
            await self._idle.pop(0).aclose()

    async def _newest(self, origin: httpcore2.Origin) -> Any:
        """Return the connection to a server that became idle last, or None if there is none that can be used."""
        while True:
            found = (
                index for index in reversed(range(len(self._idle))) if self._idle[index].can_handle_request(origin)
            )
            index = next(found, None)
            if index is None:
                return None
            connection = self._idle.pop(index)
            if not connection.has_expired():
                return connection
            await connection.aclose()


class _Stream:
    """The body of a response, which gives back its connection when it is closed."""

    def __init__(self, stream: Any, pool: IdleStack, connection: Any) -> None:
        self._stream, self._pool, self._connection = stream, pool, connection
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self._stream.aclose()
        finally:
            await self._pool.put_back(self._connection)
