"""The demo server's OpenAI and Azure OpenAI routes: chat completions, token counts and models."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

from PIL import Image

from vision_nb.demo.faults import Refusal, error_body
from vision_nb.demo.handler import ProtocolHandler, event, to_bytes
from vision_nb.demo.image_input import DownloadError, load_image
from vision_nb.demo.openai import schema
from vision_nb.demo.state import DemoState, Question


def routes(demo: DemoState) -> list[tuple[str, type[ProtocolHandler], dict[str, Any]]]:
    """Return the routes of both protocols for a tornado application."""
    settings = {"demo": demo}
    return [
        (r"/v1/chat/completions", ChatCompletions, settings),
        (r"/v1/responses/input_tokens", InputTokens, settings),
        (r"/v1/models", Models, settings),
        (r"/v1/models/(.+)", Models, settings),
        (r"/openai/v1/chat/completions", ChatCompletions, settings),
        (r"/openai/deployments/([^/]+)/chat/completions", AzureChatCompletions, settings),
    ]


class OpenAIHandler(ProtocolHandler):
    """Check the API key and the model, as all handlers of both protocols do."""

    def check_key(self) -> None:
        """Refuse a request with the wrong key."""
        key, required = self.key(), self.demo.require_key
        if required is None or key == required:
            return
        message = "You didn't provide an API key. Provide it in an Authorization header, as Bearer YOUR_KEY."
        if key:
            shown = f"{key[:6]}****{key[-4:]}" if len(key) > 12 else "****"
            message = f"Incorrect API key provided: {shown}. Look it up at https://platform.openai.com/api-keys."
        raise Refusal(401, error_body(message, code="invalid_api_key" if key else None))

    def key(self) -> str:
        """Return the client's key, from either of the two headers; empty if there is none."""
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
    """Chat completions, complete or streamed."""

    azure = False

    async def post(self, deployment: str = "") -> None:
        """Check the request, load its images, and answer."""
        self.check_key()
        chat = schema.read_chat(self.body)
        model = deployment or chat.model
        images, tokens = await self.load_images(chat, model)
        text = self.fault.text
        if text is None:
            question = Question(model, chat.texts[-1] if chat.texts else "", images, chat.texts[:-1], self.body)
            text = await asyncio.to_thread(self.demo.answer, question)
        pieces = schema.split_tokens(text)
        kept = pieces[: chat.max_tokens]
        reply = schema.Reply(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=model,
            pieces=kept,
            finish_reason=self.fault.finish_reason or ("stop" if kept == pieces else "length"),
            prompt_tokens=tokens,
            azure=self.azure,
            fault=self.fault,
        )
        if chat.stream:
            chunks = [to_bytes(chunk) for chunk in schema.chunks(reply, include_usage=chat.include_usage)]
            await self.send_events([event(data) for data in (*chunks, b"[DONE]")])
        else:
            await self.send_json(schema.completion(reply))

    async def load_images(self, chat: schema.Chat, model: str) -> tuple[list[Image.Image], int]:
        """Check the model, and return the request's images and its number of input tokens."""
        if not model:
            schema.refuse("you must provide a model parameter", "model")
        self.check_model(model)
        images = await asyncio.gather(*(self._load(part) for part in chat.images))
        tokens = schema.text_tokens(chat.characters)
        for image, part in zip(images, chat.images, strict=True):
            tokens += schema.image_tokens(image.size, model, part)
        return images, tokens

    async def _load(self, part: schema.ImagePart) -> Image.Image:
        try:
            return await load_image(part.url, self.settings["http_client"])
        except ValueError as error:
            code = "invalid_image_url" if isinstance(error, DownloadError) else "invalid_image"
            schema.refuse(str(error), part.param, code)


class InputTokens(ChatCompletions):
    """Count the input tokens of a request in the format of the Responses API."""

    async def post(self, deployment: str = "") -> None:
        """Send the number of input tokens."""
        self.check_key()
        chat = schema.read_chat(schema.as_chat(self.body))
        _, tokens = await self.load_images(chat, chat.model)
        await self.send_json({"object": "response.input_tokens", "input_tokens": tokens})


class AzureChatCompletions(ChatCompletions):
    """Chat completions as Azure serves them: deployment in the path, version in the query, content filter results."""

    azure = True

    def check_key(self) -> None:
        """Refuse a request without a version or a key, or with the wrong key."""
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
