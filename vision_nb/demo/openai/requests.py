"""Read the requests of OpenAI's Chat Completions and Responses APIs. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vision_nb.demo.openai.rules import check_numbers
from vision_nb.demo.openai.validation import kind_of, refuse
from vision_nb.images.detail import DETAILS

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")


@dataclass(frozen=True)
class ImagePart:
    """An image of a request, not yet loaded.

    Attributes:
        url: A data URI or a web address; empty if the image is an uploaded file.
        file_id: The ID of an uploaded file; empty if there is a URL.
        detail: The detail level; None if the client did not set one.
        param: Its place in the request, for error messages.
    """

    url: str
    file_id: str
    detail: str | None
    param: str


@dataclass(frozen=True)
class Chat:
    """A request for an answer, in either API.

    Attributes:
        model: The model name; empty if the request has none, which Azure allows.
        texts: The user's texts, oldest first.
        images: The images of all messages, oldest first.
        characters: The length of all texts.
        stream: Whether the answer is streamed.
        include_usage: Whether the last event of the stream contains the token counts.
        max_tokens: The limit on the answer's tokens; None for no limit.
        stop: The texts before which the answer ends.
        n: How many answers are asked for.
        service_tier: The service tier that the answer names.
        schema: The JSON schema of the answer; an empty one allows any JSON object, and None any text.
        tool: The name of the tool that the answer must call; empty for none.
    """

    model: str
    texts: tuple[str, ...]
    images: tuple[ImagePart, ...]
    characters: int
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    service_tier: str = "default"
    schema: Mapping[str, Any] | None = None
    tool: str = ""


def read_chat(body: Any) -> Chat:
    """Read a request for a chat completion, and refuse one that no server understands.

    Raises:
        Refusal: With status 400, and a message and code like the API's.
    """
    model = read_model(body)
    check_numbers(body)
    messages = body.get("messages")
    if messages is None:
        refuse("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    if not isinstance(messages, list):
        refuse("Invalid type for 'messages': expected an array of objects.", "messages", "invalid_type")
    if not messages:
        refuse("Invalid 'messages': empty array. Expected one of length 1 or more.", "messages", "empty_array")
    texts, images, characters = _read_messages(messages, "messages")
    stream, options = bool(body.get("stream")), body.get("stream_options")
    if options is not None and not (stream and isinstance(options, dict)):
        refuse("'stream_options' must be an object, and is only allowed with 'stream'.", "stream_options")
    tool, schema = _forced_tool(
        body.get("tool_choice"), [tool.get("function") for tool in _list(body, "tools") if isinstance(tool, dict)]
    )
    if not tool:
        schema = _schema_of(body.get("response_format"), "json_schema")
    return Chat(
        model=model,
        texts=texts,
        images=images,
        characters=characters,
        stream=stream,
        include_usage=bool((options or {}).get("include_usage")),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=_stop(body.get("stop")),
        n=body.get("n") or 1,
        service_tier=_tier(body),
        schema=schema,
        tool=tool,
    )


def read_response(body: Any) -> Chat:
    """Read a request of the Responses API, and refuse one that no server understands.

    Raises:
        Refusal: With status 400, and a message and code like the API's.
    """
    model = read_model(body)
    check_numbers(body)
    items = body.get("input")
    if items is None:
        refuse("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    if not isinstance(items, (str, list)):
        message = f"Invalid type for 'input': expected one of a string or array of objects, but got {kind_of(items)}."
        refuse(message, "input", "invalid_type")
    if isinstance(body.get("previous_response_id"), str):
        id = body["previous_response_id"]
        refuse(f"Previous response with id '{id}' not found.", "previous_response_id", "previous_response_not_found")
    messages = [{"role": "user", "content": items}] if isinstance(items, str) else [_as_message(one) for one in items]
    texts, images, characters = _read_messages(messages, "input")
    instructions = body.get("instructions")
    tool, schema = _forced_tool(body.get("tool_choice"), _list(body, "tools"))
    if not tool:
        text = body.get("text")
        schema = _schema_of(text.get("format") if isinstance(text, dict) else None, "")
    return Chat(
        model=model,
        texts=texts,
        images=images,
        characters=characters + (len(instructions) if isinstance(instructions, str) else 0),
        stream=bool(body.get("stream")),
        max_tokens=body.get("max_output_tokens"),
        service_tier=_tier(body),
        schema=schema,
        tool=tool,
    )


def read_model(body: Any) -> str:
    """Return the name of the model that a request asks for; empty if it names none."""
    if not isinstance(body, dict):
        refuse("We could not parse the JSON body of your request.")
    model = body.get("model") or ""
    if not isinstance(model, str):
        refuse("Invalid type for 'model': expected a string.", "model", "invalid_type")
    return model


def _as_message(item: Any) -> Any:
    """Convert an item of the Responses API's input to a message of a chat."""
    match item:
        case {"type": "function_call_output", "output": str(output)}:
            return {"role": "tool", "content": output}
        case {"role": _, "content": list(parts)}:
            return {"role": item["role"], "content": [_as_part(part) for part in parts]}
        case {"role": _}:
            return item
        case {"type": str()}:  # such as a call of a tool, or reasoning
            return {"role": "assistant", "content": None}
    return item


def _as_part(part: Any) -> Any:
    match part:
        case {"type": "input_text" | "output_text", "text": text}:
            return {"type": "text", "text": text}
        case {"type": "input_image", "file_id": str(file_id)}:
            return {"type": "image_url", "image_url": {"file_id": file_id, "detail": part.get("detail")}}
        case {"type": "input_image", "image_url": url}:
            return {"type": "image_url", "image_url": {"url": url, "detail": part.get("detail")}}
    return part


def _read_messages(messages: Sequence[Any], param: str) -> tuple[tuple[str, ...], tuple[ImagePart, ...], int]:
    """Return the user's texts, the images of all messages, and the length of all texts."""
    texts: list[str] = []
    images: list[ImagePart] = []
    characters = 0
    for index, message in enumerate(messages):
        text, found = _read_message(message, f"{param}[{index}]")
        characters += len(text)
        images += found
        if message["role"] == "user":
            texts.append(text)
    return tuple(texts), tuple(images), characters


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
        elif kind == "refusal":
            texts.append(str(part.get("refusal")))
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
    url, detail = value.get("url", ""), value.get("detail")
    if not isinstance(url, str) or not (url or value.get("file_id")):
        refuse(f"Missing required parameter: '{param}.url'.", f"{param}.url", "missing_required_parameter")
    if detail is not None and detail not in DETAILS:
        supported = ", ".join(DETAILS)
        refuse(f"Invalid value: {detail!r}. Supported: {supported}.", f"{param}.detail", "invalid_value")
    return ImagePart(url, value.get("file_id", ""), detail, param)


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    return body[name] if isinstance(body.get(name), list) else []


def _stop(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        refuse("Invalid type for 'stop': expected one of a string or array of strings.", "stop", "invalid_type")
    return tuple(text for text in texts if text)


def _tier(body: Mapping[str, Any]) -> str:
    asked = body.get("service_tier")
    return asked if isinstance(asked, str) and asked != "auto" else "default"


def _forced_tool(choice: Any, functions: Sequence[Any]) -> tuple[str, Mapping[str, Any] | None]:
    """Return the name and the parameters' schema of the tool that must be called; an empty name if none must."""
    if isinstance(choice, dict):
        wanted = choice.get("name") or (choice.get("function") or {}).get("name")
    elif choice == "required":
        wanted = next(
            (function["name"] for function in functions if isinstance(function, dict) and "name" in function), ""
        )
    else:
        return "", None
    for function in functions:
        if isinstance(function, dict) and function.get("name") == wanted and isinstance(wanted, str):
            return wanted, function.get("parameters") or {"type": "object"}
    return "", None


def _schema_of(format: Any, nested: str) -> Mapping[str, Any] | None:
    """Return the JSON schema that a response format asks for."""
    match format:
        case {"type": "json_object"}:
            return {}
        case {"type": "json_schema"}:
            schema = (format.get(nested) or {}).get("schema") if nested else format.get("schema")
            return schema if isinstance(schema, dict) else {}
    return None
