"""The vendor clients of a model: a synchronous one, and one per event loop."""

from __future__ import annotations

import asyncio
import copy
import os
import sys
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Generic, Self, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from vision_nb.checks.context_values import context_value
from vision_nb.checks.public_object import PublicObject

T = TypeVar("T")
_CLIENTS = ("client", "_connection", "_async_clients", "_uploads")  # the attributes that a copy does not share


class ClientPerLoop(Generic[T]):
    """One client per event loop, created on first use and closed when its loop ends.

    A client's connections belong to one loop and cannot be used on another.

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
        """Have each open loop close its own client the next time it runs."""
        self._clients.clear()  # a loop closes an asynchronous generator that nothing refers to any more

    async def aclose(self) -> None:
        """Close the running loop's client, and start closing the clients of other loops."""
        found = self._clients.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found[1].aclose()
        self.close()

    def _closer(self, client: T, loop: Callable[[], asyncio.AbstractEventLoop | None]) -> AsyncGenerator[None, None]:
        """Return a suspended generator that closes the client when the loop finishes it."""

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

        def finish(dropped: AsyncGenerator[None, None]) -> None:
            owner = loop()
            if owner is not None and not owner.is_closed():
                owner.call_soon_threadsafe(lambda: owner.create_task(dropped.aclose()))

        closer, hooks = wait_for_close(), sys.get_asyncgen_hooks()
        # The loop's own hook would create a coroutine now. Python 3.13 warns about it if the loop does not run again.
        sys.set_asyncgen_hooks(finalizer=finish)
        try:
            with suppress(StopIteration):
                closer.__anext__().send(None)  # runs up to the yield; nothing is awaited before it
        finally:
            sys.set_asyncgen_hooks(*hooks)
        return closer


_owners: WeakSet[ClientOwner] = WeakSet()
_clients_of_parent: list[dict[str, Any]] = []  # of a forked process; closing them could wait for the parent's threads
_clients_for_many: ContextVar[Mapping[Any, Any]] = ContextVar("clients_for_many", default=MappingProxyType({}))


class ClientOwner(PublicObject, ABC):
    """A model's vendor clients, and how they are closed.

    A subclass keeps its synchronous client as the cached property ``client``.
    """

    def __init__(self) -> None:
        self._start_without_clients()

    def _start_without_clients(self) -> None:
        self._async_clients = ClientPerLoop(self._make_async_client, self._aclose_client)
        _owners.add(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state that a copy in another process needs, without the connections."""
        return {name: value for name, value in self.__dict__.items() if name not in _CLIENTS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start_without_clients()

    def __copy__(self) -> Self:
        copied = type(self).__new__(type(self))
        copied.__setstate__(ClientOwner.__getstate__(self))
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = self.__copy__()
        copied.__dict__.update(
            {
                name: copy.deepcopy(value, memo)
                for name, value in ClientOwner.__getstate__(self).items()
                if not name.endswith("http_client")  # the user's own, which copies share
            }
        )
        return copied

    @property
    def _async_client(self) -> Any:
        """The asynchronous client of the running context or event loop."""
        return _clients_for_many.get().get(self) or self._async_clients.get()

    @asynccontextmanager
    async def for_many_calls(self) -> AsyncIterator[bool]:
        """Make the asynchronous calls of this context with a client that is made for many calls at once.

        It is closed at the end. Yield whether the vendor has such a client.
        """
        client = self._make_client_for_many()
        if client is None:
            yield False
            return
        try:
            with context_value(_clients_for_many, {**_clients_for_many.get(), self: client}):
                yield True
        finally:
            await self._aclose_client(client)

    async def send_once(self, request: Any) -> Any:
        """Send a request once from this process; models with a client for many calls have this method.

        Args:
            request: The request.

        Returns:
            What the vendor's client returns.

        Raises:
            Exception: As the vendor's client raises it.
        """
        raise NotImplementedError

    def _make_client_for_many(self) -> Any:
        """Create the vendor's client for many calls at once, or return None if it has none."""
        return None

    def close(self) -> None:
        """Close the model's connections; a later call opens new ones.

        Leaving a ``with`` block does the same. Asynchronous connections are closed by their own event loop the
        next time it runs: `aclose` waits for that.
        """
        self._close_clients()

    def _close_clients(self) -> None:
        client = self.__dict__.pop("client", None)
        if client is not None:
            self._close_client(client)
        self._async_clients.close()

    async def aclose(self) -> None:
        """Close the model's connections and wait for it; a later call opens new ones.

        Leaving an ``async with`` block does the same.
        """
        await self._async_clients.aclose()
        self._close_clients()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def _close_client(self, client: Any) -> None:
        """Close the vendor's synchronous client."""
        client.close()

    async def _aclose_client(self, client: Any) -> None:
        """Close an asynchronous client of the vendor's, on its own event loop."""
        await client.close()

    @abstractmethod
    def _make_async_client(self) -> Any:
        """Create the vendor's asynchronous client, on the event loop that will use it."""


def _leave_clients_to_parent() -> None:
    """Have a forked process open its own connections: on those of its parent, either could read the other's answers."""
    for owner in list(_owners):
        _clients_of_parent.append({name: owner.__dict__.pop(name, None) for name in _CLIENTS})
        owner._start_without_clients()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_clients_to_parent)
