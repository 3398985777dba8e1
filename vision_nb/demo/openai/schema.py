"""OpenAI's chat completions as JSON: validate a request and build its answer. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from vision_nb.cost.image_rules import view_of
from vision_nb.demo.faults import Fault, Refusal, error_body, merged
from vision_nb.errors import VisionError

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_DETAILS = ("auto", "low", "high", "original")
_NUMBERS: Mapping[str, tuple[type, float, float]] = {  # type, minimum, maximum
    "max_tokens": (int, 1, math.inf),
    "max_completion_tokens": (int, 1, math.inf),
    "temperature": (float, 0, 2),
    "top_p": (float, 0, 1),
}
_FILTERS = {key: {"filtered": False, "severity": "safe"} for key in ("hate", "self_harm", "sexual", "violence")}
_PROMPT_FILTERS = [{"prompt_index": 0, "content_filter_results": _FILTERS}]


@dataclass(frozen=True)
class ImagePart:
    """An image of a request, not yet loaded.

    Attributes:
        url: A data URI or a web address.
        detail: The detail level; None if the client did not set one.
        param: Its place in the request, for error messages.
    """

    url: str
    detail: str | None
    param: str


@dataclass(frozen=True)
class Chat:
    """A validated request for a chat completion.

    Attributes:
        model: The model name; empty if the request has none, which Azure allows.
        texts: The user's texts, oldest first.
        images: The images of all messages, oldest first.
        characters: The length of all texts.
        stream: Whether the answer is streamed.
        include_usage: Whether the last event of the stream contains the token counts.
        max_tokens: The limit on the answer's tokens; None for no limit.
    """

    model: str
    texts: tuple[str, ...]
    images: tuple[ImagePart, ...]
    characters: int
    stream: bool
    include_usage: bool
    max_tokens: int | None


@dataclass(frozen=True)
class Reply:
    """The data from which an answer is built.

    Attributes:
        id: Such as "chatcmpl-...".
        created: Seconds since the epoch.
        model: The model name in the request.
        pieces: The text, split into tokens.
        finish_reason: Such as "stop".
        prompt_tokens: The tokens of the request.
        fault: The fault to apply to the answer.
        azure: Whether to include the results of Azure's content filter.
    """

    id: str
    created: int
    model: str
    pieces: tuple[str, ...]
    finish_reason: str
    prompt_tokens: int
    fault: Fault
    azure: bool = False


def read_chat(body: Any) -> Chat:
    """Validate the body of a request as the API does.

    Raises:
        Refusal: With status 400, and a message and code like the API's.
    """
    if not isinstance(body, dict):
        refuse("We could not parse the JSON body of your request.")
    model = body.get("model") or ""
    if not isinstance(model, str):
        refuse("Invalid type for 'model': expected a string.", "model", "invalid_type")
    _check_numbers(body)
    messages = body.get("messages")
    if messages is None:
        refuse("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    if not isinstance(messages, list):
        refuse("Invalid type for 'messages': expected an array of objects.", "messages", "invalid_type")
    if not messages:
        refuse("Invalid 'messages': empty array. Expected one of length 1 or more.", "messages", "empty_array")
    texts: list[str] = []
    images: list[ImagePart] = []
    characters = 0
    for index, message in enumerate(messages):
        text, found = _read_message(message, f"messages[{index}]")
        characters += len(text)
        images += found
        if message["role"] == "user":
            texts.append(text)
    stream, options = bool(body.get("stream")), body.get("stream_options")
    if options is not None and not (stream and isinstance(options, dict)):
        refuse("'stream_options' must be an object, and is only allowed with 'stream'.", "stream_options")
    return Chat(
        model=model,
        texts=tuple(texts),
        images=tuple(images),
        characters=characters,
        stream=stream,
        include_usage=bool((options or {}).get("include_usage")),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
    )


def as_chat(body: Any) -> Any:
    """Convert a request in the format of the Responses API to that of chat completions."""
    if not isinstance(body, dict) or not isinstance(body.get("input"), list):
        return body
    messages = [{**message, "content": _as_chat_parts(message.get("content"))} for message in body["input"]]
    return {"model": body.get("model"), "messages": messages}


def _as_chat_parts(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    parts: list[Any] = []
    for part in content:
        match part:
            case {"type": "input_text", "text": text}:
                parts.append({"type": "text", "text": text})
            case {"type": "input_image", "image_url": url}:
                parts.append({"type": "image_url", "image_url": {"url": url, "detail": part.get("detail", "auto")}})
            case _:
                parts.append(part)
    return parts


def _check_numbers(body: Mapping[str, Any]) -> None:
    for name, (kind, minimum, maximum) in _NUMBERS.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
            word = "an integer" if kind is int else "a number"
            refuse(f"Invalid type for '{name}': expected {word}.", name, "invalid_type")
        if not minimum <= value <= maximum:
            word = "integer" if kind is int else "decimal"
            code = f"{word}_below_min_value" if value < minimum else f"{word}_above_max_value"
            refuse(f"Invalid '{name}': {value} is not between {minimum} and {maximum}.", name, code)
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        refuse(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )


def _read_message(message: Any, param: str) -> tuple[str, list[ImagePart]]:
    """Return the text and the images of a message."""
    if not isinstance(message, dict):
        refuse(f"Invalid type for '{param}': expected an object.", param, "invalid_type")
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        refuse(f"Invalid value: {role!r}. Supported values are: {_ROLES}.", f"{param}.role", "invalid_value")
    if isinstance(content, str):
        return content, []
    if content is None and role == "assistant":
        return "", []
    if not isinstance(content, list):
        param += ".content"
        refuse(f"Invalid type for '{param}': expected a string or an array.", param, "invalid_type")
    texts: list[str] = []
    images: list[ImagePart] = []
    for index, part in enumerate(content):
        where = f"{param}.content[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            if role != "user":
                refuse(f"Image URLs are only allowed for messages with role 'user', not {role!r}.", where)
            images.append(_read_image(part.get("image_url"), f"{where}.image_url"))
        else:
            refuse(f"Invalid value: {kind!r}. Supported values are: 'text', 'image_url'.", where, "invalid_value")
    return "\n".join(texts), images


def _read_image(value: Any, param: str) -> ImagePart:
    if not isinstance(value, dict):
        got = "a string" if isinstance(value, str) else "something else"
        refuse(f"Invalid type for '{param}': expected an object, but got {got} instead.", param, "invalid_type")
    url, detail = value.get("url"), value.get("detail")
    if not isinstance(url, str):
        refuse(f"Missing required parameter: '{param}.url'.", f"{param}.url", "missing_required_parameter")
    if detail is not None and detail not in _DETAILS:
        supported = ", ".join(_DETAILS)
        refuse(f"Invalid value: {detail!r}. Supported: {supported}.", f"{param}.detail", "invalid_value")
    return ImagePart(url, detail, param)


def refuse(message: str, param: str | None = None, code: str | None = None) -> NoReturn:
    """Refuse the request with status 400."""
    raise Refusal(400, error_body(message, param=param, code=code))


def image_tokens(size: tuple[int, int], model: str, part: ImagePart) -> int:
    """Count the tokens of an image by the model's rule, or by the demo model's if that rule is unknown.

    Raises:
        Refusal: The model does not have this detail level, or does not accept an image of this size.
    """
    try:
        view = view_of(size, model, part.detail) or view_of(size, "demo", part.detail)
    except VisionError as error:
        refuse(str(error), part.param, "invalid_value")
    return view.tokens if view else 0


def text_tokens(characters: int) -> int:
    """Estimate the tokens of a text: one for every four characters."""
    return max(1, math.ceil(characters / 4))


def split_tokens(text: str) -> tuple[str, ...]:
    """Split a text into word-like pieces, the server's tokens; joined, they are the text again.

    >>> split_tokens("It is  red.")
    ('It', ' is', '  red.')
    """
    return tuple(re.findall(r"\s*\S{1,12}|\s+", text))


def completion(reply: Reply) -> dict[str, Any]:
    """Return a complete answer; `ProtocolHandler.send_json` changes the fields that the fault names."""
    fault = reply.fault
    text = "".join(reply.pieces)
    message = {"role": "assistant", "content": text, "refusal": None, "annotations": [], **fault.message}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}
    if reply.azure:
        choice["content_filter_results"] = _FILTERS
    return {
        **_envelope(reply, "chat.completion"),
        "choices": [] if fault.empty_choices else [merged(choice, fault.choice)],
        **({} if fault.no_usage else {"usage": _usage(reply)}),
        **({"prompt_filter_results": _PROMPT_FILTERS} if reply.azure else {}),
    }


def chunks(reply: Reply, *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """Yield the events of a streamed answer: the role, the pieces, the finish reason, and the usage on request."""
    fault = reply.fault
    everywhere = {name: value for name, value in fault.answer.items() if name not in ("usage", "error")}
    only = {name: {name: fault.answer[name]} for name in ("usage", "error") if name in fault.answer}
    envelope = _envelope(reply, "chat.completion.chunk")
    with_usage = include_usage and not fault.no_usage
    if with_usage:
        envelope["usage"] = None
    if reply.azure:  # Azure's first event has no choices
        yield merged({**envelope, "choices": [], "prompt_filter_results": _PROMPT_FILTERS}, everywhere)
    for delta in ({"role": "assistant", "content": "", "refusal": None}, *_deltas(reply)):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        yield merged({**envelope, "choices": [] if fault.empty_choices else [choice]}, everywhere)
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": reply.finish_reason}
    last = {**envelope, "choices": [] if fault.empty_choices else [merged(choice, fault.choice)]}
    yield merged(last, everywhere | only.get("error", {}))
    if with_usage:
        yield merged({**envelope, "choices": [], "usage": _usage(reply)}, everywhere | only.get("usage", {}))


def _deltas(reply: Reply) -> Iterator[dict[str, Any]]:
    """Yield the deltas of a streamed answer, those of its content last."""
    fields = {name: value for name, value in reply.fault.message.items() if name != "content"}
    fields["content"] = reply.fault.message.get("content", "".join(reply.pieces))
    for name, value in fields.items():
        for piece in split_tokens(value) if isinstance(value, str) else [value]:
            yield {name: piece}


def _envelope(reply: Reply, kind: str) -> dict[str, Any]:
    return {
        "id": reply.id,
        "object": kind,
        "created": reply.created,
        "model": reply.model,
        "service_tier": "default",
        "system_fingerprint": "fp_vision_nb_demo",
    }


def _usage(reply: Reply) -> dict[str, Any]:
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": len(reply.pieces),
        "total_tokens": reply.prompt_tokens + len(reply.pieces),
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def model_object(name: str) -> dict[str, Any]:
    """Return a model as it appears in the list of models."""
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "vision_nb"}
