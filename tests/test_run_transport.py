"""The calls of a run, which aiohttp sends: what is sent, what is received, and what every kind of failure becomes."""

import asyncio
import json
import ssl
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
from vision_nb.notebook.run_sync import run_sync
from vision_nb.providers.openai import connection
from vision_nb.providers.openai.aiohttp_transport import AiohttpTransport

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


@asynccontextmanager
async def connected(base, **options):
    """A model whose calls are sent as those of a run are."""
    async with connect(base, **options) as llm, llm.for_many_calls():
        yield llm


def transport_of(client):
    return client._client._transport


async def test_only_a_context_of_many_calls_uses_aiohttp(server):
    async with connect(server.openai_base) as llm:
        async with llm.for_many_calls():
            within = llm.async_client
            assert isinstance(transport_of(within), AiohttpTransport) and (await llm.acomplete("What?")).text
            outside = await asyncio.to_thread(lambda: isinstance(transport_of(llm.client), httpx2.HTTPTransport))
        assert outside and within.is_closed()
        assert isinstance(transport_of(llm.async_client), httpx2.AsyncHTTPTransport)


async def test_the_clients_of_two_contexts_are_independent(server):
    has_ended = asyncio.Event()

    async def first(llm):
        async with llm.for_many_calls():
            await llm.acomplete("What?")
        has_ended.set()

    async def second(llm):
        async with llm.for_many_calls():
            client = llm.async_client
            await has_ended.wait()
            assert llm.async_client is client and (await llm.acomplete("What?")).text

    async with connect(server.openai_base) as llm, asyncio.timeout(60):
        await asyncio.gather(second(llm), first(llm))


async def test_the_users_client_is_kept(server):
    async with httpx2.AsyncClient() as own, connected(server.openai_base, async_http_client=own) as llm:
        assert (await llm.acomplete("What?")).text and not isinstance(transport_of(llm.async_client), AiohttpTransport)


@pytest.mark.parametrize(("variable", "uses_aiohttp"), [("HTTPS_PROXY", False), ("NO_PROXY", True)])
async def test_proxies_are_left_to_httpx(monkeypatch, variable, uses_aiohttp):
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)
    monkeypatch.setenv(variable, "http://proxy.example:3128")
    async with connected("https://api.example.com/v1") as llm:
        assert isinstance(transport_of(llm.async_client), AiohttpTransport) is uses_aiohttp


async def test_without_aiohttp_calls_use_the_clients_own_transport(server, monkeypatch):
    monkeypatch.setattr(connection, "find_spec", lambda name: None)
    async with connected(server.openai_base) as llm:
        assert isinstance(transport_of(llm.async_client), httpx2.AsyncHTTPTransport)
        assert (await llm.acomplete("What?")).text


async def test_requests_are_those_of_the_openai_client():
    question: Any = [{"role": "user", "content": "Caf\u00e9?"}]
    async with scripted() as (base, requests):
        options: Any = {"temperature": 0.5, "extra_headers": {"x-a": "1"}, "extra_query": {"q": "a b"}, "seed": 7}
        async with connected(base) as llm:
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
    transport = AiohttpTransport(httpx2.create_ssl_context())
    async with openai.DefaultAsyncHttpxClient(timeout=httpx2.Timeout(60, **timeouts), transport=transport) as client:
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


async def test_an_answer_may_begin_before_the_whole_request_was_sent():
    has_begun = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"Connection: close\r\n\r\n" + ANSWER[:20])
        await has_begun.wait()
        await reader.readexactly(30_000_000)
        writer.write(ANSWER[20:])
        await writer.drain()

    async with (
        serving(serve) as port,
        http_client() as client,
        client.stream("POST", f"http://127.0.0.1:{port}/v1", content=bytes(30_000_000)) as response,
    ):
        has_begun.set()
        assert await response.aread() == ANSWER


async def test_what_arrived_before_the_connection_ended_is_not_lost():
    async with scripted(HEAD + b"\r\n" + ANSWER[:20]) as (base, _), http_client() as client:
        received = []
        async with client.stream("POST", base, content=b"{}") as response, asyncio.timeout(60):
            stream: Any = response.stream
            content = stream._stream._response.content
            while content.exception() is None:
                await asyncio.sleep(0.01)
            with pytest.raises(httpx2.RemoteProtocolError, match="complete message body"):
                async for part in response.aiter_raw():
                    received.append(part)
    assert b"".join(received) == ANSWER[:20]


async def test_cookies_are_kept_by_the_client_alone():
    cookie = HEAD + b"Set-Cookie: a=1; Path=/\r\nConnection: close\r\n\r\n" + ANSWER
    async with scripted(cookie) as (base, requests), http_client() as client:
        named = base.replace("127.0.0.1", "localhost")  # aiohttp would keep no cookie of an IP address
        await client.post(named, content=b"{}")
        await client.post(named, content=b"{}")
        client.cookies.clear()
        await client.post(named, content=b"{}")
    assert [head.lower().count("cookie: a=1") for head, _ in requests] == [0, 1, 0]


async def test_headers_of_an_answer_may_be_long():
    long = HEAD + b"X-Trace: " + b"x" * 40_000 + b"\r\nConnection: close\r\n\r\n" + ANSWER
    async with scripted(long) as (base, _), connected(base) as llm:
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
    async with scripted(answer, answer) as (base, _), connected(base) as llm:
        with pytest.raises(kind, match=words) as caught:
            await llm.acomplete("What?")
        with pytest.raises(kind, match=words) as synchronous:
            await asyncio.to_thread(llm.complete, "What?")
    mapped: list[Any] = [caught.value, synchronous.value]
    assert [error.may_be_billed for error in mapped] == [is_billed, is_billed]


async def test_a_connection_that_ends_before_the_answer_is_retried():
    async with scripted(b"") as (base, requests), connected(base, max_retries=1) as llm:
        assert (await llm.acomplete("What?")).text == "Blue." and len(requests) == 2


async def test_a_server_that_is_not_there_cannot_be_reached():
    with closed_port() as port, pytest.raises(errors.ProviderConnectionError, match="cannot be reached") as caught:
        async with connected(f"http://127.0.0.1:{port}/v1") as llm:
            await llm.acomplete("What?")
    assert "([Errno" in str(caught.value)
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
    async with connected(server.openai_base) as llm:
        call = asyncio.create_task(llm.acomplete("What?"))
        async with asyncio.timeout(60):
            while not server.requests:
                await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await llm.acomplete("What?")).text


@pytest.mark.parametrize("is_nested", [False, True], ids=["on a loop", "on a patched loop, as in a notebook"])
@pytest.mark.parametrize("name", [*FAILURES, "refused"])
async def test_no_error_refers_to_the_key_or_to_aiohttp(name, is_nested):
    answer = FAILURES[name][0] if name in FAILURES else b""

    async def ask(base):
        async with connected(base) as llm:
            with pytest.raises(errors.ProviderError) as caught:
                await llm.acomplete("What?")
        return caught.value

    async with scripted(answer) as (base, _):
        base = "http://127.0.0.1:1/v1" if name == "refused" else base
        error: BaseException | None = run_sync(ask(base)) if is_nested else await ask(base)
    while error is not None:
        assert SECRET not in f"{error!r} {vars(error)}" and not type(error).__module__.startswith("aiohttp")
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
        context = client._transport._ssl_context
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname


async def test_an_untrusted_certificate_is_the_same_error_as_for_a_synchronous_call():
    async def serve(reader, writer):
        await reader.read()

    async with serving(serve, ssl=server_context()) as port, connected(f"https://127.0.0.1:{port}/v1") as llm:
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
        context = client._transport._ssl_context
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        assert (await client.post(f"https://127.0.0.1:{port}/v1", content=b"{}")).json()["model"] == "gpt-4o"
    assert agreed == ["http/1.1"]


async def test_names_are_resolved_by_the_system(monkeypatch):
    monkeypatch.setattr("aiohttp.connector.DefaultResolver", None)  # that of aiodns, if it is installed
    async with scripted() as (base, _), http_client() as client:
        answer = await client.post(base.replace("127.0.0.1", "localhost"), content=b"{}")
    assert answer.json()["model"] == "gpt-4o"
