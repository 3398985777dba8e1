"""The second process of a run: it sends requests with the vendor's client; see `RequestProcess`."""

from __future__ import annotations

import asyncio
import io
import pickle
import socket
import sys
from contextlib import AsyncExitStack
from contextvars import copy_context
from typing import Any

import httpx2

from vision_nb.cost.request_gate import RemoteGate, active_gate
from vision_nb.notebook.garbage_collection import fewer_garbage_collections
from vision_nb.privacy.redaction import redact_exception
from vision_nb.providers.call import Request
from vision_nb.providers.clients import ClientOwner
from vision_nb.providers.openai.chunk_stream import ANSWER_BEGAN
from vision_nb.providers.request_process import Messages


class Worker:
    """Sends the requests that arrive over a connection, until it ends."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._models: asyncio.Future[list[ClientOwner]] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._tasks: dict[int, asyncio.Task[None]] = {}  # by the number of the request

    async def work(self, connection: socket.socket) -> None:
        """Send requests until the connection ends; those that are then not answered are canceled."""
        _, self._messages = await asyncio.get_running_loop().create_connection(
            lambda: Messages(self._receive, self._lose, _dumps), sock=connection
        )
        models = await self._models
        async with AsyncExitStack() as clients:
            for llm in models:
                await clients.enter_async_context(llm.for_many_calls())
            self._context = copy_context()  # in which the requests find their clients
            self._messages.send(("ready", -1, None))
            await self._ended
            tasks = [*self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _lose(self) -> None:
        self._models.cancel()
        self._ended.set_result(None)

    def _receive(self, message: tuple[str, int, Any]) -> None:
        kind, number, data = message
        if kind == "models":
            self._models.set_result([pickle.loads(llm) for llm in data])
        elif kind == "request":
            task = asyncio.create_task(self._send(number, *data), context=self._context.copy())
            self._tasks[number] = task
            task.add_done_callback(lambda _: self._tasks.pop(number))
        elif number in self._tasks:
            self._tasks[number].cancel()

    async def _send(self, number: int, model: int, request: Request, is_limited: bool) -> None:
        """Send a request, and then its answer or error."""

        def tell(kind: str, data: Any) -> None:
            self._messages.send((kind, number, data))

        active_gate.set(RemoteGate(tell, has_limit=is_limited))
        try:
            tell("answer", await self._models.result()[model].send_once(request))
        except Exception as error:
            tell("error", _portable(error))


class _Pickler(pickle.Pickler):
    """Pickles exceptions whose classes take other arguments, with their causes, and requests without their content."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, BaseException):
            links = {name: getattr(value, name) for name in ("__cause__", "__context__", "__suppress_context__")}
            return _exception, (type(value), value.args), {**vars(value), **links}, None, None, _set_state
        if isinstance(value, httpx2.Request):
            headers, has_begun = value.headers.multi_items(), bool(value.extensions.get(ANSWER_BEGAN))
            return _request, (value.method, str(value.url), headers, has_begun)
        return NotImplemented


def _portable(error: Exception) -> Exception:
    """Return an exception without secrets that can be unpickled."""
    redact_exception(error)
    try:
        pickle.loads(_dumps(error))
    except Exception:  # such as one of pydantic's
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _dumps(messages: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(messages)
    return buffer.getvalue()


def _exception(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Return an exception without calling ``__init__``, which may take other arguments."""
    return kind.__new__(kind, *args)


def _set_state(error: BaseException, state: dict[str, Any]) -> None:
    for name, value in state.items():
        setattr(error, name, value)


def _request(method: str, url: str, headers: list[tuple[str, str]], has_begun: bool) -> httpx2.Request:
    return httpx2.Request(method, url, headers=headers, extensions={ANSWER_BEGAN: has_begun})


def main() -> None:
    """Work until the other process closes the connection, whose number is the first argument."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.setblocking(False)

    async def work() -> None:
        await Worker().work(connection)

    with fewer_garbage_collections():
        asyncio.run(work())
