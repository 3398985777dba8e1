"""`ResponsesApi`: requests, answers and events of OpenAI's Responses API. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from vision_nb.errors import MalformedResponseError, SettingsError
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage, MessageRole
from vision_nb.providers.call import Request
from vision_nb.providers.demo_servers import is_demo_id
from vision_nb.providers.openai.chat_completions import CHAT_COMPLETIONS
from vision_nb.providers.openai.chunk_stream import StreamEnd, read_answer
from vision_nb.providers.openai.errors import ReportedError
from vision_nb.providers.openai.wire_format import (
    WireFormat,
    raise_reported,
    said_by,
    string,
    token_count,
    token_usage,
)
from vision_nb.providers.outgoing_image import OutgoingImage
from vision_nb.providers.streaming import Delta

_RENAMED: Mapping[str, tuple[str, ...]] = {
    "max_tokens": ("max_output_tokens",),
    "max_completion_tokens": ("max_output_tokens",),
    "reasoning_effort": ("reasoning", "effort"),
    "verbosity": ("text", "verbosity"),
}
"""Where the Responses API has the parameters that the Chat Completions API calls otherwise (OpenAI, Migrate to the
Responses API, and the types of the openai package 3.57, read 2026-11)."""

_NOT_COUNTED = ("previous_response_id", "conversation", "prompt", "background")
"""Parameters that would make a request differ from the one that is counted and priced, or leave it unanswered."""

_INCOMPLETE: Mapping[str, str] = {"max_output_tokens": "length", "content_filter": "content_filter"}
"""The finish reason for each reason why a response is incomplete."""

_UNFINISHED = ("incomplete", "in_progress", "queued")  # the status of a response

_SUMMARY_SEPARATOR = "\n\n"  # between the parts of a reasoning summary, which are paragraphs


class ResponsesApi(WireFormat):
    """The format of the Responses API.

    Requests have ``store=False`` unless the user sets it: by default, OpenAI stores the request and the answer.
    """

    def create(self, client: Any) -> Callable[..., Any]:
        """Return the method of an openai client that sends a request."""
        method: Callable[..., Any] = client.responses.create
        return method

    def resource(self) -> Any:
        """Return the openai client's class whose method `create` sends a request."""
        from openai.resources.responses import Responses

        return Responses

    def answer_class(self) -> Any:
        """Return the openai client's class for whole answers."""
        from openai.types.responses import Response

        return Response

    def request(
        self,
        messages: list[ChatMessage],
        images: Mapping[ImageDocument, OutgoingImage],
        settings: Mapping[str, Any],
    ) -> Request:
        """Return a request without the model's name.

        Raises:
            SettingsError: The API does not have one of the parameters.
        """
        return {"input": self.items(messages, images), "store": False, **self._parameters(settings)}

    def items(self, messages: list[ChatMessage], images: Mapping[ImageDocument, OutgoingImage]) -> list[dict[str, Any]]:
        """Return the messages of a conversation as input items."""
        return [{"role": message.role.value, "content": _content(message, images)} for message in messages]

    def _parameters(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings under their names in this API."""
        for name in _NOT_COUNTED:
            if name in settings or name in (settings.get("extra_body") or {}):
                raise SettingsError(
                    f"{name}= cannot be passed to a call: the call would be counted and priced wrongly, or have no "
                    "answer. Send earlier messages with chat()."
                )
        nested: dict[str, dict[str, Any]] = {}
        parameters: dict[str, Any] = {}
        for name, value in settings.items():
            if name == "response_format":
                nested.setdefault("text", {})["format"] = _text_format(value)
            elif name in _RENAMED:
                *parents, last = _RENAMED[name]
                (nested.setdefault(parents[0], {}) if parents else parameters)[last] = value
            elif name == "n" and value == 1:
                continue
            elif name in self.parameters or name not in CHAT_COMPLETIONS.parameters:
                parameters[name] = value
            else:
                raise SettingsError(f'The Responses API does not have {name}=: omit it, or pass api="chat".')
        for name, values in nested.items():
            own = parameters.get(name) or {}
            parameters[name] = {**values, **own} if isinstance(own, Mapping) else own
        return parameters

    def without_detail(self, request: Request) -> Request:
        """Return a request without the detail levels of its images."""

        def drop(part: Any) -> Any:
            is_image = part.get("type") == "input_image"
            return {name: value for name, value in part.items() if name != "detail" or not is_image}

        items = [
            {**item, "content": [drop(part) for part in item["content"]]} if isinstance(item["content"], list) else item
            for item in request["input"]
        ]
        return {**request, "input": items}

    def parse_response(self, raw: Any, service: str) -> Delta:
        """Parse a complete response."""
        _check_status(raw)
        output = getattr(raw, "output", None)
        is_incomplete = string(raw, "status") in _UNFINISHED
        if not isinstance(output, list) or not (output or is_incomplete):
            raise_reported(said_by(raw))
            raise MalformedResponseError(
                f"The response from {service} has no output: check that the base URL ends in /v1, or ask again."
            )
        parts = [part for item in output if string(item, "type") == "message" for part in _list(item, "content")]
        text = "".join(string(part, "text") or string(part, "refusal") for part in parts)
        is_refusal = any(string(part, "refusal") for part in parts) and not any(string(part, "text") for part in parts)
        delta = Delta(text, reasoning="".join(_reasoning(output)), is_refusal=is_refusal)
        return _with_end(delta, raw, raw, output, is_incomplete=is_incomplete)

    def parse_chunk(self, raw: Any, service: str) -> Delta:
        """Parse an event of a stream, or its `StreamEnd`.

        A stream is complete only after the event that says so: an end marker is not enough.
        """
        if isinstance(raw, StreamEnd):
            if (answer := read_answer(raw.body, self.answer_class)) is not None:
                return self.parse_response(answer, service)
            raise_reported(raw.body, only_errors=True)
            return Delta()
        kind = string(raw, "type")
        if kind in ("response.completed", "response.incomplete", "response.failed", "response.cancelled"):
            answer = getattr(raw, "response", None)
            _check_status(answer, default=kind.removeprefix("response."))
            is_incomplete = kind == "response.incomplete" or string(answer, "status") == "incomplete"
            return _with_end(Delta(), answer, raw, _list(answer, "output"), is_incomplete=is_incomplete)
        if kind == "error":
            raise ReportedError(getattr(raw, "error", None) or _fields(raw))
        if kind == "response.output_text.delta":
            return Delta(string(raw, "delta"), raw=raw, is_demo=_is_demo(raw, "item_id"))
        if kind == "response.refusal.delta":
            return Delta(string(raw, "delta"), raw=raw, is_refusal=True)
        if kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            return Delta(reasoning=string(raw, "delta"), raw=raw, is_demo=_is_demo(raw, "item_id"))
        if kind == "response.reasoning_summary_part.added":
            is_first = not (token_count(raw, "output_index") or token_count(raw, "summary_index"))
            return Delta(reasoning="" if is_first else _SUMMARY_SEPARATOR)
        if not kind:
            raise_reported(said_by(raw))
        return Delta()


RESPONSES = ResponsesApi()
"""The format of the Responses API, which has no state."""


def wire_format_of(request: Request) -> WireFormat:
    """Return the format in which a request is written."""
    return RESPONSES if "input" in request else CHAT_COMPLETIONS


def asks_for_summary(settings: Mapping[str, Any]) -> bool:
    """Return whether a call's settings ask for a summary of the reasoning."""
    reasoning = settings.get("reasoning")
    return isinstance(reasoning, Mapping) and bool(reasoning.get("summary") or reasoning.get("generate_summary"))


def _content(message: ChatMessage, images: Mapping[ImageDocument, OutgoingImage]) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str) or message.role is MessageRole.ASSISTANT:
        return message.text  # the parts of an answer have other types than those of a question
    return [
        {"type": "input_text", "text": part} if isinstance(part, str) else _image_part(images[part])
        for part in message.content
        if part != "" or len(message.content) == 1
    ]


def _image_part(image: OutgoingImage) -> dict[str, Any]:
    detail = {} if image.detail is None else {"detail": image.detail}
    source = {"image_url": image.url} if image.file is None else {"file_id": image.file.file_id}
    return {"type": "input_image", **source, **detail}


def _text_format(value: Any) -> Any:
    """Return a response format of the Chat Completions API, whose JSON schema is one level deeper."""
    if isinstance(value, Mapping) and isinstance(value.get("json_schema"), Mapping):
        return {"type": value.get("type"), **value["json_schema"]}
    return value


def _check_status(raw: Any, default: str = "") -> None:
    """Raise ReportedError if a response failed or was cancelled; some servers report errors as a list."""
    for item in raw[:3] if isinstance(raw, list) else ():
        _check_status(item)
    error, status = getattr(raw, "error", None), string(raw, "status") or default
    if error:
        raise ReportedError(error if isinstance(error, (str, Mapping)) else _fields(error))
    if status in ("failed", "cancelled"):
        raise ReportedError("the answer ended with an error" if status == "failed" else "the answer was cancelled")


def _fields(raw: Any) -> dict[str, Any]:
    """Return the code and the message of an error."""
    return {name: text for name in ("code", "message") if (text := string(raw, name))}


def _with_end(delta: Delta, answer: Any, raw: Any, output: list[Any], *, is_incomplete: bool) -> Delta:
    """Return a delta with the finish reason and what is known about the whole answer.

    Args:
        delta: The delta.
        answer: The response.
        raw: The response, or the event that contains it.
        output: The response's output items.
        is_incomplete: Whether the server did not finish the answer.
    """
    if is_incomplete:
        reason = string(getattr(answer, "incomplete_details", None), "reason")
        finish_reason = _INCOMPLETE.get(reason, "incomplete")
    else:
        calls_tool = any(string(item, "type") == "function_call" for item in output)
        finish_reason = "tool_calls" if calls_tool else "stop"
    return replace(
        delta,
        finish_reason=finish_reason,
        usage=token_usage(answer, "input", "output"),
        model=string(answer, "model"),
        raw=raw,
        service_tier=string(answer, "service_tier"),
        is_demo=_is_demo(answer),
    )


def _is_demo(raw: Any, name: str = "id") -> bool:
    return is_demo_id(getattr(raw, name, None))


def _reasoning(output: list[Any]) -> Iterator[str]:
    """Yield the parts of the reasoning: summaries separated like paragraphs, as in a stream."""
    for index, item in enumerate(output):
        if string(item, "type") != "reasoning":
            continue
        for number, part in enumerate(_list(item, "summary")):
            yield (_SUMMARY_SEPARATOR if index or number else "") + string(part, "text")
        yield from (string(part, "text") for part in _list(item, "content"))


def _list(raw: Any, name: str) -> list[Any]:
    value = getattr(raw, name, None)
    return value if isinstance(value, list) else []
