"""What OpenAI's API refuses beyond wrong types: limits, combinations, and parameters that a model does not have.

The rules and messages follow OpenAI's API reference and its error messages, read 2026-11.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from vision_nb.demo.openai.strict_schema import schema_problem
from vision_nb.demo.openai.validation import fields_of, kind_of, refuse, validate

_NUMBERS: Mapping[str, tuple[type, float, float]] = {  # type, minimum, maximum
    "max_tokens": (int, 1, math.inf),
    "max_completion_tokens": (int, 1, math.inf),
    "max_output_tokens": (int, 16, math.inf),
    "n": (int, 1, 128),
    "temperature": (float, 0, 2),
    "top_p": (float, 0, 1),
    "top_logprobs": (int, 0, 20),
    "presence_penalty": (float, -2, 2),
    "frequency_penalty": (float, -2, 2),
}
_LENGTHS: Mapping[str, tuple[int, int]] = {"messages": (1, 2048), "stop": (0, 4), "tools": (1, 128)}
_OPENAI_MODEL = re.compile(r"(ft:)?(gpt-(?!oss)|chatgpt-|o\d|codex-|computer-use-)")
_REASONING_MODEL = re.compile(r"(ft:)?(o\d|gpt-[5-9](?!.*-chat)|codex-)")
_TEXT_MODEL = re.compile(
    r"(ft:)?(gpt-3\.?5|gpt-4(-0314|-0613|-32k.*|-1106-preview|-0125-preview)?$|o1-(mini|preview)|o3-mini)"
)
_SCHEMALESS_MODEL = re.compile(r"(ft:)?(gpt-3\.?5|gpt-4($|-)|gpt-4o-2024-05-13|o1-(mini|preview))")
_FIXED: Mapping[str, float] = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}
_NOT_FOR_REASONING = ("logprobs", "top_logprobs", "logit_bias", "stop")
_ONLY_FOR_REASONING = ("reasoning_effort", "reasoning")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def is_openai_model(model: str) -> bool:
    """Return whether a name is one of OpenAI's own models, which only OpenAI and Azure serve.

    >>> is_openai_model("o3"), is_openai_model("gpt-oss-20b"), is_openai_model("llava-1.5")
    (True, False, False)
    """
    return _OPENAI_MODEL.match(model) is not None


def check_numbers(body: Mapping[str, Any]) -> None:
    """Refuse numbers of the wrong type or outside their limits.

    Raises:
        Refusal: With status 400.
    """
    for name, (kind, minimum, maximum) in _NUMBERS.items():
        value = body.get(name)
        if value is None:
            continue
        word = "integer" if kind is int else "decimal"
        if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
            article = "an" if kind is int else "a"
            message = f"Invalid type for '{name}': expected {article} {word}, but got {kind_of(value)} instead."
            refuse(message, name, "invalid_type")
        if not minimum <= value <= maximum:
            side, sign, limit = (
                ("below minimum", ">=", minimum) if value < minimum else ("above maximum", "<=", maximum)
            )
            code = f"{word}_{side.replace('minimum', 'min').replace('maximum', 'max').replace(' ', '_')}_value"
            refuse(
                f"Invalid '{name}': {word} {side} value. Expected a value {sign} {limit}, but got {value} instead.",
                name,
                code,
            )
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        refuse(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )


def check_chat(body: Mapping[str, Any], model: str, *, more: Sequence[str] = ()) -> None:
    """Refuse a request for a chat completion that OpenAI's API would refuse.

    Args:
        body: The request.
        model: The base model behind the request's model or deployment.
        more: Names of parameters that the service accepts in addition to OpenAI's.

    Raises:
        Refusal: With status 400, and a message and code like the API's.
    """
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase

    known = {*fields_of(CompletionCreateParamsBase), "stream", *more}
    if not is_reasoning_model(model):
        known -= set(_ONLY_FOR_REASONING)
    unknown = sorted(set(body) - known)
    if unknown:
        refuse(f"Unrecognized request argument{'s'[: len(unknown) - 1]} supplied: {', '.join(unknown)}")
    _check_roles(body.get("messages"), model)
    rest = {name: value for name, value in _given(body).items() if name not in more}
    validate({"model": model, **rest}, CompletionCreateParamsBase, "")
    _check_stream(body)
    check_numbers(body)
    _check_lengths(body)
    _check_model(body, model)
    _check_tools(body)
    _check_tool_messages(body["messages"])
    _check_format(body, model)


def check_response(body: Mapping[str, Any], model: str, *, counting: bool = False) -> None:
    """Refuse a Responses API request that OpenAI would refuse.

    Args:
        body: The request.
        model: The base model behind the request's model or deployment.
        counting: Whether the request only counts input tokens.

    Raises:
        Refusal: With status 400, and a message and code like the API's.
    """
    from openai.types.responses.input_token_count_params import InputTokenCountParams
    from openai.types.responses.response_create_params import ResponseCreateParamsBase

    validate(_given(body), InputTokenCountParams if counting else ResponseCreateParamsBase, "")
    _check_stream(body)
    check_numbers(body)
    if is_reasoning_model(model):
        _check_fixed(body)
    elif body.get("reasoning"):
        _refuse_parameter(next(iter(f"reasoning.{name}" for name in body["reasoning"]), "reasoning"))
    format = (body.get("text") or {}).get("format") or {}
    if format.get("type") == "json_schema":
        _check_schema(format, model, "text.format")
    elif format.get("type") == "json_object":
        _check_mentions_json([body.get("input"), body.get("instructions")], "input", "text.format")


def is_reasoning_model(model: str) -> bool:
    """Return whether a model of OpenAI reasons before it answers.

    >>> is_reasoning_model("gpt-5-mini"), is_reasoning_model("gpt-5-chat-latest"), is_reasoning_model("gpt-4o")
    (True, False, False)
    """
    return _REASONING_MODEL.match(model) is not None


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request, without those that are null: the API treats them as if they were missing."""
    return {name: value for name, value in body.items() if value is not None and name != "stream"}


def _check_stream(body: Mapping[str, Any]) -> None:
    validate(body.get("stream"), bool | None, "stream")
    if body.get("stream_options") is not None and not body.get("stream"):
        refuse("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")


def _check_roles(messages: Any, model: str) -> None:
    """Refuse a message without content, and an image where none is allowed."""
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if not isinstance(message, dict):
            return  # which `validate` refuses
        role, content = message.get("role"), message.get("content")
        calls = message.get("tool_calls") or message.get("function_call") or message.get("audio")
        if content is None and (role != "assistant" or not calls) and ("content" in message or role == "assistant"):
            refuse("Invalid value for 'content': expected a string, got null.", f"messages.[{index}].content")
        for number, part in enumerate(content if isinstance(content, list) else ()):
            if isinstance(part, dict) and part.get("type") == "image_url":
                if role != "user":
                    message = f"Image URLs are only allowed for messages with role 'user', not '{role}'."
                    refuse(f"Invalid 'messages[{index}]'. {message}", f"messages[{index}]", "invalid_value")
                if _TEXT_MODEL.match(model):
                    place = f"messages.[{index}].content.[{number}].type"
                    refuse("Invalid content type. image_url is only supported by certain models.", place)


def _check_lengths(body: Mapping[str, Any]) -> None:
    for name, (minimum, maximum) in _LENGTHS.items():
        _check_length(body.get(name), name, minimum, maximum)
    for index, message in enumerate(body.get("messages", ())):
        for name in ("content", "tool_calls"):
            _check_length(message.get(name), f"messages[{index}].{name}", 1)


def _check_length(value: Any, param: str, minimum: int, maximum: float = math.inf) -> None:
    if not isinstance(value, list):
        return
    if len(value) < minimum:
        expected = f"Expected an array with minimum length {minimum}, but got an empty array instead."
        refuse(f"Invalid '{param}': empty array. {expected}", param, "empty_array")
    if len(value) > maximum:
        found = f"but got an array with length {len(value)} instead."
        expected = f"Expected an array with maximum length {maximum}, {found}"
        refuse(f"Invalid '{param}': array too long. {expected}", param, "array_above_max_length")


def _check_model(body: Mapping[str, Any], model: str) -> None:
    """Refuse parameters that a reasoning model does not have."""
    if is_reasoning_model(model):
        if body.get("max_tokens") is not None:
            _refuse_parameter("max_tokens", " Use 'max_completion_tokens' instead.")
        _check_fixed(body)
        for name in _NOT_FOR_REASONING:
            if body.get(name):
                _refuse_parameter(name)
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        refuse("Invalid value for 'top_logprobs': it is only allowed when 'logprobs' is true.", "top_logprobs")


def _check_fixed(body: Mapping[str, Any]) -> None:
    for name, only in _FIXED.items():
        value = body.get(name)
        if value is not None and value != only:
            reason = f"does not support {value} with this model. Only the default ({only}) value is supported."
            refuse(f"Unsupported value: '{name}' {reason}", name, "unsupported_value")


def _refuse_parameter(name: str, advice: str = "") -> NoReturn:
    message = f"Unsupported parameter: '{name}' is not supported with this model.{advice}"
    refuse(message, name, "unsupported_parameter")


def _check_tools(body: Mapping[str, Any]) -> None:
    tools = body.get("tools") or ()
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.get(name) is not None and not tools:
            refuse(f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.", name)
    names = []
    for index, tool in enumerate(tools):
        if tool["type"] == "function":
            function = tool["function"]
            _check_name(function["name"], f"tools[{index}].function.name")
            names.append(function["name"])
            problem = (
                schema_problem(function["parameters"]) if function.get("strict") and "parameters" in function else ""
            )
            if problem:
                message = f"Invalid schema for function '{function['name']}': {problem}"
                refuse(message, f"tools[{index}].function.parameters", "invalid_function_parameters")
    choice = body.get("tool_choice")
    chosen = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    if chosen is not None and chosen not in names:
        refuse(f"Tool choice '{chosen}' not found in 'tools' parameter.", "tool_choice")


def _check_tool_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    """Refuse calls of tools without answers, and answers without calls."""
    waiting: list[str] = []
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                text = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                refuse(f"Invalid parameter: {text}", f"messages.[{index}].role")
            waiting.remove(message["tool_call_id"])
            continue
        _refuse_waiting(waiting, index)
        waiting = [call["id"] for call in message.get("tool_calls") or ()]
    _refuse_waiting(waiting, len(messages))


def _refuse_waiting(ids: Sequence[str], index: int) -> None:
    if ids:
        text = "An assistant message with 'tool_calls' must be followed by tool messages for each 'tool_call_id'."
        missing = f"The following tool_call_ids did not have response messages: {', '.join(ids)}"
        refuse(f"{text} {missing}", f"messages.[{index}].role")


def _check_format(body: Mapping[str, Any], model: str) -> None:
    format = body.get("response_format") or {}
    if format.get("type") == "json_object":
        _check_mentions_json(body["messages"], "messages", "response_format")
    elif format.get("type") == "json_schema":
        _check_schema(format["json_schema"], model, "response_format.json_schema")


def _check_mentions_json(texts: Any, name: str, param: str) -> None:
    if "json" not in str(texts).lower():
        text = f"'{name}' must contain the word 'json' in some form, to use '{param}' of type 'json_object'."
        refuse(text, name)


def _check_schema(described: Mapping[str, Any], model: str, place: str) -> None:
    root = place.partition(".json_schema")[0]
    if _SCHEMALESS_MODEL.match(model):
        refuse(f"Invalid parameter: '{root}' of type 'json_schema' is not supported with this model.", root)
    if "schema" not in described:
        refuse(f"Missing required parameter: '{place}.schema'.", f"{place}.schema", "missing_required_parameter")
    _check_name(described["name"], f"{place}.name")
    problem = schema_problem(described["schema"]) if described.get("strict") else ""
    if problem:
        message = f"Invalid schema for response_format '{described['name']}': {problem}"
        refuse(message, root if root == "response_format" else f"{place}.schema", "invalid_json_schema")


def _check_name(name: str, param: str) -> None:
    if not _NAME.fullmatch(name):
        expected = "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
        refuse(f"Invalid '{param}': string does not match pattern. {expected}", param, "invalid_value")
