"""The demo server: HTTP on loopback, in a separate thread, for the vendors' own clients."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable
from concurrent.futures import Future
from socket import socket
from typing import Self

from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from vision_nb.demo import image_input, sample_routes
from vision_nb.demo.handler import NotFound
from vision_nb.demo.openai import routes as openai_routes
from vision_nb.demo.quota import Quota
from vision_nb.demo.replicate import routes as replicate_routes
from vision_nb.demo.state import DemoState
from vision_nb.errors import SettingsError
from vision_nb.providers.demo_servers import register_server, unregister_server

_HOST = "127.0.0.1"
_BACKLOG = 1024  # connections that may wait
_MAX_UPLOAD = 210_000_000  # bytes of a request: a file of 200 MB and the form around it
_THREAD_TIMEOUT = 5.0  # seconds for the thread to start or to end


class DemoServer(DemoState):
    """A server that implements the vendors' APIs and measures the pixels of the images it receives.

    It runs its own event loop in a separate thread, so it works inside a Jupyter kernel. Use it as a context
    manager, or with ``start`` and ``stop``; it stops when Python exits.

    >>> with DemoServer() as server:
    ...     server.openai_base.startswith("http://127.0.0.1:")
    True

    Args:
        tokens_per_second: The speed of streamed answers; may be infinite.
        port: The port to listen on; 0 chooses a free one at each start.
        keep: How many requests to record; None for all.
        quota: The rate limits that the server enforces and reports, such as ``Quota(requests=3)``; None for none.

    Attributes: as for `DemoState`.
    """

    def __init__(
        self,
        tokens_per_second: float = 200.0,
        port: int = 0,
        *,
        keep: int | None = None,
        quota: Quota | None = None,
    ) -> None:
        super().__init__(tokens_per_second, keep=keep, quota=quota)
        self._port = port
        self._lock = threading.Lock()
        self._sockets: list[socket] = []
        self._thread: threading.Thread | None = None
        self._shut_down: Callable[[], object] | None = None

    @property
    def running(self) -> bool:
        """Whether the server is running in this process; in a fork, it is not until it is started there."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def url(self) -> str:
        """The server's address, such as "http://127.0.0.1:40961".

        Raises:
            SettingsError: The server is not running.
        """
        if not self.running:
            raise SettingsError("The demo server is not running: call start() first.")
        return f"http://{_HOST}:{self._sockets[0].getsockname()[1]}"

    @property
    def openai_base(self) -> str:
        """The ``base_url`` for an OpenAI client."""
        return f"{self.url}/v1"

    @property
    def replicate_base(self) -> str:
        """The ``base_url`` for a Replicate client."""
        return self.url

    def start(self) -> Self:
        """Start the server if it is not running."""
        with self._lock:
            if self.running:
                return self
            for inherited in self._sockets:  # after a fork
                inherited.close()
            self._sockets = bind_sockets(self._port, _HOST, backlog=_BACKLOG)
            ready: Future[Callable[[], object]] = Future()
            self._thread = threading.Thread(target=self._run, args=(ready,), name="vision_nb demo", daemon=True)
            self._thread.start()
            self._shut_down = ready.result(_THREAD_TIMEOUT)
            register_server(f"http://{_HOST}:{self._sockets[0].getsockname()[1]}", lambda: not self.is_scripted)
            atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Close every connection and stop. The recorded requests remain, and the server can be started again."""
        with self._lock:
            if self._thread is not None and self._shut_down is not None and self.running:
                unregister_server(self.url)
                self._shut_down()
                self._thread.join(_THREAD_TIMEOUT)
            self._thread = self._shut_down = None
            atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _run(self, ready: Future[Callable[[], object]]) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve(ready))
        except Exception as error:
            if not ready.done():
                ready.set_exception(error)

    async def _serve(self, ready: Future[Callable[[], object]]) -> None:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(lambda *_: None)  # print nothing into the notebook
        tasks: list[asyncio.Task[None]] = []  # that answer batches
        client = AsyncHTTPClient(force_instance=True, max_clients=100, max_body_size=image_input.MAX_DOWNLOAD)
        application = Application(
            # Replicate's first, because OpenAI's route for a model matches Replicate's models too
            [*replicate_routes.routes(self), *openai_routes.routes(self), *sample_routes.routes()],
            default_handler_class=NotFound,
            default_handler_args={"demo": self},
            log_function=lambda _: None,
            http_client=client,
            batch_tasks=tasks,
        )
        server = HTTPServer(application, max_buffer_size=_MAX_UPLOAD)
        server.add_sockets(self._sockets)
        ready.set_result(lambda: loop.call_soon_threadsafe(stopping.set))
        await stopping.wait()
        server.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.close_all_connections()
        client.close()


_shared_lock = threading.Lock()
_shared: DemoServer | None = None


def shared_server() -> DemoServer:
    """Return the process's shared server, which starts on first use and records the last 100 requests."""
    global _shared
    with _shared_lock:
        _shared = _shared or DemoServer(keep=100)
        return _shared.start()
