"""Failures of Replicate, and the errors that callers see."""

import asyncio
import itertools
import threading
import time
from typing import Any

import httpx
import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import FORMS, ask
from tests.replicate_calls import SECRET, TEXT, created, error_of_call, maker, noise
from vision_nb import errors
from vision_nb.demo import DemoServer, Fault
from vision_nb.demo.sample_urls import sample_url
from vision_nb.providers.replicate.errors import requested_pause
from vision_nb.providers.sse import Event, EventDecoder

pytestmark = pytest.mark.slow


@pytest.fixture
def make(server, monkeypatch):
    return maker(server, monkeypatch)


FAULTS = {
    "wrong token": (Fault(status=401), errors.AuthenticationError, "Check the API token"),
    "forbidden": (Fault(status=403), errors.AuthenticationError, "403"),
    "no credit": (Fault(status=402), errors.RequestRejectedError, "account/billing"),
    "unknown": (Fault(status=404), errors.UnknownModelError, "404 for llava-13b"),
    "rejected": (
        Fault(
            status=422, body={"title": "Input validation failed", "detail": "- input: x\n- input: y!\n", "status": 422}
        ),
        errors.RequestRejectedError,
        "- input: x - input: y! Correct",
    ),
    "too many": (Fault(status=429, retry_after=0.01), errors.RateLimitError, "Wait a moment"),
    "server failed": (Fault(status=503, retry_after=0.01), errors.ServerError, "replicate.com/predictions"),
    "garbage": (Fault(garbage=True), errors.MalformedResponseError, "invalid response"),
    "another shape": (Fault(body={"hello": "world"}), errors.MalformedResponseError, "api_base"),
    "hung up": (Fault(cut_after=0), errors.ProviderConnectionError, "connection to Replicate failed"),
    "too slow": (Fault(delay=5), errors.ProviderTimeoutError, "within 0.5 seconds"),
}


@pytest.mark.parametrize("fault, kind, words", FAULTS.values(), ids=FAULTS)
async def test_each_failure_raises_its_own_error_sync_and_async(server, make, fault, kind, words):
    llm = make(max_retries=1, timeout=0.5 if fault.delay else 30)
    for call in (llm.complete, llm.stream_complete):
        server._faults.clear()
        server.fail(fault, times=2)
        with pytest.raises(kind, match=words) as caught:
            call("What?", picture())
        assert caught.value.__cause__ is not None and len(str(caught.value)) < 300
        assert caught.value.status_code == (fault.status or None)
    for acall in (llm.acomplete, llm.astream_complete):
        server._faults.clear()
        server.fail(fault, times=2)
        with pytest.raises(kind, match=words):
            await acall("What?", picture())


async def test_a_rate_limited_call_is_retried_up_to_max_retries(server, make):
    llm = make(max_retries=3)
    server.fail(Fault(status=429, retry_after=0.01), times=4)
    with pytest.raises(errors.RateLimitError):
        llm.complete("What?", picture())
    assert len(server.requests) == 4
    server.fail(Fault(status=429, retry_after=0.01), times=4)
    with pytest.raises(errors.RateLimitError):
        await llm.acomplete("What?", picture())
    assert len(server.requests) == 8
    server.requests.clear()
    server.fail(Fault(status=429, retry_after=0.01), times=3)
    assert llm.complete("What?", picture()).text == TEXT
    assert len(created(server)) == 4 and len({str(body) for body in created(server)}) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_creation_is_not_repeated_after_a_server_error(server, make, status):
    """The prediction may exist and be billed, whatever the gateway says."""
    llm = make(max_retries=3)
    for number in range(4):
        server.fail(Fault(status=status, retry_after=0.01))
        error = await error_of_call(llm, number)
        assert type(error) is errors.ServerError and "check replicate.com/predictions before" in str(error)
        assert error.may_be_billed
        assert len(server.requests) == len(created(server)) == number + 1


@pytest.mark.parametrize("fault", [Fault(cut_after=20), Fault(status=500, retry_after=0), Fault(status=404)])
async def test_a_prediction_that_cannot_be_read_may_be_billed(server, make, fault):
    for number in range(2):
        vn.ledger.reset()
        server.fail(Fault())
        server.fail(fault)
        assert (await error_of_call(make("fuyu-8b", max_retries=0), number)).may_be_billed
        assert (len(vn.ledger.entries), vn.ledger.unpriced) == (1, 1)


@pytest.mark.slow
async def test_a_creation_is_repeated_if_no_connection_was_made(server, make):
    """Nothing listens at first: the server starts before the second attempt."""
    for number in range(2):
        llm = make(max_retries=3)
        port = int(server.url.rpartition(":")[2])
        server.stop()
        restarted = DemoServer(tokens_per_second=5000, port=port)
        restarted.answer_with(TEXT)
        timer = threading.Timer(0.2, restarted.start)
        timer.start()
        try:
            response = llm.complete("What?", picture()) if number == 0 else await llm.acomplete("What?", picture())
            assert response.text == TEXT and len(created(restarted)) == 1
        finally:
            timer.join()
            restarted.stop()
            server.start()


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.slow
async def test_polls_uploads_and_schema_requests_are_retried(server, make, status):
    fault = Fault(status=status, retry_after=0.01)
    llm = make("fuyu-8b", max_retries=2)
    server.fail(Fault())
    server.fail(fault, times=2)
    assert llm.complete("What?", picture()).text == TEXT
    server.fail(Fault())
    server.fail(fault, times=2)
    assert (await llm.acomplete("What?", picture())).text == TEXT
    assert len(created(server)) == 2
    server.fail(fault, times=2)
    assert llm.complete("What?", noise(1200, 900)).text == TEXT
    assert [request.path for request in server.requests].count("/v1/files") == 3
    server.fail(fault, times=2)
    assert (await make("demo/anything", max_retries=2).acomplete("What?", picture())).text == TEXT
    assert [request.path for request in server.requests].count("/v1/models/demo/anything") == 3


async def test_the_vendor_clients_own_retries_are_off(server, make):
    llm = make("fuyu-8b", max_retries=1)
    for number in (0, 2):
        server._faults.clear()
        server.fail(Fault())
        server.fail(Fault(status=503, retry_after=0.01), times=30)
        assert type(await error_of_call(llm, number)) is errors.ServerError
        assert [one.method for one in server.requests] == ["POST", "GET", "GET", "POST"]  # the last one cancels
        server.requests.clear()


@pytest.mark.parametrize("fault", [Fault(cut_after=0), Fault(delay=5)], ids=["hung up", "timed out"])
async def test_a_creation_without_a_response_is_not_repeated(server, make, fault):
    llm = make(max_retries=3, timeout=0.5)
    for number in range(4):
        server.fail(fault)
        error = await error_of_call(llm, number)
        assert isinstance(error, errors.ProviderConnectionError) and "replicate.com/predictions" in str(error)
        assert len(server.requests) == number + 1


def test_the_pause_that_the_server_requests_is_read(server, make):
    assert requested_pause("2.5") == 2.5
    assert requested_pause("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert requested_pause("", '{"detail": "Request was throttled.", "status": 429, "retry_after": 5}') == 5
    assert requested_pause("", '{"detail": "Request was throttled. Your rate limit resets in ~30s."}') == 30
    assert requested_pause("", "Expected available in 1 second.") == 1
    assert requested_pause("soon", "[1]") is None
    server.fail(Fault(status=429, retry_after=30))
    with pytest.raises(errors.RateLimitError) as caught:
        make(max_retries=0).complete("What?", picture())
    assert caught.value.retry_after == 30


def test_an_unreachable_server_is_a_connection_error():
    llm = vn.ReplicateMultiModal(api_token="t", api_base="http://127.0.0.1:9", max_retries=0)
    with pytest.raises(errors.ProviderConnectionError, match="connection to Replicate failed"):
        llm.complete("What?", picture())


@pytest.mark.parametrize("model", ["llava-13b", "fuyu-8b"])
async def test_the_error_of_a_failed_prediction_has_its_id_reason_and_log(server, make, model):
    log = "\n".join(f"line {number}" for number in range(40)) + "\nCUDA out of memory."
    fault = Fault(prediction_error="it broke!", prediction_logs=log)
    llm = make(model)
    for number in range(4):
        server._faults.clear()
        server.fail(fault)
        error = await error_of_call(llm, number)
        assert type(error) is errors.PredictionFailedError and isinstance(error, errors.PredictionError)
        assert error.prediction_id and error.prediction_id in str(error)
        assert "it broke! Try again" in str(error) and 'log ends with "CUDA out of memory."' in str(error)
        assert error.logs.startswith("line 33") and error.logs.endswith("CUDA out of memory.")
        cause: Any = error.__cause__
        assert cause.prediction.id == error.prediction_id
        if model == "llava-13b" and number % 2:
            assert error.partial_text and TEXT.startswith(error.partial_text)
    assert server.cancellations == 0


def test_an_image_that_the_model_cannot_download_is_the_same_error_as_with_other_providers(server, make):
    url = f"{server.url}/no-such-image.jpg"
    with pytest.raises(errors.ServerDownloadError, match="inline_urls=True") as caught:
        make("llava-13b").complete("What?", url)
    assert isinstance(caught.value, errors.PredictionFailedError) and caught.value.prediction_id
    url = sample_url(server, "chart")
    server.fail(Fault(prediction_error=f"404 Client Error: Not Found for url: {url}"))
    with pytest.raises(errors.PredictionDownloadError, match="404 Client Error"):
        make("llava-13b").complete("What?", url)
    server.fail(Fault(prediction_error="HTTPSConnectionPool(host='hub.co'): Max retries exceeded with url: /model"))
    with pytest.raises(errors.PredictionFailedError) as failed:
        make("llava-13b").complete("What?", url)
    assert not isinstance(failed.value, errors.ImageDownloadError)


@pytest.mark.parametrize("model", ["llava-13b", "fuyu-8b"])
async def test_a_prediction_canceled_elsewhere_is_an_error_of_its_own(server, make, model):
    llm = make(model)
    server.answer_with("word " * 50_000)
    for number in range(4):
        stop = asyncio.create_task(asyncio.to_thread(cancel_next, server))
        error = await (
            error_of_call(llm, number) if number > 1 else asyncio.to_thread(asyncio.run, error_of_call(llm, number))
        )
        await stop
        assert type(error) is errors.PredictionCanceledError and error.prediction_id in str(error)
        server.requests.clear()
    assert server.cancellations == 4


def cancel_next(server):
    """Cancel the next prediction, as its owner can on the website."""
    for _ in range(500):
        paths = [one.path for one in server.requests if one.method == "GET"]
        if paths:
            httpx.post(f"{server.url}{paths[0].removesuffix('/stream')}/cancel")
            return
        time.sleep(0.01)


def test_a_prediction_canceled_before_it_started_is_canceled(server, make):
    """Its status is "aborted", which the vendor's client does not know."""
    server.fail(Fault())
    server.fail(Fault(body={"id": "abc", "model": "a/b", "version": "c", "status": "aborted"}))
    with pytest.raises(errors.PredictionCanceledError, match="was canceled"):
        make("fuyu-8b").complete("What?", picture())


@pytest.mark.parametrize("model", ["llava-13b", "fuyu-8b"])
@pytest.mark.slow
async def test_a_prediction_that_takes_too_long_is_canceled(server, make, model):
    server.tokens_per_second = 0.2
    llm = make(model, timeout=1)
    for number in (0, 2) if model == "llava-13b" else (1, 3):
        error = await error_of_call(llm, number)
        assert type(error) is errors.ProviderTimeoutError and "did not finish within 1 seconds and was canceled" in str(
            error
        )
        cause: Any = error.__cause__
        assert cause.prediction.id in str(error)
    assert server.cancellations == 2


@pytest.mark.slow
async def test_a_stalled_stream_times_out_and_keeps_its_text(server, make):
    llm = make(timeout=1)
    for number in (1, 3):
        server.fail(Fault())
        server.fail(Fault(hang=20))
        error = await error_of_call(llm, number)
        cause: Any = error.__cause__
        assert type(error) is errors.ProviderTimeoutError and cause.prediction.id in str(error)
        assert error.partial_text and TEXT.startswith(error.partial_text)


SLOW_FOR_EVER = {
    "headers": Fault(headers={"X-Long": "x" * 10_000}, header_drip=0.1),
    "body": Fault(drip=0.2),
}


@pytest.mark.parametrize("fault", SLOW_FOR_EVER.values(), ids=SLOW_FOR_EVER)
@pytest.mark.parametrize("form", FORMS)
async def test_a_creation_that_drips_forever_ends_at_the_total_timeout(server, make, form, fault):
    server.fail(fault)
    with pytest.raises(errors.ProviderTimeoutError, match="total_timeout") as caught:
        await ask(make(timeout=30, total_timeout=0.5), form, images=[picture()])
    assert len(server.requests) == 1 and caught.value.may_be_billed


@pytest.mark.parametrize("fault", SLOW_FOR_EVER.values(), ids=SLOW_FOR_EVER)
@pytest.mark.parametrize("form", FORMS)
async def test_an_answer_that_drips_forever_is_canceled_at_the_total_timeout(server, make, form, fault):
    """The second request reads the event stream, or else the prediction."""
    server.tokens_per_second = 0.2
    server.fail(Fault())
    server.fail(fault)
    with pytest.raises(errors.ProviderTimeoutError, match="was canceled; raise total_timeout"):
        await ask(make(timeout=30, total_timeout=1), form, images=[picture()])
    assert server.cancellations == 1


@pytest.mark.parametrize("form", FORMS)
async def test_a_prediction_without_an_end_is_canceled_at_the_total_timeout(server, make, monkeypatch, form):
    monkeypatch.setenv("REPLICATE_POLL_INTERVAL", "50")
    server.tokens_per_second = 0.01
    with pytest.raises(errors.ProviderTimeoutError, match="was canceled; raise total_timeout"):
        await asyncio.wait_for(ask(make("fuyu-8b", timeout=300, total_timeout=1), form, images=[picture()]), 200)
    assert server.cancellations == 1


@pytest.mark.parametrize("form", FORMS)
async def test_keep_alives_forever_end_at_the_total_timeout(server, make, form):
    server.tokens_per_second = 50
    server.fail(Fault())
    server.fail(Fault(events=itertools.repeat(": keep-alive\n\n")) if "stream" in form else Fault(delay=20))
    with pytest.raises(errors.ProviderTimeoutError, match="was canceled; raise total_timeout"):
        await ask(make(timeout=30, total_timeout=0.5), form, images=[picture()])


@pytest.mark.parametrize("form", FORMS)
async def test_a_schema_whose_headers_drip_ends_at_the_total_timeout(server, make, form):
    server.fail(Fault(status=200, body={}, headers={"X-Long": "x" * 10_000}, header_drip=0.1))
    with pytest.raises(errors.ProviderTimeoutError, match="total_timeout"):
        await ask(make("owner/unlisted", timeout=30, total_timeout=0.5), form, images=[picture()])
    assert len(server.requests) == 1


@pytest.mark.parametrize("form", FORMS)
async def test_retries_end_at_the_total_timeout(server, make, form):
    server.fail(Fault(status=429, retry_after=30), times=9)
    with pytest.raises(errors.RateLimitError):
        await ask(make(max_retries=9, total_timeout=5), form, images=[picture()])
    assert len(server.requests) == 1


@pytest.mark.parametrize("form", FORMS)
async def test_a_cancellation_that_drips_forever_does_not_keep_the_user_waiting(server, make, monkeypatch, form):
    monkeypatch.setattr("vision_nb.providers.replicate.transport._CANCEL_TIMEOUT", 0.5)
    server.tokens_per_second = 0.2
    llm = make("fuyu-8b", timeout=1)
    server.answer_with("A long answer. " * 9)

    def fault_of(request):
        return SLOW_FOR_EVER["headers"] if request.path.endswith("/cancel") else Fault()

    record = server.record
    monkeypatch.setattr(server, "record", lambda request: (record(request), fault_of(request))[1])
    with pytest.raises(errors.ProviderTimeoutError, match="did not finish within 1 seconds"):
        await asyncio.wait_for(ask(llm, form, images=[picture()]), 60)


@pytest.mark.parametrize("fault", [Fault(cut_after=4), Fault(garbage=True), Fault(status=408), Fault(cut_after=0)])
async def test_a_broken_stream_is_completed_from_the_prediction(server, make, fault):
    llm = make(max_retries=0)
    for stream in (True, False):
        server.fail(Fault())
        server.fail(fault)
        if stream:
            parts = list(llm.stream_complete("What?", picture()))
        else:
            parts = [part async for part in await llm.astream_complete("What?", picture())]
        assert parts[-1].text == "".join(part.delta for part in parts) == TEXT
    assert server.cancellations == 0


async def test_no_repr_error_or_cause_contains_the_token(server, make):
    llm = make(max_retries=0)
    body = {"title": f"bad {SECRET}", "detail": f"bad token {SECRET} and r8_another123456", "status": 400}
    shown = [repr(llm), str(llm), str(llm.client)]
    for fault in (
        Fault(status=400, body=body),
        Fault(prediction_error=f"no {SECRET}", prediction_logs=f"token {SECRET}\nr8_another123456"),
    ):
        for number in range(4):
            server._faults.clear()
            server.fail(fault)
            error = await error_of_call(llm, number)
            shown += [str(error), repr(error), str(error.__cause__), repr(error.__cause__), getattr(error, "logs", "")]
    assert len(shown) == 3 + 8 * 5
    assert not any(SECRET in text or "r8_another" in text for text in shown)


@pytest.mark.parametrize("cut", range(1, 60, 7))
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_are_decoded_from_chunks_of_any_size(cut, end):
    lines = [
        "event: output",
        "id: 1:0",
        "data: é\u2028\x85",
        "data:  b",
        "",
        ": 408",
        "data: lone",
        "",
        "event: done",
        "data: {}",
        "",
        "",
    ]
    data = end.join(lines).encode()
    decoder = EventDecoder()
    pieces = [data[start : start + cut] for start in range(0, len(data), cut)]
    events = [event for piece in pieces for event in decoder.feed(piece)]
    assert events[:2] == [Event("output", "é\u2028\x85\n b"), Event("message", "lone")]
    assert events[2:] in ([Event("done", "{}")], [])
