"""Predictions on Replicate: created, followed to their end, and canceled where nobody waits for them any more.

The prediction itself is the truth, and its stream of events only the quicker way to see it: a stream that breaks
off, as they do after half a minute without an event, loses nothing.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vision_nb.errors import UnknownModelError
from vision_nb.images.prepare import Prepared
from vision_nb.providers.replicate.errors import kind_of
from vision_nb.providers.replicate.sse import EventDecoder

if TYPE_CHECKING:
    from replicate.client import Client
    from replicate.exceptions import ReplicateError
    from replicate.prediction import Prediction

_FINISHED = ("succeeded", "failed", "canceled")
_EVENT_HEADERS = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
_FIRST_PAUSE = 0.1  # seconds between looks at a prediction; longer and longer up to the client's poll_interval
_PATIENCE = 5.0  # seconds for a creation that was interrupted to say what it created


@dataclass(frozen=True)
class PredictionRequest:
    """What to ask of which model.

    Attributes:
        targets: Where to create the prediction, likeliest first; one that does not know it is taken out.
        inputs: The model's inputs but for the picture.
        picture: A URL or data URI, or a picture to be uploaded first; None for no picture.
        image: The name of the input for the picture.
        image_is_list: Whether that input is a list.
        stream: Whether to ask for a stream of events.
    """

    targets: list[dict[str, str]]
    inputs: dict[str, Any]
    picture: str | Prepared | None
    image: str | None
    image_is_list: bool
    stream: bool

    def request(self, target: dict[str, str], url: str | None) -> dict[str, Any]:
        """What the client takes to create the prediction, with the picture behind ``url``."""
        inputs = dict(self.inputs)
        if self.image is not None and url is not None:
            inputs[self.image] = [url] if self.image_is_list else url
        return {**target, "input": inputs, **({"stream": True} if self.stream else {})}

    def next_target(self, target: dict[str, str], error: ReplicateError) -> None:
        """Pass to the next target where the error says that this one is unknown; otherwise raise the error."""
        if target is self.targets[-1] or kind_of(error.status, str(error.title)) is not UnknownModelError:
            raise error
        with suppress(ValueError):  # another call was quicker
            self.targets.remove(target)


@dataclass(frozen=True)
class Chunk:
    """A piece of an answer.

    Attributes:
        prediction: What gives it, as it was last seen.
        text: The piece.
        last: Whether the prediction has succeeded with it.
    """

    prediction: Prediction
    text: str = ""
    last: bool = False


def follow(client: Client, request: PredictionRequest, timeout: float) -> Generator[Chunk]:
    """Create a prediction and give its answer piece by piece; the first chunk says only that it exists.

    Created without waiting for its end: only who knows its id can cancel it.

    Args:
        client: The vendor's client.
        request: What to ask.
        timeout: Seconds in which the prediction must be done once its stream has ended, or from the beginning.

    Raises:
        ModelError: The prediction failed or was canceled.
        TimeoutError: It took too long.
    """
    from replicate.exceptions import ModelError

    prediction = _create(client, request)
    try:
        yield Chunk(prediction)
        said = ""
        with closing(_pieces(client, prediction, request)) as pieces:
            for text in pieces:
                said += text
                yield Chunk(prediction, text)
        pauses = _pauses(timeout, client.poll_interval, at_once=bool(said))
        while prediction.status not in _FINISHED:
            time.sleep(next(pauses))
            prediction.reload()
        if prediction.status != "succeeded":
            raise ModelError(prediction)
        yield Chunk(prediction, _rest(prediction, said), last=True)
    except BaseException as error:
        if prediction.status not in _FINISHED:
            with suppress(Exception):
                prediction.cancel()
        _name(prediction, error)
        raise


async def afollow(client: Client, request: PredictionRequest, timeout: float) -> AsyncGenerator[Chunk]:
    """The asynchronous twin of `follow`."""
    from replicate.exceptions import ModelError

    prediction = await _acreate_or_cancel(client, request)
    try:
        yield Chunk(prediction)
        said = ""
        async with aclosing(_apieces(client, prediction, request)) as pieces:
            async for text in pieces:
                said += text
                yield Chunk(prediction, text)
        pauses = _pauses(timeout, client.poll_interval, at_once=bool(said))
        while prediction.status not in _FINISHED:
            await asyncio.sleep(next(pauses))
            await prediction.async_reload()
        if prediction.status != "succeeded":
            raise ModelError(prediction)
        yield Chunk(prediction, _rest(prediction, said), last=True)
    except BaseException as error:
        if prediction.status not in _FINISHED:
            with suppress(Exception):
                await prediction.async_cancel()
        _name(prediction, error)
        raise


def _name(prediction: Prediction, error: BaseException) -> None:
    """Let an error know its prediction, for the message that it is translated to."""
    if isinstance(error, Exception):
        error.__dict__.setdefault("prediction", prediction)


def _create(client: Client, request: PredictionRequest) -> Prediction:
    from replicate.exceptions import ReplicateError

    url = request.picture
    if isinstance(url, Prepared):
        with io.BytesIO(url.data) as file:
            url = client.files.create(file, **_file_facts(url)).urls["get"]
    for target in list(request.targets):
        try:
            prediction: Prediction = client.predictions.create(**request.request(target, url))
            return prediction
        except ReplicateError as error:
            request.next_target(target, error)
    raise AssertionError("unreachable")


async def _acreate(client: Client, request: PredictionRequest) -> Prediction:
    from replicate.exceptions import ReplicateError

    url = request.picture
    if isinstance(url, Prepared):
        with io.BytesIO(url.data) as file:
            url = (await client.files.async_create(file, **_file_facts(url))).urls["get"]
    for target in list(request.targets):
        try:
            prediction: Prediction = await client.predictions.async_create(**request.request(target, url))
            return prediction
        except ReplicateError as error:
            request.next_target(target, error)
    raise AssertionError("unreachable")


async def _acreate_or_cancel(client: Client, request: PredictionRequest) -> Prediction:
    """Create a prediction; one that is created while its task is canceled does not run on unseen."""
    creating = asyncio.ensure_future(_acreate(client, request))
    try:
        return await asyncio.shield(creating)
    except asyncio.CancelledError:
        with suppress(Exception):
            await (await asyncio.wait_for(creating, _PATIENCE)).async_cancel()
        raise


def _file_facts(picture: Prepared) -> dict[str, Any]:
    return {"filename": f"picture.{picture.mimetype.removeprefix('image/')}", "content_type": picture.mimetype}


def _pieces(client: Client, prediction: Prediction, request: PredictionRequest) -> Generator[str]:
    """The text in a prediction's stream of events, until it ends or breaks off; nothing where it has none."""
    import httpx

    url = (prediction.urls or {}).get("stream")
    if not url or not request.stream:
        return
    decoder = EventDecoder()
    # prediction.stream() would be the public way, but see replicate_events
    with (
        suppress(httpx.NetworkError, httpx.RemoteProtocolError),
        client._client.stream("GET", url, headers=_EVENT_HEADERS) as response,
    ):
        for data in response.iter_bytes() if response.status_code == 200 else ():
            for event in decoder.feed(data):
                if event.kind == "output":
                    yield event.data
                elif event.kind in ("done", "error"):
                    return


async def _apieces(client: Client, prediction: Prediction, request: PredictionRequest) -> AsyncGenerator[str]:
    import httpx

    url = (prediction.urls or {}).get("stream")
    if not url or not request.stream:
        return
    decoder = EventDecoder()
    with suppress(httpx.NetworkError, httpx.RemoteProtocolError):
        async with client._async_client.stream("GET", url, headers=_EVENT_HEADERS) as response:
            if response.status_code != 200:
                return
            async for data in response.aiter_bytes():
                for event in decoder.feed(data):
                    if event.kind == "output":
                        yield event.data
                    elif event.kind in ("done", "error"):
                        return


def _pauses(timeout: float, longest: float, *, at_once: bool) -> Iterator[float]:
    """Seconds to wait before each look at a prediction.

    Raises:
        TimeoutError: The time is up.
    """
    deadline = time.monotonic() + timeout
    pause = 0.0 if at_once else _FIRST_PAUSE
    while (left := deadline - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(max(pause * 1.5, _FIRST_PAUSE), longest)
    raise TimeoutError


def _rest(prediction: Prediction, said: str) -> str:
    """What a finished prediction says beyond what its stream has said."""
    output = prediction.output
    parts = output if isinstance(output, list) else [] if output is None else [output]
    text = "".join(map(str, parts))
    if not said:
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # as events carry it
    return text[len(said) :] if text.startswith(said) else ""
