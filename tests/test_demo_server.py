"""The demo server's OpenAI and Azure protocols, faults, safety and lifetime, as the openai client sees them."""

import base64
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import openai
import psutil
import pytest
from PIL import Image

from tests.conftest import encoded, picture
from vision_nb.demo import DemoServer, Fault, shared_server
from vision_nb.demo.openai.tokens import split_tokens
from vision_nb.errors import SettingsError

KEY = "sk-test-0123456789abcdef"


@pytest.fixture(scope="module")
def any_client():
    """One client for all tests, because each reads the system's certificates."""
    with openai.OpenAI(base_url="http://127.0.0.1", api_key=KEY, max_retries=0) as opened:
        yield opened


@pytest.fixture
def azure(server):
    with openai.AzureOpenAI(
        azure_endpoint=server.url, azure_deployment="my-vision", api_version="2024-06-01", api_key=KEY, max_retries=0
    ) as opened:
        yield opened


def data_uri(data=None, mimetype="image/png"):
    return f"data:{mimetype};base64,{base64.b64encode(data or encoded(picture())).decode()}"


def messages(*urls, prompt="What's in this image?", **extra):
    parts = [{"type": "image_url", "image_url": {"url": url, **extra}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": prompt}, *parts]}]


def ask(client, *urls, model="gpt-4o", **options):
    return client.chat.completions.create(model=model, messages=messages(*(urls or [data_uri()])), **options)


def text_of(events):
    return "".join(event.choices[0].delta.content or "" for event in events if event.choices)


def wait_until(condition):
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_an_answer_has_the_fields_of_openais(client):
    answer = ask(client)
    [choice] = answer.choices
    assert "**64 x 48 pixels**" in choice.message.content
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    assert (answer.object, answer.model) == ("chat.completion", "gpt-4o")
    assert answer.id.startswith("chatcmpl-") and answer._request_id.startswith("req_")
    assert abs(answer.created - time.time()) < 60
    assert answer.usage.completion_tokens == len(split_tokens(choice.message.content))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_length_limit_cuts_the_answer(server, client, name):
    server.answer_with("one two three four")
    answer = ask(client, **{name: 2})
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one two", "length")
    events = list(ask(client, stream=True, **{name: 2}))
    assert (text_of(events), events[-1].choices[0].finish_reason) == ("one two", "length")
    assert ask(client, **{name: 4}).choices[0].finish_reason == "stop"


def test_the_script_receives_the_whole_conversation(server, client):
    questions = []
    server.answer_with(lambda question: questions.append(question) or f"{len(question.images)} of {question.model}")
    conversation = [
        {"role": "system", "content": "Be short."},
        *messages(data_uri(encoded(picture(7, 5))), prompt="first"),
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
    assert "64 x 48 pixels" in ask(client).choices[0].message.content


def test_the_number_of_recorded_requests_can_be_limited():
    with DemoServer(keep=2) as short, openai.OpenAI(base_url=short.openai_base, api_key=KEY) as opened:
        for number in range(4):
            opened.models.retrieve(str(number))
        assert [request.path for request in short.requests] == ["/v1/models/2", "/v1/models/3"]


def test_a_stream_has_the_same_text_as_a_complete_answer(client):
    events = list(ask(client, stream=True))
    assert (events[0].choices[0].delta.role, events[0].choices[0].delta.content) == ("assistant", "")
    assert [event.choices[0].finish_reason for event in events] == [None] * (len(events) - 1) + ["stop"]
    assert {event.object for event in events} == {"chat.completion.chunk"}
    assert text_of(events) == ask(client).choices[0].message.content


def test_a_stream_counts_tokens_only_on_request(client):
    assert all(event.usage is None for event in ask(client, stream=True))
    *events, last = ask(client, stream=True, stream_options={"include_usage": True})
    assert all(event.usage is None for event in events)
    assert last.choices == [] and last.usage == ask(client).usage


def test_azure_answers_with_content_filter_results(server, azure):
    answer = ask(azure)
    assert answer.model_extra["prompt_filter_results"][0]["content_filter_results"]["violence"]["filtered"] is False
    [request] = server.requests
    assert request.path == "/openai/deployments/my-vision/chat/completions"
    assert request.query == {"api-version": "2024-06-01"} and request.headers["api-key"] == KEY


def test_azure_refuses_an_unknown_deployment_a_missing_version_and_a_wrong_key(server, azure):
    server.models = ["another"]
    with pytest.raises(openai.NotFoundError) as caught:
        ask(azure)
    assert caught.value.code == "DeploymentNotFound"
    server.models, server.require_key = None, "right"
    path = f"{server.url}/openai/deployments/d/chat/completions"
    body = {"messages": messages(data_uri())}
    for query, key, status in (("", "right", 404), ("?api-version=1", "k", 401), ("?api-version=1", "right", 200)):
        assert httpx2.post(path + query, json=body, headers={"api-key": key}).status_code == status


def test_models_are_listed_and_unknown_ones_refused(server, client):
    assert [model.id for model in client.models.list()] == ["demo", "gpt-4o"]
    assert client.models.retrieve("anything").id == "anything"
    server.models = ["one", "two"]
    assert [model.id for model in client.models.list()] == ["one", "two"]
    for call in (lambda: ask(client, model="gpt-9"), lambda: client.models.retrieve("gpt-9")):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_wrong_key_is_refused_and_masked_in_the_message(server, client):
    server.require_key = "sk-right"
    for call in (lambda: ask(client), lambda: client.models.list()):
        with pytest.raises(openai.AuthenticationError) as caught:
            call()
        assert caught.value.code == "invalid_api_key" and KEY not in str(caught.value)
    assert "didn't provide an API key" in httpx2.get(f"{server.openai_base}/models").json()["error"]["message"]
    server.require_key = KEY
    assert ask(client)


def changed(**changes):
    return {"model": "demo", "messages": messages(data_uri()), **changes}


def content(*parts):
    return changed(messages=[{"role": "user", "content": list(parts)}])


def with_image(**image_url):
    return content({"type": "image_url", "image_url": image_url})


ANIMATION = encoded(picture(), "GIF", save_all=True, append_images=[Image.new("RGB", (64, 48), "red")])

REFUSED = {
    "no messages": ({"model": "demo"}, "missing_required_parameter"),
    "unknown part": (content({"type": "smell"}), "invalid_value"),
    "detail that the model does not have": (with_image(url=data_uri(), detail="original"), "invalid_value"),
    "broken base64": (with_image(url="data:image/png;base64,%%%"), "invalid_image"),
    "not an image": (with_image(url=data_uri(b"hello")), "invalid_image"),
    "truncated": (with_image(url=data_uri(encoded(picture(500, 500))[:200])), "invalid_image"),
    "PNG declared as JPEG": (with_image(url=data_uri(mimetype="image/jpeg")), "invalid_image"),
    "animated GIF": (with_image(url=data_uri(ANIMATION, "image/gif")), "invalid_image"),
    "local file": (with_image(url="file:///etc/passwd"), "invalid_image_url"),
    "max_tokens 0": (changed(max_tokens=0), "integer_below_min_value"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_requests_that_the_api_refuses_are_refused(client, name):
    body, code = REFUSED[name]
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert (caught.value.code, caught.value.type) == (code, "invalid_request_error")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_not_json_is_refused(server, data):
    answer = httpx2.post(f"{server.openai_base}/chat/completions", content=data)
    assert answer.status_code == 400 and "JSON" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("cut_after", "text"), [(0, ""), (1, ""), (4, "one two three"), (99, "one two three four")])
def test_a_stream_can_be_cut_off(server, client, cut_after, text):
    server.answer_with("one two three four")
    server.fail(Fault(cut_after=cut_after))
    events = []
    try:
        for event in ask(client, stream=True):
            events.append(event)
    except openai.APIConnectionError:
        assert len(events) == cut_after
    assert text_of(events) == text


@pytest.mark.parametrize("text", ["", "one\u2028two\x0bthree\r\nfour\x00\x1b[31m", "data: [DONE]\n\n", "👩‍👩‍👧‍👦 é ﷽"])
def test_unusual_texts_arrive_unchanged(server, client, text):
    server.fail(Fault(text=text), times=2)
    assert ask(client).choices[0].message.content == text
    assert text_of(ask(client, stream=True)) == text


@pytest.mark.parametrize(
    "script", [lambda question: 1 // 0, lambda question: next(iter(()))], ids=["ZeroDivisionError", "StopIteration"]
)
def test_a_script_that_raises_answers_with_status_500(server, client, script):
    server.answer_with(script)
    with pytest.raises(openai.InternalServerError):
        ask(client, timeout=60)


def test_a_closed_stream_is_counted_as_a_disconnect(server, client):
    list(ask(client, stream=True))
    server.answer_with("word " * 20_000)
    for _ in range(3):  # some are noticed on reading, some on writing
        stream = ask(client, stream=True)
        next(stream)
        stream.close()
    assert wait_until(lambda: server.disconnects == 3)


def test_a_slow_answer_does_not_block_others(server, client):
    arrived, released = threading.Event(), threading.Event()

    def script(question):
        if question.prompt != "wait":
            return "fast"
        arrived.set()
        return "slow" if released.wait(20) else "too late"

    def wait():
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "wait"}])

    server.answer_with(script)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(wait)
        assert arrived.wait(20)
        assert ask(client).choices[0].message.content == "fast"
        released.set()
        assert waiting.result().choices[0].message.content == "slow"


def test_the_server_listens_on_loopback_only(server):
    port = int(server.url.rsplit(":", 1)[1])
    listening = [one.laddr for one in psutil.Process().net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    assert {address.ip for address in listening if address.port == port} == {"127.0.0.1"}


def test_requests_of_web_pages_are_refused(server):
    headers = {"Origin": "https://example.org", "Content-Type": "text/plain"}
    for path in ("chat/completions", "models", "predictions"):
        assert httpx2.post(f"{server.openai_base}/{path}", json=changed(), headers=headers).status_code == 403


def test_a_server_can_be_stopped_and_started_again():
    server = DemoServer()
    with pytest.raises(SettingsError, match="not running"):
        _ = server.url
    with openai.OpenAI(base_url=server.start().openai_base, api_key=KEY, max_retries=0) as opened:
        assert ask(opened)
        assert server.start().openai_base == str(opened.base_url).rstrip("/")  # it was running
        server.stop()
        server.stop()
        with pytest.raises(openai.APIConnectionError):
            ask(opened)
    with server:
        assert httpx2.get(f"{server.openai_base}/models").status_code == 200
        assert len(server.requests) == 2


def test_all_threads_share_one_server():
    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(lambda _: shared_server().url, range(50)))) == 1
    shared = shared_server()
    shared.stop()
    assert shared_server() is shared and shared.running
    shared.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.posix
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
    assert status == "200" and theirs != url
    assert httpx2.get(f"{url}/v1/models").status_code == 200
    shared.stop()
    with pytest.raises(httpx2.ConnectError):  # the child does not keep the parent's port open
        httpx2.get(f"{url}/v1/models")
    os.close(to_child)
    os.waitpid(child, 0)
    for end in (from_child, to_parent, from_parent):
        os.close(end)


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done


def test_broken_requests_print_nothing():
    done = run("""
import socket, urllib.request
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
    for _ in range(2):
        try:
            urllib.request.urlopen(f"{server.url}/v1/chat/completions", body).read()
        except OSError:
            pass
    server.answer_with("word " * 1000)
    late = socket.create_connection(("127.0.0.1", port))
    late.sendall(whole)
    late.recv(10)
""")
    assert (done.stdout, done.stderr) == ("", "")


def test_python_exits_while_the_server_streams():
    done = run("""
import socket
from vision_nb.demo import shared_server
server = shared_server()
server.tokens_per_second = 1
connection = socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
body = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
head = b"POST /v1/chat/completions HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
connection.sendall(head + body)
assert b"200 OK" in connection.recv(1000)
""")
    assert done.stderr == ""
