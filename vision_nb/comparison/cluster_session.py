"""A run on a worker of a cluster: its models, its event loop, and its messages to the notebook."""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import threading
import time
import uuid
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from vision_nb.comparison.cluster_messages import RunId, Setup
from vision_nb.errors import ClusterError
from vision_nb.privacy.redaction import redact
from vision_nb.responses import Response

T = TypeVar("T")

_IDLE_SECONDS = 600.0  # after which a run's models and keys are forgotten; the notebook may have been killed
_CHECK_SECONDS = 1.0  # between checks whether a call is still wanted


class Session:
    """One run on this worker: its models, its event loop, and what the notebook is asked.

    Args:
        run: The run.
        worker: Dask's worker.
    """

    def __init__(self, run: RunId, worker: Any) -> None:
        self._run, self._worker = run, worker
        self._replies: dict[str, concurrent.futures.Future[Any]] = {}
        self._calls: set[concurrent.futures.Future[Any]] = set()
        self._last_used = time.monotonic()
        self._setup: Setup | None = None
        self._setup_lock = threading.Lock()
        self._lock = threading.Lock()
        self._is_closed = False
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self._run_loop, name="vision_nb calls", daemon=True).start()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    @property
    def address(self) -> str:
        """The worker's address."""
        return str(self._worker.address)

    @property
    def is_idle(self) -> bool:
        """Whether no call was made for a long time."""
        return not self._calls and time.monotonic() - self._last_used > _IDLE_SECONDS

    def wait(self, future: concurrent.futures.Future[T], key: str) -> T:
        """Return a future's result, or cancel it when the task is no longer wanted.

        Args:
            future: The future.
            key: The key of Dask's task.

        Raises:
            ClusterError: It was canceled: the run has ended, or the notebook is gone.
        """
        try:
            while True:
                try:
                    return future.result(_CHECK_SECONDS)
                except concurrent.futures.TimeoutError:
                    if future.done():
                        raise  # the call's own
                    task = self._worker.state.tasks.get(key)
                    if task is None or task.state == "cancelled":
                        future.cancel()
        except concurrent.futures.CancelledError:
            raise ClusterError("The call was canceled.") from None

    def setup(self, key: str) -> Setup:
        """Return the models; they are requested from the notebook once.

        Args:
            key: The key of Dask's task.

        Raises:
            ClusterError: They cannot be used here, or the run has ended.
        """
        with self._setup_lock:
            if self._setup is None:
                data = self.wait(self.ask("setup", "", None), key)
                try:
                    self._setup = pickle.loads(data)
                except Exception as error:
                    said = redact(f"{type(error).__name__}: {error}")
                    raise ClusterError(
                        f"The worker {self.address} cannot load the models or the schema ({said:.120}): install the "
                        "modules that they need on all workers."
                    ) from None
            return self._setup

    def tell(self, kind: str, call: str, data: Any, number: str = "") -> None:
        """Send a message to the notebook.

        Args:
            kind: What it is about.
            call: The call's ID.
            data: More about it, which is pickled.
            number: The ID of the reply that is expected.
        """
        message = {"run": self._run.run, "kind": kind, "call": call, "worker": self.address, "reply": number}
        self._worker.log_event(self._run.topic, {**message, "data": pickle.dumps(data)})

    def ask(self, kind: str, call: str, data: Any) -> concurrent.futures.Future[Any]:
        """Send a request to the notebook, and return the future of its reply; see `tell`."""
        number, reply = uuid.uuid4().hex, concurrent.futures.Future[Any]()
        with self._lock:
            if self._is_closed:
                raise ClusterError("The run has ended.")
            self._replies[number] = reply
        self.tell(kind, call, data, number)
        return reply

    def receive(self, number: str, reply: Any) -> None:
        """Take the notebook's reply to a request."""
        future = self._replies.pop(number, None)
        if future is not None and future.set_running_or_notify_cancel():
            if isinstance(reply, BaseException):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def complete(self, coroutine: Coroutine[Any, Any, Response], key: str) -> Response:
        """Run a call on the event loop, until it ends or its task is no longer wanted.

        Args:
            coroutine: The call.
            key: The key of Dask's task.
        """
        with self._lock:
            if self._is_closed:
                coroutine.close()
                raise ClusterError("The run has ended.")
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
            self._calls.add(future)
        try:
            return self.wait(future, key)
        finally:
            self._calls.discard(future)
            self._last_used = time.monotonic()

    def close(self) -> None:
        """Cancel all calls, close the models' connections, and forget the keys."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        for future in [*self._calls, *self._replies.values()]:
            future.cancel()
        asyncio.run_coroutine_threadsafe(self._close(), self.loop)

    async def _close(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.gather(*others, return_exceptions=True)  # they are canceled, and clean up
        models, self._setup = () if self._setup is None else self._setup.models, None
        for llm in models:
            with suppress(Exception):
                await llm.aclose()
        self.loop.stop()
