"""The demo server's Replicate routes: predictions, models and uploaded files."""

from __future__ import annotations

import uuid
from typing import Any

from vision_nb.demo.faults import Refusal
from vision_nb.demo.handler import ProtocolHandler
from vision_nb.demo.replicate import catalog, schema
from vision_nb.demo.replicate.handler import ReplicateHandler, Store, StoredFile
from vision_nb.demo.replicate.predictions import Cancellation, Predictions, SinglePrediction, Stream
from vision_nb.demo.state import DemoState


def routes(demo: DemoState) -> list[tuple[str, type[ProtocolHandler], dict[str, Any]]]:
    """Return the protocol's routes for a tornado application."""
    settings = {"demo": demo, "store": Store()}
    return [
        (r"/v1/predictions", Predictions, settings),
        (r"/v1/models/([^/]+/[^/]+)/predictions", Predictions, settings),
        (r"/v1/predictions/([^/]+)", SinglePrediction, settings),
        (r"/v1/predictions/([^/]+)/cancel", Cancellation, settings),
        (r"/v1/predictions/([^/]+)/stream", Stream, settings),
        (r"/v1/models/([^/]+/[^/]+)", Models, settings),
        (r"/v1/models/([^/]+/[^/]+)/versions", Versions, settings),
        (r"/v1/models/([^/]+/[^/]+)/versions/([^/]+)", Versions, settings),
        (r"/v1/files", Files, settings),
        (r"/v1/files/([^/]+)/download", Download, settings),
    ]


class Models(ReplicateHandler):
    """A model."""

    async def get(self, name: str) -> None:
        """Send the model, including the schema of its latest version."""
        await self.send_json(catalog.model_json(name, self.find_model(name)))


class Versions(ReplicateHandler):
    """The versions of a model: each has exactly one."""

    async def get(self, name: str, id: str = "") -> None:
        """Send the list, or the version of this ID."""
        model = self.find_model(name)
        if id and id != model.version:
            raise Refusal(404, schema.status_problem(404))
        version = catalog.version_json(model)
        await self.send_json(version if id else {"next": None, "previous": None, "results": [version]})


class Files(ReplicateHandler):
    """Uploads."""

    async def post(self) -> None:
        """Store the file in the field "content" of a multipart form."""
        parts = self.request.files.get("content")
        if not parts:
            raise Refusal(400, schema.problem(400, "Bad request", "content is required"))
        part = parts[0]
        id = uuid.uuid4().hex
        self.store.files[id] = StoredFile(part["filename"], part["content_type"], part["body"])
        self.store.trim()
        value = schema.file_json(id, part["filename"], part["content_type"], part["body"], self.base)
        await self.send_json(value, 201)


class Download(ReplicateHandler):
    """Downloads of uploaded files."""

    async def get(self, id: str) -> None:
        """Send the file's data."""
        if id not in self.store.files:
            raise Refusal(404, schema.status_problem(404))
        file = self.store.files[id]
        self.set_header("Content-Type", file.content_type)
        self.finish(file.data)
