"""Connections of asynchronous calls: what is sent, what is received, and what every kind of failure becomes."""

import asyncio
import json
import ssl
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import tornado

import vision_nb as vn
from tests.conftest import closed_port
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.providers.openai.asyncio_backend import AsyncioBackend, AsyncioStream, use_asyncio

pytestmark = pytest.mark.slow

SECRET = "sk-a-secret-key-of-this-test"
ANSWER = json.dumps(
    {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Blue."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12},
    }
).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(ANSWER)


@asynccontextmanager
async def scripted(*answers, reads=True):
    """Run a server that sends one of the answers to each connection's first request; yield its address and requests."""
    requests, left, is_over = [], list(answers), asyncio.Event()
    serving = set()

    async def serve(reader, writer):
        serving.add(asyncio.current_task())
        if not reads:
            await is_over.wait()
            writer.transport.abort()
            return
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        requests.append((head.decode("latin-1"), await reader.readexactly(length)))
        writer.write(left.pop(0) if left else HEAD + b"Connection: close\r\n\r\n" + ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", requests
    finally:
        server.close()
        is_over.set()
        await asyncio.gather(*serving, return_exceptions=True)


@asynccontextmanager
async def serving(serve, **options):
    """Run a server that handles each connection with a function; yield its port."""
    tasks = set()

    async def handle(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, **options)
    try:
        async with asyncio.timeout(60):
            yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def connect(base, **options):
    return vn.OpenAIMultiModal("gpt-4o", SECRET, base, **{"max_retries": 0, **options})


def backend_of(transport):
    return transport._pool._network_backend


async def test_asynchronous_calls_use_asyncio_unless_the_user_passes_a_client(server):
    async with connect(server.openai_base) as llm, httpx2.AsyncClient() as own:
        assert isinstance(backend_of(llm.async_client._client._transport), AsyncioBackend)
        theirs = connect(server.openai_base, async_http_client=own)
        assert (await theirs.acomplete("What?")).text and not isinstance(backend_of(own._transport), AsyncioBackend)


async def test_calls_through_a_proxy_of_the_environment_use_asyncio_too(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with connect("https://models.example/v1") as llm:
        [proxy] = [mount for mount in llm.async_client._client._mounts.values() if mount is not None]
        assert isinstance(backend_of(proxy), AsyncioBackend)


async def test_the_headers_and_the_body_of_a_request_are_sent_together(monkeypatch):
    writes = []
    send = AsyncioStream._send

    def record(stream):
        writes.append(bytes(stream._unsent))
        send(stream)

    monkeypatch.setattr(AsyncioStream, "_send", record)
    async with scripted() as (base, _), connect(base) as llm:
        await llm.acomplete("What?")
    [request] = writes
    assert request.startswith(b"POST ") and request.endswith(b"}")


async def test_requests_are_those_of_the_openai_client():
    question: Any = [{"role": "user", "content": "Caf\u00e9?"}]
    async with scripted() as (base, requests):
        options: Any = {"temperature": 0.5, "extra_headers": {"x-a": "1"}, "extra_query": {"q": "a b"}, "seed": 7}
        async with connect(base) as llm:
            await llm.acomplete("Caf\u00e9?", **options, unknown_to_the_client=[1, {"a": None}])
        async with openai.AsyncOpenAI(
            api_key=SECRET, base_url=base, max_retries=0, default_headers={"Accept-Encoding": "gzip, deflate"}
        ) as client:
            await client.chat.completions.create(
                model="gpt-4o",
                messages=question,
                **options,
                timeout=llm.timeout,
                extra_body={"unknown_to_the_client": [1, {"a": None}]},
            )
    (ours, body), (theirs, their_body) = requests

    def lines(head):
        return sorted(line.lower() for line in head.split("\r\n") if "idempotency" not in line.lower())

    assert lines(ours) == lines(theirs)
    assert json.loads(body) == json.loads(their_body)


@asynccontextmanager
async def http_client(**timeouts):
    """An HTTP client with the transport, whose timeouts are a minute unless they are given."""
    client = openai.DefaultAsyncHttpxClient(timeout=httpx2.Timeout(60, **timeouts))
    use_asyncio(client)
    async with client:
        yield client


async def test_a_large_request_arrives_whole_with_its_length():
    content = b"0123456789" * 500_000
    async with scripted() as (base, requests), http_client() as client:
        assert (await client.post(base, content=content)).json()["model"] == "gpt-4o"
    [(head, body)] = requests
    assert body == content and "content-length: 5000000" in head.lower() and "chunked" not in head.lower()


async def test_a_request_of_unknown_length_is_sent_as_it_is_read():
    has_first, heads = asyncio.Event(), []

    async def serve(reader, writer):
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        await reader.readuntil(b"first")
        has_first.set()
        await reader.readuntil(b"second\r\n0\r\n\r\n")
        writer.write(HEAD + b"Connection: close\r\n\r\n" + ANSWER)
        await writer.drain()

    async def parts():
        yield b"first"
        await has_first.wait()
        yield b"second"

    async with serving(serve) as port, http_client() as client:
        assert (await client.post(f"http://127.0.0.1:{port}/v1", content=parts())).json()["model"] == "gpt-4o"
    assert heads[0].count("transfer-encoding: chunked") == 1 and "content-length" not in heads[0]


async def test_a_long_answer_waits_on_the_server_until_it_is_read():
    size, sent = 50_000_000, []

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
        for _ in range(size // 100_000):
            writer.write(bytes(100_000))
            await writer.drain()
            sent.append(100_000)

    async with (
        serving(serve) as port,
        http_client() as client,
        client.stream("POST", f"http://127.0.0.1:{port}/v1", content=b"{}") as response,
    ):
        connection = response.extensions["network_stream"]
        while not connection._is_full:
            await asyncio.sleep(0.01)
        assert len(connection._received) < 2_000_000 and sum(sent) < size
        assert len(await response.aread()) == size


async def test_a_connection_that_the_server_closed_while_it_was_idle_is_not_used_again():
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(HEAD + b"\r\n" + ANSWER)
        await writer.drain()

    async with serving(serve) as port, http_client() as client:
        for _ in range(3):
            assert (await client.post(f"http://127.0.0.1:{port}/v1", content=b"{}")).json()["model"] == "gpt-4o"


async def test_what_arrived_before_the_connection_ended_is_not_lost():
    async with scripted(HEAD + b"\r\n" + ANSWER[:20]) as (base, _), http_client() as client:
        received = []
        async with client.stream("POST", base, content=b"{}") as response, asyncio.timeout(60):
            connection = response.extensions["network_stream"]
            while not connection._is_over:
                await asyncio.sleep(0.01)
            with pytest.raises(httpx2.RemoteProtocolError, match="complete message body"):
                async for part in response.aiter_raw():
                    received.append(part)
    assert b"".join(received) == ANSWER[:20]


async def test_cookies_are_kept_by_the_client_alone():
    cookie = HEAD + b"Set-Cookie: a=1; Path=/\r\nConnection: close\r\n\r\n" + ANSWER
    async with scripted(cookie) as (base, requests), connect(base) as llm:
        await llm.acomplete("What?")
        await llm.acomplete("What?")
    assert [head.lower().count("cookie: a=1") for head, _ in requests] == [0, 1]


async def test_headers_of_an_answer_may_be_long():
    long = HEAD + b"X-Trace: " + b"x" * 40_000 + b"\r\nConnection: close\r\n\r\n" + ANSWER
    async with scripted(long) as (base, _), connect(base) as llm:
        assert (await llm.acomplete("What?")).text == "Blue."


FAILURES = {
    "nothing": (b"", errors.ProviderConnectionError, "without sending a response", False),
    "half an answer": (
        HEAD + b"\r\n" + ANSWER[:20],
        errors.ProviderConnectionError,
        "in the middle of the answer",
        True,
    ),
    "bad chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{\r\n",
        errors.MalformedResponseError,
        "invalid HTTP response",
        True,
    ),
    "no HTTP": (b"This is not HTTP.\r\n\r\n", errors.MalformedResponseError, "invalid HTTP response", True),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_broken_answer_is_the_same_error_as_for_a_synchronous_call(name):
    answer, kind, words, is_billed = FAILURES[name]
    async with scripted(answer, answer) as (base, _), connect(base) as llm:
        with pytest.raises(kind, match=words) as caught:
            await llm.acomplete("What?")
        with pytest.raises(kind, match=words) as synchronous:
            await asyncio.to_thread(llm.complete, "What?")
    mapped: list[Any] = [caught.value, synchronous.value]
    assert [error.may_be_billed for error in mapped] == [is_billed, is_billed]


async def test_a_connection_that_ends_before_the_answer_is_retried():
    async with scripted(b"") as (base, requests), connect(base, max_retries=1) as llm:
        assert (await llm.acomplete("What?")).text == "Blue." and len(requests) == 2


async def test_a_server_that_is_not_there_cannot_be_reached():
    with closed_port() as port, pytest.raises(errors.ProviderConnectionError, match="cannot be reached") as caught:
        await connect(f"http://127.0.0.1:{port}/v1").acomplete("What?")
    assert not caught.value.may_be_billed  # nothing was sent


async def test_a_server_that_answers_nothing_times_out():
    async with scripted(reads=False) as (base, _), http_client(read=0.5) as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.post(base, content=b"{}")


async def test_a_server_that_does_not_read_the_request_times_out():
    async with scripted(reads=False) as (base, _), http_client(write=0.5) as client:
        with pytest.raises(httpx2.WriteTimeout):
            await client.post(base, content=bytes(30_000_000))


async def test_other_calls_succeed_after_one_was_cancelled(server):
    server.fail(Fault(delay=60))
    async with connect(server.openai_base) as llm:
        call = asyncio.create_task(llm.acomplete("What?"))
        async with asyncio.timeout(60):
            while not server.requests:
                await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await llm.acomplete("What?")).text


@pytest.mark.parametrize("name", [*FAILURES, "refused"])
async def test_no_error_refers_to_the_key(name):
    answer = FAILURES[name][0] if name in FAILURES else b""
    async with scripted(answer) as (base, _):
        if name == "refused":
            base = "http://127.0.0.1:1/v1"
        async with connect(base) as llm:
            with pytest.raises(errors.ProviderError) as caught:
                await llm.acomplete("What?")
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error!r} {vars(error)}"
        error = error.__cause__ or error.__context__


def server_context():
    """The context of a server whose certificate nobody has signed; tornado brings it for its own tests."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    folder = Path(tornado.__file__).with_name("test")
    context.load_cert_chain(folder / "test.crt", folder / "test.key")
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def test_the_certificate_of_a_server_is_checked():
    async with http_client() as client:
        context = client._transport._pool._ssl_context
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname


async def test_an_untrusted_certificate_is_the_same_error_as_for_a_synchronous_call():
    async def serve(reader, writer):
        await reader.read()

    async with serving(serve, ssl=server_context()) as port, connect(f"https://127.0.0.1:{port}/v1") as llm:
        with pytest.raises(errors.ProviderConnectionError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            await llm.acomplete("What?")
        with pytest.raises(errors.ProviderConnectionError) as synchronous:
            await asyncio.to_thread(llm.complete, "What?")
    assert str(caught.value) == str(synchronous.value)


async def test_an_encrypted_connection_agrees_on_the_protocol():
    agreed = []

    async def serve(reader, writer):
        agreed.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"Connection: close\r\n\r\n" + ANSWER)
        await writer.drain()

    async with serving(serve, ssl=server_context()) as port, http_client() as client:
        context = client._transport._pool._ssl_context
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        assert (await client.post(f"https://127.0.0.1:{port}/v1", content=b"{}")).json()["model"] == "gpt-4o"
    assert agreed == ["http/1.1"]


NOT_CLOSED = """
import asyncio, sys
import vision_nb as vn
llm = vn.OpenAIMultiModal("gpt-4o", "k", sys.argv[1])
loop = asyncio.new_event_loop()
print(loop.run_until_complete(llm.acomplete("What?")).finish_reason)
"""


def test_a_model_that_is_not_closed_prints_nothing_when_python_exits(server):
    command = [sys.executable, "-c", NOT_CLOSED, server.openai_base]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (run.stdout, run.stderr) == ("stop\n", "")
