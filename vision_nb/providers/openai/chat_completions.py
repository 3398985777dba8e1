"""`ChatCompletions`: requests and responses of OpenAI's Chat Completions API. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar

from vision_nb.cost.model_names import base_name
from vision_nb.errors import MalformedResponseError
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage
from vision_nb.providers.call import Request
from vision_nb.providers.demo_servers import is_demo_id
from vision_nb.providers.openai.chunk_stream import StreamEnd, read_answer, read_chunks
from vision_nb.providers.openai.errors import ReportedError
from vision_nb.providers.openai.wire_format import (
    WireFormat,
    is_json,
    raise_reported,
    said_by,
    string,
    token_usage,
    write_json,
)
from vision_nb.providers.outgoing_image import OutgoingImage
from vision_nb.providers.streaming import Delta, ResponseAccumulator, ResponseStream, merge_deltas
from vision_nb.responses import Response

if TYPE_CHECKING:
    from openai import BaseModel

_REASONING = ("o1", "o3", "o4", "gpt-5", "gpt-6")  # the beginnings of the names of models that reason
_TIMEOUT = 60.0  # seconds to wait for the answer of other models
_REASONING_TIMEOUT = 600.0  # these send nothing while they reason; it is the openai client's own default (3.52)
_OPTIONS = {"extra_headers": "headers", "extra_query": "params", "timeout": "timeout"}
_MAX_CHOICES = 128  # the highest n= (OpenAI, Chat Completions reference, read 2026-11)


def default_timeout(model: str) -> float:
    """Return the default timeout for a model's answer in seconds.

    >>> default_timeout("gpt-4o"), default_timeout("o3")
    (60.0, 600.0)
    """
    return _REASONING_TIMEOUT if base_name(model).startswith(_REASONING) else _TIMEOUT


def length_limit_name(model: str) -> str:
    """Return the name of the parameter that limits the answer's length.

    The reasoning models reject ``max_tokens`` (OpenAI, Chat Completions reference, read 2026-11), and many compatible
    servers accept nothing else.

    >>> length_limit_name("gpt-4o"), length_limit_name("o3")
    ('max_tokens', 'max_completion_tokens')
    """
    return "max_completion_tokens" if base_name(model).startswith(_REASONING) else "max_tokens"


def write_message(message: ChatMessage, images: Mapping[ImageDocument, OutgoingImage]) -> dict[str, Any]:
    """Return a message in the protocol's format.

    Args:
        message: The message.
        images: The data to send for each of its images.
    """
    if isinstance(message.content, str):
        return {"role": message.role.value, "content": message.content}
    parts = [
        {"type": "text", "text": part} if isinstance(part, str) else _image_part(images[part])
        for part in message.content
        if part != "" or len(message.content) == 1  # many servers refuse an empty text
    ]
    return {"role": message.role.value, "content": parts}


def _image_part(image: OutgoingImage) -> dict[str, Any]:
    detail = {} if image.detail is None else {"detail": image.detail}
    return {"type": "image_url", "image_url": {"url": image.url, **detail}}


class ChatCompletions(WireFormat):
    """The format of the Chat Completions API."""

    stream_options: ClassVar[Mapping[str, Any] | None] = {"include_usage": True}

    def create(self, client: Any) -> Callable[..., Any]:
        """Return the method of an openai client that sends a request."""
        method: Callable[..., Any] = client.chat.completions.create
        return method

    async def acreate(self, client: Any, request: Request) -> Any:
        """Send a request once with an asynchronous openai client, and return its answer or stream.

        The client's own method converts every part of a request, and a copy of the client is needed to switch off its
        retries: together, these take longer than everything else that the client does.
        """
        body = {name: value for name, value in request.items() if name not in (*_OPTIONS, "extra_body")}
        body |= request.get("extra_body") or {}
        if not all(is_json(value) for name, value in body.items() if name != "messages"):
            return await super().acreate(client, request)
        from openai import AsyncAzureOpenAI, AsyncStream
        from openai.types.chat import ChatCompletionChunk

        options = {_OPTIONS[name]: value for name, value in request.items() if name in _OPTIONS}
        is_read = isinstance(client, AsyncAzureOpenAI)  # that client reads the deployment's name from the body
        return await client.post(
            "/chat/completions",
            body=body if is_read else None,
            content=None if is_read else write_json(body),
            options={**options, "max_retries": 0, "security": {"bearer_auth": True}},
            cast_to=_answer_parser(),
            stream=bool(request.get("stream")),
            stream_cls=AsyncStream[ChatCompletionChunk],
        )

    def resource(self) -> Any:
        """Return the openai client's class whose method `create` sends a request."""
        from openai.resources.chat.completions import Completions

        return Completions

    def answer_class(self) -> Any:
        """Return the openai client's class for whole answers."""
        from openai.types.chat import ChatCompletion

        return ChatCompletion

    def request(
        self,
        messages: list[ChatMessage],
        images: Mapping[ImageDocument, OutgoingImage],
        settings: Mapping[str, Any],
    ) -> Request:
        """Return a request without the model's name."""
        return {"messages": [write_message(message, images) for message in messages], **settings}

    def without_detail(self, request: Request) -> Request:
        """Return a request without the detail levels of its images."""

        def drop(part: Any) -> Any:
            if isinstance(part, dict) and part.get("type") == "image_url":
                url = {name: value for name, value in part["image_url"].items() if name != "detail"}
                return {**part, "image_url": url}
            return part

        messages = [
            {**message, "content": [drop(part) for part in message["content"]]}
            if isinstance(message["content"], list)
            else message
            for message in request["messages"]
        ]
        return {**request, "messages": messages}

    def parse_response(self, raw: Any, service: str) -> Delta:
        """Parse a complete response."""
        if isinstance(raw, str) and (chunks := read_chunks(raw)):
            return _join(chunks, service)
        choice = _first_choice(raw)
        if choice is None or not hasattr(getattr(choice, "message", None), "content"):
            raise_reported(said_by(raw))
            raise MalformedResponseError(
                f"The response from {service} has no choices: check that the base URL ends in /v1, or ask again."
            )
        choices = raw.choices[:_MAX_CHOICES]
        answers = [_delta(choice, "message", service, string(choice, "finish_reason") or "stop") for choice in choices]
        return _with_facts(answers[0], raw, dict(enumerate(answers[1:], 1)))

    def parse_chunk(self, raw: Any, service: str) -> Delta:
        """Parse a chunk of a stream, or its `StreamEnd`."""
        if isinstance(raw, StreamEnd):
            if (answer := read_answer(raw.body, self.answer_class)) is not None:
                return replace(self.parse_response(answer, service), is_complete=True)
            if not raw.has_end_marker:
                raise_reported(raw.body, only_errors=True)
            return Delta(is_complete=raw.has_end_marker)
        choice = _first_choice(raw)
        if choice is None:  # the last chunk reports the usage, and has no choices
            if getattr(raw, "usage", None) is None:
                raise_reported(said_by(raw))
            return _with_facts(Delta(), raw, {})
        added: dict[int, Delta] = {}
        for choice in raw.choices:
            delta = _delta(choice, "delta", service, string(choice, "finish_reason") or None)
            index = _index(choice)
            added[index] = merge_deltas(added[index], delta) if index in added else delta
        return _with_facts(added.pop(0, Delta()), raw, added)


CHAT_COMPLETIONS = ChatCompletions()
"""The format of the Chat Completions API, which has no state."""


@cache
def _answer_parser() -> type[BaseModel]:
    """Return a class with which the openai client makes a `ChatCompletion` of an answer.

    The client itself checks no types, and fills in one field after another, which takes 15 times as long as pydantic
    takes for an answer of the documented types.
    """
    from openai import BaseModel
    from openai.types.chat import ChatCompletion
    from pydantic import ValidationError

    class AnswerParser(BaseModel):
        @classmethod
        def construct(cls, _fields_set: set[str] | None = None, **values: Any) -> Any:
            try:
                return ChatCompletion.model_validate(values, strict=True)
            except ValidationError:
                return ChatCompletion.construct(_fields_set, **values)

    return AnswerParser


def _join(chunks: list[Any], service: str) -> Delta:
    """Return the answer in the chunks of a stream that was not asked for."""
    parse = partial(CHAT_COMPLETIONS.parse_chunk, service=service)
    stream = ResponseStream(
        iter(chunks), parse, ResponseAccumulator(Response()), lambda error, _: error, lambda _: None
    )
    *_, answer = stream
    first, *others = (
        Delta(choice.text, finish_reason=choice.finish_reason, reasoning=choice.reasoning) for choice in answer.choices
    )
    return replace(
        first,
        usage=answer.usage,
        model=answer.model,
        raw=answer.raw,
        service_tier=answer.service_tier or "",
        cost=answer.reported_cost,
        others=dict(enumerate(others, 1)),
        is_refusal=answer.is_refusal,
        is_demo=answer.is_demo,
    )


def _delta(choice: Any, part: str, service: str, finish_reason: str | None) -> Delta:
    """Return what a choice contains, in its message or in its delta."""
    message = getattr(choice, part, None)
    text, reasoning = _texts(message, service)
    is_refusal = bool(getattr(message, "refusal", None)) and not getattr(message, "content", None)
    return Delta(text, finish_reason=finish_reason, reasoning=reasoning, is_refusal=is_refusal)


def _with_facts(delta: Delta, raw: Any, others: Mapping[int, Delta]) -> Delta:
    """Return a delta of the first choice with the other choices and what is known about the whole answer."""
    return replace(
        delta,
        usage=token_usage(raw, "prompt", "completion"),
        model=string(raw, "model"),
        raw=raw,
        service_tier=string(raw, "service_tier"),
        cost=_cost(getattr(raw, "usage", None)),
        others=others,
        is_demo=is_demo_id(getattr(raw, "id", None)),
    )


def _index(choice: Any) -> int:
    """Return which choice of the answer a part of a stream belongs to."""
    index = getattr(choice, "index", 0)
    return index if type(index) is int and 0 < index < _MAX_CHOICES else 0


def _first_choice(raw: Any) -> Any:
    """Return the first choice of a response or chunk, or None if there is none.

    Raises:
        ReportedError: The response or its first choice reports an error.
    """
    if error := getattr(raw, "error", None):
        raise ReportedError(error)
    choices = getattr(raw, "choices", None)
    if not isinstance(choices, list) or not choices:
        return None
    if error := getattr(choices[0], "error", None):
        raise ReportedError(error)
    if string(choices[0], "finish_reason") == "error":
        raise ReportedError("the answer ended with an error")
    return choices[0]


def _texts(message: Any, service: str) -> tuple[str, str]:
    """Return the answer and the reasoning in a message or in a delta of one."""
    content = getattr(message, "content", None) or getattr(message, "refusal", None) or ""
    reasoning = string(message, "reasoning_content") or string(message, "reasoning")
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        reasoning += "".join(_part_text(part) for part in content if _is_reasoning(part))
        content = "".join(_part_text(part) for part in content if not _is_reasoning(part))
    if not isinstance(content, str):
        raise MalformedResponseError(f"The answer from {service} is not text: check the model's name and the base URL.")
    return content, reasoning


def _is_reasoning(part: Mapping[str, Any]) -> bool:
    return part.get("type") in ("thinking", "reasoning")


def _part_text(part: Mapping[str, Any]) -> str:
    """Return the text of a part, which Mistral nests in the parts of its reasoning."""
    value = next((part[name] for name in ("text", "thinking", "reasoning") if part.get(name)), "")
    if isinstance(value, list):
        return "".join(str(item.get("text", "")) for item in value if isinstance(item, dict))
    return value if isinstance(value, str) else ""


def _cost(usage: Any) -> Decimal | None:
    """Return the price in US dollars that OpenRouter reports with the token counts, or None.

    It is the amount that is charged to the account (OpenRouter, Usage Accounting, read 2026-11).
    """
    cost = getattr(usage, "cost", None)
    if isinstance(cost, bool) or not isinstance(cost, (int, float)) or not 0 <= cost < math.inf:
        return None
    return Decimal(str(cost))
