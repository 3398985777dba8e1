"""What the handlers of the demo server's Replicate protocol share: its memory, its errors and its keys."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vision_nb.demo.faults import Refusal
from vision_nb.demo.handler import WireHandler
from vision_nb.demo.replicate import catalog, schema

if TYPE_CHECKING:
    from vision_nb.demo.state import DemoState

_KEPT = 500  # predictions, and files, that are remembered


@dataclass(frozen=True)
class StoredFile:
    """A file that a client uploaded: its name, MIME type and bytes."""

    name: str
    content_type: str
    data: bytes


@dataclass
class Store:
    """What the server remembers between requests.

    Attributes:
        predictions: By id, oldest first.
        files: By id, oldest first.
        seen: The names of the demo's own models that somebody asked for.
        tasks: The answers that are being worked out.
    """

    predictions: dict[str, schema.Prediction] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def trim(self) -> None:
        """Forget the oldest."""
        for kept in (self.predictions, self.files):
            for key in list(kept)[:-_KEPT]:
                del kept[key]


class ReplicateHandler(WireHandler):
    """What all handlers of the protocol share."""

    store: Store

    def initialize(self, demo: DemoState, store: Store | None = None) -> None:
        """Take the server and its memory; called by tornado for each request."""
        super().initialize(demo)
        self.store = store or Store()

    async def prepare(self) -> None:
        """Record the request, let its early faults happen, and check its key."""
        await super().prepare()
        if not self._finished and self.demo.require_key is not None:
            key = self.request.headers.get("Authorization", "").removeprefix("Bearer ").removeprefix("Token ")
            if key != self.demo.require_key:
                raise Refusal(401, schema.usual_problem(401))

    def usual_error(self, status: int) -> Any:
        """The error body of a status, in Replicate's shape."""
        return schema.usual_problem(status, self.fault.retry_after)

    def error_with(self, status: int, message: str) -> Any:
        """An error body with a message of its own, in Replicate's shape."""
        return schema.problem(status, self._reason, message)

    @property
    def base(self) -> str:
        """The server's address, as the client wrote it."""
        return f"{self.request.protocol}://{self.request.host}"

    def find_model(self, name: str) -> catalog.PublishedModel:
        """The model of a name; one that there is not is refused."""
        model = catalog.find_model(name, self.demo.replicate_models)
        if model is None:
            raise Refusal(404, schema.usual_problem(404))
        self.store.seen.add(name)
        return model

    def find_prediction(self, id: str) -> schema.Prediction:
        """The prediction of an id; one that there is not is refused."""
        if id not in self.store.predictions:
            raise Refusal(404, schema.usual_problem(404))
        return self.store.predictions[id]

    async def send_prediction(self, prediction: schema.Prediction, status: int = 200) -> None:
        """Send a prediction as it stands."""
        await self.send_json(prediction.as_json(time.monotonic(), self.base), status)
