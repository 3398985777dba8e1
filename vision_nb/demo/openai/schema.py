"""OpenAI's chat completions as JSON: reading a request strictly, and building the answer. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from vision_nb.cost.image_rules import view_of
from vision_nb.demo.faults import Refusal, error_body
from vision_nb.errors import VisionError

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_DETAILS = ("auto", "low", "high", "original")
_NUMBERS: Mapping[str, tuple[type, float, float]] = {  # kind, least, most
    "max_tokens": (int, 1, math.inf),
    "max_completion_tokens": (int, 1, math.inf),
    "n": (int, 1, 128),
    "temperature": (float, 0, 2),
    "top_p": (float, 0, 1),
    "presence_penalty": (float, -2, 2),
    "frequency_penalty": (float, -2, 2),
}
_NO_FILTER = {"filtered": False, "severity": "safe"}
_FILTERS = dict.fromkeys(("hate", "self_harm", "sexual", "violence"), _NO_FILTER)


@dataclass(frozen=True)
class Picture:
    """One picture of a request, not yet fetched or decoded.

    Attributes:
        url: A data URI or a web address.
        detail: The detail level; None where the client set none.
        param: Where in the request it stands, for error messages.
    """

    url: str
    detail: str | None
    param: str


@dataclass(frozen=True)
class Chat:
    """A request for a chat completion, checked and taken apart.

    Attributes:
        model: The model's name; empty where the request has none, as Azure's need not.
        texts: What the user said, oldest first.
        pictures: The pictures of the whole conversation, oldest first.
        characters: The length of all its texts.
        stream: Whether the answer comes in events.
        include_usage: Whether the stream's last event counts the tokens.
        n: How many choices there shall be.
        max_tokens: The most tokens of each choice.
    """

    model: str
    texts: tuple[str, ...]
    pictures: tuple[Picture, ...]
    characters: int
    stream: bool
    include_usage: bool
    n: int
    max_tokens: int | None


@dataclass(frozen=True)
class Reply:
    """Everything that an answer is built from.

    Attributes:
        id: Such as "chatcmpl-...".
        created: Seconds since the epoch.
        model: The name that the client asked for.
        pieces: The text in tokens.
        finish_reason: Such as "stop".
        n: The number of choices.
        prompt_tokens: The tokens of the request.
        azure: Whether Azure's content filter reports, as it does in every answer there.
        empty_choices: Whether the choices are left out, as a fault.
        no_usage: Whether the token counts are left out, as a fault.
    """

    id: str
    created: int
    model: str
    pieces: tuple[str, ...]
    finish_reason: str
    n: int
    prompt_tokens: int
    azure: bool = False
    empty_choices: bool = False
    no_usage: bool = False


def read_chat(body: Any) -> Chat:
    """Check a request's body as the API does.

    Raises:
        Refusal: With status 400, and the API's kind of message and code.
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
    pictures: list[Picture] = []
    characters = 0
    for place, message in enumerate(messages):
        text, found = _read_message(message, f"messages[{place}]")
        characters += len(text)
        pictures += found
        if message["role"] == "user":
            texts.append(text)
    stream, options = bool(body.get("stream")), body.get("stream_options")
    if options is not None and not (stream and isinstance(options, dict)):
        refuse("'stream_options' must be an object, and is only allowed with 'stream'.", "stream_options")
    return Chat(
        model=model,
        texts=tuple(texts),
        pictures=tuple(pictures),
        characters=characters,
        stream=stream,
        include_usage=bool((options or {}).get("include_usage")),
        n=body.get("n") or 1,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
    )


def as_chat(body: Any) -> Any:
    """A request to the token counter, which has the form of the Responses API, in that of chat completions."""
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
    for name, (kind, least, most) in _NUMBERS.items():
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
            word = "an integer" if kind is int else "a number"
            refuse(f"Invalid type for '{name}': expected {word}.", name, "invalid_type")
        if not least <= value <= most:
            word = "integer" if kind is int else "decimal"
            code = f"{word}_below_min_value" if value < least else f"{word}_above_max_value"
            refuse(f"Invalid '{name}': {value} is not between {least} and {most}.", name, code)
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        refuse(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )


def _read_message(message: Any, param: str) -> tuple[str, list[Picture]]:
    """The text and the pictures of one message."""
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
    pictures: list[Picture] = []
    for place, part in enumerate(content):
        where = f"{param}.content[{place}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            if role != "user":
                refuse(f"Image URLs are only allowed for messages with role 'user', not {role!r}.", where)
            pictures.append(_read_picture(part.get("image_url"), f"{where}.image_url"))
        else:
            refuse(f"Invalid value: {kind!r}. Supported values are: 'text', 'image_url'.", where, "invalid_value")
    return "\n".join(texts), pictures


def _read_picture(value: Any, param: str) -> Picture:
    if not isinstance(value, dict):
        got = "a string" if isinstance(value, str) else "something else"
        refuse(f"Invalid type for '{param}': expected an object, but got {got} instead.", param, "invalid_type")
    url, detail = value.get("url"), value.get("detail")
    if not isinstance(url, str):
        refuse(f"Missing required parameter: '{param}.url'.", f"{param}.url", "missing_required_parameter")
    if detail is not None and detail not in _DETAILS:
        supported = ", ".join(_DETAILS)
        refuse(f"Invalid value: {detail!r}. Supported: {supported}.", f"{param}.detail", "invalid_value")
    return Picture(url, detail, param)


def refuse(message: str, param: str | None = None, code: str | None = None) -> NoReturn:
    """Refuse a request with status 400."""
    raise Refusal(400, error_body(message, param=param, code=code))


def image_tokens(size: tuple[int, int], model: str, picture: Picture) -> int:
    """The tokens of a picture by the model's rule, or by the demo model's where the rule is not known.

    Raises:
        Refusal: The model has no such detail level, or takes no picture of this size at it.
    """
    try:
        view = view_of(size, model, picture.detail) or view_of(size, "demo", picture.detail)
    except VisionError as error:
        refuse(str(error), picture.param, "invalid_value")
    return view.tokens if view else 0


def text_tokens(characters: int) -> int:
    """About four characters make a token."""
    return max(1, math.ceil(characters / 4))


def pieces_of(text: str) -> tuple[str, ...]:
    """Cut a text into word-like pieces, the server's tokens; joined, they are the text again.

    >>> pieces_of("It is  red.")
    ('It', ' is', '  red.')
    """
    return tuple(re.findall(r"\s*\S{1,12}|\s+", text))


def completion(reply: Reply) -> dict[str, Any]:
    """An answer that comes in one go."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(reply.pieces),
        "refusal": None,
        "annotations": [],
    }
    choices = [
        {
            "index": index,
            "message": message,
            "logprobs": None,
            "finish_reason": reply.finish_reason,
            **({"content_filter_results": _FILTERS} if reply.azure else {}),
        }
        for index in range(reply.n)
    ]
    return {
        **_envelope(reply, "chat.completion"),
        "choices": [] if reply.empty_choices else choices,
        **({} if reply.no_usage else {"usage": _usage(reply)}),
        **({"prompt_filter_results": _prompt_filters()} if reply.azure else {}),
    }


def chunks(reply: Reply, *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """An answer that is streamed: the role, the pieces, the reason why it ends, and the usage if asked for."""
    envelope = _envelope(reply, "chat.completion.chunk")
    if include_usage and not reply.no_usage:
        envelope["usage"] = None
    if reply.azure:  # Azure's first event has no choice
        yield {**envelope, "choices": [], "prompt_filter_results": _prompt_filters()}
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": "", "refusal": None}, None)]
    deltas += [({"content": piece}, None) for piece in reply.pieces]
    deltas.append(({}, reply.finish_reason))
    for delta, reason in deltas:
        for index in range(reply.n):
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
            yield {**envelope, "choices": [] if reply.empty_choices else [choice]}
    if include_usage and not reply.no_usage:
        yield {**envelope, "choices": [], "usage": _usage(reply)}


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
    completion_tokens = len(reply.pieces) * reply.n
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": reply.prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _prompt_filters() -> list[dict[str, Any]]:
    return [{"prompt_index": 0, "content_filter_results": _FILTERS}]


def model_object(name: str) -> dict[str, Any]:
    """A model as the list of models shows it."""
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "vision_nb"}
