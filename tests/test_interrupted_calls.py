"""The ledger's estimate of a call that was interrupted, which may be billed although no answer arrived."""

import asyncio
import itertools
import time

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import APIS, FORMS, ask, interrupted_when, until
from vision_nb import errors
from vision_nb.demo import Fault


@pytest.fixture(params=APIS)
def llm(server, request):
    return vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, max_new_tokens=100, api=request.param)


def check_estimate(ledger, *, output_tokens=100):
    (entry,) = ledger.entries
    assert entry.is_estimate and entry.usage == vn.Usage(entry.expected_tokens, output_tokens)
    assert entry.usage.input_tokens > 255 and entry.usd == ledger.total > 0


@pytest.mark.posix
@pytest.mark.parametrize("method", ["complete", "stream_complete"])
def test_an_interrupt_while_waiting_for_the_answer_is_recorded_as_an_estimate(server, llm, ledger, method):
    server.fail(Fault(delay=60))
    with interrupted_when(lambda: server.requests), pytest.raises(KeyboardInterrupt):
        getattr(llm, method)("What?", picture())
    check_estimate(ledger)


@pytest.mark.posix
def test_an_interrupt_before_the_first_text_of_a_stream_is_recorded_as_an_estimate(server, llm, ledger):
    server.fail(Fault(events=itertools.repeat(": keep-alive\n\n")))
    stream = llm.stream_complete("What?", picture())
    time_to_wait = time.monotonic() + 0.5
    with interrupted_when(lambda: time.monotonic() > time_to_wait), pytest.raises(KeyboardInterrupt):
        next(stream)
    check_estimate(ledger)


@pytest.mark.posix
def test_an_interrupt_in_the_middle_of_a_stream_is_recorded_with_the_text_so_far(server, llm, ledger):
    server.answer_with("The sky is blue. " * 40)
    server.fail(Fault(hang=60))
    stream = llm.stream_complete("What?", picture())
    with interrupted_when(lambda: len(stream.text) > 20), pytest.raises(KeyboardInterrupt):
        list(stream)
    (entry,) = ledger.entries
    assert entry.is_estimate and stream.response.finish_reason == "interrupted"
    assert 0 < entry.usage.output_tokens < 1000


@pytest.mark.parametrize("method", ["acomplete", "astream_complete"])
async def test_a_canceled_call_is_recorded_as_an_estimate(server, llm, ledger, method):
    server.fail(Fault(delay=60))
    task = asyncio.create_task(getattr(llm, method)("What?", picture()))
    await cancel_when_asked(server, task)
    check_estimate(ledger)


async def test_a_canceled_stream_without_text_is_recorded_as_an_estimate(server, llm, ledger):
    server.fail(Fault(events=itertools.repeat(": keep-alive\n\n")))
    stream = await llm.astream_complete("What?", picture())
    await cancel_when_asked(server, asyncio.create_task(anext(stream)))
    check_estimate(ledger)


async def cancel_when_asked(server, task):
    await until(lambda: server.requests, task)
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("form", ["stream_complete", "astream_complete"])
async def test_a_stream_that_is_closed_before_its_first_text_is_recorded_as_an_estimate(server, llm, ledger, form):
    server.fail(Fault(events=itertools.repeat(": keep-alive\n\n")))
    if form == "stream_complete":
        llm.stream_complete("What?", picture()).close()
    else:
        await (await llm.astream_complete("What?", picture())).aclose()
    check_estimate(ledger)


@pytest.mark.parametrize("parts", [0, 1])
async def test_a_closed_stream_has_no_more_parts_and_keeps_what_has_arrived(llm, ledger, parts):
    stream, other = llm.stream_complete("What?", picture()), await llm.astream_complete("What?", picture())
    for _ in range(parts):
        assert next(stream).text and (await anext(other)).text
    stream.close(), await other.aclose()
    assert list(stream) == [] == [response async for response in other]
    with pytest.raises(errors.SettingsError, match="make a new request"):
        vn.display_stream(stream)
    assert bool(stream.text) == bool(other.text) == bool(parts) and "ended" in repr(stream)
    assert len(ledger.entries) == 2


@pytest.mark.posix
def test_the_open_calls_of_an_interrupted_comparison_are_recorded_as_estimates(server, llm, ledger, tmp_path):
    server.fail(Fault(delay=60), times=10)
    with interrupted_when(lambda: len(server.requests) == 2):
        comparison = vn.compare(
            llm, ["a?", "b?", "c?"], picture(), concurrency=2, store=tmp_path / "a.sqlite3", budget=1, progress=False
        )
    assert comparison.incomplete.startswith("interrupted")
    assert [entry.is_estimate for entry in ledger.entries] == [True, True]
    assert comparison.budget.spent >= ledger.total > 0


@pytest.mark.parametrize("form", ["stream_complete", "astream_complete"])
async def test_a_stream_that_ends_without_an_answer_is_recorded_as_an_estimate(server, llm, ledger, form):
    server.fail(Fault(events=["data: [DONE]\n\n"]))
    with pytest.raises(errors.MalformedResponseError):
        if form == "stream_complete":
            list(llm.stream_complete("What?", [picture()]))
        else:
            [response async for response in await llm.astream_complete("What?", [picture()])]
    check_estimate(ledger)


@pytest.mark.parametrize("form", FORMS)
async def test_an_empty_answer_without_token_counts_is_recorded_as_an_estimate(server, llm, ledger, form):
    server.fail(Fault(text="", no_usage=True))
    assert (await ask(llm, form, "What?", [picture()])).text == ""
    check_estimate(ledger)
    ledger.reset()
    server.answer_with("")
    replicate = vn.ReplicateMultiModal("llava-13b", api_token="r8_token_of_a_test", api_base=server.replicate_base)
    assert (await ask(replicate, form, "What?", [picture()])).text == ""
    assert len(ledger.entries) == 1
