"""The base of the demo server's Replicate handlers: stored predictions and files, errors and keys."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vision_nb.demo.faults import Refusal
from vision_nb.demo.handler import ProtocolHandler
from vision_nb.demo.replicate import catalog, schema
from vision_nb.demo.state import DemoState

_MAX_KEPT = 500  # predictions, and files
_PAGE = 100  # results


@dataclass(frozen=True)
class StoredFile:
    """An uploaded file: its name, MIME type and data, and the time of its upload."""

    name: str
    content_type: str
    data: bytes
    created: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Store:
    """The server's state between requests.

    Attributes:
        predictions: By ID, oldest first.
        files: By ID, oldest first.
        demo_models: The names of the "demo/..." models that clients asked for.
        tasks: The predictions in progress.
    """

    predictions: dict[str, schema.Prediction] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)
    demo_models: set[str] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def trim(self) -> None:
        """Remove the oldest predictions and files beyond the limit."""
        for kept in (self.predictions, self.files):
            for key in list(kept)[:-_MAX_KEPT]:
                del kept[key]


class ReplicateHandler(ProtocolHandler):
    """The base class of the protocol's handlers."""

    store: Store

    def initialize(self, demo: DemoState, store: Store | None = None) -> None:
        """Set the server's state and the store; called by tornado for each request."""
        super().initialize(demo)
        self.store = store or Store()

    async def prepare(self) -> None:
        """Record the request, apply its early faults, and check its key."""
        await super().prepare()
        if not self._finished and self.demo.require_key is not None:
            key = self.request.headers.get("Authorization", "").removeprefix("Bearer ").removeprefix("Token ")
            if key != self.demo.require_key:
                raise Refusal(401, schema.status_problem(401))

    def error_body(self, status: int, message: str | None = None) -> Any:
        """Return an error in Replicate's format, by default with the status's usual message."""
        if message is not None:
            return schema.problem(status, self._reason, message)
        return schema.status_problem(status, self.fault.retry_after)

    @property
    def base(self) -> str:
        """The server's address, as the client wrote it."""
        return f"{self.request.protocol}://{self.request.host}"

    def find_model(self, name: str) -> catalog.PublishedModel:
        """Return the model with this name, or refuse the request."""
        model = catalog.find_model(name, self.demo.replicate_models)
        if model is None:
            raise Refusal(404, schema.status_problem(404))
        if model.official:
            self.store.demo_models.add(name)
        return model

    def find_prediction(self, id: str) -> schema.Prediction:
        """Return the prediction of this ID, or refuse the request."""
        if id not in self.store.predictions:
            raise Refusal(404, schema.status_problem(404))
        return self.store.predictions[id]

    def find_file(self, id: str) -> StoredFile:
        """Return the uploaded file of this ID, or refuse the request."""
        if id not in self.store.files:
            raise Refusal(404, schema.status_problem(404))
        return self.store.files[id]

    def file_json(self, id: str) -> dict[str, Any]:
        """Return the uploaded file of this ID as the API shows it, or refuse the request."""
        file = self.find_file(id)
        digest = hashlib.sha256(file.data).hexdigest()
        return {
            "id": id,
            "name": file.name,
            "content_type": file.content_type,
            "size": len(file.data),
            "etag": digest[:32],
            "checksums": {"sha256": digest},
            "metadata": {},
            "created_at": file.created.isoformat(),
            "expires_at": None,
            "urls": {"get": f"{self.base}/v1/files/{id}"},
        }

    def page_of(self, values: Sequence[Any]) -> dict[str, Any]:
        """Return a page of a list: the one at the cursor in the query, with the addresses of its neighbors."""
        cursor = self.get_query_argument("cursor", "")
        start = int(cursor) if cursor.isdecimal() else 0

        def address(first: int) -> str:
            return f"{self.base}{self.request.path}?cursor={first}"

        return {
            "previous": address(max(0, start - _PAGE)) if start else None,
            "next": address(start + _PAGE) if start + _PAGE < len(values) else None,
            "results": values[start : start + _PAGE],
        }

    async def send_prediction(self, prediction: schema.Prediction, status: int = 200) -> None:
        """Send the current state of a prediction."""
        await self.send_json(prediction.as_json(time.monotonic(), self.base), status)
