"""The faults of the demo server, as HTTP clients and the vendors' clients see them."""

import gzip
import itertools
import json
import socket
import time

import httpx2
import openai
import pytest

from vision_nb.demo import Fault

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TEXT = "one two three four"


@pytest.fixture
def client(client, server):
    server.answer_with(TEXT)
    return client


@pytest.fixture
def post(server):
    """Send a request and return the status, the headers and the body, as far as it arrived."""
    server.tokens_per_second = float("inf")
    server.answer_with(TEXT)

    def send(fault, **options):
        server.fail(fault)
        url = f"{server.openai_base}/chat/completions"
        with httpx2.stream("POST", url, json={**BODY, **options}, timeout=20) as response:
            data = b""
            try:
                for part in response.iter_raw():
                    data += part
            except httpx2.RemoteProtocolError:
                data += b" BROKEN"
        return response.status_code, response.headers, data

    return send


def stream(client, server, fault, **options):
    server.fail(fault)
    return list(client.chat.completions.create(**BODY, stream=True, **options))


def whole(client, server, fault):
    server.fail(fault)
    return client.chat.completions.create(**BODY)


@pytest.mark.parametrize("content_length", [True, False])
@pytest.mark.parametrize(
    ("cut_after", "end", "expected"),
    [
        (0, "clean", []),
        (3, "clean", ["", "one", " two"]),
        (-1, "clean", ["", "one", " two", " three", " four", "stop"]),
        (-2, "clean", ["", "one", " two", " three", " four"]),
        (3, "mid_line", ["", "one", " two", "half"]),
        (99, "clean", ["", "one", " two", " three", " four", "stop", "[DONE]"]),
    ],
)
def test_a_stream_can_end_cleanly_before_its_end(post, content_length, cut_after, end, expected):
    fault = Fault(cut_after=cut_after, end=end, content_length=content_length)
    _, headers, data = post(fault, stream=True)
    *events, rest = data.decode().split("\n\n")
    assert "BROKEN" not in rest and ("transfer-encoding" in headers) is content_length
    found = ["[DONE]" if "[DONE]" in event else event.split('"content":"')[-1].split('"')[0] for event in events]
    found = ["stop" if '"finish_reason":"stop"' in event else text for event, text in zip(events, found, strict=True)]
    assert found + (["half"] if rest.startswith('data: {"id":') else []) == expected


def test_a_broken_stream_is_not_a_clean_one(post):
    assert post(Fault(cut_after=3), stream=True)[2].endswith(b" BROKEN")
    assert not post(Fault(cut_after=3, content_length=False), stream=True)[2].endswith(b" BROKEN")


def test_a_whole_answer_can_be_cut_off_with_a_true_length(post):
    _, headers, data = post(Fault(cut_after=20, end="clean"))
    assert (data, headers["content-length"]) == (b'{"id":"chatcmpl-' + data[16:], "20")
    assert post(Fault(cut_after=50))[2].endswith(b" BROKEN")


@pytest.mark.parametrize("options", [{}, {"stream": True}])
def test_events_replace_the_answer(post, options):
    events = [": comment\n\n", {"choices": []}, b"data: [DONE]\n\n"]
    status, headers, data = post(Fault(events=events, status=201), **options)
    assert (status, headers["content-type"]) == (201, "text/event-stream; charset=utf-8")
    assert data == b': comment\n\ndata: {"choices":[]}\n\ndata: [DONE]\n\n'


def test_events_can_be_endless(server, client):
    server.fail(Fault(events=itertools.repeat(": keep-alive\n\n")))
    with httpx2.stream("POST", f"{server.openai_base}/chat/completions", json=BODY) as response:
        assert b"".join(itertools.islice(response.iter_raw(100), 50)).startswith(b": keep-alive\n\n: keep-alive")
    assert whole(client, server, Fault()).choices[0].message.content == TEXT


def test_headers_and_bytes_are_sent_as_given(post):
    body = gzip.compress(b"[]")
    fault = Fault(
        status=503, headers={"Content-Encoding": "gzip"}, body=body, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"
    )
    status, headers, data = post(fault)
    assert (status, data, headers["content-encoding"]) == (503, body, "gzip")
    assert headers["retry-after"] == "Wed, 21 Oct 2026 07:28:00 GMT"
    assert post(Fault(body="<title>Sorry</title>", content_type="text/html"))[2] == b"<title>Sorry</title>"
    assert post(Fault(body=["no"], status=404))[2] == b'["no"]'
    assert post(Fault(headers={"Content-Length": "99999"}))[2].endswith(b" BROKEN")


def test_a_redirect_names_its_location(server, client):
    server.fail(Fault(status=307, headers={"Location": f"{server.openai_base}/chat/completions"}))
    assert whole(client, server, Fault()).choices[0].message.content == TEXT
    assert [request.method for request in server.requests] == ["POST", "POST"]


def test_fields_of_the_answer_can_be_changed(server, client):
    usage = {"cost": 0.0125, "completion_tokens_details": {"reasoning_tokens": 3}}
    message = {"reasoning_content": "Let me see.", "content": [{"type": "text", "text": "Three"}]}
    fault = Fault(message=message, answer={"usage": usage, "provider": "acme"}, choice={"native": "x"})
    answer = whole(client, server, fault)
    assert answer.choices[0].message.content == message["content"] and answer.choices[0].native == "x"
    assert answer.choices[0].message.reasoning_content == "Let me see."
    assert answer.provider == "acme" and answer.usage.cost == 0.0125 and answer.usage.completion_tokens == 4
    assert answer.usage.completion_tokens_details.reasoning_tokens == 3
    *events, last = stream(client, server, fault, stream_options={"include_usage": True})
    deltas = [event.choices[0].delta for event in events]
    assert "".join(getattr(delta, "reasoning_content", "") for delta in deltas) == "Let me see."
    assert deltas[-2].content == message["content"] and events[-1].choices[0].native == "x"
    assert {event.provider for event in [*events, last]} == {"acme"} and last.usage.cost == 0.0125


def test_an_error_can_arrive_with_status_200(server, client):
    fault = Fault(finish_reason="error", answer={"error": {"message": "Provider disconnected", "code": 502}})
    answer = whole(client, server, fault)
    assert (answer.choices[0].finish_reason, answer.error["code"]) == ("error", 502)
    with pytest.raises(openai.APIError, match="Provider disconnected"):
        stream(client, server, fault)


def test_a_finish_reason_can_be_missing(server, client):
    events = stream(client, server, Fault(choice={"finish_reason": None}))
    assert all(event.choices[0].finish_reason is None for event in events)


@pytest.mark.parametrize("options", [{}, {"stream": True}])
@pytest.mark.slow
def test_bytes_can_drip(server, post, options):
    full = post(Fault(), **options)[2]
    started = time.monotonic()
    status, headers, data = post(Fault(drip=0.0001, header_drip=0.01), **options)
    assert time.monotonic() - started > 0.01 * 100  # bytes of headers
    assert (status, len(data), headers["connection"]) == (200, len(full), "close")


@pytest.mark.parametrize("fault", [Fault(drip=0.05), Fault(header_drip=0.05), Fault(drip=0.05, content_length=False)])
def test_a_client_that_leaves_a_dripping_answer_is_noticed(server, fault):
    server.fail(fault)
    body = json.dumps(BODY).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as connection:
        connection.sendall(head + body)
        assert connection.recv(1) == b"H"
    deadline = time.monotonic() + 10
    while not server.disconnects and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.disconnects == 1
