"""One asynchronous client per event loop, because connections cannot move between loops."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class ClientPerLoop(Generic[T]):
    """Create a client for each event loop that asks for one, and close it when that loop ends.

    Args:
        make: Creates a client.
        close: Closes a client; runs on the client's own loop.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make, self._close = make, close
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]]
        self._clients = WeakKeyDictionary()

    def get(self) -> T:
        """Return the running loop's client, creating it on first use."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            client = self._make()
            self._clients[loop] = client, self._closer(client, weakref.ref(loop))
        return self._clients[loop][0]

    def close(self) -> None:
        """Start closing every client; each open loop closes its own client the next time it runs."""
        self._clients.clear()  # a loop closes an asynchronous generator that nothing refers to any more

    async def aclose(self) -> None:
        """Close the running loop's client, and start closing the clients of other loops."""
        found = self._clients.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found[1].aclose()
        self.close()

    def _closer(self, client: T, loop: Callable[[], asyncio.AbstractEventLoop | None]) -> AsyncGenerator[None, None]:
        """Return a suspended generator that closes the client; a loop finishes its generators when it ends."""

        async def wait_for_close() -> AsyncGenerator[None, None]:
            try:
                yield
            finally:
                owner = loop()
                # A loop that was dropped without being closed leaves nothing to run the client's close on.
                if owner is not None and asyncio._get_running_loop() is owner:
                    if self._clients.get(owner, (None,))[0] is client:
                        del self._clients[owner]
                    await self._close(client)

        closer = wait_for_close()
        with suppress(StopIteration):
            closer.__anext__().send(None)  # runs up to the yield; nothing is awaited before it
        return closer
