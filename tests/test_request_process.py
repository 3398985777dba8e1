"""The second process of a run: what it sends and answers is what this process would send and be answered."""

import asyncio
import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import psutil
import pytest

import vision_nb as vn
from tests.benchmarks.light_server import light_server
from tests.test_run_transport import ANSWER, FAILURES, SECRET, connect, serving
from vision_nb import errors
from vision_nb.cost.request_gate import LimitReport, active_gate
from vision_nb.providers import request_process
from vision_nb.providers.request_process import RequestProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix" or len(request_process._cores()) < 2, reason="there is one core"),
]


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Start the process at once, and let it send all requests."""
    monkeypatch.setattr(request_process, "OWN_TURN", 1 << 60)
    monkeypatch.setattr(request_process, "FULL", 0.0)
    monkeypatch.setattr(request_process, "WATCHED_SECONDS", 0.01)


def helpers(process=None):
    """The second processes that a process has started."""
    found = []
    for child in (process or psutil.Process()).children():
        with suppress(psutil.Error):  # it has just ended
            found += [child] if "request_worker" in " ".join(child.cmdline()) else []
    return found


@asynccontextmanager
async def helped(*models):
    """Send requests from a second process; yield it when it is ready."""
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        for llm in models:
            await stack.enter_async_context(llm)
            assert await stack.enter_async_context(llm.for_many_calls())
        process = RequestProcess(models)
        await stack.enter_async_context(process.running())
        while not process.takes(models[0], {}):
            await asyncio.sleep(0.01)
        yield process


@asynccontextmanager
async def answering(answers):
    """Run a server that gives each question its answer; yield its address, and the requests with the clients' ports."""
    requests: list[Any] = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        requests.append((writer.get_extra_info("peername")[1], head.decode(), body))
        answer = answers[body["messages"][0]["content"]]
        await asyncio.sleep(60 if answer is None else 0)
        writer.write(answer)
        await writer.drain()

    async with serving(serve) as port:
        yield f"http://127.0.0.1:{port}/v1", requests


def http(body, status="200 OK", *headers, kind="application/json"):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, *headers]).encode() + b"\r\n\r\n" + body


def error(message, **fields):
    return {"error": {"message": message, **fields}}


LIMITS = (
    "x-ratelimit-limit-requests: 9",
    "x-ratelimit-remaining-requests: 8",
    "x-ratelimit-reset-requests: 1s",
)
ANSWERS: dict[str, Any] = {
    "an answer": http(ANSWER, "200 OK", *LIMITS),
    "compressed": http(gzip.compress(ANSWER), "200 OK", "Content-Encoding: gzip"),
    "with other fields": http({**json.loads(ANSWER), "service_tier": "flex", "more": {"a": [1, None, "b"]}}),
    "of another type": http({**json.loads(ANSWER), "created": "today"}),
    "text": http(b"Blue.", kind="text/plain"),
    "a page": http(b"<html><title>Log in</title></html>", kind="text/html"),
    "no choices": http({"choices": []}),
    "a reported error": http(error("The model is busy.")),
    "events": http(
        b'data: {"choices": [{"index": 0, "delta": {"content": "Blue."}, "finish_reason": "stop"}]}\n\n'
        b"data: [DONE]\n\n",
        kind="text/event-stream",
    ),
    "not JSON": http(b"{", kind="application/json"),
    "the key": http(error(f"Incorrect API key provided: {SECRET}."), "401 Unauthorized"),
    "too fast": http(error("Slow down."), "429 Too Many Requests", "Retry-After: 7", *LIMITS),
    "a spent quota": http(error("No credit.", code="insufficient_quota"), "429 Too Many Requests"),
    "a wrong request": http(error("Invalid image."), "400 Bad Request"),
    "a failure": http(error("Something broke."), "500 Internal Server Error"),
    "a gateway": http(b"", "504 Gateway Timeout", kind="text/html"),
    "elsewhere": http(b"", "302 Found", "Location: http://other.example/v1/chat/completions"),
    "an encoding": http(b"?", "200 OK", "Content-Encoding: br"),
    **{name: answer for name, (answer, *_) in FAILURES.items()},
}


class Gate:
    """Notes what a request reports."""

    is_limited = True

    def __init__(self):
        self.noted: list[Any] = []

    def note_sent(self):
        self.noted.append("sent")

    def note_reports(self, reports: list[LimitReport], *, is_refused):
        if reports or is_refused:
            self.noted.append((sorted(report.resource for report in reports), is_refused))


async def outcome(llm, question):
    """What a call returns or raises, what its gate is told, and what the vendor's object or exceptions contain."""
    gate: Any = Gate()
    token = active_gate.set(gate)
    try:
        answer = await llm._acall({"model": "gpt-4o", "messages": [{"role": "user", "content": question}]})
    except Exception as failure:
        mapped: Any = llm._mapped(failure, "")
        chain, one = [], mapped
        while one is not None:
            assert SECRET not in f"{one!r} {vars(one)}"
            chain.append((type(one), str(one), getattr(one, "status_code", None), getattr(one, "body", None)))
            one = one.__cause__
        response = getattr(failure, "response", None)
        seen = None if response is None else (response.status_code, response.text, str(response.request.url))
        result: Any = chain, seen, getattr(mapped, "may_be_billed", None), getattr(mapped, "retry_after", None)
    else:
        request_id = getattr(answer, "_request_id", None)
        content = answer if isinstance(answer, str) else answer.model_dump(warnings=False)
        result = type(answer), content, getattr(answer, "model_extra", None), request_id
    finally:
        active_gate.reset(token)
    return result, set(map(str, gate.noted))


async def test_each_answer_and_error_is_the_same_from_both_processes():
    async with answering(ANSWERS) as (base, requests):
        llm = connect(base)
        async with llm, llm.for_many_calls():
            here = {question: await outcome(llm, question) for question in ANSWERS}
        own = requests[:]
        requests.clear()
        async with helped(llm):
            there = {question: await outcome(llm, question) for question in ANSWERS}
    for question in ANSWERS:
        assert there[question] == here[question], question
    assert [body for *_, body in requests] == [body for *_, body in own]

    def lines(head):
        return sorted(line.lower() for line in head.split("\r\n") if "idempotency" not in line.lower())

    assert [lines(head) for _, head, _ in requests] == [lines(head) for _, head, _ in own]
    assert "'sent'" in str(there["an answer"]) and "(['requests'], False)" in str(there["an answer"])
    assert "(['attempts', 'requests'], True)" in str(there["too fast"])


async def asked(requests, count=1):
    async with asyncio.timeout(60):
        while len(requests) < count:
            await asyncio.sleep(0.01)


async def test_a_process_that_ends_costs_only_the_calls_in_progress(ledger):
    async with answering({**ANSWERS, "slow": None}) as (base, requests):
        llm = connect(base, max_retries=2)
        async with helped(llm) as process:
            calls = [asyncio.create_task(llm.acomplete("slow")) for _ in range(3)]
            await asked(requests, 3)
            [child] = helpers()
            child.kill()
            for call in calls:
                with pytest.raises(errors.ProviderConnectionError, match=r"has ended.*may be billed") as caught:
                    await call
                assert caught.value.may_be_billed
            assert not process.takes(llm, {}) and (await llm.acomplete("an answer")).text == "Blue."
        assert len(requests) == 4 and not helpers()
    assert len(ledger.entries) == 4


async def test_a_cancelled_call_closes_its_connection():
    closed = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        requests.append(1)
        while await reader.read(1000):
            pass
        closed.set()
        writer.close()

    requests: list[int] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    llm = connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    async with server, helped(llm) as process:
        call = asyncio.create_task(llm.acomplete("What?"))
        await asked(requests)
        call.cancel()
        await asyncio.wait_for(closed.wait(), 60)
        assert process.takes(llm, {}) and helpers()


async def test_every_api_answers_through_it(server):
    azure = vn.AzureOpenAIMultiModal(
        "eyes", "gpt-4o", server.url, api_version="2024-06-01", api_key="a key of this test"
    )
    responses = connect(server.openai_base, api="responses")
    async with helped(azure, responses) as process:
        for llm in (azure, responses):
            image = vn.samples.path("chart")
            there = await llm.acomplete("How large is it?", image)
            here = await asyncio.to_thread(llm.complete, "How large is it?", image)
            assert (there.text, there.usage, type(there.raw)) == (here.text, here.usage, type(here.raw))
    assert next(process._numbers) == 2


async def test_a_request_that_takes_too_long_is_the_same_error():
    async with answering({"slow": None}) as (base, _):
        llm = connect(base, total_timeout=0.5, timeout=60)
        async with helped(llm):
            with pytest.raises(errors.ProviderTimeoutError, match="did not finish its answer in time"):
                await llm.acomplete("slow")


async def test_the_keys_are_those_of_the_models_and_only_sent_to_their_servers(monkeypatch):
    async with answering(ANSWERS) as (base, requests):
        monkeypatch.setenv("GROQ_API_KEY", "gsk_the-first-key-of-this-test")
        first = vn.ServiceMultiModal("groq", "qwen/qwen3.6-27b", api_base=base)
        monkeypatch.setenv("GROQ_API_KEY", "gsk_another-key-of-this-test")
        second = connect(base, default_headers={"x-team": "a secret team"})
        async with helped(first, second):
            [child] = helpers()
            assert SECRET not in str(child.cmdline()) + str(child.environ())
            await first.acomplete("an answer")
            await second.acomplete("an answer")
    heads = [head.lower() for _, head, _ in requests]
    assert ["gsk_the-first-key" in head for head in heads] == [True, False]
    assert [f"bearer {SECRET}" in head and "a secret team" in head for head in heads] == [False, True]


async def test_streams_and_headers_of_a_single_call_stay_here(server):
    async with helped(connect(server.openai_base)) as process:
        [llm] = process._places
        [child] = helpers()
        child.suspend()
        assert [part.delta async for part in await llm.astream_complete("What?")]
        assert (await llm.acomplete("What?", extra_headers={"x-a": "1"})).text
        child.resume()
        assert (await llm.acomplete("What?")).text
    assert next(process._numbers) == 1


async def test_some_requests_are_sent_from_here(server, monkeypatch):
    monkeypatch.setattr(request_process, "OWN_TURN", 5)
    llm = connect(server.openai_base)
    async with helped(llm) as process:
        process._turns = itertools.count(1)
        for _ in range(10):
            await llm.acomplete("What?")
        assert next(process._numbers) == 8


async def test_models_that_cannot_be_sent_stay_here(server):
    class Own(vn.OpenAIMultiModal):
        pass

    own, other = Own("gpt-4o", "a key of this test", server.openai_base), connect(server.openai_base)
    async with helped(other, own) as process:
        assert (await own.acomplete("What?")).text and next(process._numbers) == 0
        assert (await other.acomplete("What?")).text and next(process._numbers) == 2


async def test_only_a_full_core_starts_the_process(server, monkeypatch):
    monkeypatch.setattr(request_process, "FULL", 0.2)  # other tests take a part of each core
    monkeypatch.setattr(request_process, "WATCHED_SECONDS", 0.2)
    llm = connect(server.openai_base)
    async with llm, llm.for_many_calls(), RequestProcess([llm]).running():
        await asyncio.sleep(1)
        assert not helpers()
        async with asyncio.timeout(60):
            while not helpers():
                begin = time.thread_time()
                while time.thread_time() < begin + 0.05:
                    pass
                await asyncio.sleep(0)
    assert not helpers()


SCRIPT = """
import asyncio, sys
import vision_nb as vn
from vision_nb.providers import request_process

request_process.FULL, request_process.WATCHED_SECONDS = 0.0, 0.01

async def main():
    llm = vn.OpenAIMultiModal("gpt-4o", "a key of this test", "http://127.0.0.1:1/v1")
    process = request_process.RequestProcess([llm])
    async with llm.for_many_calls(), process.running():
        while not process.takes(llm, {}):
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def test_it_ends_with_a_process_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        [child] = helpers(psutil.Process(process.pid))
        process.kill()
    child.wait(60)


@contextmanager
def when_it_works(act):
    """Do something in a thread when the second process has begun to send the requests of the run in this context."""

    def wait():
        while not (children := [child for child in helpers() if child.net_connections("inet")]):
            time.sleep(0.05)
        act(children[0])

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join()


def ask_400(base, folder):
    prompts = [f"question {number}?" for number in range(400)]
    store = folder / "answers.sqlite3"
    with connect(base) as llm:
        return vn.compare(llm, prompts, [vn.samples.path("chart")], concurrency=40, store=store, progress=False)


async def test_a_run_goes_on_without_it_in_a_notebook(tmp_path, ledger):
    with light_server(0.5) as (base, _):
        with when_it_works(lambda child: child.kill()):
            result = ask_400(base, tmp_path)  # on this event loop, which is patched
        assert 1 <= len(result.errors) <= 40 and all("has ended" in row.error for row in result.errors)
        assert len(ledger.entries) == 400
        again = ask_400(base, tmp_path)
    assert not again.errors and len(ledger.entries) == 400 + len(result.errors) and not helpers()


def test_an_interrupt_ends_it(tmp_path):
    with light_server(0.5) as (base, _), when_it_works(lambda _: os.kill(os.getpid(), signal.SIGINT)):
        result = ask_400(base, tmp_path)
    assert result.incomplete and "interrupted" in result.incomplete and not result.errors and not helpers()


def test_the_demo_answers_in_this_process(tmp_path):
    seen, has_ended = [], threading.Event()

    def watch():
        while not has_ended.wait(0.02):
            seen.extend(helpers())

    thread = threading.Thread(target=watch)
    thread.start()
    prompts = [f"How large is it? {number}" for number in range(100)]
    result = vn.compare("demo", prompts, [vn.samples.path("chart")], store=tmp_path / "a.sqlite3", progress=False)
    has_ended.set()
    thread.join()
    assert not seen and not result.errors
