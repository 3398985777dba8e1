"""Replicate's predictions: create, get, cancel and stream them."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

from PIL import Image

from vision_nb.demo.faults import Refusal
from vision_nb.demo.image_input import DownloadError, decode, load_image
from vision_nb.demo.openai.tokens import split_tokens
from vision_nb.demo.replicate import catalog, schema
from vision_nb.demo.replicate.handler import ReplicateHandler
from vision_nb.demo.state import Question
from vision_nb.privacy.urls import redact_url

_POLL_INTERVAL = 0.01  # seconds
_MAX_WAIT = 60.0  # seconds


class Predictions(ReplicateHandler):
    """Creates and lists predictions."""

    async def get(self) -> None:
        """Send a page of the predictions, newest first."""
        now = time.monotonic()
        newest = [prediction.as_json(now, self.base) for prediction in reversed(self.store.predictions.values())]
        await self.send_json(self.page_of(newest))

    async def post(self, name: str = "") -> None:
        """Validate the request, start the prediction, and send its current state."""
        body = self.body if isinstance(self.body, dict) else {}
        if name:
            model = self.find_model(name)
            if not model.official:
                raise Refusal(404, schema.status_problem(404))
        else:
            name, model = self._by_version(str(body.get("version") or ""))
        inputs = body.get("input")
        problems = catalog.problems(model.schema, inputs) if isinstance(inputs, dict) else ["input is required"]
        if problems or not isinstance(inputs, dict):
            detail = "".join(f"- {problem}\n" for problem in problems)
            raise Refusal(422, schema.problem(422, "Input validation failed", detail))
        prediction = schema.Prediction(
            id=self.new_answer_id(),
            model=name,
            version=model.version,
            inputs=inputs,
            streams=catalog.streams(model.schema),
            created=time.monotonic(),
            logs=self.fault.prediction_logs,
        )
        self.store.predictions[prediction.id] = prediction
        self.store.trim()
        task = asyncio.create_task(self._run(prediction, model.schema))
        self.store.tasks.add(task)
        task.add_done_callback(self.store.tasks.discard)
        await self._wait_for(prediction)
        self.set_header("Location", f"{self.base}/v1/predictions/{prediction.id}")
        await self.send_prediction(prediction, 201)

    def _by_version(self, version: str) -> tuple[str, catalog.PublishedModel]:
        name, _, id = version.rpartition(":")
        if "/" in id:  # an official model may be named instead of its version
            name, id = id, ""
        for known in [name] if name else [*catalog.MODELS, *self.demo.replicate_models, *self.store.demo_models]:
            model = catalog.find_model(known, self.demo.replicate_models)
            if model is not None and (id == model.version or (not id and model.official)):
                return known, model
        raise Refusal(422, schema.UNKNOWN_VERSION)

    async def _wait_for(self, prediction: schema.Prediction) -> None:
        """Wait until the prediction ends, but no longer than the Prefer header requests."""
        asked = re.search(r"\bwait(?:=(\d+))?", self.request.headers.get("Prefer", ""))
        if asked is None:
            return
        deadline = time.monotonic() + min(float(asked[1] or _MAX_WAIT), _MAX_WAIT)
        while not prediction.is_finished(now := time.monotonic()) and now < deadline:
            await self.pause(_POLL_INTERVAL)

    async def _run(self, prediction: schema.Prediction, model_schema: dict[str, Any]) -> None:
        """Compute the output; an exception fails the prediction, as an exception in a model would."""
        inputs = prediction.inputs
        text, error = self.fault.text, self.fault.prediction_error
        try:
            urls = catalog.image_urls(model_schema, inputs)
            images = await asyncio.gather(*(self._load(url) for url in urls))
            if text is None:
                first = next((value for value in inputs.values() if isinstance(value, str) and value not in urls), "")
                prompt = str(inputs.get("prompt", first))
                question = Question(prediction.model, prompt, images, (), self.body)
                text = await asyncio.to_thread(self.demo.answer, question)
        except Exception as caught:  # a damaged image, or an exception in a script of answers
            error = str(caught)
            prediction.logs += f"Traceback (most recent call last):\n{type(caught).__name__}: {caught}\n"
        limit = inputs.get("max_tokens", inputs.get("max_new_tokens"))
        prediction.begin(split_tokens(text or "")[:limit], time.monotonic(), self.demo.tokens_per_second, error)

    async def _load(self, url: str) -> Image.Image:
        file = self.store.files.get(url.removeprefix(f"{self.base}/v1/files/").removesuffix("/download"))
        if file is not None:
            return await asyncio.to_thread(decode, file.data)
        try:
            return await load_image(url, self.settings["http_client"])
        except DownloadError as error:  # in the words of the models, which use the package requests
            raise DownloadError(f"Max retries exceeded with url: {redact_url(url)} (Caused by {error})") from None


class SinglePrediction(ReplicateHandler):
    """One prediction."""

    async def get(self, id: str) -> None:
        """Send its current state."""
        await self.send_prediction(self.find_prediction(id))


class Cancellation(ReplicateHandler):
    """Cancels predictions."""

    async def post(self, id: str) -> None:
        """Cancel the prediction unless it has ended, and send its current state."""
        prediction = self.find_prediction(id)
        if not prediction.is_finished(time.monotonic()):
            prediction.canceled = time.monotonic()
            self.demo.cancellations += 1
        await self.send_prediction(prediction)


class Stream(ReplicateHandler):
    """The events of one prediction."""

    async def get(self, id: str) -> None:
        """Send each token when it is ready, then the logs and how the prediction ended."""
        prediction = self.find_prediction(id)
        if not prediction.streams:
            raise Refusal(404, schema.status_problem(404))
        self.start_stream()
        await self.write_now(b"")  # send the headers at once, however long the model takes to start
        sent = 0
        while True:
            now = time.monotonic()
            for piece in prediction.output(now)[sent:]:
                await self._send_event(schema.event("output", piece, f"{int(time.time())}:{sent}"), sent, prediction)
                sent += 1
            if prediction.is_finished(now):
                break
            await self.pause(_POLL_INTERVAL)
        for data in _last_events(prediction, prediction.status(now)):
            await self._send_event(data, sent, prediction)
            sent += 1
        await self.finish()

    async def _send_event(self, data: bytes, index: int, prediction: schema.Prediction) -> None:
        """Send an event, unless the fault cuts the stream off before it."""
        pieces = len(prediction.pieces or ())
        failed = prediction.error is not None
        outputs = pieces // 2 if failed else pieces
        if index == self.fault.cut_at(outputs + len(_last_events(prediction, "failed" if failed else "succeeded"))):
            await self.cut_off(data)
        if index == pieces // 2:
            await self.pause(self.fault.hang)
            if self.fault.garbage:
                await self.write_now(b"<html><body>502 Bad Gateway</body></html>\n\ndata: {\n\n")
        await self.write_now(data)


def _last_events(prediction: schema.Prediction, status: str) -> list[bytes]:
    """Return the events after the output: the logs, the error, and how the prediction ended."""
    events = [schema.event("logs", prediction.logs)] if prediction.logs else []
    if status == "failed":
        events.append(schema.event("error", json.dumps({"detail": prediction.error})))
    reason = {"failed": "error", "canceled": "canceled"}.get(status)
    return [*events, schema.event("done", json.dumps({"reason": reason} if reason else {}))]
