import asyncio
import base64
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import openai
import pytest
from PIL import Image

from vision_nb.cost.image_rules import view_of
from vision_nb.demo import DemoServer, Fault, shared_server
from vision_nb.demo.openai import routes as openai_routes
from vision_nb.demo.openai.schema import pieces_of
from vision_nb.errors import SettingsError

KEY = "sk-test-0123456789abcdef"


@pytest.fixture
def server():
    with DemoServer(tokens_per_second=float("inf")) as running:
        yield running


@pytest.fixture(scope="module")
def any_client():
    """One client for all, for each would take its time to read the machine's certificates."""
    with openai.OpenAI(base_url="http://127.0.0.1", api_key=KEY, max_retries=0) as opened:
        yield opened


@pytest.fixture
def client(any_client, server):
    return any_client.with_options(base_url=server.openai_base)


@pytest.fixture
async def aclient(server):
    async with openai.AsyncOpenAI(base_url=server.openai_base, api_key=KEY, max_retries=0) as opened:
        yield opened


@pytest.fixture
def azure(server):
    with openai.AzureOpenAI(
        azure_endpoint=server.url, azure_deployment="my-vision", api_version="2024-06-01", api_key=KEY, max_retries=0
    ) as opened:
        yield opened


def encoded(kind="PNG", size=(64, 48), color="#2a9a42", **options):
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, kind, **options)
    return buffer.getvalue()


def data_uri(data=None, mimetype="image/png"):
    return f"data:{mimetype};base64,{base64.b64encode(encoded() if data is None else data).decode()}"


def messages(*urls, prompt="What's in this image?", **extra):
    parts = [{"type": "image_url", "image_url": {"url": url, **extra}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": prompt}, *parts]}]


def ask(client, *urls, model="gpt-4o", **options):
    return client.chat.completions.create(model=model, messages=messages(*(urls or [data_uri()])), **options)


def wait_until(condition):
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


# A whole answer


def test_an_answer_has_everything_that_openais_has(server, client):
    answer = ask(client)
    assert "**green** everywhere" in answer.choices[0].message.content
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.object, answer.model) == ("chat.completion", "gpt-4o")
    assert answer.id.startswith("chatcmpl-")
    assert answer.system_fingerprint
    assert abs(answer.created - time.time()) < 60
    assert answer._request_id.startswith("req_")


def test_tokens_are_counted_by_the_models_rule(server, client):
    def prompt_tokens(model, detail):
        body = messages(data_uri(encoded(size=(1024, 1024))), prompt="x" * 40, detail=detail)
        return client.chat.completions.create(model=model, messages=body).usage.prompt_tokens

    assert prompt_tokens("gpt-4o", "low") == 10 + 85
    assert prompt_tokens("gpt-4o", "high") == 10 + 765
    assert prompt_tokens("gpt-5.4", "high") == 10 + view_of((1024, 1024), "gpt-5.4", "high").tokens
    assert prompt_tokens("a-model-of-tomorrow", "high") == 10 + 765  # the demo model's rule


def test_the_answers_tokens_add_up(client):
    answer = ask(client)
    pieces = pieces_of(answer.choices[0].message.content)
    assert answer.usage.completion_tokens == len(pieces)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + len(pieces)


def test_the_length_limit_cuts_the_answer(server, client):
    server.answer_with("one two three four")
    for name in ("max_tokens", "max_completion_tokens"):
        answer = ask(client, **{name: 2})
        assert answer.choices[0].message.content == "one two"
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 2
    assert ask(client, max_tokens=4).choices[0].finish_reason == "stop"


def test_several_choices(server, client):
    server.answer_with("one two")
    answer = ask(client, n=3)
    assert [(choice.index, choice.message.content) for choice in answer.choices] == [(n, "one two") for n in range(3)]
    assert answer.usage.completion_tokens == 6
    events = list(ask(client, n=2, stream=True))
    for index in range(2):
        assert "".join(e.choices[0].delta.content or "" for e in events if e.choices[0].index == index) == "one two"


def test_a_picture_of_an_earlier_message_still_counts(client):
    conversation = [
        *messages(data_uri(), prompt="What colours are there?"),
        {"role": "assistant", "content": "Green."},
        {"role": "user", "content": "And how large is it?"},
    ]
    text = client.chat.completions.create(model="demo", messages=conversation).choices[0].message.content
    assert text.startswith("The picture is in landscape format, **64 x 48 pixels**")


def test_no_picture_at_all(client):
    answer = client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "Hello"}])
    assert "no picture" in answer.choices[0].message.content
    assert answer.usage.prompt_tokens == 2


# Streaming


def test_a_stream_says_the_same_as_a_whole_answer(client):
    events = list(ask(client, stream=True))
    assert events[0].choices[0].delta.role == "assistant"
    assert events[0].choices[0].delta.content == ""
    assert [event.choices[0].finish_reason for event in events] == [None] * (len(events) - 1) + ["stop"]
    assert len({event.id for event in events}) == 1
    assert {event.object for event in events} == {"chat.completion.chunk"}
    text = "".join(event.choices[0].delta.content or "" for event in events)
    assert text == ask(client).choices[0].message.content


def test_a_stream_counts_tokens_only_when_asked(client):
    assert all(event.usage is None for event in ask(client, stream=True))
    *events, last = ask(client, stream=True, stream_options={"include_usage": True})
    assert all(event.usage is None for event in events)
    assert last.choices == []
    assert last.usage == ask(client).usage


def test_a_stream_travels_as_server_sent_events(server):
    body = {"model": "demo", "stream": True, "messages": messages(data_uri())}
    answer = httpx2.post(f"{server.openai_base}/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, done, end = answer.text.split("\n\n")
    assert all(event.startswith("data: {") for event in events)
    assert (done, end) == ("data: [DONE]", "")


def test_a_streamed_answer_is_cut_by_the_length_limit(server, client):
    server.answer_with("one two three")
    events = list(ask(client, stream=True, max_tokens=2))
    assert "".join(event.choices[0].delta.content or "" for event in events) == "one two"
    assert events[-1].choices[0].finish_reason == "length"


async def test_the_async_client_gets_the_same(aclient, client):
    whole = ask(client).choices[0].message.content
    assert (await ask(aclient)).choices[0].message.content == whole
    events = [event async for event in await ask(aclient, stream=True)]
    assert "".join(event.choices[0].delta.content or "" for event in events) == whole


async def test_the_sync_client_works_while_a_loop_runs(client):
    assert ask(client).choices[0].message.content


def test_the_pace_is_the_servers(server, client):
    server.answer_with("word " * 100)
    server.tokens_per_second = 0.5
    stream = ask(client, stream=True)
    assert next(stream).choices[0].delta.content == ""
    stream.close()
    server.tokens_per_second = float("inf")
    assert len(list(ask(client, stream=True))) == 103  # the role, 100 words, a space, the end


@pytest.mark.parametrize("pace", [0, -1, float("nan")])
def test_an_impossible_pace_is_refused(pace):
    with pytest.raises(SettingsError, match="tokens_per_second"):
        DemoServer(tokens_per_second=pace)


# Azure


def test_azure_answers_and_reports_its_filter(server, azure):
    answer = ask(azure)
    assert "**green**" in answer.choices[0].message.content
    assert answer.model_extra["prompt_filter_results"][0]["content_filter_results"]["violence"]["filtered"] is False
    assert server.requests[0].path == "/openai/deployments/my-vision/chat/completions"
    assert server.requests[0].query == {"api-version": "2024-06-01"}
    assert server.requests[0].headers["api-key"] == KEY


def test_azures_streams_begin_with_an_event_without_choices(azure):
    first, second, *_ = ask(azure, stream=True)
    assert first.choices == []
    assert first.model_extra["prompt_filter_results"]
    assert second.choices[0].delta.role == "assistant"


async def test_azures_async_client(server):
    async with openai.AsyncAzureOpenAI(azure_endpoint=server.url, api_version="2024-06-01", api_key=KEY) as opened:
        assert (await ask(opened, model="a-deployment")).choices[0].message.content
    assert server.requests[0].path == "/openai/deployments/a-deployment/chat/completions"


def test_azure_knows_only_its_deployments(server, azure):
    server.models = ["another"]
    with pytest.raises(openai.NotFoundError) as caught:
        ask(azure)
    assert caught.value.code == "DeploymentNotFound"
    server.models = ["my-vision"]
    assert ask(azure)


def test_azure_wants_a_version_and_a_key(server):
    path = f"{server.url}/openai/deployments/d/chat/completions"
    body = {"messages": messages(data_uri())}
    assert httpx2.post(path, json=body, headers={"api-key": "k"}).status_code == 404
    assert httpx2.post(f"{path}?api-version=", json=body, headers={"api-key": "k"}).status_code == 404
    assert httpx2.post(f"{path}?api-version=1", json=body).json()["error"]["code"] == "401"
    assert httpx2.post(f"{path}?api-version=1", json=body, headers={"Authorization": "Bearer t"}).status_code == 200
    server.require_key = "right"
    assert httpx2.post(f"{path}?api-version=1", json=body, headers={"api-key": "k"}).status_code == 401
    assert httpx2.post(f"{path}?api-version=1", json=body, headers={"api-key": "right"}).status_code == 200


# Models and keys


def test_models_are_listed(server, client):
    assert [model.id for model in client.models.list()] == ["demo", "gpt-4o"]
    assert client.models.retrieve("anything").id == "anything"
    server.models = ["one", "two"]
    assert [model.id for model in client.models.list()] == ["one", "two"]


def test_unknown_models_are_refused_when_the_models_are_set(server, client):
    server.models = ["demo"]
    for call in (lambda: ask(client, model="gpt-9"), lambda: client.models.retrieve("gpt-9")):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert ask(client, model="demo")


def test_a_wrong_key_is_refused_and_not_repeated_whole(server, client):
    server.require_key = "sk-right"
    for call in (lambda: ask(client), lambda: client.models.list()):
        with pytest.raises(openai.AuthenticationError) as caught:
            call()
        assert caught.value.code == "invalid_api_key"
        assert KEY not in str(caught.value)
    server.require_key = KEY
    assert ask(client)


def test_no_key_is_told_apart_from_a_wrong_one(server):
    server.require_key = "right"
    error = httpx2.get(f"{server.openai_base}/models").json()["error"]
    assert "didn't provide an API key" in error["message"]
    assert error["code"] is None


# Requests that the API refuses


def changed(**changes):
    return {"model": "demo", "messages": messages(data_uri()), **changes}


def content(*parts, role="user"):
    return changed(messages=[{"role": role, "content": list(parts)}])


def pictured(**image_url):
    return content({"type": "image_url", "image_url": image_url})


ANIMATION = encoded("GIF", save_all=True, append_images=[Image.new("RGB", (64, 48), "red")])

REFUSED = {
    "no object": ([], None),
    "no model": ({"messages": messages(data_uri())}, None),
    "model of another type": (changed(model=4), "invalid_type"),
    "no messages": ({"model": "demo"}, "missing_required_parameter"),
    "messages null": (changed(messages=None), "missing_required_parameter"),
    "messages of another type": (changed(messages="Hello"), "invalid_type"),
    "empty messages": (changed(messages=[]), "empty_array"),
    "message of another type": (changed(messages=["Hello"]), "invalid_type"),
    "unknown role": (changed(messages=[{"role": "robot", "content": "Hi"}]), "invalid_value"),
    "role of another type": (changed(messages=[{"role": ["user"], "content": "Hi"}]), "invalid_value"),
    "no content": (changed(messages=[{"role": "user"}]), "invalid_type"),
    "part of another type": (content("Hi"), "invalid_value"),
    "unknown part": (content({"type": "smell"}), "invalid_value"),
    "text of another type": (content({"type": "text", "text": 7}), "invalid_value"),
    "picture in a system message": (
        content({"type": "image_url", "image_url": {"url": data_uri()}}, role="system"),
        None,
    ),
    "bare string": (content({"type": "image_url", "image_url": data_uri()}), "invalid_type"),
    "picture null": (content({"type": "image_url", "image_url": None}), "invalid_type"),
    "no url": (pictured(), "missing_required_parameter"),
    "url of another type": (pictured(url=["x"]), "missing_required_parameter"),
    "unknown detail": (pictured(url=data_uri(), detail="ultra"), "invalid_value"),
    "detail of another type": (pictured(url=data_uri(), detail=["low"]), "invalid_value"),
    "detail that the model lacks": (pictured(url=data_uri(), detail="original"), "invalid_value"),
    "not base64": (pictured(url="data:image/png;base64,%%%"), "invalid_image"),
    "a stray character": (pictured(url=data_uri().replace("iVBOR", "iVB!OR")), "invalid_image"),
    "no base64": (pictured(url="data:image/png,abc"), "invalid_image"),
    "no comma": (pictured(url="data:image/png;base64"), "invalid_image"),
    "empty": (pictured(url="data:image/png;base64,"), "invalid_image"),
    "no picture": (pictured(url=data_uri(b"hello")), "invalid_image"),
    "broken off": (pictured(url=data_uri(encoded(size=(500, 500))[:200])), "invalid_image"),
    "PNG called JPEG": (pictured(url=data_uri(mimetype="image/jpeg")), "invalid_image"),
    "JPEG called PNG": (pictured(url=data_uri(encoded("JPEG"))), "invalid_image"),
    "no type": (pictured(url=data_uri(mimetype="")), "invalid_image"),
    "bitmap": (pictured(url=data_uri(encoded("BMP"), "image/bmp")), "invalid_image"),
    "animation": (pictured(url=data_uri(ANIMATION, "image/gif")), "invalid_image"),
    "file": (pictured(url="file:///etc/passwd"), "invalid_image_url"),
    "no address": (pictured(url="photo.jpg"), "invalid_image_url"),
    "broken address": (pictured(url="http://["), "invalid_image_url"),
    "max_tokens 0": (changed(max_tokens=0), "integer_below_min_value"),
    "max_tokens of another type": (changed(max_tokens="9"), "invalid_type"),
    "max_tokens true": (changed(max_tokens=True), "invalid_type"),
    "both limits": (changed(max_tokens=5, max_completion_tokens=5), "invalid_parameter_combination"),
    "temperature 3": (changed(temperature=3), "decimal_above_max_value"),
    "stream options without a stream": (changed(stream_options={"include_usage": True}), None),
    "stream options of another type": (changed(stream=True, stream_options=7), None),
    "n 0": (changed(n=0), "integer_below_min_value"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_api_refuses_is_refused(server, client, name):
    body, code = REFUSED[name]
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.code == code
    assert caught.value.type == "invalid_request_error"
    assert len(server.requests) == 1


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' + b"9" * 10_000 + b"}"])
def test_what_is_no_json_is_refused(server, data):
    answer = httpx2.post(f"{server.openai_base}/chat/completions", content=data)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]["message"]
    assert server.requests[0].body is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_every_supported_type_is_taken(client, kind):
    uri = data_uri(encoded(kind), f"image/{kind.lower()}")
    assert "**green**" in ask(client, uri).choices[0].message.content


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/chat/completions", 405), ("POST", "/v2", 404)])
def test_paths_and_methods_that_do_not_exist_get_json(server, method, path, status):
    answer = httpx2.request(method, server.url + path)
    assert answer.status_code == status
    assert path in answer.json()["error"]["message"]


def test_a_web_page_in_a_browser_gets_no_answer(server):
    headers = {"Origin": "https://example.org", "Content-Type": "text/plain"}
    answer = httpx2.post(f"{server.openai_base}/chat/completions", json=changed(), headers=headers)
    assert answer.status_code == 403


# Pictures at web addresses


@pytest.fixture
def site():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/hang":
                released.wait(10)
            data = {"/photo": encoded("JPEG"), "/page": b"<html>", "/huge": bytes(5000)}.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_):
            pass

    released = threading.Event()
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    released.set()
    running.shutdown()
    thread.join()
    running.server_close()


def test_the_server_fetches_pictures(client, site):
    assert "**green**" in ask(client, f"{site}/photo").choices[0].message.content


def test_addresses_that_give_no_picture_are_refused(client, site, monkeypatch):
    monkeypatch.setattr(openai_routes, "_DOWNLOAD_TIMEOUT", 0.1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        unreachable = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        for url, code in {
            f"{site}/missing": "invalid_image_url",
            f"{site}/hang": "invalid_image_url",
            unreachable: "invalid_image_url",
            f"{site}/page": "invalid_image",
        }.items():
            with pytest.raises(openai.BadRequestError) as caught:
                ask(client, url)
            assert caught.value.code == code


def test_a_download_has_a_limit(site, monkeypatch):
    monkeypatch.setattr(openai_routes, "MAX_DOWNLOAD", 4000)
    with DemoServer() as small, openai.OpenAI(base_url=small.openai_base, api_key=KEY, max_retries=0) as opened:
        with pytest.raises(openai.BadRequestError) as caught:
            ask(opened, f"{site}/huge")
        assert caught.value.code == "invalid_image_url"
        assert ask(opened, f"{site}/photo")


# Faults


def test_a_status_replaces_the_answer_once(server, client):
    server.fail(Fault(status=500))
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client)
    assert caught.value.type == "server_error"
    assert ask(client)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (418, openai.APIStatusError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
def test_every_status_reaches_the_client_as_its_error(server, client, status, error):
    server.fail(Fault(status=status), times=2)
    for stream in (False, True):
        with pytest.raises(error) as caught:
            ask(client, stream=stream)
        assert caught.value.status_code == status
        assert caught.value.body["message"]


def test_faults_queue_up(server, client):
    server.fail(Fault(text="first"))
    server.fail(Fault(text="second"), times=2)
    texts = [ask(client).choices[0].message.content for _ in range(4)]
    assert texts[:3] == ["first", "second", "second"]
    assert "stand-in" in texts[3]


def test_the_client_retries_what_it_should_and_every_try_is_counted(server, client):
    retrying = client.with_options(max_retries=2)
    server.fail(Fault.rate_limited(retry_after=0.01), times=2)
    assert ask(retrying)
    assert len(server.requests) == 3
    server.fail(Fault.rate_limited(retry_after=0.01), times=3)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(retrying)
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "0.01"
    assert len(server.requests) == 6
    server.fail(Fault(status=400))
    with pytest.raises(openai.BadRequestError):
        ask(retrying)
    assert len(server.requests) == 7


async def test_the_async_client_retries_too(server, aclient):
    server.fail(Fault(status=503, retry_after=0.01), times=2)
    assert await ask(aclient.with_options(max_retries=2))
    assert len(server.requests) == 3


def test_an_error_of_ones_own(server, client):
    server.fail(Fault.refused(400, "Too long.", code="context_length_exceeded"))
    with pytest.raises(openai.BadRequestError, match="Too long") as caught:
        ask(client)
    assert (caught.value.code, caught.value.type) == ("context_length_exceeded", "invalid_request_error")


def test_a_body_replaces_the_answer(server):
    for body, text in (({"x": 1}, '{"x":1}'), ("plain", "plain")):
        server.fail(Fault(body=body))
        answer = httpx2.post(f"{server.openai_base}/chat/completions", json=changed())
        assert (answer.status_code, answer.text) == (200, text)


def test_a_delay_lets_the_client_time_out_and_its_going_is_seen(server, client):
    server.fail(Fault(delay=60))
    with pytest.raises(openai.APITimeoutError):
        ask(client.with_options(timeout=0.1))
    assert wait_until(lambda: server.disconnects == 1)


@pytest.mark.parametrize("cut_after", [0, 1, 40])
def test_a_connection_cut_before_the_answer_is_whole(server, client, cut_after):
    server.fail(Fault(cut_after=cut_after))
    with pytest.raises(openai.APIConnectionError):
        ask(client)
    assert server.disconnects == 0  # it was the server that hung up
    assert ask(client)


@pytest.mark.parametrize("cut_after", [1, 4])
def test_a_stream_cut_after_so_many_events(server, client, cut_after):
    server.answer_with("one two three four five six")
    server.fail(Fault(cut_after=cut_after))
    events = []
    with pytest.raises(openai.APIConnectionError):
        for event in ask(client, stream=True):
            events.append(event)
    assert len(events) == cut_after
    assert "".join(event.choices[0].delta.content for event in events) == ["", "one two three"][cut_after == 4]
    assert server.disconnects == 0


def test_a_stream_cut_before_its_first_event(server, client):
    server.fail(Fault(cut_after=0))
    with pytest.raises(openai.APIConnectionError):
        ask(client, stream=True)


def test_a_cut_after_the_end_is_none(server, client):
    server.answer_with("short")
    server.fail(Fault(cut_after=10_000), times=2)
    assert ask(client).choices[0].message.content == "short"
    assert len(list(ask(client, stream=True))) == 3


def test_garbage(server, client):
    server.fail(Fault(garbage=True), times=2)
    with pytest.raises(json.JSONDecodeError):
        ask(client)
    events = []
    with pytest.raises(json.JSONDecodeError):
        for event in ask(client, stream=True):
            events.append(event)
    assert len(events) > 5


def test_another_content_type(server):
    server.fail(Fault(content_type="text/html"), times=2)
    for stream in (False, True):
        answer = httpx2.post(f"{server.openai_base}/chat/completions", json=changed(stream=stream))
        assert answer.headers["content-type"] == "text/html"


def test_empty_choices(server, client):
    server.fail(Fault(empty_choices=True), times=2)
    assert ask(client).choices == []
    assert all(event.choices == [] for event in ask(client, stream=True))


def test_no_usage(server, client):
    server.fail(Fault(no_usage=True), times=2)
    assert ask(client).usage is None
    assert all(event.usage is None for event in ask(client, stream=True, stream_options={"include_usage": True}))


def test_a_hang_in_the_middle_outlasts_the_clients_patience(server, client):
    server.fail(Fault(hang=60), times=2)
    impatient = client.with_options(timeout=0.2)
    with pytest.raises(openai.APITimeoutError):
        ask(impatient)
    events = []
    with pytest.raises(openai.APITimeoutError):
        for event in ask(impatient, stream=True):
            events.append(event)
    assert events
    assert wait_until(lambda: server.disconnects == 2)


def test_a_short_hang_does_no_harm(server, client):
    server.fail(Fault(hang=0.05), times=2)
    whole = ask(client).choices[0].message.content
    events = list(ask(client, stream=True))
    assert "".join(event.choices[0].delta.content or "" for event in events) == whole


def test_another_reason_to_end(server, client):
    server.fail(Fault(finish_reason="content_filter"), times=2)
    assert ask(client).choices[0].finish_reason == "content_filter"
    assert list(ask(client, stream=True))[-1].choices[0].finish_reason == "content_filter"


HOSTILE = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "line ends": "one\u2028two\u2029three\u0085four\x0bfive\r\nsix\rseven",
    "zero": "a\x00b\x1b[31m\x07",
    "events": "data: [DONE]\n\ndata: {}\n\n",
    "right to left": "\u202eabc\u202c \u200f",
    "emoji": "👩‍👩‍👧‍👦 ❤️ é ﷽" * 50,
    "long word": "x" * 5_000,
    "blanks": " \n\t " * 1000,
    "empty": "",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_arrives_as_it_is(server, client, name):
    server.fail(Fault(text=HOSTILE[name]), times=2)
    assert ask(client).choices[0].message.content == HOSTILE[name]
    events = list(ask(client, stream=True))
    assert "".join(event.choices[0].delta.content or "" for event in events) == HOSTILE[name]


def test_half_a_character_becomes_a_question_mark(server, client):
    server.answer_with("a\ud83d b")
    assert ask(client).choices[0].message.content == "a? b"


def test_a_picture_of_far_too_many_pixels_is_refused(client):
    def chunk(kind, data=b""):
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = (30_000).to_bytes(4) * 2 + bytes([1, 0, 0, 0, 0])
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT") + chunk(b"IEND")
    with pytest.raises(openai.BadRequestError, match="decompression bomb") as caught:
        ask(client, data_uri(bomb))
    assert caught.value.code == "invalid_image"


# Scripts


def test_a_script_gives_the_answers(server, client):
    questions = []

    def script(question):
        questions.append(question)
        return f"{len(question.images)} of {question.model}"

    server.answer_with(script)
    conversation = [
        {"role": "system", "content": "Be short."},
        *messages(data_uri(encoded(size=(7, 5))), prompt="first"),
        {"role": "assistant", "content": None},
        *messages(data_uri(), prompt="second"),
    ]
    answer = client.chat.completions.create(model="m", messages=conversation)
    assert answer.choices[0].message.content == "2 of m"
    [question] = questions
    assert (question.prompt, question.history) == ("second", ("first",))
    assert [image.size for image in question.images] == [(7, 5), (64, 48)]
    assert question.body["messages"] == conversation
    server.answer_with(None)
    assert "stand-in" in ask(client).choices[0].message.content


def test_a_mistake_in_a_script_reaches_the_client(server, client):
    server.answer_with(lambda _: 1 // 0)
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError, match="ZeroDivisionError"):
            ask(client, stream=stream)


# The record


def test_requests_are_recorded_as_they_came(server, client):
    before = time.time()
    ask(client, extra_headers={"X-Mixed-CASE": "v"}, temperature=0.5)
    [request] = server.requests
    assert (request.method, request.path, request.query) == ("POST", "/v1/chat/completions", {})
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["x-mixed-case"] == "v"
    assert request.body == {"model": "gpt-4o", "messages": messages(data_uri()), "temperature": 0.5}
    assert before <= request.time <= time.time()


def test_the_record_can_be_kept_short():
    with DemoServer(keep=2) as short, openai.OpenAI(base_url=short.openai_base, api_key=KEY) as opened:
        for number in range(4):
            opened.models.retrieve(str(number))
        assert [request.path for request in short.requests] == ["/v1/models/2", "/v1/models/3"]


# Clients that leave


def test_closing_a_stream_closes_its_connection(server, client):
    server.answer_with("word " * 1000)
    server.tokens_per_second = 10
    stream = ask(client, stream=True)
    next(stream)
    assert server.disconnects == 0
    stream.close()
    assert wait_until(lambda: server.disconnects == 1)


async def test_cancelling_an_async_stream_closes_its_connection(server, aclient):
    server.answer_with("word " * 1000)
    server.tokens_per_second = 10

    async def read():
        async for _ in await ask(aclient, stream=True):
            started.set()

    started = asyncio.Event()
    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(wait_until, lambda: server.disconnects == 1)


def test_a_stream_read_to_its_end_is_no_disconnect(server, client):
    list(ask(client, stream=True))
    ask(client)
    assert server.disconnects == 0


def test_a_client_that_leaves_a_fast_stream_is_seen(server, client):
    server.answer_with("word " * 20_000)
    for _ in range(3):  # some are seen on reading, some on writing
        stream = ask(client, stream=True)
        next(stream)
        stream.close()
    assert wait_until(lambda: server.disconnects == 3)


# Many at once


async def test_200_requests_at_once(server):
    async with openai.AsyncOpenAI(base_url=server.openai_base, api_key=KEY, max_retries=0, timeout=60) as opened:
        answers = await asyncio.gather(*(ask(opened, data_uri(encoded(size=(16, 16)))) for _ in range(200)))
    assert all("**green**" in answer.choices[0].message.content for answer in answers)
    assert len(server.requests) == 200


async def test_50_streams_at_once(server):
    server.answer_with("one two three")
    async with openai.AsyncOpenAI(base_url=server.openai_base, api_key=KEY, max_retries=0, timeout=60) as opened:

        async def read():
            stream = await opened.chat.completions.create(
                model="demo", messages=[{"role": "user", "content": "Hi"}], stream=True
            )
            return "".join([event.choices[0].delta.content or "" async for event in stream])

        assert await asyncio.gather(*(read() for _ in range(50))) == ["one two three"] * 50


def test_a_slow_answer_does_not_hold_up_others(server, client):
    arrived, released = threading.Event(), threading.Event()

    def script(question):
        if question.prompt != "wait":
            return "fast"
        arrived.set()
        return "slow" if released.wait(20) else "too late"

    server.answer_with(script)

    def wait():
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "wait"}])

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(wait)
        assert arrived.wait(20)
        assert ask(client).choices[0].message.content == "fast"
        assert not waiting.done()
        released.set()
        assert waiting.result().choices[0].message.content == "slow"


# Start and stop


def test_a_server_that_is_not_running_has_no_address():
    with pytest.raises(SettingsError, match="not running"):
        _ = DemoServer().url


def test_stop_closes_the_port_and_start_opens_another():
    server = DemoServer().start()
    with openai.OpenAI(base_url=server.openai_base, api_key=KEY, max_retries=0) as opened:
        assert ask(opened)
        assert server.start().openai_base == str(opened.base_url).rstrip("/")  # running: nothing changes
        server.stop()
        server.stop()
        assert not server.running
        with pytest.raises(openai.APIConnectionError):
            ask(opened)
    with server, openai.OpenAI(base_url=server.openai_base, api_key=KEY, max_retries=0) as opened:
        assert ask(opened)
        assert len(server.requests) == 2


def test_a_port_can_be_chosen_and_used_again():
    with DemoServer() as first:
        port = int(first.url.rsplit(":", 1)[1])
        with pytest.raises(OSError):
            DemoServer(port=port).start()
    for _ in range(2):
        with DemoServer(port=port) as second:
            assert httpx2.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200
            assert second.url == f"http://127.0.0.1:{port}"


def test_only_this_machine_can_reach_it(server):
    assert server.url.startswith("http://127.0.0.1:")


def test_stop_ends_the_streams_that_are_under_way(client, server):
    server.answer_with("word " * 1000)
    server.tokens_per_second = 5
    stream = ask(client, stream=True)
    next(stream)
    server.stop()
    with pytest.raises(openai.APIConnectionError):
        list(stream)


def test_the_shared_server_is_one_and_starts_once():
    with ThreadPoolExecutor(20) as pool:
        urls = list(pool.map(lambda _: shared_server().url, range(50)))
    assert len(set(urls)) == 1
    shared = shared_server()
    shared.stop()
    assert shared_server() is shared
    assert httpx2.get(f"{shared.openai_base}/models").status_code == 200
    shared.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_starts_a_server_of_its_own():
    shared = shared_server()
    url = shared.url
    (from_child, to_parent), (from_parent, to_child) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            mine = shared_server().url
            os.write(to_parent, f"{mine} {httpx2.get(f'{mine}/v1/models').status_code}".encode())
            os.close(to_child)
            os.read(from_parent, 1)
        finally:
            os._exit(0)
    theirs, status = os.read(from_child, 1000).decode().split()
    assert status == "200"
    assert theirs != url
    assert httpx2.get(f"{url}/v1/models").status_code == 200
    shared.stop()
    with pytest.raises(httpx2.ConnectError):  # the child does not keep the parent's port open
        httpx2.get(f"{url}/v1/models")
    os.close(to_child)
    os.waitpid(child, 0)
    for end in (from_child, to_parent, from_parent):
        os.close(end)


# In a process of its own


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done


def test_the_import_is_cheap():
    code = """
import sys, vision_nb.demo
names = ["DemoServer", "Fault", "reachable_or_sample", "sample_url", "shared_server"]
assert sorted(dir(vision_nb.demo)) == names
print(sorted({"tornado", "numpy", "PIL", "openai", "asyncio"} & set(sys.modules)))
vision_nb.demo.Fault()
print(sorted({"tornado", "numpy", "PIL", "openai", "asyncio"} & set(sys.modules)))
"""
    assert run(code).stdout == "[]\n[]\n"


def test_a_name_that_is_not_there():
    with pytest.raises(ImportError):
        from vision_nb.demo import nothing  # noqa: F401


HURT = """
import socket, urllib.request, urllib.error
from vision_nb.demo import DemoServer, Fault
with DemoServer() as server:
    port = int(server.url.rsplit(":", 1)[1])
    body = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
    whole = b"POST /v1/chat/completions HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body)
    broken = [b"nonsense\\r\\n\\r\\n", b"GET / HTTP/9\\r\\n\\r\\n", b"\\x16\\x03\\x01", whole[:90], b"",
              b"POST /v1/models HTTP/1.1\\r\\nContent-Length: -4\\r\\n\\r\\n", whole]
    for data in broken * 3:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(data)
    server.answer_with(lambda question: 1 // 0)
    server.fail(Fault(cut_after=3))
    server.fail(Fault(status=500))
    for _ in range(4):
        try:
            urllib.request.urlopen(f"{server.url}/v1/chat/completions", body).read()
        except (urllib.error.HTTPError, OSError, EOFError):
            pass
        except Exception as error:
            assert type(error).__name__ == "IncompleteRead", error
    server.answer_with("word " * 1000)
    late = socket.create_connection(("127.0.0.1", port))
    late.sendall(whole)
    late.recv(10)
"""


def test_nothing_is_written_to_the_screen_whatever_clients_do():
    done = run(HURT)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_end_of_python_stops_the_server():
    code = """
import atexit
from vision_nb.demo import DemoServer
server = DemoServer()
atexit.register(lambda: print("running" if server.running else "stopped"))
server.start()
"""
    assert run(code).stdout == "stopped\n"


def test_python_ends_by_itself_while_the_server_streams():
    code = """
import socket
from vision_nb.demo import shared_server
server = shared_server()
server.tokens_per_second = 1
connection = socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
body = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
head = b"POST /v1/chat/completions HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
connection.sendall(head + body)
assert b"200 OK" in connection.recv(1000)
"""
    assert run(code).stderr == ""


@pytest.mark.parametrize("patch", ["import nest_asyncio2; nest_asyncio2.apply()", "import uvloop; uvloop.install()"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_runs_beside_whatever_loop_a_notebook_has(patch):
    pytest.importorskip(patch.split()[1].rstrip(";"))
    code = f"""
import asyncio, warnings
warnings.simplefilter("ignore")
{patch}
import httpx2
from vision_nb.demo import shared_server

async def main():
    url = shared_server().openai_base + "/chat/completions"
    body = dict(model="m", messages=[dict(role="user", content="hi")])
    sync = httpx2.post(url, json=body).json()["choices"][0]["message"]["content"]
    async with httpx2.AsyncClient() as client:
        answer = await client.post(url, json=body)
    assert sync == answer.json()["choices"][0]["message"]["content"]
    print(sync[:8])

asyncio.new_event_loop().run_until_complete(main())
"""
    assert run(code).stdout == "There is\n"
