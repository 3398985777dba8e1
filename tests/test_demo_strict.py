"""The demo server refuses what OpenAI refuses, with OpenAI's messages and codes."""

import base64

import httpx2
import openai
import pytest

from tests.conftest import encoded, picture
from vision_nb.demo.openai.rules import is_openai_model, is_reasoning_model

URI = f"data:image/png;base64,{base64.b64encode(encoded(picture())).decode()}"
IMAGE = {"type": "image_url", "image_url": {"url": URI}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def user(content):
    return {"messages": [{"role": "user", "content": content}]}


def conversation(*messages):
    return {"messages": [{"role": "user", "content": "What?"}, *messages]}


def json_schema(schema, **options):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **options}}}


def function(**fields):
    return {"tools": [{"type": "function", "function": fields}]}


@pytest.fixture
def client(client, server):
    server.answer_with("An answer.")
    return client


def refusal(client, path="/chat/completions", **body):
    base = {"model": "gpt-4o", **({"input": "hi"} if "responses" in path else user("hi"))}
    with pytest.raises(openai.BadRequestError) as caught:
        client.post(path, body={**base, **body}, cast_to=object)
    return caught.value


OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}}
STRICT_OBJECT = {**OBJECT, "required": ["a"], "additionalProperties": False}

# what is wrong: the fields of the request, and the message, parameter and code of the error
REFUSED = {
    "an unknown parameter": ({"top_k": 5}, "Unrecognized request argument supplied: top_k", None, None),
    "unknown parameters": ({"top_k": 5, "min_p": 1}, "Unrecognized request arguments supplied: min_p, top_k", None, None),
    "a reasoning parameter": ({"reasoning_effort": "low"}, "argument supplied: reasoning_effort", None, None),
    "max_tokens": ({"model": "o3", "max_tokens": 9}, "Use 'max_completion_tokens' instead.", "max_tokens", "unsupported_parameter"),
    "temperature": ({"model": "gpt-5", "temperature": 0.2}, "Only the default (1) value", "temperature", "unsupported_value"),
    "stop": ({"model": "o4-mini", "stop": "x"}, "'stop' is not supported with this model", "stop", "unsupported_parameter"),
    "five stop texts": ({"stop": [*"abcde"]}, "maximum length 4, but got an array with length 5", "stop", "array_above_max_length"),
    "a number in stop": ({"stop": ["a", 1]}, "expected a string, but got an integer", "stop[1]", "invalid_type"),
    "a text as a number": ({"temperature": "1"}, "expected a decimal, but got a string", "temperature", "invalid_type"),
    "a number too high": ({"temperature": 3}, "Expected a value <= 2, but got 3", "temperature", "decimal_above_max_value"),
    "n of 0": ({"n": 0}, "Expected a value >= 1, but got 0", "n", "integer_below_min_value"),
    "true as a number": ({"n": True}, "expected an integer, but got a boolean", "n", "invalid_type"),
    "null in a message": (conversation({"role": "user", "content": "x", "name": None}), "expected a string, but got null", "messages[1].name", "invalid_type"),
    "null for messages": ({"messages": None}, "Missing required parameter", "messages", "missing_required_parameter"),
    "two limits": ({"max_tokens": 5, "max_completion_tokens": 5}, "at the same time", "max_tokens", "invalid_parameter_combination"),
    "no messages": ({"messages": []}, "empty array", "messages", "empty_array"),
    "an unknown role": (conversation({"role": "bot", "content": "x"}), "Supported values are: 'developer', 'system'", "messages[1].role", "invalid_value"),
    "no role": (conversation({"content": "x"}), "Missing required parameter", "messages[1].role", "missing_required_parameter"),
    "an unknown field": (conversation({"role": "user", "content": "x", "id": 1}), "Unknown parameter", "messages[1].id", "unknown_parameter"),
    "no content": (user([]), "minimum length 1, but got an empty array", "messages[0].content", "empty_array"),
    "null content": (user(None), "expected a string, got null", "messages.[0].content", None),
    "an unknown part": (user([{"type": "smell"}]), "Supported values are: 'text', 'image_url'", "messages[0].content[0].type", "invalid_value"),
    "a URL instead of an object": (user([{"type": "image_url", "image_url": URI}]), "expected an object, but got a string", "messages[0].content[0].image_url", "invalid_type"),
    "an image of the system": (conversation({"role": "system", "content": [IMAGE]}), "only allowed for messages with role 'user'", "messages[1]", "invalid_value"),
    "an image for a text model": ({"model": "gpt-3.5-turbo", **user([IMAGE])}, "only supported by certain models", "messages.[0].content.[0].type", None),
    "tools as an object": ({"tools": {}}, "expected an array of objects, but got an object", "tools", "invalid_type"),
    "no tools": ({"tools": []}, "empty array", "tools", "empty_array"),
    "a tool without a type": ({"tools": [{"name": "look"}]}, "Missing required parameter", "tools[0].type", "missing_required_parameter"),
    "a tool without a name": (function(description="x"), "Missing required parameter", "tools[0].function.name", "missing_required_parameter"),
    "a tool's name with a space": (function(name="a b"), "'^[a-zA-Z0-9_-]+$'", "tools[0].function.name", "invalid_value"),
    "a strict tool": (function(name="f", strict=True, parameters=OBJECT), "'additionalProperties' is required", "tools[0].function.parameters", "invalid_function_parameters"),
    "a choice without tools": ({"tool_choice": "auto"}, "only allowed when 'tools' are specified", "tool_choice", None),
    "a choice of no tool": ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "'x' not found", "tool_choice", None),
    "a call without an answer": (conversation({"role": "assistant", "content": None, "tool_calls": [CALL]}), "must be followed by tool messages", "messages.[2].role", None),
    "an answer without a call": (conversation({"role": "tool", "tool_call_id": "call_1", "content": "x"}), "preceeding message with 'tool_calls'", "messages.[1].role", None),
    "stream options": ({"stream_options": {"include_usage": True}}, "only allowed when 'stream' is enabled", "stream_options", None),
    "JSON without the word": ({"response_format": {"type": "json_object"}}, "must contain the word 'json'", "messages", None),
    "a format without a schema": ({"response_format": {"type": "json_schema"}}, "Missing required", "response_format.json_schema", "missing_required_parameter"),
    "an open schema": (json_schema(OBJECT, strict=True), "In context=(), 'additionalProperties' is required", "response_format", "invalid_json_schema"),
    "an optional field": (json_schema({**OBJECT, "additionalProperties": False}, strict=True), "Missing 'a'.", "response_format", "invalid_json_schema"),
    "a schema of a list": (json_schema({"type": "array"}, strict=True), "got 'type: \"array\"'", "response_format", "invalid_json_schema"),
    "a schema for an old model": ({"model": "gpt-4-turbo", **json_schema(STRICT_OBJECT)}, "not supported with this model", "response_format", None),
    "an unknown tier": ({"service_tier": "cheap"}, "Supported values are: 'auto'", "service_tier", "invalid_value"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_openai_refuses_is_refused(client, name):
    body, words, param, code = REFUSED[name]
    error = refusal(client, **body)
    assert words in error.message
    assert (error.param, error.code, error.type) == (param, code, "invalid_request_error")


ACCEPTED = {
    "everything": {
        "temperature": 1, "top_p": 0.5, "n": 1, "seed": 3, "stop": ["x"], "logprobs": True, "top_logprobs": 2,
        "max_completion_tokens": 9, "user": "me", "metadata": {"a": "b"}, "logit_bias": {"1": 2}, "store": False,
        "service_tier": "flex", "presence_penalty": -1.5, "prediction": {"type": "content", "content": "x"},
    },
    "a reasoning model's": {"model": "gpt-5-mini", "max_completion_tokens": 9, "reasoning_effort": "low", "temperature": 1},
    "a chat model's": {"model": "gpt-5-chat-latest", "max_tokens": 9, "temperature": 0.2},
    "parts": user([{"type": "text", "text": ""}, {**IMAGE, "image_url": {"url": URI, "detail": "low"}}]),
    "an empty text": user(""),
    "null": {"user": None, "tools": None, "stop": None, "n": None, "max_tokens": None, "response_format": None},
    "tools": {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
    "tool calls": conversation(
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "x"},
    ),
    "an answer repeated": conversation(
        {"role": "assistant", "content": "x", "refusal": None, "annotations": []}, {"role": "user", "content": "And?"}
    ),
    "a strict schema": json_schema(STRICT_OBJECT, strict=True),
    "a loose schema": json_schema(OBJECT),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_openai_accepts_is_accepted(client, name):
    assert client.post("/chat/completions", body={"model": "gpt-4o", **user("hi"), **ACCEPTED[name]}, cast_to=object)


@pytest.mark.parametrize(
    ("body", "words", "param", "code"),
    [
        ({"top_k": 5}, "Unknown parameter", "top_k", "unknown_parameter"),
        ({"max_tokens": 5}, "Unknown parameter", "max_tokens", "unknown_parameter"),
        ({"max_output_tokens": 5}, "Expected a value >= 16", "max_output_tokens", "integer_below_min_value"),
        ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "Supported values are: 'input_text'", "input[0].content[0].type", "invalid_value"),
        ({"input": 5}, "expected one of a string or array", "input", "invalid_type"),
        ({"model": "o3", "temperature": 0}, "Only the default (1)", "temperature", "unsupported_value"),
        ({"reasoning": {"effort": "low"}}, "'reasoning.effort' is not supported", "reasoning.effort", "unsupported_parameter"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": OBJECT, "strict": True}}}, "'additionalProperties'", "text.format.schema", "invalid_json_schema"),
        ({"previous_response_id": "resp_1"}, "'resp_1' not found", "previous_response_id", "previous_response_not_found"),
    ],
)  # fmt: skip
def test_responses_are_validated_too(client, body, words, param, code):
    error = refusal(client, "/responses", **body)
    assert words in error.message and (error.param, error.code) == (param, code)


def test_token_counts_are_validated_too(client):
    assert refusal(client, "/responses/input_tokens", max_output_tokens=99).param == "max_output_tokens"


def test_servers_of_other_models_accept_more(server, client):
    extra = {"top_k": 5, "stop": [*"abcde"], "chat_template_kwargs": {"enable_thinking": False}}
    body = {"model": "llava-1.5", **user("hi"), **extra}
    assert client.post("/chat/completions", body=body, cast_to=object)
    server.strict = True
    assert "top_k" in refusal(client, model="llava-1.5", top_k=5).message
    server.strict = False
    assert client.post("/chat/completions", body={**body, "model": "gpt-4o"}, cast_to=object)
    assert client.post("/responses", body={"model": "gpt-4o", "input": "hi", "top_k": 5}, cast_to=object)


def test_the_demo_model_is_as_strict_as_openais(client):
    assert "top_k" in refusal(client, model="demo", top_k=5).message


def test_an_azure_deployment_is_checked_by_the_model_behind_it(server):
    server.deployments["eyes"] = "o3"
    ask = {"api-key": "k"}
    for path, query in (
        ("/openai/v1/chat/completions", ""),
        ("/openai/deployments/eyes/chat/completions", "?api-version=1"),
    ):
        body = {"model": "eyes", **user("hi")}
        refused = httpx2.post(server.url + path + query, json={**body, "max_tokens": 9}, headers=ask)
        assert refused.status_code == 400 and "max_completion_tokens" in refused.json()["error"]["message"]
        answer = httpx2.post(server.url + path + query, json={**body, "max_completion_tokens": 9}, headers=ask)
        assert answer.json()["model"] == "o3"
        assert httpx2.post(server.url + path + query, json={**body, "data_sources": []}, headers=ask).status_code == 200


@pytest.mark.parametrize(
    ("model", "openai_s", "reasons"),
    [
        ("gpt-4o", True, False),
        ("gpt-4.1-mini", True, False),
        ("ft:gpt-4o-mini:me::x", True, False),
        ("gpt-35-turbo", True, False),
        ("gpt-5.4-nano", True, True),
        ("gpt-5.3-chat-latest", True, False),
        ("o4-mini", True, True),
        ("gpt-oss-120b", False, False),
        ("openai/gpt-4o", False, False),
        ("llava", False, False),
    ],
)
def test_a_models_name_decides_the_rules(model, openai_s, reasons):
    assert (is_openai_model(model), is_reasoning_model(model)) == (openai_s, reasons)
