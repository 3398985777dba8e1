"""`AsyncioBackend`: connections of httpcore2 that use asyncio directly.

httpcore2's own backend uses anyio, which takes more processor time for each read and write, and sends the headers and
the body of a request separately.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any

import httpcore2
import httpx2

_HAPPY_EYEBALLS_DELAY = 0.25  # seconds until the next address of a host is tried, as anyio does
_MAX_UNSENT = 64 * 1024  # bytes that are collected before they are sent
_MAX_UNREAD = 256 * 1024  # bytes that are received before they are read


def use_asyncio(client: httpx2.AsyncClient) -> None:
    """Let the connections of a client use asyncio directly, unless the event loop is not asyncio's own.

    Args:
        client: A client with its default transports, which has sent nothing yet.
    """
    if not isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):  # such as uvloop's, which lacks arguments
        return
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx2.AsyncHTTPTransport):
            transport._pool._network_backend = AsyncioBackend()  # the transport has no public argument for it


class AsyncioBackend(httpcore2.AsyncNetworkBackend):
    """Opens TCP connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> AsyncioStream:
        """Open a connection.

        Args:
            host: The server's name or address.
            port: Its port.
            timeout: The most seconds that this may take.
            local_address: The address of this machine to connect from, or None.
            socket_options: The arguments of ``setsockopt``.

        Raises:
            httpcore2.ConnectTimeout: It took too long.
            httpcore2.ConnectError: There is no connection.
        """
        stream = AsyncioStream()
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().create_connection(
                    lambda: stream,
                    host,
                    port,
                    local_addr=None if local_address is None else (local_address, 0),
                    happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY,
                )
        except TimeoutError:
            raise httpcore2.ConnectTimeout from None
        except socket.gaierror as error:
            raise httpcore2.ConnectError(str(error)) from None
        except OSError:  # the message names each address of the host
            raise httpcore2.ConnectError("All connection attempts failed") from None
        for option in socket_options or ():
            stream.get_extra_info("socket").setsockopt(*option)
        return stream

    async def sleep(self, seconds: float) -> None:
        """Wait some seconds."""
        await asyncio.sleep(seconds)


class AsyncioStream(asyncio.Protocol, httpcore2.AsyncNetworkStream):
    """A connection, with or without TLS."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._received, self._unsent = bytearray(), bytearray()
        self._is_full = False  # whether reading is paused, because too much was received
        self._is_congested = False  # whether the transport has too much to send
        self._is_over = False  # whether nothing more can be received
        self._error: Exception | None = None
        self._change: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to receive."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep data until it is read."""
        self._received += data
        if len(self._received) > _MAX_UNREAD and not self._is_full:
            self._is_full = True
            self._transport.pause_reading()
        self._note_change()

    def eof_received(self) -> None:
        """Note that the server sends nothing more; the transport then closes itself."""
        self._is_over = True
        self._note_change()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is closed."""
        self._is_over, self._error = True, exc
        self._note_change()

    def pause_writing(self) -> None:
        """Note that the transport has too much to send."""
        self._is_congested = True

    def resume_writing(self) -> None:
        """Note that the transport has sent most of its data."""
        self._is_congested = False
        self._note_change()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the next bytes, or b"" after the last ones.

        Args:
            max_bytes: The most bytes to return.
            timeout: The most seconds to wait for them.

        Raises:
            httpcore2.ReadTimeout: Nothing arrived in time.
            httpcore2.ReadError: The connection broke.
        """
        if not (self._received or self._is_over):
            await self._wait(lambda: bool(self._received) or self._is_over, timeout, httpcore2.ReadTimeout)
        if not self._received and self._error is not None:
            raise httpcore2.ReadError
        data = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        if self._is_full and len(self._received) <= _MAX_UNREAD:
            self._is_full = False
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes, together with those of other calls before the event loop runs again.

        Args:
            buffer: The bytes.
            timeout: The most seconds to wait until the transport takes more.

        Raises:
            httpcore2.WriteTimeout: It did not take more in time.
            httpcore2.WriteError: The connection broke.
        """
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send)
        self._unsent += buffer
        if len(self._unsent) > _MAX_UNSENT:
            self._send()
        if self._is_congested and not self._is_over:
            await self._wait(lambda: not self._is_congested or self._is_over, timeout, httpcore2.WriteTimeout)
        if self._is_over:
            raise httpcore2.WriteError

    async def aclose(self) -> None:
        """Close the connection, without waiting for the server."""
        self._unsent.clear()
        self._transport.close()
        await asyncio.sleep(0)
        self._transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncioStream:
        """Encrypt the connection.

        Args:
            ssl_context: The certificates to trust.
            server_hostname: The name that the server's certificate must have.
            timeout: The most seconds that this may take.

        Raises:
            httpcore2.ConnectTimeout: It took too long.
            httpcore2.ConnectError: The connection cannot be encrypted.
        """
        plain = self._transport
        try:
            async with asyncio.timeout(timeout):
                self._transport = await asyncio.get_running_loop().start_tls(
                    plain, self, ssl_context, server_hostname=server_hostname, ssl_handshake_timeout=timeout
                )
        except BaseException as error:
            plain.abort()
            if isinstance(error, TimeoutError):
                raise httpcore2.ConnectTimeout from None
            if isinstance(error, OSError):
                raise httpcore2.ConnectError(str(error)) from None
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore2 asks for, or None."""
        if info == "is_readable":  # of an idle connection: whether the server has closed it
            return bool(self._received) or self._is_over or _is_readable(self._transport.get_extra_info("socket"))
        names = {"client_addr": "sockname", "server_addr": "peername", "ssl_object": "ssl_object", "socket": "socket"}
        return self._transport.get_extra_info(names[info]) if info in names else None

    def _send(self) -> None:
        if self._unsent and not self._is_over:
            self._transport.write(bytes(self._unsent))
        self._unsent.clear()

    async def _wait(self, is_ready: Callable[[], bool], timeout: float | None, error: type[Exception]) -> None:
        """Wait until a condition is true that a method of the protocol may change."""
        try:
            async with asyncio.timeout(timeout):
                while not is_ready():
                    self._change = asyncio.get_running_loop().create_future()
                    await self._change
        except TimeoutError:
            raise error from None

    def _note_change(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)


def _is_readable(sock: Any) -> bool:
    """Return whether a socket has data, or was closed by the server."""
    if sock is None or sock.fileno() < 0:
        return True
    if not hasattr(select, "poll"):  # on Windows
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
