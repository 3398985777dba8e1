"""One asynchronous client for each event loop: a loop's connections serve no other loop."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class ClientPerLoop(Generic[T]):
    """Makes a client for each event loop that asks, and closes it when that loop ends.

    Args:
        make: Makes a client.
        close: Closes one, on its own loop.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make, self._close = make, close
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]]
        self._clients = WeakKeyDictionary()

    def get(self) -> T:
        """The client of the running loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            client = self._make()
            self._clients[loop] = client, self._closing(client, weakref.ref(loop))
        return self._clients[loop][0]

    def _closing(self, client: T, loop: Callable[[], asyncio.AbstractEventLoop | None]) -> AsyncGenerator[None, None]:
        """Have the loop close the client at its own end, as it does with unfinished asynchronous generators."""

        async def generator() -> AsyncGenerator[None, None]:
            try:
                yield
            finally:
                owner = loop()
                if owner is not None:
                    self._clients.pop(owner, None)
                # A loop that was dropped without an end leaves nothing to close its client on.
                if owner is not None and asyncio._get_running_loop() is owner:
                    await self._close(client)

        unfinished = generator()
        with suppress(StopIteration):
            unfinished.__anext__().send(None)  # up to the yield, where nothing is awaited
        return unfinished
