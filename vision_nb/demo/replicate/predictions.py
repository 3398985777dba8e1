"""Predictions of the demo server's Replicate protocol: created, looked at, canceled and streamed."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any

from PIL import Image
from tornado.httpclient import AsyncHTTPClient

from vision_nb.demo import decode
from vision_nb.demo.faults import Refusal
from vision_nb.demo.openai.schema import pieces_of
from vision_nb.demo.replicate import catalog, schema
from vision_nb.demo.replicate.handler import ReplicateHandler
from vision_nb.demo.state import Question

_LOOK = 0.01  # seconds between looks at a prediction that goes on
_DOWNLOAD_TIMEOUT = 10.0  # seconds
_LONGEST_WAIT = 60.0  # seconds


class Predictions(ReplicateHandler):
    """Creates predictions."""

    async def post(self, name: str = "") -> None:
        """Check the request, start to work on it, and tell how far that is."""
        body = self.body if isinstance(self.body, dict) else {}
        if name:
            model = self.find_model(name)
            if not model.official:
                raise Refusal(404, schema.usual_problem(404))
        else:
            name, model = self._by_version(str(body.get("version") or ""))
        inputs = body.get("input")
        found = catalog.complaints(model.schema, inputs) if isinstance(inputs, dict) else ["input is required"]
        if found or not isinstance(inputs, dict):
            detail = "".join(f"- {complaint}\n" for complaint in found)
            raise Refusal(422, schema.problem(422, "Input validation failed", detail))
        prediction = schema.Prediction(
            id=uuid.uuid4().hex[:26],
            model=name,
            version=model.version,
            inputs=inputs,
            streams=catalog.streams(model.schema),
            created=time.monotonic(),
        )
        self.store.predictions[prediction.id] = prediction
        self.store.trim()
        task = asyncio.create_task(self._work_on(prediction, model.schema))
        self.store.tasks.add(task)
        task.add_done_callback(self.store.tasks.discard)
        await self._wait_for(prediction)
        self.set_header("Location", f"{self.base}/v1/predictions/{prediction.id}")
        await self.send_prediction(prediction, 201)

    def _by_version(self, version: str) -> tuple[str, catalog.PublishedModel]:
        name, _, id = version.rpartition(":")
        if "/" in id:  # an official model may stand for its version
            name, id = id, ""
        for known in [name] if name else [*catalog.MODELS, *self.demo.replicate_models, *self.store.seen]:
            model = catalog.find_model(known, self.demo.replicate_models)
            if model is not None and (id == model.version or (not id and model.official)):
                return known, model
        raise Refusal(422, schema.UNKNOWN_VERSION)

    async def _wait_for(self, prediction: schema.Prediction) -> None:
        """Wait for the end, no longer than the Prefer header says."""
        asked = re.search(r"\bwait(?:=(\d+))?", self.request.headers.get("Prefer", ""))
        if asked is None:
            return
        deadline = time.monotonic() + min(float(asked[1] or _LONGEST_WAIT), _LONGEST_WAIT)
        while not prediction.is_finished(now := time.monotonic()) and now < deadline:
            await self.pause(_LOOK)

    async def _work_on(self, prediction: schema.Prediction, schema: Mapping[str, Any]) -> None:
        """Work out the answer; what goes wrong with it makes the prediction fail, as a model's own errors do."""
        inputs, fault = prediction.inputs, self.fault
        prediction.logs = fault.prediction_logs
        text = fault.text or ""
        try:
            uris = catalog.uris(schema, inputs)
            images = await asyncio.gather(*(self._image(uri) for uri in uris))
            if fault.text is None:
                prompt = next((v for v in inputs.values() if isinstance(v, str) and v not in uris), "")
                prompt = str(inputs.get("prompt", prompt))
                question = Question(prediction.model, prompt, images, (), self.body)
                text = await asyncio.to_thread(self.demo.answer, question)
            prediction.error = fault.prediction_error
        except Exception as error:  # a broken picture, or a mistake in a script of answers
            prediction.error = str(error)
            prediction.logs += f"Traceback (most recent call last):\n{type(error).__name__}: {error}\n"
        limit = inputs.get("max_tokens", inputs.get("max_new_tokens"))
        prediction.begin(pieces_of(text)[:limit], time.monotonic(), self.demo.tokens_per_second)

    async def _image(self, uri: str) -> Image.Image:
        file = self.store.files.get(uri.removeprefix(f"{self.base}/v1/files/").removesuffix("/download"))
        if file is not None:
            data = file.data
        elif uri.startswith("data:"):
            data = base64.b64decode(uri.partition(",")[2], validate=True)
        else:
            client: AsyncHTTPClient = self.settings["http_client"]
            data = (await client.fetch(uri, request_timeout=_DOWNLOAD_TIMEOUT)).body
        return await asyncio.to_thread(decode.decode, data)


class OnePrediction(ReplicateHandler):
    """One prediction."""

    async def get(self, id: str) -> None:
        """Send it as it stands."""
        await self.send_prediction(self.find_prediction(id))


class Cancellation(ReplicateHandler):
    """Cancels predictions."""

    async def post(self, id: str) -> None:
        """Cancel the prediction unless it has ended, and send it as it stands."""
        prediction = self.find_prediction(id)
        if not prediction.is_finished(time.monotonic()):
            prediction.canceled = time.monotonic()
            self.demo.cancellations += 1
        await self.send_prediction(prediction)


class Stream(ReplicateHandler):
    """The events of one prediction."""

    async def get(self, id: str) -> None:
        """Send each token when it comes, then how the prediction ended."""
        prediction = self.find_prediction(id)
        if not prediction.streams:
            raise Refusal(404, schema.usual_problem(404))
        self.set_header("Content-Type", self.fault.content_type or "text/event-stream")
        self.set_header("Cache-Control", "no-store")
        self._connection().stream.set_nodelay(True)
        await self._push(b"")  # the headers come at once, however long the model takes to start
        sent = 0
        while True:
            now = time.monotonic()
            for piece in prediction.said(now)[sent:]:
                await self._spoil(sent, prediction)
                await self._push(schema.event("output", piece, f"{int(time.time())}:{sent}"))
                sent += 1
            if prediction.is_finished(now):
                break
            await self.pause(_LOOK)
        status = prediction.status(now)
        if prediction.logs:
            await self._push(schema.event("logs", prediction.logs))
        if status == "failed":
            await self._push(schema.event("error", json.dumps({"detail": prediction.error})))
        reason = {"failed": "error", "canceled": "canceled"}.get(status)
        await self._push(schema.event("done", json.dumps({"reason": reason} if reason else {})))
        await self.finish()

    async def _spoil(self, place: int, prediction: schema.Prediction) -> None:
        """Let the fault of a stream happen where it is due."""
        if place == self.fault.cut_after:
            self.hang_up()
        if place == len(prediction.pieces or ()) // 2:
            await self.pause(self.fault.hang)
            if self.fault.garbage:
                await self._push(b"<html><body>502 Bad Gateway</body></html>\n\ndata: {\n\n")
