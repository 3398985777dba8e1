"""The bodies of asynchronous requests: the openai client's own JSON, written without searching images for escapes."""

import json

import httpx2
import openai
import pytest
from PIL import Image

import vision_nb as vn
from vision_nb.providers import outgoing_image
from vision_nb.rendering import html

ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Blue."}, "finish_reason": "stop"}],
}


@pytest.fixture
async def sent():
    """The bodies of requests that were sent with the fixture's HTTP client, as ``sent.http``."""

    class Sent(list[bytes]):
        http: httpx2.AsyncClient

    def answer(request):
        bodies.append(request.content)
        return httpx2.Response(200, json=ANSWER)

    bodies = Sent()
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as bodies.http:
        yield bodies


def connect(sent, **options):
    return vn.OpenAIMultiModal("gpt-4o", "k", "http://127.0.0.1:1/v1", async_http_client=sent.http, **options)


async def test_a_request_with_images_is_written_as_by_the_openai_client(sent):
    images = [vn.samples.path("chart"), vn.samples.path("label"), vn.samples.path("chart")]
    message = vn.generate_openai_multi_modal_chat_message('"Caf\u00e9"\\\n\u2028?', image_documents=images)
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    await connect(sent).achat([message], image_detail="low", response_format=response_format)
    body = json.loads(sent[0])
    assert [part["type"] for part in body["messages"][0]["content"]].count("image_url") == 3
    async with openai.AsyncOpenAI(api_key="k", base_url="http://127.0.0.1:1/v1", http_client=sent.http) as client:
        await client.chat.completions.create(**body)
    assert sent[0] == sent[1]


async def test_a_parameter_that_the_client_does_not_know_replaces_one_that_it_knows(sent):
    await connect(sent).acomplete(
        "What?", temperature=0.5, top_k=3, extra_body={"temperature": 0.1, "a": {"b": [None]}}
    )
    body = json.loads(sent[0])
    assert (body["temperature"], body["top_k"], body["a"]) == (0.1, 3, {"b": [None]}) and "extra_body" not in body


async def test_an_image_is_encoded_once_for_several_questions(sent, monkeypatch):
    encoded = []

    def encode(*args):
        encoded.append(args)
        return html.data_uri(*args)

    monkeypatch.setattr(outgoing_image, "data_uri", encode)
    image = Image.effect_noise((300, 300), 50)
    llm = connect(sent)
    for number in range(3):
        await llm.acomplete(f"question {number}", image)
    assert len(encoded) == 1 and len(sent) == 3 and all(len(body) > 50_000 for body in sent)


async def test_images_are_not_searched_for_characters_to_escape(sent, monkeypatch):
    searched, dumps = [], json.dumps

    def write(value, **options):
        searched.append(dumps(value, **options))
        return searched[-1]

    monkeypatch.setattr(json, "dumps", write)
    await connect(sent).acomplete("What?", Image.effect_noise((300, 300), 50))
    assert len(sent[0]) > 50_000 and searched and all(len(text) < 1000 for text in searched)
