"""The Replicate protocol of the demo server: its paths, models and uploaded files."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any

from vision_nb.demo.faults import Refusal
from vision_nb.demo.handler import WireHandler
from vision_nb.demo.replicate import catalog, schema
from vision_nb.demo.replicate.handler import ReplicateHandler, Store, StoredFile
from vision_nb.demo.replicate.predictions import Cancellation, OnePrediction, Predictions, Stream

if TYPE_CHECKING:
    from vision_nb.demo.state import DemoState


def routes(demo: DemoState) -> list[tuple[str, type[WireHandler], dict[str, Any]]]:
    """The paths of the protocol, for a tornado application."""
    settings = {"demo": demo, "store": Store()}
    return [
        (r"/v1/predictions", Predictions, settings),
        (r"/v1/models/([^/]+/[^/]+)/predictions", Predictions, settings),
        (r"/v1/predictions/([^/]+)", OnePrediction, settings),
        (r"/v1/predictions/([^/]+)/cancel", Cancellation, settings),
        (r"/v1/predictions/([^/]+)/stream", Stream, settings),
        (r"/v1/models/([^/]+/[^/]+)", Models, settings),
        (r"/v1/models/([^/]+/[^/]+)/versions", Versions, settings),
        (r"/v1/models/([^/]+/[^/]+)/versions/([^/]+)", Versions, settings),
        (r"/v1/files", Files, settings),
        (r"/v1/files/([^/]+)", Files, settings),
        (r"/v1/files/([^/]+)/download", Download, settings),
    ]


class Models(ReplicateHandler):
    """One model."""

    async def get(self, name: str) -> None:
        """Send what there is to know about it, its latest version's schema included."""
        await self.send_json(catalog.model_json(name, self.find_model(name)))


class Versions(ReplicateHandler):
    """The versions of a model."""

    async def get(self, name: str, id: str = "") -> None:
        """Send the list, or the version of this id."""
        model = self.find_model(name)
        if id and id != model.version:
            raise Refusal(404, schema.usual_problem(404))
        version = catalog.version_json(model)
        await self.send_json(version if id else {"next": None, "previous": None, "results": [version]})


class Files(ReplicateHandler):
    """Uploaded files."""

    async def post(self) -> None:
        """Take in the file of a multipart form's field "content"."""
        parts = self.request.files.get("content")
        if not parts:
            raise Refusal(400, schema.problem(400, "Bad request", "content is required"))
        part = parts[0]
        id = uuid.uuid4().hex
        self.store.files[id] = StoredFile(part["filename"], part["content_type"], part["body"])
        self.store.trim()
        await self.send_json(self._file(id), 201)

    async def get(self, id: str = "") -> None:
        """Send the list, or what there is to know about one."""
        if not id:
            results = [self._file(id) for id in self.store.files]
            await self.send_json({"next": None, "previous": None, "results": results})
        elif id in self.store.files:
            await self.send_json(self._file(id))
        else:
            raise Refusal(404, schema.usual_problem(404))

    def _file(self, id: str) -> dict[str, Any]:
        file = self.store.files[id]
        digest = hashlib.sha256(file.data).hexdigest()
        return schema.file_json(id, file.name, file.content_type, len(file.data), digest, self.base)


class Download(ReplicateHandler):
    """The bytes of uploaded files."""

    async def get(self, id: str) -> None:
        """Send them."""
        if id not in self.store.files:
            raise Refusal(404, schema.usual_problem(404))
        file = self.store.files[id]
        self.set_header("Content-Type", file.content_type)
        self.finish(file.data)
