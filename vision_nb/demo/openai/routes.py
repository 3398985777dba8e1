"""The OpenAI and Azure OpenAI protocols of the demo server: chat completions and the list of models."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image
from tornado.httpclient import AsyncHTTPClient

from vision_nb.demo import decode
from vision_nb.demo.faults import Refusal, error_body
from vision_nb.demo.handler import WireHandler, event, to_bytes
from vision_nb.demo.openai import schema
from vision_nb.demo.state import Question

if TYPE_CHECKING:
    from vision_nb.demo.state import DemoState

MAX_DOWNLOAD = 20 * 1024 * 1024
"""Bytes; a larger picture at a web address is refused."""

_DOWNLOAD_TIMEOUT = 10.0  # seconds
_Result = TypeVar("_Result")


def routes(demo: DemoState) -> list[tuple[str, type[WireHandler], dict[str, Any]]]:
    """The paths of both protocols, for a tornado application."""
    settings = {"demo": demo}
    return [
        (r"/v1/chat/completions", ChatCompletions, settings),
        (r"/v1/responses/input_tokens", InputTokens, settings),
        (r"/v1/models", Models, settings),
        (r"/v1/models/(.+)", Models, settings),
        (r"/openai/deployments/([^/]+)/chat/completions", AzureChatCompletions, settings),
    ]


class OpenAIHandler(WireHandler):
    """What the handlers of both protocols check first."""

    def check_key(self) -> None:
        """Refuse a request whose key is not the required one."""
        key, required = self.key(), self.demo.require_key
        if required is None or key == required:
            return
        message = "You didn't provide an API key. Provide it in an Authorization header, as Bearer YOUR_KEY."
        if key:
            shown = f"{key[:6]}****{key[-4:]}" if len(key) > 12 else "****"
            message = f"Incorrect API key provided: {shown}. Look it up at https://platform.openai.com/api-keys."
        raise Refusal(401, error_body(message, code="invalid_api_key" if key else None))

    def key(self) -> str:
        """The key that the client sent, in either of the two headers; empty where it sent none."""
        headers = self.request.headers
        return headers.get("api-key") or headers.get("Authorization", "").removeprefix("Bearer ").strip()

    def check_model(self, model: str) -> None:
        """Refuse a model that the server does not have."""
        if self.demo.models is not None and model not in self.demo.models:
            message = f"The model `{model}` does not exist or you do not have access to it."
            raise Refusal(404, error_body(message, param="model", code="model_not_found"))


class Models(OpenAIHandler):
    """The list of models, or one of them."""

    async def get(self, name: str | None = None) -> None:
        """Send the list, or the model of this name."""
        self.check_key()
        if name is not None:
            self.check_model(name)
            await self.send_json(schema.model_object(name))
            return
        names = ("demo", "gpt-4o") if self.demo.models is None else self.demo.models
        await self.send_json({"object": "list", "data": [schema.model_object(name) for name in names]})


class ChatCompletions(OpenAIHandler):
    """Chat completions, at once or streamed."""

    azure = False

    async def post(self, deployment: str = "") -> None:
        """Check the request, look at its pictures, and answer."""
        self.check_key()
        model, chat, images, tokens = await self._read(schema.read_chat(self.body), deployment)
        text = self.fault.text
        if text is None:
            prompt, history = (chat.texts or ("",))[-1], chat.texts[:-1]
            text = await _in_thread(self.demo.answer, Question(model, prompt, images, history, self.body))
        pieces = schema.pieces_of(text)
        kept = pieces[: chat.max_tokens]
        reply = schema.Reply(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=model,
            pieces=kept,
            finish_reason=self.fault.finish_reason or ("stop" if kept == pieces else "length"),
            n=chat.n,
            prompt_tokens=tokens,
            azure=self.azure,
            empty_choices=self.fault.empty_choices,
            no_usage=self.fault.no_usage,
        )
        if chat.stream:
            events = [to_bytes(chunk) for chunk in schema.chunks(reply, include_usage=chat.include_usage)]
            await self.send_events([event(data) for data in (*events, b"[DONE]")])
        else:
            await self.send_json(schema.completion(reply))

    async def _read(self, chat: schema.Chat, deployment: str) -> tuple[str, schema.Chat, list[Image.Image], int]:
        """The model that is asked, the request, its pictures decoded, and its input tokens."""
        model = deployment or chat.model
        if not model:
            schema.refuse("you must provide a model parameter", "model")
        self.check_model(model)
        images = await asyncio.gather(*(self._image(picture) for picture in chat.pictures))
        tokens = schema.text_tokens(chat.characters)
        for image, picture in zip(images, chat.pictures, strict=True):
            tokens += schema.image_tokens(image.size, model, picture)
        return model, chat, images, tokens

    async def _image(self, picture: schema.Picture) -> Image.Image:
        """Fetch and decode a picture, away from the loop where it takes time."""
        try:
            if picture.url.startswith("data:"):
                return await _in_thread(decode.from_data_uri, picture.url)
            data = await self._download(picture)
            return await _in_thread(decode.decode, data)
        except ValueError as error:
            schema.refuse(str(error), picture.param, "invalid_image")

    async def _download(self, picture: schema.Picture) -> bytes:
        code = "invalid_image_url"
        if not picture.url.lower().startswith(("http://", "https://")):
            schema.refuse("Expected a base64 data URI or an http(s) address.", picture.param, code)
        client: AsyncHTTPClient = self.settings["http_client"]
        try:
            answer = await client.fetch(picture.url, request_timeout=_DOWNLOAD_TIMEOUT)
        except Exception as error:  # refused, unreachable, endless, no address at all: the client raises many kinds
            schema.refuse(f"Error while downloading {picture.url}: {error}", picture.param, code)
        return answer.body


class InputTokens(ChatCompletions):
    """The counter of a request's input tokens, which answers nothing."""

    async def post(self, deployment: str = "") -> None:
        """Count the tokens of a request in the form of the Responses API."""
        self.check_key()
        chat = schema.read_chat(schema.as_chat(self.body))
        *_, tokens = await self._read(chat, deployment)
        await self.send_json({"object": "response.input_tokens", "input_tokens": tokens})


class AzureChatCompletions(ChatCompletions):
    """Chat completions as Azure serves them: a deployment in the path, a version in the query, a filter's report."""

    azure = True

    def check_key(self) -> None:
        """Refuse a request with no version, or with a wrong key or none."""
        if not self.get_query_argument("api-version", ""):
            raise Refusal(404, {"error": {"code": "404", "message": "Resource not found"}})
        key, required = self.key(), self.demo.require_key
        if not key or (required is not None and key != required):
            message = "Access denied due to invalid subscription key or wrong API endpoint."
            raise Refusal(401, {"error": {"code": "401", "message": message}})

    def check_model(self, model: str) -> None:
        """Refuse a deployment that the server does not have."""
        if self.demo.models is not None and model not in self.demo.models:
            message = "The API deployment for this resource does not exist."
            raise Refusal(404, {"error": {"code": "DeploymentNotFound", "message": message}})


async def _in_thread(function: Callable[..., _Result], *args: Any) -> _Result:
    """Run what takes time, so that other requests go on meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)
