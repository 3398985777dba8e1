"""Predictions on Replicate: create one, receive its answer, and cancel it if it is no longer needed.

The prediction itself holds the complete answer; its event stream only shows the answer sooner. A stream that breaks
off, which happens after half a minute without an event, therefore loses nothing.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vision_nb.errors import UnknownModelError
from vision_nb.images.prepare import Prepared
from vision_nb.providers.deadline import time_left
from vision_nb.providers.replicate.errors import error_class
from vision_nb.providers.sse import EventDecoder

if TYPE_CHECKING:
    import httpx
    from replicate.client import Client
    from replicate.exceptions import ReplicateError
    from replicate.prediction import Prediction

    from vision_nb.providers.replicate.transport import Connection

_FINISHED = ("succeeded", "failed", "canceled")
_EVENT_HEADERS = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
_FIRST_PAUSE = 0.1  # seconds between polls; grows up to the client's poll_interval
_CREATION_TIMEOUT = 5.0  # seconds to wait for the ID of a prediction whose creation was interrupted


@dataclass(frozen=True)
class PredictionRequest:
    """A prediction to create.

    Attributes:
        targets: Where to create it, in order of preference; a target that turns out not to exist is removed.
        inputs: The model's inputs except the image.
        image: A URL, data URI or image to upload; None for no image.
        image_input: Name of the image input.
        image_is_list: Whether that input is a list.
        stream: Whether to request an event stream.
    """

    targets: list[dict[str, str]]
    inputs: dict[str, Any]
    image: str | Prepared | None
    image_input: str | None
    image_is_list: bool
    stream: bool

    def arguments(self, target: dict[str, str], url: str | None) -> dict[str, Any]:
        """Return the client's arguments for creating the prediction with the image at ``url``."""
        inputs = dict(self.inputs)
        if self.image_input is not None and url is not None:
            inputs[self.image_input] = [url] if self.image_is_list else url
        return {**target, "input": inputs, **({"stream": True} if self.stream else {})}

    def drop_target(self, target: dict[str, str], error: ReplicateError) -> None:
        """Remove a target that does not exist; raise any other error, and that of the last target."""
        if target is self.targets[-1] or error_class(error.status, str(error.title)) is not UnknownModelError:
            raise error
        with suppress(ValueError):  # a concurrent call has removed it
            self.targets.remove(target)


@dataclass(frozen=True)
class Chunk:
    """A piece of an answer.

    Attributes:
        prediction: The prediction as last seen.
        text: The new text.
        last: Whether the prediction succeeded with this piece.
    """

    prediction: Prediction
    text: str = ""
    last: bool = False


class _Tracker:
    """Track the answer of one prediction; the logic that sync and async calls share.

    Args:
        prediction: The prediction.
        request: What was requested.
        timeout: Seconds for the prediction to finish once its stream has ended or if it has none.
        poll_interval: Longest pause between polls, in seconds.
    """

    def __init__(
        self, prediction: Prediction, request: PredictionRequest, *, timeout: float, poll_interval: float
    ) -> None:
        self.prediction = prediction
        self.stream_url = (prediction.urls or {}).get("stream") if request.stream else None
        self.stream_ended = False
        self._timeout, self._poll_interval = timeout, poll_interval
        self._decoder, self._text = EventDecoder(), ""

    @property
    def is_running(self) -> bool:
        return self.prediction.status not in _FINISHED

    def read(self, data: bytes) -> Iterator[Chunk]:
        """Yield the text in a piece of the event stream."""
        for event in self._decoder.feed(data):
            if event.type == "output":
                self._text += event.data
                yield Chunk(self.prediction, event.data)
            elif event.type in ("done", "error"):
                self.stream_ended = True
                return

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to wait before each poll, until the prediction has finished.

        Raises:
            TimeoutError: It took too long.
        """
        deadline = time.monotonic() + self._timeout
        pause = 0.0 if self._text else _FIRST_PAUSE
        while self.is_running:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            yield max(0, min(pause, remaining, time_left()))  # at the answer's deadline, the next poll raises
            pause = min(max(pause * 1.5, _FIRST_PAUSE), self._poll_interval)

    def last_chunk(self) -> Chunk:
        """Return the text of a finished prediction that its stream has not delivered.

        Raises:
            ModelError: The prediction failed or was canceled.
        """
        from replicate.exceptions import ModelError

        if self.prediction.status != "succeeded":
            raise ModelError(self.prediction)
        output = self.prediction.output
        parts = output if isinstance(output, list) else [] if output is None else [output]
        text = "".join(map(str, parts))
        if self._text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")  # as in events
            text = text[len(self._text) :] if text.startswith(self._text) else ""
        return Chunk(self.prediction, text, last=True)

    def attach_to(self, error: BaseException) -> None:
        """Record the prediction on an error, for the message that it is mapped to."""
        if isinstance(error, Exception):
            error.__dict__.setdefault("prediction", self.prediction)


def follow(connection: Connection[httpx.Client], request: PredictionRequest, timeout: float) -> Generator[Chunk]:
    """Create a prediction and yield its answer in pieces; the first chunk only reports that it exists.

    The prediction is created without waiting for its end, because it can only be canceled once its ID is known.

    Args:
        connection: The clients.
        request: The prediction to create.
        timeout: Seconds for the prediction to finish once its stream has ended, or if it has none.

    Raises:
        ModelError: The prediction failed or was canceled.
        TimeoutError: It took too long.
    """
    import httpx

    client = connection.client
    prediction = _create(client, request)
    tracker = _Tracker(prediction, request, timeout=timeout, poll_interval=client.poll_interval)
    try:
        yield Chunk(prediction)
        if tracker.stream_url and connection.server.may_stream(tracker.stream_url):
            with (
                suppress(httpx.NetworkError, httpx.RemoteProtocolError),
                connection.http.stream("GET", tracker.stream_url, headers=_EVENT_HEADERS) as response,
            ):
                for data in response.iter_bytes() if response.is_success else ():
                    yield from tracker.read(data)
                    if tracker.stream_ended:
                        break
        for pause in tracker.pauses():
            time.sleep(pause)
            prediction.reload()
        yield tracker.last_chunk()
    except BaseException as error:
        if tracker.is_running:
            with suppress(Exception):
                prediction.cancel()
        tracker.attach_to(error)
        raise


async def afollow(
    connection: Connection[httpx.AsyncClient], request: PredictionRequest, timeout: float
) -> AsyncGenerator[Chunk]:
    """Asynchronous version of `follow`."""
    import httpx

    client = connection.client
    prediction = await _acreate_or_cancel(client, request)
    tracker = _Tracker(prediction, request, timeout=timeout, poll_interval=client.poll_interval)
    try:
        yield Chunk(prediction)
        if tracker.stream_url and connection.server.may_stream(tracker.stream_url):
            with suppress(httpx.NetworkError, httpx.RemoteProtocolError):
                async with connection.http.stream("GET", tracker.stream_url, headers=_EVENT_HEADERS) as response:
                    if response.is_success:
                        async for data in response.aiter_bytes():
                            for chunk in tracker.read(data):
                                yield chunk
                            if tracker.stream_ended:
                                break
        for pause in tracker.pauses():
            await asyncio.sleep(pause)
            await prediction.async_reload()
        yield tracker.last_chunk()
    except BaseException as error:
        if tracker.is_running:
            with suppress(Exception):
                await prediction.async_cancel()
        tracker.attach_to(error)
        raise


def _upload_arguments(image: Prepared) -> dict[str, Any]:
    extension = image.mimetype.removeprefix("image/")
    return {"file": io.BytesIO(image.data), "filename": f"image.{extension}", "content_type": image.mimetype}


def _create(client: Client, request: PredictionRequest) -> Prediction:
    from replicate.exceptions import ReplicateError

    url = request.image
    if isinstance(url, Prepared):
        url = client.files.create(**_upload_arguments(url)).urls["get"]
    while True:
        target = request.targets[0]
        try:
            return client.predictions.create(**request.arguments(target, url))
        except ReplicateError as error:
            request.drop_target(target, error)


async def _acreate(client: Client, request: PredictionRequest) -> Prediction:
    from replicate.exceptions import ReplicateError

    url = request.image
    if isinstance(url, Prepared):
        url = (await client.files.async_create(**_upload_arguments(url))).urls["get"]
    while True:
        target = request.targets[0]
        try:
            return await client.predictions.async_create(**request.arguments(target, url))
        except ReplicateError as error:
            request.drop_target(target, error)


async def _acreate_or_cancel(client: Client, request: PredictionRequest) -> Prediction:
    """Create a prediction, and cancel it if its task is canceled in the meantime."""
    creation = asyncio.ensure_future(_acreate(client, request))
    try:
        return await asyncio.shield(creation)
    except asyncio.CancelledError:
        with suppress(Exception):
            await (await asyncio.wait_for(creation, _CREATION_TIMEOUT)).async_cancel()
        raise
