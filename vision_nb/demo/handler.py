"""The base handler of all demo server protocols: record requests, apply faults and send answers."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, cast

from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import Finish, RequestHandler

from vision_nb.demo.faults import Fault, Refusal, merged, status_error
from vision_nb.demo.state import DemoState, RecordedRequest
from vision_nb.providers.demo_servers import new_answer_id

_HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
_SHORT_PAUSE = 0.005  # seconds; a shorter one is skipped, and the next one makes up for it


class ProtocolHandler(RequestHandler):
    """Record a request, apply its fault, and send the answer that a protocol's handler built.

    Attributes:
        demo: The server's state.
        body: The request's JSON value; None if the body is not JSON.
        fault: The fault to apply to this request.
    """

    demo: DemoState
    body: Any = None
    fault: Fault = Fault()
    _raw: IOStream | None = None  # the connection, where tornado does not write the answer
    _started = False

    def initialize(self, demo: DemoState) -> None:
        """Set the server's state; called by tornado for each request."""
        self.demo = demo
        self._disconnected = asyncio.Event()

    def set_default_headers(self) -> None:
        """Add a request ID to the answer, as the vendors do."""
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
        if fault.cut_after == 0 and fault.end == "broken":
            self.close_connection()
        self.set_status(fault.status or 200)
        if fault.events is not None:
            events = fault.events
            if isinstance(events, Sequence):
                events = [_event_of(value) for value in events]
            await self.send_events(events if isinstance(events, list) else map(_event_of, events))
        elif fault.body is not None:
            await self._send(fault.body, self.get_status())
        elif fault.status is not None:
            await self._send(self.shape_error(self.error_body(fault.status)), fault.status)

    def new_answer_id(self) -> str:
        """Return an ID for an answer, which says whether the demo model answers."""
        return new_answer_id(by_demo=self.fault.text is None and not (self.fault.message or self.demo.is_scripted))

    def error_body(self, status: int, message: str | None = None) -> Any:
        """Return an error in the protocol's format, by default with the status's usual message."""
        return status_error(status, message)

    def shape_error(self, body: Any) -> Any:
        """Return an error in the server's format."""
        return body

    async def send_json(self, value: Any, status: int = 200) -> None:
        """Send a complete answer as JSON."""
        await self._send(merged(value, self.fault.answer) if isinstance(value, dict) else value, status)

    async def _send(self, value: Any, status: int) -> None:
        """Send a JSON value, a text or bytes."""
        fault = self.fault
        data = _HTML if fault.garbage else to_bytes(value)
        cut = fault.cut_at(len(data))
        kept = data[:cut]
        middle = len(kept) // 2 if fault.hang else 0
        self.set_status(status)
        self.set_header("Content-Type", fault.content_type or "application/json")
        self.set_header("Content-Length", str(len(data if fault.end == "broken" else kept)))
        if middle:
            await self.write_now(kept[:middle])
            await self.pause(fault.hang)
        await self.write_now(kept[middle:])
        if len(kept) < len(data) and fault.end == "broken":
            self.close_connection()
        await self.finish()

    def start_stream(self) -> None:
        """Set the headers of a stream of server-sent events."""
        self.set_header("Content-Type", self.fault.content_type or "text/event-stream; charset=utf-8")
        self.set_header("Cache-Control", "no-cache")
        self._connection().stream.set_nodelay(True)

    async def send_events(self, events: Iterable[bytes]) -> None:
        """Send server-sent events one at a time, at the server's speed."""
        fault = self.fault
        cut = middle = None
        if isinstance(events, Sequence):
            middle = len(events) // 2
            if fault.garbage:
                events = [*events[:middle], event(_HTML), *events[middle:]]
            cut = fault.cut_at(len(events))
        self.start_stream()
        await self.write_now(b"")
        started = time.monotonic()
        for index, data in enumerate(events):
            if index == cut:
                await self.cut_off(data)
            if fault.hang and index == middle:
                await self.pause(fault.hang)
                started += fault.hang
            await self.pause(started + index / self.demo.tokens_per_second - time.monotonic())
            await self.write_now(data)
        await self.finish()

    async def cut_off(self, following: bytes) -> NoReturn:
        """Stop an answer before its next event, as the fault specifies."""
        if self.fault.end == "broken":
            self.close_connection()
        if self.fault.end == "mid_line":
            await self.write_now(following[: len(following) // 2])
        await self.finish()
        raise Finish

    async def write_now(self, data: bytes) -> None:
        """Write and flush; end the request if the client has disconnected."""
        try:
            if not self._started:
                await self._start()
            if self.fault.drip:
                await self._drip(data, self.fault.drip)
            else:
                await self._write(data)
        except StreamClosedError:
            self.on_connection_close()  # tornado calls it too, but not after the request is finished
            raise Finish from None

    async def _start(self) -> None:
        """Set the fault's headers; where tornado cannot send them, send them here."""
        self._started = True
        fault = self.fault
        self._set_fault_headers()
        if fault.content_length and not fault.header_drip and "Content-Length" not in fault.headers:
            return
        if not fault.content_length:
            self.clear_header("Content-Length")
        self.set_header("Connection", "close")
        lines = [f"HTTP/1.1 {self.get_status()} {self._reason}"]
        lines += [f"{name}: {value}" for name, value in self._headers.get_all()]
        self._raw = self.detach()
        self._raw.set_close_callback(self.on_connection_close)
        await self._drip("".join(f"{line}\r\n" for line in [*lines, ""]).encode(), fault.header_drip)

    def _set_fault_headers(self) -> None:
        after = self.fault.retry_after
        if after is not None:
            self.set_header("Retry-After", after if isinstance(after, str) else f"{after:g}")
        for name, value in self.fault.headers.items():
            self.set_header(name, value)

    async def _drip(self, data: bytes, seconds: float) -> None:
        for byte in data:
            await self._write(bytes([byte]))
            await self.pause(seconds)

    async def _write(self, data: bytes) -> None:
        if self._raw is not None:
            await self._raw.write(data)
        else:
            self.write(data)
            await self.flush()

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> asyncio.Future[None]:
        """End the answer; close the connection if tornado does not write to it."""
        if self._raw is None:
            return super().finish(chunk)
        self._raw.set_close_callback(None)
        self._raw.close()
        done: asyncio.Future[None] = asyncio.Future()
        done.set_result(None)
        return done

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
        (self._raw or self._connection().stream).close()
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
        self._set_fault_headers()
        self.finish(to_bytes(self.shape_error(body)))

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
    """Serialize a JSON value; a string is encoded unchanged, and bytes are returned unchanged."""
    if isinstance(value, bytes):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def event(data: bytes, name: str = "") -> bytes:
    """Return a server-sent event, with its name if it has one."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + data + b"\n\n"


def _event_of(value: Any) -> bytes:
    return to_bytes(value) if isinstance(value, (str, bytes)) else event(to_bytes(value))
