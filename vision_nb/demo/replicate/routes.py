"""The demo server's Replicate routes: predictions, models and uploaded files."""

from __future__ import annotations

import re
import uuid
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.routing import PathMatches, Rule

from vision_nb.demo.faults import Refusal
from vision_nb.demo.replicate import catalog, schema
from vision_nb.demo.replicate.handler import ReplicateHandler, Store, StoredFile
from vision_nb.demo.replicate.predictions import Cancellation, Predictions, SinglePrediction, Stream
from vision_nb.demo.state import DemoState

_OPENAI_CLIENT = re.compile(r"(Async)?(Azure)?OpenAI/")


class FromReplicate(PathMatches):
    """Match a path that OpenAI's protocol has too, if the request comes from a client of Replicate."""

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Return the path's parts, or None: a Replicate client names itself, or sends a token of Replicate's."""
        agent, key = (request.headers.get(name, "") for name in ("User-Agent", "Authorization"))
        theirs = agent.startswith("replicate") or re.match(r"Token |(Bearer )?r8_", key)
        return super().match(request) if theirs else None


class NotFromOpenAI(PathMatches):
    """Match a path that OpenAI's protocol has too, unless the request comes from the openai package's client."""

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Return the path's parts, or None."""
        theirs = _OPENAI_CLIENT.match(request.headers.get("User-Agent", ""))
        return None if theirs else super().match(request)


def routes(demo: DemoState) -> list[Rule]:
    """Return the protocol's routes for a tornado application; OpenAI's must follow them."""
    settings = {"demo": demo, "store": Store()}
    matchers = [
        (PathMatches(r"/v1/account"), Account),
        (PathMatches(r"/v1/predictions"), Predictions),
        (PathMatches(r"/v1/models/([^/]+/[^/]+)/predictions"), Predictions),
        (PathMatches(r"/v1/predictions/([^/]+)"), SinglePrediction),
        (PathMatches(r"/v1/predictions/([^/]+)/cancel"), Cancellation),
        (PathMatches(r"/v1/predictions/([^/]+)/stream"), Stream),
        (FromReplicate(r"/v1/models"), Models),
        (NotFromOpenAI(r"/v1/models/([^/]+/[^/]+)"), SingleModel),
        (PathMatches(r"/v1/models/([^/]+/[^/]+)/versions"), Versions),
        (PathMatches(r"/v1/models/([^/]+/[^/]+)/versions/([^/]+)"), Versions),
        (FromReplicate(r"/v1/files"), Files),
        (NotFromOpenAI(r"/v1/files/(?!file-)([^/]+)"), SingleFile),
        (PathMatches(r"/v1/files/([^/]+)/download"), Download),
    ]
    return [Rule(matcher, handler, settings) for matcher, handler in matchers]


class Account(ReplicateHandler):
    """The account that a token belongs to."""

    async def get(self) -> None:
        """Send the account."""
        await self.send_json({"type": "user", "username": "demo", "name": "Demo", "github_url": None})


class Models(ReplicateHandler):
    """The list of models."""

    async def get(self) -> None:
        """Send a page of the models that are published or that clients have asked for."""
        names = [*catalog.MODELS, *self.demo.replicate_models, *sorted(self.store.demo_models)]
        models = [catalog.model_json(name, self.find_model(name)) for name in names]
        await self.send_json(self.page_of(models))


class SingleModel(ReplicateHandler):
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
    """Uploads and lists files."""

    async def get(self) -> None:
        """Send a page of the uploaded files, newest first."""
        await self.send_json(self.page_of([self.file_json(id) for id in reversed(self.store.files)]))

    async def post(self) -> None:
        """Store the file in the field "content" of a multipart form."""
        parts = self.request.files.get("content")
        if not parts:
            raise Refusal(400, schema.problem(400, "Bad request", "content is required"))
        part = parts[0]
        id = uuid.uuid4().hex
        self.store.files[id] = StoredFile(part["filename"], part["content_type"], part["body"])
        self.store.trim()
        await self.send_json(self.file_json(id), 201)


class SingleFile(ReplicateHandler):
    """An uploaded file."""

    async def get(self, id: str) -> None:
        """Send what is known about the file."""
        await self.send_json(self.file_json(id))

    async def delete(self, id: str) -> None:
        """Delete the file."""
        self.find_file(id)
        del self.store.files[id]
        self.set_status(204)
        await self.finish()


class Download(ReplicateHandler):
    """Downloads of uploaded files."""

    async def get(self, id: str) -> None:
        """Send the file's data."""
        file = self.find_file(id)
        self.set_header("Content-Type", file.content_type)
        self.finish(file.data)
