"""A run on a worker of a cluster: its models, its event loop, and its messages to the notebook."""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from vision_nb.comparison.cluster_messages import RunId, Setup
from vision_nb.errors import ClusterError
from vision_nb.privacy.redaction import redact

T = TypeVar("T")

_IDLE_SECONDS = 600.0  # after which a run's models and keys are forgotten; the notebook may have been killed
_CHECK_SECONDS = 1.0  # between checks whether a call is still wanted
_CLOSE_SECONDS = 10.0  # for calls to clean up, and for connections to close


class Session:
    """One run on this worker: its models, its event loop, and what the notebook is asked.

    Args:
        run: The run.
        worker: Dask's worker.
        forget: Called with the session when it is closed.

    Attributes:
        run: The run's ID.
        loop: The event loop of its calls.
    """

    def __init__(self, run: RunId, worker: Any, forget: Callable[[Session], None]) -> None:
        self.run, self._topic, self._worker, self._forget = run.run, run.topic, worker, forget
        self._id = uuid.uuid4().hex  # unlike the worker's address, a worker that is started again has another
        self._replies: dict[str, concurrent.futures.Future[Any]] = {}
        self._calls: set[concurrent.futures.Future[Any]] = set()
        self._outbox: list[tuple[str, str, str, bytes]] = []  # messages that wait
        self._last_used = time.monotonic()
        self._setup: Setup | None = None
        self._setup_lock = asyncio.Lock()
        self._lock = threading.Lock()
        self._is_closed = False
        self._clients, self._clients_context = AsyncExitStack(), copy_context()
        self._context = copy_context()  # in which the calls find their clients
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self._run_loop, name="vision_nb calls", daemon=True).start()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_later(_IDLE_SECONDS, self._close_if_idle)
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    @property
    def address(self) -> str:
        """The worker's address."""
        return str(self._worker.address)

    def use(self) -> bool:
        """Keep the session open for some time; return False if it is closed."""
        with self._lock:
            self._last_used = time.monotonic()
            return not self._is_closed

    def _close_if_idle(self) -> None:
        """Close the session if it was not used for a long time; otherwise, check again later."""
        if not self.close(only_idle=True):
            self.loop.call_later(_IDLE_SECONDS, self._close_if_idle)

    async def wait(self, future: concurrent.futures.Future[T], key: str) -> T:
        """Return a future's result, or cancel it when the task is no longer wanted.

        Args:
            future: The future.
            key: The key of Dask's task.

        Raises:
            ClusterError: It was canceled: the run has ended, or the notebook is gone.
        """
        waiting = asyncio.wrap_future(future)
        while not (await asyncio.wait([waiting], timeout=_CHECK_SECONDS))[0]:
            task = self._worker.state.tasks.get(key)
            if task is None or task.state == "cancelled":
                future.cancel()
        try:
            return waiting.result()
        except asyncio.CancelledError:
            raise ClusterError("The call was canceled.") from None

    async def in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Return a function's result from one of the worker's threads, of which Dask has one for each task."""
        executor = self._worker.executors["default"]
        return await asyncio.get_running_loop().run_in_executor(executor, partial(function, *args))

    def secede(self, key: str) -> None:
        """Let the worker begin another task.

        Dask's own function needs a thread that ends with the task. While threads end, Dask's profiler can deadlock a
        worker before Python 3.11.9 (https://github.com/python/cpython/issues/106883; it happened here on 2026-11-27).

        Args:
            key: The key of Dask's task.
        """
        from distributed.worker_state_machine import SecedeEvent

        now, task = time.time(), self._worker.state.tasks.get(key)
        if task is not None and task.start_time is not None:
            event = SecedeEvent(key=key, compute_duration=now - task.start_time, stimulus_id=f"secede-{now}")
            self._worker.handle_stimulus(event)

    async def setup(self, key: str) -> Setup:
        """Return the models; they are requested from the notebook once.

        Args:
            key: The key of Dask's task.

        Raises:
            ClusterError: They cannot be used here, or the run has ended.
        """
        async with self._setup_lock:
            if self._setup is None:
                data: bytes = await self.wait(self.ask("setup", "", None), key)
                try:
                    setup: Setup = await self.in_thread(pickle.loads, data)
                except Exception as error:
                    said = redact(f"{type(error).__name__}: {error}")
                    advice = "use the notebook's package versions"
                    if isinstance(error, ImportError):
                        advice = "install the modules that they need"
                    raise ClusterError(
                        f"The worker {self.address} cannot load the models or the schema ({said:.120}): {advice} on "
                        "all workers."
                    ) from None
                self._setup = setup
                if setup.is_large:
                    await self.complete(self._open(setup), key)
            return self._setup

    def tell(self, kind: str, data: Any, call: str, number: str = "") -> None:
        """Send a message to the notebook.

        Args:
            kind: What it is about.
            data: More about it, which is pickled.
            call: The call's ID.
            number: The ID of the reply that is expected.
        """
        message = (kind, call, number, pickle.dumps(data))
        with self._lock:
            self._outbox.append(message)
            if len(self._outbox) > 1:
                return  # it is sent with the others
        self._worker.loop.add_callback(self._send)

    def _send(self) -> None:
        """Send the messages that wait. Runs on the worker's event loop."""
        with self._lock:
            messages, self._outbox = self._outbox, []
        sender = {"run": self.run, "worker": self.address, "session": self._id}
        self._worker.log_event(self._topic, {**sender, "messages": pickle.dumps(messages)})

    def ask(self, kind: str, call: str, data: Any) -> concurrent.futures.Future[Any]:
        """Send a request to the notebook, and return the future of its reply; see `tell`."""
        number, reply = uuid.uuid4().hex, concurrent.futures.Future[Any]()
        with self._lock:
            if self._is_closed:
                raise ClusterError("The run has ended.")
            self._replies[number] = reply
        self.tell(kind, data, call, number)
        return reply

    def receive(self, number: str, reply: Any) -> None:
        """Take the notebook's reply to a request."""
        future = self._replies.pop(number, None)
        if future is not None and future.set_running_or_notify_cancel():
            if isinstance(reply, BaseException):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    async def _open(self, setup: Setup) -> None:
        """Open the models' clients for many calls, which all later calls use."""

        async def enter() -> None:
            for llm in setup.models:
                await self._clients.enter_async_context(llm.for_many_calls())
            self._context = copy_context()

        await self.loop.create_task(enter(), context=self._clients_context)

    async def complete(self, coroutine: Coroutine[Any, Any, T], key: str) -> T:
        """Run a call on the event loop, until it ends or its task is no longer wanted.

        Args:
            coroutine: The call.
            key: The key of Dask's task.
        """
        with self._lock:
            if self._is_closed:
                coroutine.close()
                raise ClusterError("The run has ended.")
            future = self._context.run(asyncio.run_coroutine_threadsafe, coroutine, self.loop)
            self._calls.add(future)
        try:
            return await self.wait(future, key)
        finally:
            self._calls.discard(future)
            self._last_used = time.monotonic()

    def close(self, *, only_idle: bool = False) -> bool:
        """Cancel all calls, close the models' connections, and forget the keys.

        Args:
            only_idle: Only if the session was not used for a long time.

        Returns:
            Whether it is closed.
        """
        with self._lock:
            if self._is_closed:
                return True
            if only_idle and (self._calls or time.monotonic() - self._last_used < _IDLE_SECONDS):
                return False
            self._is_closed = True
        self._forget(self)
        for future in [*self._calls, *self._replies.values()]:
            future.cancel()
        asyncio.run_coroutine_threadsafe(self._close(), self.loop)
        return True

    async def _close(self) -> None:
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=_CLOSE_SECONDS)  # they are canceled, and clean up
        models, self._setup = () if self._setup is None else self._setup.models, None
        for close in (self._close_clients, *(llm.aclose for llm in models)):
            with suppress(Exception):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await close()
        for task in others:
            task.cancel()
        self.loop.stop()

    async def _close_clients(self) -> None:
        await self.loop.create_task(self._clients.aclose(), context=self._clients_context)
