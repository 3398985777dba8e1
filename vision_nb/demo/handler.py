"""What every wire protocol of the demo server shares: the record of requests, faults, and how bytes are sent."""

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

from vision_nb.demo.faults import Fault, Refusal, error_body, usual_error, usual_type
from vision_nb.demo.state import DemoState, RecordedRequest

_HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
_SHORT = 0.005  # seconds; a shorter pause is made up for by the next one


class WireHandler(RequestHandler):
    """Records a request, lets its fault happen, and sends what a protocol's handler built.

    Attributes:
        demo: The server, for its settings.
        body: The request's JSON value; None where there is none.
        fault: What shall go wrong with this request.
    """

    demo: DemoState
    body: Any = None
    fault: Fault = Fault()

    def initialize(self, demo: DemoState) -> None:
        """Take the server; called by tornado for each request."""
        self.demo = demo
        self._gone = asyncio.Event()

    def set_default_headers(self) -> None:
        """Number the answer, as the vendors do."""
        self.set_header("x-request-id", f"req_{uuid.uuid4().hex}")

    async def prepare(self) -> None:
        """Record the request, then let the faults happen that come before an answer."""
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
        if "Origin" in self.request.headers:  # only browsers send it, and no web page shall get an answer
            raise Refusal(403, self.error_with(403, "Web pages are not answered."))
        await self.pause(fault.delay)
        if fault.cut_after == 0:
            self.hang_up()
        if fault.retry_after is not None:
            self.set_header("Retry-After", f"{fault.retry_after:g}")
        if fault.status is not None or fault.body is not None:
            status = fault.status or 200
            await self.send_json(self.usual_error(status) if fault.body is None else fault.body, status)

    def usual_error(self, status: int) -> Any:
        """The error body of a status, in the protocol's shape; OpenAI's unless a protocol says otherwise."""
        return usual_error(status)

    def error_with(self, status: int, message: str) -> Any:
        """An error body with a message of its own, in the protocol's shape."""
        return error_body(message, type=usual_type(status))

    async def send_json(self, value: Any, status: int = 200) -> None:
        """Send an answer at once, as JSON; a text goes as it is."""
        fault = self.fault
        data = _HTML if fault.garbage else to_bytes(value)
        end = len(data) if fault.cut_after is None else min(fault.cut_after, len(data))
        middle = end // 2 if fault.hang else 0
        self.set_status(status)
        self.set_header("Content-Type", fault.content_type or "application/json")
        self.set_header("Content-Length", str(len(data)))
        if middle:
            await self._push(data[:middle])
            await self.pause(fault.hang)
        await self._push(data[middle:end])
        if end < len(data):
            self.hang_up()
        await self.finish()

    async def send_events(self, events: Sequence[bytes]) -> None:
        """Send server-sent events, one at a time, at the server's pace."""
        fault = self.fault
        if fault.garbage:
            events = [*events[: len(events) // 2], event(_HTML), *events[len(events) // 2 :]]
        self.set_header("Content-Type", fault.content_type or "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-cache")
        self._connection().stream.set_nodelay(True)
        started = time.monotonic()
        for place, data in enumerate(events):
            if place == fault.cut_after:
                self.hang_up()
            if fault.hang and place == len(events) // 2:
                await self.pause(fault.hang)
                started += fault.hang
            await self.pause(started + place / self.demo.tokens_per_second - time.monotonic())
            await self._push(data)
        await self.finish()

    async def _push(self, data: bytes) -> None:
        self.write(data)
        try:
            await self.flush()
        except StreamClosedError:
            self.on_connection_close()  # tornado calls it too, but not once the request is finished
            raise Finish from None

    async def pause(self, seconds: float) -> None:
        """Wait, but end the request at once when its client has gone."""
        if seconds > _SHORT:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), seconds)
        else:
            await asyncio.sleep(0)  # a flush that need not wait lets no other request run
        if self._gone.is_set():
            raise Finish

    def hang_up(self) -> NoReturn:
        """Close the connection as it is, in the middle of whatever was being sent."""
        self._connection().stream.close()
        raise Finish

    def on_connection_close(self) -> None:
        """Note that the client has gone before its answer was whole."""
        if not self._gone.is_set():
            self.demo.disconnects += 1
        self._gone.set()

    def _connection(self) -> HTTP1Connection:
        return cast(HTTP1Connection, self.request.connection)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Turn a refusal, or a mistake in a script of answers, into the protocol's error body."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, Refusal):
            self.set_status(error.status)
            body = error.body
        elif status_code == 500:
            body = self.error_with(500, f"{type(error).__name__}: {error}")
        else:
            body = self.error_with(status_code, f"{self._reason} ({self.request.method} {self.request.path})")
        self.set_header("Content-Type", "application/json")
        self.finish(to_bytes(body))

    def log_exception(self, *_: Any) -> None:
        """Log nothing: every error is told to the client."""

    def compute_etag(self) -> None:
        """Send no ETag: no vendor does."""


class NotFound(WireHandler):
    """Answers every path that no protocol knows."""

    async def prepare(self) -> None:
        """Record the request, then refuse it."""
        await super().prepare()
        if not self._finished:
            message = f"Invalid URL ({self.request.method} {self.request.path})"
            raise Refusal(404, self.error_with(404, message))


def to_bytes(value: Any) -> bytes:
    """The bytes of a JSON value; a text stands for itself."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def event(data: bytes) -> bytes:
    """One server-sent event."""
    return b"data: " + data + b"\n\n"
