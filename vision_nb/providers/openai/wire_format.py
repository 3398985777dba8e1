"""`WireFormat`: how one of OpenAI's APIs writes requests, answers and streams; and what the formats share."""

from __future__ import annotations

import inspect
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any, ClassVar

from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage
from vision_nb.notebook.garbage_collection import without_garbage_collection
from vision_nb.providers.call import Request
from vision_nb.providers.openai.errors import ReportedError
from vision_nb.providers.openai.server_message import server_message
from vision_nb.providers.outgoing_image import OutgoingImage
from vision_nb.providers.streaming import Delta
from vision_nb.responses import Usage

_SCALARS = (str, int, float, bool)
_MAX_TOKENS = 2**53  # the largest number that every reader of JSON knows exactly; the store cannot keep 2**63


class WireFormat(ABC):
    """The format of one API. It keeps nothing about requests."""

    stream_options: ClassVar[Mapping[str, Any] | None] = None
    """What a streamed request must ask for to get the token counts, or None if it gets them anyway."""

    @abstractmethod
    def create(self, client: Any) -> Callable[..., Any]:
        """Return the method of an openai client that sends a request."""

    async def acreate(self, client: Any, request: Request) -> Any:
        """Send a request once with an asynchronous openai client, and return its answer or stream."""
        return await self.create(client.with_options(max_retries=0))(**request)

    @cached_property
    def parameters(self) -> frozenset[str]:
        """The names of the parameters that the openai client knows."""
        with without_garbage_collection():  # often the first import of the package
            resource = self.resource()
        return frozenset(inspect.signature(resource.create).parameters)

    @abstractmethod
    def resource(self) -> Any:
        """Return the openai client's class whose method `create` sends a request."""

    @abstractmethod
    def answer_class(self) -> Any:
        """Return the openai client's class for whole answers."""

    @abstractmethod
    def request(
        self,
        messages: list[ChatMessage],
        images: Mapping[ImageDocument, OutgoingImage],
        settings: Mapping[str, Any],
    ) -> Request:
        """Return a request without the model's name.

        Args:
            messages: The conversation.
            images: The data to send for each of its images.
            settings: The parameters, under their names in the Chat Completions API or in this one.

        Raises:
            SettingsError: The API does not have one of the parameters.
        """

    @abstractmethod
    def without_detail(self, request: Request) -> Request:
        """Return a request without the detail levels of its images."""

    @abstractmethod
    def parse_response(self, raw: Any, service: str) -> Delta:
        """Parse a complete response.

        Args:
            raw: The openai client's response. Its types are unreliable, because the client does not check them.
            service: The server's name in error messages.

        Raises:
            MalformedResponseError: It does not contain an answer.
            ReportedError: It reports an error in place of an answer.
        """

    @abstractmethod
    def parse_chunk(self, raw: Any, service: str) -> Delta:
        """Parse a chunk of a stream, or its `StreamEnd`; arguments and errors as `parse_response`."""

    def move_unknown_parameters(self, request: Request) -> Request:
        """Move parameters that the openai client does not know into ``extra_body``."""
        unknown = {name: value for name, value in request.items() if name not in self.parameters}
        if not unknown:
            return request
        known = {name: value for name, value in request.items() if name not in unknown}
        return {**known, "extra_body": {**unknown, **(known.get("extra_body") or {})}}


def is_json(value: Any) -> bool:
    """Return whether a request parameter can be sent as it is, and needs no conversion by the openai client."""
    if isinstance(value, dict):
        return all(is_json(item) for item in value.values())
    return all(map(is_json, value)) if isinstance(value, list) else value is None or type(value) in _SCALARS


def write_json(body: Mapping[str, Any]) -> bytes:
    """Return the body of a request to the Chat Completions API in JSON, as the openai client writes it.

    Images are inserted afterwards: the JSON encoder would look for characters to escape in megabytes of base64.
    """
    urls: list[bytes] = []
    place = _placeholder()

    def shorten(part: Any) -> Any:
        url = part["image_url"]["url"] if part.get("type") == "image_url" else ""
        if not url.startswith("data:"):
            return part
        urls.append(url.encode("ascii"))
        return {**part, "image_url": {**part["image_url"], "url": place}}

    messages = [
        {**message, "content": [shorten(part) for part in message["content"]]}
        if isinstance(message["content"], list)
        else message
        for message in body["messages"]
    ]
    text = json.dumps({**body, "messages": messages}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    first, *others = text.encode().split(place.encode())
    return first + b"".join(piece for pair in zip(urls, others, strict=True) for piece in pair)


@cache
def _placeholder() -> str:
    """Return the text that stands for an image until it is inserted; no prompt contains it, because it is random."""
    return secrets.token_hex(16)


def said_by(raw: Any) -> Any:
    """Return the fields of a response without an answer that may explain why: all that the client does not know."""
    if isinstance(raw, list):
        return [said_by(item) for item in raw[:3]]
    return raw if isinstance(raw, (str, dict)) else getattr(raw, "model_extra", None)


def raise_reported(body: Any, *, only_errors: bool = False) -> None:
    """Raise ReportedError if a body reports an error; a part of an answer does not.

    Args:
        body: JSON values, text or bytes.
        only_errors: Whether plain text is not an error.
    """
    text = body.encode("utf-8", "replace") if isinstance(body, str) else body
    if isinstance(text, bytes) and (b'"choices"' in text or b'"output"' in text):
        return
    if only_errors and text.lstrip()[:1] not in (b"{", b"[", b"<"):
        return
    if message := server_message(body):
        raise ReportedError(message)


def token_count(usage: Any, name: str) -> int | None:
    """Return a token count, or None: some servers report text, or numbers that cannot be right."""
    value = getattr(usage, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_TOKENS else None


def token_usage(raw: Any, asked: str, answered: str) -> Usage | None:
    """Return the token counts of an answer, or None if it has none.

    OpenAI counts reasoning as part of the output. xAI and Gemini add it to the total only, and bill it as output (xAI,
    Consumption and Rate Limits; Gemini API, UsageMetadata, read 2026-11).

    Args:
        raw: The answer or chunk.
        asked: What the API calls the input: "prompt" or "input".
        answered: What the API calls the output: "completion" or "output".
    """
    usage = getattr(raw, "usage", None)
    if usage is None:
        return None
    names = (f"{asked}_tokens", f"{answered}_tokens", "total_tokens")
    input_tokens, output_tokens, total = (token_count(usage, name) for name in names)
    if input_tokens is not None and output_tokens is not None and total is not None:
        uncounted = max(0, total - input_tokens - output_tokens)
        reasoning = token_count(getattr(usage, f"{answered}_tokens_details", None), "reasoning_tokens")
        output_tokens += uncounted if reasoning is None else min(uncounted, reasoning)
    cached = token_count(getattr(usage, f"{asked}_tokens_details", None), "cached_tokens") or 0
    return Usage(input_tokens, output_tokens, min(cached, input_tokens or 0))


def string(raw: Any, name: str) -> str:
    """Return a text field, or "" if it is missing or not text."""
    value = getattr(raw, name, None)
    return value if isinstance(value, str) else ""
