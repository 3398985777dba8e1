"""The demo server's OpenAI and Azure OpenAI routes: answers, token counts, models, files and batches."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from vision_nb.demo.handler import ProtocolHandler, event, to_bytes
from vision_nb.demo.openai import completions, responses, rules
from vision_nb.demo.openai.batches import Batches, CancelBatch, SingleBatch
from vision_nb.demo.openai.completions import Reply
from vision_nb.demo.openai.dialects import COMMENT, service_path
from vision_nb.demo.openai.files import FileContent, Files, SingleFile
from vision_nb.demo.openai.handler import AnswerHandler, OpenAIHandler
from vision_nb.demo.openai.requests import Chat, read_chat, read_response
from vision_nb.demo.state import DemoState
from vision_nb.services.table import SERVICES

_AZURE_PARAMETERS = ("data_sources", "enhancements")  # which Azure accepts in addition to OpenAI's


def routes(demo: DemoState) -> list[tuple[str, type[ProtocolHandler], dict[str, Any]]]:
    """Return the routes of both protocols for a tornado application."""
    settings = {"demo": demo, "files": {}}
    batch_settings = {**settings, "batches": {}, "endpoints": _BATCH_ENDPOINTS}
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
        (rf"{base}/batches", Batches, batch_settings),
        (rf"{base}/batches/([^/]+)", SingleBatch, batch_settings),
        (rf"{base}/batches/([^/]+)/cancel", CancelBatch, batch_settings),
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


class ChatCompletions(AnswerHandler):
    """Chat completions, complete or streamed."""

    async def read_question(self, deployment: str = "") -> Chat:
        """Check the request and read it."""
        check = partial(rules.check_chat, more=_AZURE_PARAMETERS if self.azure else ())
        return await self.read(deployment, check, read_chat)

    def whole(self, reply: Reply) -> dict[str, Any]:
        """Return an answer that is not streamed."""
        return completions.completion(reply)

    async def post(self, deployment: str = "") -> None:
        """Check the request, load its images, and answer."""
        chat = await self.read_question(deployment)
        reply = await self.answer(chat, deployment)
        if chat.stream:
            chunks = [to_bytes(chunk) for chunk in completions.chunks(reply, include_usage=chat.include_usage)]
            events = [event(data) for data in (*chunks, b"[DONE]")]
            if self.demo.service is not None and self.demo.service.sends_comments:
                events = [line for data in events for line in (COMMENT, data)]
            await self.send_events(events)
        else:
            await self.send_json(self.whole(reply))


class Responses(AnswerHandler):
    """Responses, complete or streamed."""

    async def read_question(self, deployment: str = "") -> Chat:
        """Check the request and read it."""
        return await self.read(deployment, rules.check_response, read_response)

    def whole(self, reply: Reply) -> dict[str, Any]:
        """Return an answer that is not streamed."""
        return responses.response(reply, self.body)

    async def post(self) -> None:
        """Check the request, load its images, and answer."""
        chat = await self.read_question()
        reply = await self.answer(chat)
        if chat.stream:
            events = responses.events(reply, self.body)
            await self.send_events([event(to_bytes(value), value["type"]) for value in events])
        else:
            await self.send_json(self.whole(reply))


class InputTokens(OpenAIHandler):
    """Counts the input tokens of a response."""

    async def post(self) -> None:
        """Send the number of input tokens."""
        chat = await self.read("", partial(rules.check_response, counting=True), read_response)
        _, tokens = await self.load_images(chat, self.base_model(chat.model))
        await self.send_json({"object": "response.input_tokens", "input_tokens": tokens})


_BATCH_ENDPOINTS: dict[str, type[AnswerHandler]] = {"/chat/completions": ChatCompletions, "/responses": Responses}
