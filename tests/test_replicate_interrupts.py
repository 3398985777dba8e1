"""Interrupts, canceled tasks and abandoned streams cancel their predictions; async calls never block the loop."""

import asyncio
import gc
import threading

import pytest

from tests.conftest import picture
from tests.forms import interrupted_when
from tests.replicate_calls import TEXT, created, maker, noise, wait_for
from vision_nb import errors
from vision_nb.demo import Fault


@pytest.fixture
def make(server, monkeypatch):
    return maker(server, monkeypatch)


@pytest.fixture
def endless(server, make):
    """Make answers too long for any test to wait for."""
    server.answer_with("word " * 5000)
    server.tokens_per_second = 50


@pytest.mark.posix
@pytest.mark.slow
def test_an_interrupt_cancels_the_prediction(server, make, endless):
    llm = make("fuyu-8b")

    def waits():
        return any(one.method == "GET" for one in server.requests)

    with interrupted_when(waits), pytest.raises(KeyboardInterrupt):
        llm.complete("What?", picture())
    assert server.cancellations == 1
    stream = make().stream_complete("What?", picture())
    with interrupted_when(lambda: len(stream.text) > 20), pytest.raises(KeyboardInterrupt):
        list(stream)
    assert stream.text.startswith("word") and server.cancellations == 2


def test_an_interrupt_is_raised_even_if_the_cancellation_fails(server, make, endless):
    stream = make().stream_complete("What?", picture())
    next(stream)
    server.fail(Fault(status=500), times=5)

    def interrupt(chunk):
        raise KeyboardInterrupt

    stream._parse = interrupt
    before = len(server.requests)
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert len(server.requests) == before + 1 and server.cancellations == 0


async def test_a_canceled_task_cancels_its_prediction(server, make, endless):
    llm = make()
    task = asyncio.create_task(llm.acomplete("What?", picture()))
    assert await wait_for(lambda: any(one.method == "GET" for one in server.requests))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.cancellations == 1
    stream = await llm.astream_complete("What?", picture())

    async def read():
        async for _ in stream:
            pass

    task = asyncio.create_task(read())
    assert await wait_for(lambda: len(stream.text) > 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.cancellations == 2 and stream.text.startswith("word")


async def test_a_task_canceled_during_the_creation_cancels_the_prediction(server, make, endless):
    server.fail(Fault(delay=0.3))
    task = asyncio.create_task(make().acomplete("What?", picture()))
    assert await wait_for(lambda: created(server))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await wait_for(lambda: server.cancellations == 1)


async def test_closing_or_dropping_a_stream_cancels_the_prediction(server, make, endless):
    llm = make()
    with llm.stream_complete("What?", picture()) as stream:
        next(stream)
    assert server.cancellations == 1
    llm.stream_complete("What?", picture()).close()
    assert server.cancellations == 2
    for _ in llm.stream_complete("What?", picture()):
        break
    gc.collect()
    assert server.cancellations == 3
    async with await llm.astream_complete("What?", picture()) as astream:
        await anext(astream)
    assert server.cancellations == 4
    await (await llm.astream_complete("What?", picture())).aclose()
    assert server.cancellations == 5
    assert await wait_for(lambda: server.disconnects >= 3)


async def test_a_complete_stream_cancels_nothing(server, make):
    stream = make().stream_complete("What?", picture())
    assert list(stream)[-1].text == TEXT
    stream.close()
    async with await make().astream_complete("What?", picture()) as astream:
        assert [part async for part in astream][-1].text == TEXT
    assert server.cancellations == 0


@pytest.mark.parametrize("model", ["llava-13b", "fuyu-8b", "demo/anything"])
async def test_async_calls_do_not_block_the_event_loop(server, make, model):
    """The answer is held back until another task has run: a call that blocks the loop never gets it."""
    waiting, ticked = threading.Event(), threading.Event()

    def answer(_):
        waiting.set()
        return TEXT if ticked.wait(20) else "the loop was blocked"

    async def tick():
        while not waiting.is_set():
            await asyncio.sleep(0.001)
        for _ in range(5):
            await asyncio.sleep(0)
        ticked.set()

    server.answer_with(answer)
    llm = make(model)
    for ask in (llm.acomplete, llm.astream_complete):
        waiting.clear(), ticked.clear()
        ticking = asyncio.create_task(tick())
        answered = await ask("What?", picture(800, 600))
        texts = [answered.text] if ask == llm.acomplete else [part.text async for part in answered]
        assert texts[-1] == TEXT
        await ticking


@pytest.mark.parametrize("model", ["llava-13b", "fuyu-8b", "demo/anything"])
@pytest.mark.slow
async def test_async_calls_make_no_synchronous_request_or_sleep(server, make, model, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a synchronous call on the event loop")

    monkeypatch.setattr("httpx.Client.send", refuse)
    monkeypatch.setattr("vision_nb.providers.replicate.predictions.time.sleep", refuse)
    server.tokens_per_second = 50
    for fault in (Fault(), Fault(status=429, retry_after=0.01), Fault(prediction_error="it broke")):
        llm = make(model)
        if fault.prediction_error and model == "demo/anything":
            await llm.acomplete("What?", picture())  # its schema is read by now
        server.fail(fault)
        call = asyncio.create_task(llm.acomplete("What?", noise(1200, 900) if fault == Fault() else picture()))
        await asyncio.wait([call])
        assert isinstance(call.exception(), (errors.PredictionFailedError, type(None)))
        async with await llm.astream_complete("What?", picture()) as stream:
            await anext(stream)


def test_one_model_serves_several_event_loops(make):
    llm = make()
    for _ in range(3):
        assert asyncio.run(llm.acomplete("What?", picture())).text == TEXT
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(asyncio.run(llm.acomplete("x", picture())).text))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [TEXT] * 3
