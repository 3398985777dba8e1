"""What the demo server's OpenAI and Azure OpenAI handlers share: keys, models, images, answers and uploaded files."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from PIL import Image

from vision_nb.demo.faults import Refusal, error_body
from vision_nb.demo.handler import ProtocolHandler
from vision_nb.demo.image_input import DownloadError, decode, load_image
from vision_nb.demo.openai import dialects
from vision_nb.demo.openai.completions import Choice, Reply
from vision_nb.demo.openai.requests import Chat, ImagePart, read_model
from vision_nb.demo.openai.rules import is_openai_model
from vision_nb.demo.openai.tokens import image_tokens, split_tokens, text_tokens
from vision_nb.demo.openai.validation import refuse
from vision_nb.demo.state import DemoState, Question
from vision_nb.errors import VisionError


@dataclass(frozen=True)
class StoredFile:
    """An uploaded file.

    Attributes:
        name: Its file name.
        purpose: Such as "vision" or "batch".
        data: Its content.
        lifetime: Seconds after which it expires, or None.
        created: Seconds since the epoch.
    """

    name: str
    purpose: str
    data: bytes
    lifetime: int | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def expires(self) -> int | None:
        """When it expires, in seconds since the epoch, or None."""
        return None if self.lifetime is None else self.created + self.lifetime

    @property
    def has_expired(self) -> bool:
        """Whether it is no longer on the server."""
        return self.expires is not None and time.time() >= self.expires


class OpenAIHandler(ProtocolHandler):
    """The base class of the handlers of both protocols.

    Attributes:
        files: The uploaded files by ID, oldest first.
        limit_headers: The headers that report the rate limits.
    """

    files: dict[str, StoredFile]
    limit_headers: Mapping[str, str] = MappingProxyType({})

    def initialize(self, demo: DemoState, files: dict[str, StoredFile] | None = None) -> None:
        """Set the server's state and the uploaded files; called by tornado for each request."""
        super().initialize(demo)
        self.files = {} if files is None else files

    @property
    def azure(self) -> bool:
        """Whether the request came to one of Azure's paths."""
        return self.demo.service is None and self.request.path.startswith("/openai/")

    def shape_error(self, body: Any) -> Any:
        """Return an error in the service's format; some services send a list."""
        service = self.demo.service
        return [body] if service is not None and service.errors_are_lists else body

    async def prepare(self) -> None:
        """Record the request, apply its early faults, and check its key."""
        await super().prepare()
        if not self._finished:
            self._check_key()

    def _check_key(self) -> None:
        """Refuse a request with the wrong key; Azure also refuses one without a key or an API version."""
        headers, required = self.request.headers, self.demo.require_key
        if self.demo.service is not None:
            dialects.check_key(headers, required)
            return
        key = headers.get("api-key") or headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if self.azure:
            versioned = self.request.path.startswith("/openai/v1/") or self.get_query_argument("api-version", "")
            if not versioned:
                raise Refusal(404, {"error": {"code": "404", "message": "Resource not found"}})
            if not key or (required is not None and key != required):
                message = "Access denied due to invalid subscription key or wrong API endpoint."
                raise Refusal(401, {"error": {"code": "401", "message": message}})
        elif required is not None and key != required:
            message = "You didn't provide an API key. Provide it in an Authorization header, as Bearer YOUR_KEY."
            if key:
                shown = f"{key[:6]}****{key[-4:]}" if len(key) > 12 else "****"
                message = f"Incorrect API key provided: {shown}. Look it up at https://platform.openai.com/api-keys."
            raise Refusal(401, error_body(message, code="invalid_api_key" if key else None))

    def check_model(self, model: str) -> None:
        """Refuse a model or deployment that the server does not have."""
        if self.demo.models is None or model in self.demo.models:
            return
        if self.azure:
            message = "The API deployment for this resource does not exist."
            raise Refusal(404, {"error": {"code": "DeploymentNotFound", "message": message}})
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise Refusal(404, error_body(message, param="model", code="model_not_found"))

    def base_model(self, model: str) -> str:
        """Return the base model behind a model or deployment."""
        return self.demo.deployments.get(model, model)

    async def read(self, deployment: str, check: Callable[[Any, str], None], read: Callable[[Any], Chat]) -> Chat:
        """Check a request and read it.

        Args:
            deployment: The deployment in the path; empty if the model is in the body.
            check: Refuses what OpenAI refuses, given the request and its base model.
            read: Reads the request, and refuses what no server understands.
        """
        name = deployment or read_model(self.body)
        if not name:
            refuse("you must provide a model parameter", "model")
        self.check_model(name)
        strict, base = self.demo.strict, self.base_model(name)
        if self.azure or base == "demo" or is_openai_model(base) if strict is None else strict:
            await asyncio.to_thread(check, self.body, base)  # in a thread: the first check loads the openai package
        chat = read(self.body)
        if self.demo.service is not None:
            dialects.check_request(self.body, self.demo.service)
        return chat

    async def load_images(self, chat: Chat, model: str) -> tuple[list[Image.Image], int]:
        """Return the request's images and its number of input tokens for a base model."""
        images = await asyncio.gather(*(self._load(part) for part in chat.images))
        if self.demo.service is not None:
            dialects.check_sizes(images, self.demo.service)
        tokens = text_tokens(chat.characters)
        for image, part in zip(images, chat.images, strict=True):
            try:
                tokens += image_tokens(image.size, model, part.detail)
            except VisionError as error:
                refuse(str(error), part.param, "invalid_value")
        return images, tokens

    async def _load(self, part: ImagePart) -> Image.Image:
        try:
            if not part.file_id:
                return await load_image(part.url, self.settings["http_client"])
            file = self.files.get(part.file_id)
            if file is None or file.has_expired:
                refuse(f"The requested file '{part.file_id}' was not found.", part.param)
            return await asyncio.to_thread(decode, file.data)
        except ValueError as error:
            code = "invalid_image_url" if isinstance(error, DownloadError) else "invalid_image"
            refuse(str(error), part.param, code)

    async def answer(self, chat: Chat, deployment: str = "", *, is_limited: bool = True) -> Reply:
        """Answer a request.

        Args:
            chat: The request.
            deployment: The deployment in the path; empty if the model is in the body.
            is_limited: Whether it counts towards the server's rate limits.
        """
        name = deployment or chat.model
        base = self.base_model(name)
        images, tokens = await self.load_images(chat, base)
        if is_limited:
            self._check_quota(name, tokens + (chat.max_tokens or 0) * chat.n)
        prompt = chat.texts[-1] if chat.texts else ""
        question = Question(name, prompt, images, chat.texts[:-1], self.body, chat.schema)
        return Reply(
            id=self.new_answer_id(),
            created=int(time.time()),
            model=base,
            choices=tuple([await self._choice(chat, question) for _ in range(chat.n)]),
            prompt_tokens=tokens,
            service_tier=chat.service_tier,
            fault=self.fault,
            azure=self.azure,
            cost=dialects.PRICE if self.demo.service is not None and self.demo.service.cost_field else None,
        )

    def _check_quota(self, model: str, tokens: int) -> None:
        """Count a request, and report the rate limits; refuse a request that exceeds one."""
        meter, service = self.demo.meter(model), self.demo.service
        if meter is None:
            return
        style = "azure" if self.azure else "openai" if service is None else service.rate_limit_headers
        refusal = meter.use(model, tokens)
        self.limit_headers = meter.headers(style, tokens=None if refusal is None else tokens)
        if refusal is not None:
            raise refusal
        self._set_limit_headers()

    def set_default_headers(self) -> None:
        """Add the request ID and the rate limits; tornado calls this again before it sends a refusal."""
        super().set_default_headers()
        self._set_limit_headers()

    def _set_limit_headers(self) -> None:
        for name, value in self.limit_headers.items():
            self.set_header(name, value)

    async def _choice(self, chat: Chat, question: Question) -> Choice:
        text = self.fault.text
        if text is None:
            text = await asyncio.to_thread(self.demo.answer, question)
        ends = [text.index(stop) for stop in chat.stop if stop in text]
        pieces = split_tokens(text[: min(ends, default=None)])
        kept = pieces[: chat.max_tokens]
        reason = "length" if kept != pieces else "tool_calls" if chat.tool else "stop"
        return Choice(kept, self.fault.finish_reason or reason, chat.tool)


class AnswerHandler(OpenAIHandler):
    """The base class of the handlers that answer questions."""

    @abstractmethod
    async def read_question(self, deployment: str = "") -> Chat:
        """Check the request and read it.

        Args:
            deployment: The deployment in the path; empty if the model is in the body.
        """

    @abstractmethod
    def whole(self, reply: Reply) -> dict[str, Any]:
        """Return an answer that is not streamed."""

    async def answer_body(self) -> dict[str, Any]:
        """Return the answer to a request that came in a file."""
        return self.whole(await self.answer(await self.read_question(), is_limited=False))
