"""What the demo server answers in OpenAI's and Azure's protocols besides plain texts, as the openai client sees it."""

import base64
import json
from typing import Literal

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from tests.conftest import encoded, picture
from vision_nb.demo import Fault
from vision_nb.demo.answers.fill_schema import fill
from vision_nb.demo.answers.measure import measure

URI = f"data:image/png;base64,{base64.b64encode(encoded(picture())).decode()}"
TEXT = "one two three four"
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": [
    {"type": "text", "text": "What is it, as JSON?"}, {"type": "image_url", "image_url": {"url": URI}}]}]}  # fmt: skip
INPUT = [{"role": "user", "content": [
    {"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": URI}]}]  # fmt: skip


class Photo(BaseModel):
    width: int
    orientation: Literal["portrait", "landscape"]
    colors: list[str]
    total: float | None
    taken: bool


@pytest.fixture
def azure(any_client, server):
    server.tokens_per_second = float("inf")
    return any_client.with_options(base_url=f"{server.url}/openai/v1/")


def assert_is_the_photo(photo):
    assert (photo.width, photo.orientation, photo.total, photo.taken) == (64, "landscape", None, False)
    assert photo.colors


def test_stop_ends_the_answer(server, client):
    server.answer_with(TEXT)
    choice = client.chat.completions.create(**CHAT, stop=["four", " three"]).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("one two", "stop")
    events = client.chat.completions.create(**CHAT, stop="two", stream=True)
    assert "".join(event.choices[0].delta.content or "" for event in events) == "one "


def test_n_answers_are_generated(server, client):
    texts = iter("abcd")
    server.answer_with(lambda _: next(texts) * 3)
    answer = client.chat.completions.create(**CHAT, n=2)
    assert [(choice.index, choice.message.content) for choice in answer.choices] == [(0, "aaa"), (1, "bbb")]
    assert answer.usage.completion_tokens == 2
    events = [event.choices[0] for event in client.chat.completions.create(**CHAT, n=2, stream=True)]
    assert ["".join(e.delta.content or "" for e in events if e.index == n) for n in (0, 1)] == ["ccc", "ddd"]
    assert [event.finish_reason for event in events if event.finish_reason] == ["stop", "stop"]


def test_the_service_tier_is_echoed(client):
    for asked, told in (("flex", "flex"), ("priority", "priority"), ("auto", "default"), (openai.omit, "default")):
        assert client.chat.completions.create(**CHAT, service_tier=asked).service_tier == told
        assert client.responses.create(model="gpt-4o", input="hi", service_tier=asked).service_tier == told


def test_a_json_object_is_generated(client):
    answer = client.chat.completions.create(**CHAT, response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content)["width"] == 64


def test_a_schema_is_filled_with_what_was_measured(client):
    assert_is_the_photo(client.chat.completions.parse(**CHAT, response_format=Photo).choices[0].message.parsed)
    assert_is_the_photo(client.responses.parse(model="gpt-4o", input=INPUT, text_format=Photo).output_parsed)
    with client.chat.completions.stream(**CHAT, response_format=Photo) as stream:
        assert_is_the_photo(stream.get_final_completion().choices[0].message.parsed)


def test_a_forced_tool_is_called_with_what_was_measured(client):
    tools = [openai.pydantic_function_tool(Photo, name="report")]
    answer = client.chat.completions.parse(**CHAT, tools=tools, tool_choice="required")
    [call] = answer.choices[0].message.tool_calls
    assert call.function.name == "report" and answer.choices[0].finish_reason == "tool_calls"
    assert_is_the_photo(call.function.parsed_arguments)
    chosen = {"type": "function", "function": {"name": "report"}}
    with client.chat.completions.stream(**CHAT, tools=tools, tool_choice=chosen) as stream:
        [call] = stream.get_final_completion().choices[0].message.tool_calls
    assert_is_the_photo(call.function.parsed_arguments)
    tool = {"type": "function", "name": "report", "parameters": Photo.model_json_schema(), "strict": False}
    [item] = client.responses.create(model="gpt-4o", input=INPUT, tools=[tool], tool_choice="required").output
    assert_is_the_photo(Photo.model_validate_json(item.arguments))


def test_the_script_receives_the_schema(server, client):
    schemas = []
    server.answer_with(lambda question: schemas.append(question.schema) or "{}")
    for format in (openai.omit, {"type": "json_object"}):
        client.chat.completions.create(**CHAT, response_format=format)
    client.chat.completions.create(
        **CHAT, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    )
    assert schemas == [None, {}, {"type": "object"}]


NAMES = st.sampled_from(["width", "colors", "color", "brightness", "caption", "images", "x", "y"])
SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": "string", "maxLength": 3},
            {"type": "integer"},
            {"type": "integer", "minimum": 70, "maximum": 99},
            {"type": "number", "exclusiveMaximum": 0},
            {"type": "boolean"},
            {"type": ["string", "null"]},
            {"enum": ["red", 5, None]},
            {"const": 7},
            {"$ref": "#/$defs/node"},
        ]
    ),
    lambda inner: (
        st.builds(lambda one, two: {"anyOf": [one, two]}, inner, inner)
        | st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 2))
        | st.builds(lambda fields: {"type": "object", "properties": fields, "required": [*fields]}, st.dictionaries(NAMES, inner, max_size=3))
    ),
    max_leaves=8,
)  # fmt: skip
NODE = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}


MEASURED = [measure(picture()), measure(picture(seed=1))]


@settings(deadline=None)
@given(SCHEMAS)
def test_a_filled_schema_is_valid(schema):
    jsonschema = pytest.importorskip("jsonschema")
    schema = {**schema, "$defs": {"node": {**NODE, "required": ["next"]}}}
    jsonschema.validate(fill(schema, MEASURED), schema)


def test_a_list_of_images_has_an_item_for_each_image():
    item = {"type": "object", "properties": {"width": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"images": {"type": "array", "items": item}}}
    measured = [measure(picture(9, 9)), measure(picture(20, 9))]
    assert fill(schema, measured) == {"images": [{"width": 9}, {"width": 20}]}


def test_a_response_is_complete_or_streamed(server, client):
    server.answer_with(TEXT)
    answer = client.responses.create(model="gpt-4o", input=INPUT, instructions="Be short.")
    assert (answer.output_text, answer.status, answer.instructions) == (TEXT, "completed", "Be short.")
    assert answer.usage.total_tokens == answer.usage.input_tokens + 4 and answer.usage.input_tokens > 85
    with client.responses.stream(model="gpt-4o", input=INPUT) as stream:
        events = list(stream)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
    assert [event.sequence_number for event in events] == [*range(len(events))]
    assert events[-1].response.output_text == TEXT and events[-1].type == "response.completed"


def test_a_response_can_be_cut_by_its_length_limit(server, client):
    server.answer_with("word " * 50)
    answer = client.responses.create(model="gpt-4o", input="hi", max_output_tokens=20)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output_text == ("word " * 20).rstrip()
    *_, last = client.responses.create(model="gpt-4o", input="hi", max_output_tokens=20, stream=True)
    assert last.type == "response.incomplete"


def test_a_response_answers_a_conversation_with_calls_of_tools(server, client):
    questions = []
    server.answer_with(lambda question: questions.append(question) or TEXT)
    answer = client.responses.create(model="gpt-4o", input="first")
    conversation = [
        {"role": "user", "content": "first"},
        *[item.model_dump(exclude_none=True) for item in answer.output],
        {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "seen"},
        {"role": "user", "content": "second"},
    ]
    client.responses.create(model="gpt-4o", input=conversation)
    assert (questions[-1].prompt, questions[-1].history) == ("second", ("first",))


def test_input_tokens_are_counted_with_instructions(client):
    count = client.responses.input_tokens.count
    assert count(model="gpt-4o", input="four").input_tokens == 1
    assert count(model="gpt-4o", input="four", instructions="12345678").input_tokens == 3
    parts = [{"type": "input_text", "text": "four"}, {"type": "input_image", "image_url": URI, "detail": "low"}]
    assert count(model="gpt-4o", input=[{"role": "user", "content": parts}]).input_tokens == 86


def test_faults_apply_to_responses(server, client):
    server.fail(Fault(text="", answer={"model": "other"}, no_usage=True))
    answer = client.responses.create(model="gpt-4o", input="hi")
    assert (answer.output_text, answer.model, answer.usage) == ("", "other", None)
    server.fail(Fault(cut_after=-1, end="clean", text=TEXT))
    events = list(client.responses.create(model="gpt-4o", input="hi", stream=True))
    assert events[-1].type == "response.output_item.done"


def test_files_are_uploaded_listed_read_and_deleted(client):
    data = encoded(picture())
    first = client.files.create(file=("first.png", data), purpose="vision")
    second = client.files.create(file=("calls.jsonl", b"{}\n"), purpose="batch")
    assert (first.filename, first.bytes, first.purpose, first.status) == ("first.png", len(data), "vision", "processed")
    assert [file.id for file in client.files.list()] == [second.id, first.id]
    assert [file.id for file in client.files.list(order="asc", limit=1)] == [first.id, second.id]  # by pages
    assert [file.id for file in client.files.list(purpose="batch")] == [second.id]
    assert client.files.retrieve(first.id) == first
    assert client.files.content(first.id).read() == data
    parts = [{"type": "input_image", "file_id": first.id}, {"type": "input_text", "text": "How large is it?"}]
    answer = client.responses.create(model="gpt-4o", input=[{"role": "user", "content": parts}])
    assert "64 x 48" in answer.output_text
    assert client.files.delete(first.id).deleted
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        client.files.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("x", b"x"), purpose="fun")
    assert caught.value.param == "purpose"


def test_azures_v1_path_takes_the_deployment_as_the_model(server, azure):
    server.deployments["eyes"], server.models = "gpt-4o-2024-08-06", ["eyes"]
    answer = azure.chat.completions.create(**{**CHAT, "model": "eyes"})
    assert answer.model == "gpt-4o-2024-08-06" and answer.model_extra["prompt_filter_results"]
    assert azure.responses.create(model="eyes", input="hi").model == "gpt-4o-2024-08-06"
    assert azure.responses.input_tokens.count(model="eyes", input="hi").input_tokens == 1
    assert [model.id for model in azure.models.list()] == ["eyes"]
    assert azure.files.create(file=("x.jsonl", b"{}"), purpose="batch").purpose == "batch"
    with pytest.raises(openai.NotFoundError) as caught:
        azure.chat.completions.create(**{**CHAT, "model": "gpt-4o"})
    assert caught.value.code == "DeploymentNotFound"
    server.require_key = "right"
    with pytest.raises(openai.AuthenticationError, match="invalid subscription key"):
        azure.models.list()


def test_the_azure_clients_paths_without_a_deployment_are_served(server):
    options = {"azure_endpoint": server.url, "api_version": "2024-10-21", "api_key": "k", "max_retries": 0}
    with openai.AzureOpenAI(**options) as client:
        assert client.responses.create(model="gpt-4o", input="hi").output_text
        assert client.models.list().data
