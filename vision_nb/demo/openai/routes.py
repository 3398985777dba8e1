"""The demo server's OpenAI and Azure OpenAI routes: chat completions, responses, token counts, models and files."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from vision_nb.demo.handler import ProtocolHandler, event, to_bytes
from vision_nb.demo.openai import completions, responses, rules
from vision_nb.demo.openai.dialects import COMMENT, service_path
from vision_nb.demo.openai.files import FileContent, Files, SingleFile
from vision_nb.demo.openai.handler import OpenAIHandler
from vision_nb.demo.openai.requests import read_chat, read_response
from vision_nb.demo.state import DemoState
from vision_nb.services import SERVICES

_AZURE_PARAMETERS = ("data_sources", "enhancements")  # which Azure accepts in addition to OpenAI's


def routes(demo: DemoState) -> list[tuple[str, type[ProtocolHandler], dict[str, Any]]]:
    """Return the routes of both protocols for a tornado application."""
    settings = {"demo": demo, "files": {}}
    paths = {"/openai", "/openai/v1", *map(service_path, SERVICES.values())}
    base = f"(?:{'|'.join(map(re.escape, sorted(paths)))})"
    return [
        (rf"{base}/chat/completions", ChatCompletions, settings),
        (r"/openai/deployments/([^/]+)/chat/completions", ChatCompletions, settings),
        (rf"{base}/responses", Responses, settings),
        (rf"{base}/responses/input_tokens", InputTokens, settings),
        (rf"{base}/models", Models, settings),
        (rf"{base}/models/(.+)", Models, settings),
        (rf"{base}/files", Files, settings),
        (rf"{base}/files/([^/]+)", SingleFile, settings),
        (rf"{base}/files/([^/]+)/content", FileContent, settings),
    ]


class Models(OpenAIHandler):
    """The list of models, or one of them."""

    async def get(self, name: str | None = None) -> None:
        """Send the list, or the model of this name."""
        if name is not None:
            self.check_model(name)
            await self.send_json(completions.model_object(name))
            return
        names = ("demo", "gpt-4o") if self.demo.models is None else self.demo.models
        await self.send_json({"object": "list", "data": [completions.model_object(name) for name in names]})


class ChatCompletions(OpenAIHandler):
    """Chat completions, complete or streamed."""

    async def post(self, deployment: str = "") -> None:
        """Check the request, load its images, and answer."""
        check = partial(rules.check_chat, more=_AZURE_PARAMETERS if self.azure else ())
        chat = await self.read(deployment, check, read_chat)
        reply = await self.answer(chat, deployment)
        if chat.stream:
            chunks = [to_bytes(chunk) for chunk in completions.chunks(reply, include_usage=chat.include_usage)]
            events = [event(data) for data in (*chunks, b"[DONE]")]
            if self.demo.service is not None and self.demo.service.sends_comments:
                events = [line for data in events for line in (COMMENT, data)]
            await self.send_events(events)
        else:
            await self.send_json(completions.completion(reply))


class Responses(OpenAIHandler):
    """Responses, complete or streamed."""

    async def post(self) -> None:
        """Check the request, load its images, and answer."""
        chat = await self.read("", rules.check_response, read_response)
        reply = await self.answer(chat)
        if chat.stream:
            events = responses.events(reply, self.body)
            await self.send_events([event(to_bytes(value), value["type"]) for value in events])
        else:
            await self.send_json(responses.response(reply, self.body))


class InputTokens(OpenAIHandler):
    """Counts the input tokens of a response."""

    async def post(self) -> None:
        """Send the number of input tokens."""
        chat = await self.read("", partial(rules.check_response, counting=True), read_response)
        _, tokens = await self.load_images(chat, self.base_model(chat.model))
        await self.send_json({"object": "response.input_tokens", "input_tokens": tokens})
