"""What all protocols of the demo server share: recording requests, applying faults and sending answers."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn, cast

from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError
from tornado.web import Finish, RequestHandler

from vision_nb.demo.faults import Fault, Refusal, status_error
from vision_nb.demo.state import DemoState, RecordedRequest

_HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
_SHORT_PAUSE = 0.005  # seconds; a shorter one is skipped, and the next one makes up for it


class ProtocolHandler(RequestHandler):
    """Record a request, apply its fault, and send the answer that a protocol's handler built.

    Attributes:
        demo: The server's state.
        body: The request's JSON value; None if the body is not JSON.
        fault: What goes wrong with this request.
    """

    demo: DemoState
    body: Any = None
    fault: Fault = Fault()

    def initialize(self, demo: DemoState) -> None:
        """Set the server's state; called by tornado for each request."""
        self.demo = demo
        self._disconnected = asyncio.Event()

    def set_default_headers(self) -> None:
        """Give the answer a request ID, as the vendors do."""
        self.set_header("x-request-id", f"req_{uuid.uuid4().hex}")

    async def prepare(self) -> None:
        """Record the request and apply the faults that come before an answer."""
        with suppress(ValueError, RecursionError):
            self.body = json.loads(self.request.body)
        query = self.request.query_arguments
        recorded = RecordedRequest(
            method=self.request.method or "",
            path=self.request.path,
            query={name: values[-1].decode("utf-8", "replace") for name, values in query.items()},
            headers={name.lower(): value for name, value in self.request.headers.get_all()},
            body=self.body,
        )
        fault = self.fault = self.demo.record(recorded)
        if "Origin" in self.request.headers:  # sent by browsers only: no web page may use this server
            raise Refusal(403, self.error_body(403, "Requests from web pages are refused."))
        await self.pause(fault.delay)
        if fault.cut_after == 0:
            self.close_connection()
        if fault.retry_after is not None:
            self.set_header("Retry-After", f"{fault.retry_after:g}")
        if fault.status is not None or fault.body is not None:
            status = fault.status or 200
            await self.send_json(self.error_body(status) if fault.body is None else fault.body, status)

    def error_body(self, status: int, message: str | None = None) -> Any:
        """Return an error in the protocol's format, by default with the status's usual message."""
        return status_error(status, message)

    async def send_json(self, value: Any, status: int = 200) -> None:
        """Send a complete answer as JSON; a string is sent unchanged."""
        fault = self.fault
        data = _HTML if fault.garbage else to_bytes(value)
        end = len(data) if fault.cut_after is None else min(fault.cut_after, len(data))
        middle = end // 2 if fault.hang else 0
        self.set_status(status)
        self.set_header("Content-Type", fault.content_type or "application/json")
        self.set_header("Content-Length", str(len(data)))
        if middle:
            await self.write_now(data[:middle])
            await self.pause(fault.hang)
        await self.write_now(data[middle:end])
        if end < len(data):
            self.close_connection()
        await self.finish()

    def start_stream(self) -> None:
        """Set the headers of a stream of server-sent events."""
        self.set_header("Content-Type", self.fault.content_type or "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-cache")
        self._connection().stream.set_nodelay(True)

    async def send_events(self, events: Sequence[bytes]) -> None:
        """Send server-sent events one at a time, at the server's speed."""
        fault = self.fault
        if fault.garbage:
            events = [*events[: len(events) // 2], event(_HTML), *events[len(events) // 2 :]]
        self.start_stream()
        started = time.monotonic()
        for index, data in enumerate(events):
            if index == fault.cut_after:
                self.close_connection()
            if fault.hang and index == len(events) // 2:
                await self.pause(fault.hang)
                started += fault.hang
            await self.pause(started + index / self.demo.tokens_per_second - time.monotonic())
            await self.write_now(data)
        await self.finish()

    async def write_now(self, data: bytes) -> None:
        """Write and flush; end the request if the client has disconnected."""
        self.write(data)
        try:
            await self.flush()
        except StreamClosedError:
            self.on_connection_close()  # tornado calls it too, but not after the request is finished
            raise Finish from None

    async def pause(self, seconds: float) -> None:
        """Wait, but end the request as soon as its client disconnects."""
        if seconds > _SHORT_PAUSE:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._disconnected.wait(), seconds)
        else:
            await asyncio.sleep(0)  # let other requests run: a flush that need not wait does not
        if self._disconnected.is_set():
            raise Finish

    def close_connection(self) -> NoReturn:
        """Close the connection in the middle of the answer."""
        self._connection().stream.close()
        raise Finish

    def on_connection_close(self) -> None:
        """Record that the client disconnected before its answer was complete."""
        if not self._disconnected.is_set():
            self.demo.disconnects += 1
        self._disconnected.set()

    def _connection(self) -> HTTP1Connection:
        return cast(HTTP1Connection, self.request.connection)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send a refusal, or an exception in a script of answers, in the protocol's error format."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, Refusal):
            self.set_status(error.status)
            body = error.body
        elif status_code == 500:
            body = self.error_body(500, f"{type(error).__name__}: {error}")
        else:
            body = self.error_body(status_code, f"{self._reason} ({self.request.method} {self.request.path})")
        self.set_header("Content-Type", "application/json")
        self.finish(to_bytes(body))

    def log_exception(self, *_: Any) -> None:
        """Log nothing: the client receives every error."""

    def compute_etag(self) -> None:
        """Send no ETag, as the vendors do."""


class NotFound(ProtocolHandler):
    """Refuse every path that does not belong to a protocol."""

    async def prepare(self) -> None:
        """Record the request, then refuse it."""
        await super().prepare()
        if not self._finished:
            message = f"Invalid URL ({self.request.method} {self.request.path})"
            raise Refusal(404, self.error_body(404, message))


def to_bytes(value: Any) -> bytes:
    """Serialize a JSON value; a string is encoded unchanged."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def event(data: bytes) -> bytes:
    """Return a server-sent event."""
    return b"data: " + data + b"\n\n"
