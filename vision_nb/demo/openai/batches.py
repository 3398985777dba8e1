"""The demo server's batches: files of requests that are answered later, at half the price."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPServerRequest, RequestStartLine

from vision_nb.demo.faults import BatchFault, Refusal, error_body
from vision_nb.demo.openai.handler import AnswerHandler, OpenAIHandler, StoredFile
from vision_nb.demo.openai.validation import refuse, validate

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BYTES = 200_000_000
MAX_REQUESTS = 50_000
"""The limits of an input file (OpenAI, Batch API reference, read 2026-11)."""

_WINDOW = 24 * 3600  # seconds
_MAX_KEPT = 500
_EXPIRED = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}
_CANCELLED = {"code": "batch_cancelled", "message": "This request was not executed, because the batch was cancelled."}
_LAST = ("failed", "completed", "expired", "cancelled")  # the states in which a batch stays


@dataclass
class StoredBatch:
    """A batch.

    Attributes:
        id: Its ID.
        endpoint: The path of its requests.
        input_file: The ID of its input file.
        metadata: What the client attached to it.
        fault: What goes wrong with it.
        total: The number of its requests.
        created: Seconds since the epoch.
        errors: What was wrong with the input file.
        output: The lines of the output file, in any order.
        failures: The lines of the error file.
        is_done: Whether all requests that are going to be answered have been.
        cancelled_at: When the client canceled it, in seconds since the epoch, or None.
        times: When it reached each of its states, by the names of the fields.
        output_file: The ID of the output file, or None.
        error_file: The ID of the error file, or None.
        state: The state in which it stays, or "".
    """

    id: str
    endpoint: str
    input_file: str
    metadata: Mapping[str, str] | None
    fault: BatchFault
    total: int
    created: int = field(default_factory=lambda: int(time.time()))
    errors: list[dict[str, Any]] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    is_done: bool = False
    cancelled_at: int | None = None
    times: dict[str, int] = field(default_factory=dict)
    output_file: str | None = None
    error_file: str | None = None
    state: str = ""

    def update(self, seconds: float, files: dict[str, StoredFile]) -> str:
        """Return the current state; when the batch ends, write its files.

        Args:
            seconds: How long a batch takes.
            files: The files of the server.
        """
        if self.state:
            return self.state
        if self.errors:
            self._end("failed")
        elif self.cancelled_at is None and time.time() < self.created + seconds:
            return "in_progress"
        elif not self.is_done:
            return "finalizing" if self.cancelled_at is None else "cancelling"
        else:
            self._end("cancelled" if self.cancelled_at else "expired" if self.fault.expires else "completed")
            self.output_file = _write(files, self.output)
            self.error_file = _write(files, self.failures)
        return self.state

    def _end(self, state: str) -> None:
        self.state = state
        self.times[f"{state}_at"] = int(time.time())

    def to_json(self, state: str) -> dict[str, Any]:
        """Return the batch as the API describes it."""
        times = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelled")
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file,
            "completion_window": "24h",
            "status": state,
            "output_file_id": self.output_file,
            "error_file_id": self.error_file,
            "created_at": self.created,
            "expires_at": self.created + _WINDOW,
            **{f"{name}_at": self.times.get(f"{name}_at") for name in times},
            "cancelling_at": self.cancelled_at,
            "request_counts": {
                "total": self.total,
                "completed": len(self.output) if self.state else 0,
                "failed": len(self.failures) if self.state else 0,
            },
            "metadata": self.metadata,
        }


def _write(files: dict[str, StoredFile], lines: Sequence[str]) -> str | None:
    """Store lines as a file and return its ID; None if there are none."""
    if not lines:
        return None
    id = f"file-{uuid.uuid4().hex[:22]}"
    files[id] = StoredFile(f"{id}.jsonl", "batch_output", "".join(f"{line}\n" for line in lines).encode())
    return id


class _NoConnection:
    """The connection of a request that came in a file."""

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Do nothing: it is never closed."""


class BatchHandler(OpenAIHandler):
    """The base class of the handlers of batches.

    Attributes:
        batches: The batches by ID, oldest first.
        endpoints: The handlers that answer requests, by path.
    """

    batches: dict[str, StoredBatch]
    endpoints: Mapping[str, type[AnswerHandler]]

    def initialize(self, batches: dict[str, StoredBatch], endpoints: Any, **settings: Any) -> None:  # type: ignore[override]
        """Set the batches; called by tornado for each request."""
        super().initialize(**settings)
        self.batches, self.endpoints = batches, endpoints

    def batch_json(self, batch: StoredBatch) -> dict[str, Any]:
        """Return a batch in its current state."""
        return batch.to_json(batch.update(self.demo.batch_seconds, self.files))

    def find(self, id: str) -> StoredBatch:
        """Return a batch; refuse an unknown ID."""
        if id not in self.batches:
            raise Refusal(404, error_body(f"No batch found with id '{id}'.", param="id"))
        return self.batches[id]


class Batches(BatchHandler):
    """Creates and lists batches."""

    async def post(self) -> None:
        """Create a batch from an uploaded file, and start to answer its requests."""
        from openai.types.batch_create_params import BatchCreateParams

        body = self.body if isinstance(self.body, dict) else {}
        asked = dict(body)
        if self.azure and asked.get("endpoint") in self.endpoints:  # Azure leaves out the version
            asked["endpoint"] = f"/v1{str(asked['endpoint']).removeprefix('/v1')}"
        await asyncio.to_thread(validate, asked, BatchCreateParams, "")
        path = str(asked["endpoint"]).removeprefix("/v1")
        if path not in self.endpoints:
            refuse(f"The demo server does not answer batches for {asked['endpoint']}.", "endpoint")
        file = self.files.get(body["input_file_id"])
        if file is None or file.has_expired or file.purpose != "batch":
            refuse(f"Invalid input file: '{body['input_file_id']}'.", "input_file_id")
        fault = self.demo.next_batch_fault()
        lines, errors = read_lines(file.data, path)
        if fault.fails is not None:
            errors = [{"code": "token_limit_exceeded", "message": fault.fails, "param": None, "line": None}]
        batch = StoredBatch(
            f"batch_{uuid.uuid4().hex}",
            str(body["endpoint"]),
            body["input_file_id"],
            body.get("metadata"),
            fault,
            len(lines),
            errors=errors,
        )
        self.batches[batch.id] = batch
        for old in list(self.batches)[:-_MAX_KEPT]:
            del self.batches[old]
        if not errors:
            self.application.settings["batch_tasks"].append(asyncio.create_task(self._answer_all(batch, lines, path)))
        # A batch is validated first, however fast it is.
        await self.send_json(batch.to_json("validating"))

    async def _answer_all(self, batch: StoredBatch, lines: Sequence[dict[str, Any]], path: str) -> None:
        fault = batch.fault
        finished = len(lines) if fault.finished is None else fault.finished
        for index, line in enumerate(lines):
            if index in fault.missing:
                continue
            if index >= finished or batch.cancelled_at is not None:
                error = _EXPIRED if fault.expires else _CANCELLED
                batch.failures.append(_line(line["custom_id"], None, error))
                continue
            status, body = await self._answer_line(line, path, fault.line_errors.get(index))
            if index in fault.bodies:
                body = {**body, **fault.bodies[index]}
            (batch.output if status == 200 else batch.failures).append(_line(line["custom_id"], (status, body), None))
        batch.output = [*fault.extra_lines, *reversed(batch.output)]  # the API does not promise an order
        batch.is_done = True

    async def _answer_line(self, line: Mapping[str, Any], path: str, message: str | None) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of the answer to one request."""
        if message is not None:
            return 400, error_body(message)
        try:
            handler = self._handler(path)
            handler.body = line["body"]
            body = await handler.answer_body()
        except Refusal as refusal:
            return refusal.status, refusal.body
        except Exception as error:
            return 500, error_body(f"{type(error).__name__}: {error}", type="server_error")
        return 200, body

    def _handler(self, path: str) -> AnswerHandler:
        """Return a handler for a request that came in a file."""
        start, headers = RequestStartLine("POST", self.request.path, "HTTP/1.1"), HTTPHeaders(Host=self.request.host)
        connection = cast(HTTPConnection, _NoConnection())
        request = HTTPServerRequest(start_line=start, headers=headers, connection=connection)
        settings: dict[str, Any] = {"demo": self.demo, "files": self.files}
        return self.endpoints[path](self.application, request, **settings)

    async def get(self) -> None:
        """List the batches, newest first."""
        found = list(reversed(self.batches.values()))
        ids = [batch.id for batch in found]
        after, limit = self.get_query_argument("after", ""), self.get_query_argument("limit", "20")
        first = ids.index(after) + 1 if after in ids else 0
        last = first + (min(int(limit), 100) if limit.isdecimal() else 20)
        page = [self.batch_json(batch) for batch in found[first:last]]
        ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
        await self.send_json({"object": "list", "data": page, **ends, "has_more": last < len(found)})


class SingleBatch(BatchHandler):
    """One batch."""

    async def get(self, id: str) -> None:
        """Send the batch."""
        await self.send_json(self.batch_json(self.find(id)))


class CancelBatch(BatchHandler):
    """Cancels a batch."""

    async def post(self, id: str) -> None:
        """Cancel the batch; what has been answered by then stays."""
        batch = self.find(id)
        state = batch.update(self.demo.batch_seconds, self.files)
        if state in _LAST:
            raise Refusal(409, error_body(f"Cannot cancel a batch with status '{state}'."))
        batch.cancelled_at = batch.cancelled_at or int(time.time())
        await self.send_json(batch.to_json("cancelling"))


def read_lines(data: bytes, path: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the requests of an input file, and what is wrong with them.

    Args:
        data: The file.
        path: The path that all of its requests must have, with or without "/v1".
    """
    lines: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    models, ids = set(), set()

    def fail(code: str, message: str, line: int | None = None) -> None:
        errors.append({"code": code, "message": message, "param": None, "line": line})

    if len(data) > MAX_BYTES:
        fail("file_too_large", f"The file has {len(data)} bytes, which is more than {MAX_BYTES}.")
        return lines, errors
    for number, text in enumerate(data.splitlines(), 1):
        try:
            line = json.loads(text)
            id, model = line["custom_id"], line["body"]["model"]
        except (ValueError, TypeError, KeyError):
            fail("invalid_json_line", "This line is not a JSON object with 'custom_id' and 'body'.", number)
            continue
        if line.get("method") != "POST" or str(line.get("url")).removeprefix("/v1") != path:
            fail("mismatched_url", f"The URL provided for this line does not match '{path}'.", number)
        if not isinstance(id, str) or id in ids:
            fail("duplicate_custom_id", "The 'custom_id' of this line is not unique.", number)
        ids.add(id)
        models.add(model)
        lines.append(line)
    if len(models) > 1:
        fail("mismatched_model", "The provided models are not the same in all lines.")
    if not lines:
        fail("empty_file", "The batch input file is empty.")
    if len(lines) > MAX_REQUESTS:
        fail("too_many_tasks", f"The batch has {len(lines)} requests, which is more than {MAX_REQUESTS}.")
    return lines, errors


def _line(custom_id: str, response: tuple[int, dict[str, Any]] | None, error: Any) -> str:
    """Return a line of an output or error file."""
    value: dict[str, Any] = {"id": f"batch_req_{uuid.uuid4().hex[:24]}", "custom_id": custom_id, "response": None}
    if response is not None:
        status, body = response
        value["response"] = {"status_code": status, "request_id": f"req_{uuid.uuid4().hex}", "body": body}
    return json.dumps({**value, "error": error})
