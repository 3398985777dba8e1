"""`RequestProcess`: a second process that sends the requests of a run when one core is not enough for it.

A Python process uses one core for its own code. With some hundred calls a second, that core has no time left, and half
of its time goes to the vendor's client. From then on, that client runs in another process: this one prepares each
request, waits for the limits, and keeps the answers. The processes exchange pickles over a socket that no other process
can open. The models with their keys are sent over it too, and nothing of them is in arguments, variables or files.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from itertools import count
from typing import Any

from vision_nb.checks.context_values import context_value
from vision_nb.cost.request_gate import RequestGate, active_gate, note_sent, take_note
from vision_nb.errors import ProviderConnectionError
from vision_nb.privacy.transfer import including_secrets
from vision_nb.providers.call import Request
from vision_nb.providers.clients import ClientOwner

WATCHED_SECONDS = 1.0
"""How long a core must be in full use before the process is started."""
FULL = 0.85
"""The share of that time for which the event loop is busy, from which the core counts as full."""
OWN_TURN = 5
"""Every fifth request is still sent from here: the others leave about the time for it (200 at once, November 2026)."""

_LENGTH = 8  # bytes of the number before each pickle
_KEPT_HERE = {"stream", "extra_headers"}  # streams are not pickled, and headers of a single call may be secret
_CODE = "import sys; sys.path[:] = sys.argv[2:]; from vision_nb.providers.request_worker import main; main()"


class Messages(asyncio.Protocol):
    """Exchanges pickles with the other process; those of the same moment are sent together.

    Args:
        receive: Takes each message.
        lose: Called when the connection has ended.
        dumps: Pickles a message.
    """

    def __init__(
        self,
        receive: Callable[[Any], None],
        lose: Callable[[], object],
        dumps: Callable[[Any], bytes] = pickle.dumps,
    ) -> None:
        self._receive, self._lose, self._dumps = receive, lose, dumps
        self._received = bytearray()
        self._outbox: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        """Keep the transport, as asyncio asks."""
        self._transport: asyncio.Transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """Note the end of the connection, as asyncio asks."""
        self._lose()

    def data_received(self, data: bytes) -> None:
        """Take the messages that have arrived as a whole, as asyncio asks."""
        self._received += data
        begin = 0
        while len(self._received) >= (start := begin + _LENGTH):
            end = start + int.from_bytes(self._received[begin:start], "big")
            if len(self._received) < end:
                break
            self._receive(pickle.loads(self._received[start:end]))
            begin = end
        del self._received[:begin]

    def send(self, message: Any) -> None:
        """Send a message.

        Args:
            message: The message.

        Raises:
            Exception: It cannot be pickled.
        """
        data = self._dumps(message)
        self._outbox += len(data).to_bytes(_LENGTH, "big"), data
        if len(self._outbox) == 2:
            asyncio.get_running_loop().call_soon(self._send_outbox)

    def _send_outbox(self) -> None:
        outbox, self._outbox = self._outbox, []
        if not self._transport.is_closing():
            self._transport.writelines(outbox)

    def close(self) -> None:
        """End the connection at once."""
        self._transport.abort()


class RequestProcess:
    """Sends requests from another process, which is started when this one's core is full.

    If it cannot be started, or ends, this process goes on alone.

    Args:
        models: The models whose requests it may send.
    """

    def __init__(self, models: Sequence[ClientOwner]) -> None:
        self._models = models
        self._places: dict[ClientOwner, int] = {}  # of the models that the process has
        self._numbers, self._turns = count(), count(1)
        self._waiting: dict[int, tuple[asyncio.Future[Any], RequestGate | None]] = {}  # the calls, by number

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the process in this context when the core is full, and end it at the end."""
        watching = asyncio.create_task(self._start_when_full())
        try:
            with context_value(_active, self):
                yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _start_when_full(self) -> None:
        """Start the process when the core is full, and end it when this task is canceled."""
        if os.name != "posix" or not self._models or len(_cores()) < 2:
            return
        while not await _is_full():
            pass
        sent = []
        for llm in self._models:
            # A class or function of the user cannot be pickled.
            with including_secrets(is_exact=True), suppress(Exception):
                sent.append((llm, pickle.dumps(llm)))
        own, other = socket.socketpair()
        with own, other:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CODE, str(other.fileno()), *sys.path],
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # interrupting a cell does not reach it
            )
            other.close()
            try:
                await self._serve(own, sent)
            finally:
                process.kill()
                process.wait()

    async def _serve(self, connection: socket.socket, models: Sequence[tuple[ClientOwner, bytes]]) -> None:
        """Exchange messages with the process until it ends."""
        loop = asyncio.get_running_loop()
        lost = asyncio.Event()

        def receive(message: tuple[str, int, Any]) -> None:
            kind, number, data = message
            if kind == "ready":
                self._places = {llm: place for place, (llm, _) in enumerate(models)}
            elif number in self._waiting:
                reply, gate = self._waiting[number]
                if kind not in ("answer", "error"):
                    take_note(gate, kind, data)
                elif not reply.done():
                    (reply.set_result if kind == "answer" else reply.set_exception)(data)

        connection.setblocking(False)
        _, self._messages = await loop.create_connection(lambda: Messages(receive, lost.set), sock=connection)
        self._messages.send(("models", -1, [data for _, data in models]))
        try:
            await lost.wait()
        finally:
            self._places = {}
            self._messages.close()
            for reply, _ in self._waiting.values():
                if not reply.done():
                    reply.set_exception(_lost())

    def takes(self, llm: ClientOwner, request: Request) -> bool:
        """Return whether a request of a model is to be sent with `send`."""
        is_possible = llm in self._places and _KEPT_HERE.isdisjoint(request)
        return is_possible and next(self._turns) % OWN_TURN > 0

    async def send(self, llm: ClientOwner, request: Request) -> Any:
        """Send a request once, and return its answer.

        Args:
            llm: The model.
            request: The request.

        Raises:
            ProviderConnectionError: The process has ended.
            Exception: As the vendor's client raises it.
        """
        number, gate, messages = next(self._numbers), active_gate.get(), self._messages
        messages.send(("request", number, (self._places[llm], request, gate is not None and gate.is_limited)))
        note_sent()  # the process's own message, which is more exact, comes only if there is a limit
        reply = asyncio.get_running_loop().create_future()
        self._waiting[number] = reply, gate
        try:
            return await reply
        except asyncio.CancelledError:
            messages.send(("cancel", number, None))
            raise
        finally:
            del self._waiting[number]


_active: ContextVar[RequestProcess | None] = ContextVar("active_process", default=None)


def active_process(llm: ClientOwner, request: Request) -> RequestProcess | None:
    """Return the process that is to send a request of a model, or None."""
    process = _active.get()
    return process if process is not None and process.takes(llm, request) else None


async def _is_full() -> bool:
    """Watch the event loop for a moment, and return whether it is busy almost all the time."""
    used, began = time.thread_time(), time.monotonic()
    await asyncio.sleep(WATCHED_SECONDS)
    return time.thread_time() - used >= FULL * (time.monotonic() - began)


def _cores() -> Sequence[int]:
    """Return the cores that this process may use."""
    return [*os.sched_getaffinity(0)] if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _lost() -> ProviderConnectionError:
    return ProviderConnectionError(
        "The process that sends the requests of this run has ended, and took the answer along: run the cell again. The "
        "call was not repeated, because it may be billed.",
        may_be_billed=True,
    )
