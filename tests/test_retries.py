"""What is repeated and what is not, with default settings, counted by a server on this machine."""

import math
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import APIS
from vision_nb import errors
from vision_nb.cost.ledger import ledger
from vision_nb.demo import Fault
from vision_nb.providers.replicate.errors import requested_pause
from vision_nb.providers.retries import parse_retry_after

pytestmark = pytest.mark.slow

TOO_LARGE = (
    "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 36055. The "
    "input or output tokens must be reduced in order to run successfully."
)
ALMOST = (
    "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 1055. Please try again "
    "in 110ms."
)


def make(server, **options):
    return vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, **options)


async def ask(llm, how):
    if how == "complete":
        return llm.complete("What?")
    if how == "acomplete":
        return await llm.acomplete("What?")
    if how == "stream":
        return list(llm.stream_complete("What?"))[-1]
    return [response async for response in await llm.astream_complete("What?")][-1]


HOWS = ["complete", "acomplete", "stream", "astream"]
hows = pytest.mark.parametrize("how", HOWS)
apis = pytest.mark.parametrize("api", APIS)


@apis
@hows
async def test_a_timed_out_question_is_asked_once_and_estimated_in_the_ledger(server, api, how):
    server.fail(Fault(delay=30), times=9)
    with pytest.raises(errors.ProviderTimeoutError, match=r"raise timeout=, for example timeout=600") as caught:
        await ask(make(server, api=api, timeout=0.5, max_new_tokens=77), how)
    assert len(server.requests) == 1 and caught.value.may_be_billed
    (entry,) = ledger.entries
    assert entry.is_estimate and entry.usage.input_tokens == entry.expected_tokens > 0
    assert entry.usage.output_tokens == 77 and entry.usd > 0


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_a_stream_that_times_out_before_its_first_word_is_estimated(server, how):
    chunk = {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {}}],
    }
    server.fail(Fault(events=[chunk, chunk], hang=30), times=9)
    with pytest.raises(errors.ProviderTimeoutError):
        await ask(make(server, timeout=0.5), how)
    assert len(server.requests) == 1 and [entry.is_estimate for entry in ledger.entries] == [True]


@apis
@pytest.mark.parametrize("status", [408, 504])
@hows
async def test_a_question_for_which_a_proxy_did_not_wait_is_asked_once(server, api, how, status):
    server.fail(Fault(status=status, body={"error": {"message": "litellm.Timeout"}}), times=9)
    with pytest.raises(errors.ProviderError):
        await ask(make(server, api=api), how)
    assert len(server.requests) == 1 and [entry.is_estimate for entry in ledger.entries] == [True]


@apis
@pytest.mark.parametrize("how", ["complete", "acomplete"])
async def test_an_answer_that_breaks_off_is_asked_once(server, api, how):
    server.fail(Fault(cut_after=-20), times=9)
    with pytest.raises(errors.ProviderConnectionError, match="may be billed"):
        await ask(make(server, api=api), how)
    assert len(server.requests) == 1 and [entry.is_estimate for entry in ledger.entries] == [True]


def test_compare_asks_a_timed_out_question_once(server, tmp_path):
    server.fail(Fault(delay=30), times=9)
    llm = make(server, timeout=0.5)
    (row,) = vn.compare(llm, "What?", picture(), store=tmp_path / "a.sqlite3", progress=False)
    assert row.error.startswith("ProviderTimeoutError") and "timeout=" in row.error
    assert len(server.requests) == 1 and [entry.is_estimate for entry in ledger.entries] == [True]


def test_models_that_reason_are_given_ten_minutes(server):
    timeouts = {
        name: vn.OpenAIMultiModal(name, "k").timeout for name in ("gpt-4o", "o1", "o3-mini", "o4-mini", "gpt-5.4")
    }
    assert timeouts == {"gpt-4o": 60, "o1": 600, "o3-mini": 600, "o4-mini": 600, "gpt-5.4": 600}
    assert vn.OpenAIMultiModal("o3", "k", timeout=5).timeout == 5
    assert vn.OpenAIMultiModal("o3", "k").client.timeout == 600


TRANSIENT = {
    "rate limit": Fault(status=429, retry_after=0.01),
    "server error": Fault(status=500, retry_after=0.01),
    "overloaded": Fault(status=503, retry_after=0.01),
    "hung up": Fault(cut_after=0),
    "nearly over the limit": Fault(status=429, retry_after=0.01, body={"error": {"message": ALMOST}}),
}


@apis
@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
@hows
async def test_a_transient_failure_is_repeated(server, api, fault, how):
    server.fail(fault, times=2)
    assert (await ask(make(server, api=api), how)).text
    assert len(server.requests) == 3


def error(message, **more):
    return {"error": {"message": message, **more}}


HOPELESS = {
    "too long, llama.cpp": (500, error("the request exceeds the available context size. try increasing it")),
    "too long, llama-cpp-python": (500, error("Requested tokens (5000) exceed context window of 2048")),
    "too long, through LiteLLM": (500, error("litellm.ContextWindowExceededError: prompt is too long")),
    "dead URL, vLLM": (500, error("Failed to fetch image: 404, message='Not Found', url='http://x/y.png'")),
    "dead URL, Ollama": (502, error("could not download remote file http://x/y.png")),
    "dead URL, through LiteLLM": (
        500,
        error("litellm.BadRequestError: Unable to fetch image from URL. Status code: 404"),
    ),
    "dead URL, bad gateway": (502, error("Bad gateway: image could not be loaded: HTTP 403")),
    "no projector": (500, error("image input is not supported - hint: if this is unexpected, provide the mmproj")),
    "invalid request": (500, error("1 validation error for CreateChatCompletionRequest")),
    "nested status": (500, error("Error code: 400 - bad content")),
    "not implemented": (501, error("no images")),
    "bad request": (400, error("Invalid image")),
    "dead URL, OpenAI": (400, error("Error while downloading http://x/y.png.", code="invalid_image_url")),
    "not found": (404, {"detail": "Not Found"}),
    "unprocessable": (422, {"detail": "no"}),
    "too large": (413, error("too large")),
}


@pytest.mark.parametrize("status, body", HOPELESS.values(), ids=HOPELESS)
@hows
async def test_what_cannot_succeed_is_asked_once(server, status, body, how):
    server.fail(Fault(status=status, body=body), times=9)
    with pytest.raises(errors.ProviderError):
        await ask(make(server), how)
    assert len(server.requests) == 1


def test_a_local_server_is_asked_once_for_what_cannot_succeed(server):
    llm = vn.LocalMultiModal("llava", server.openai_base)
    assert llm.complete("What?", picture()).text  # what the server says about its model is loaded
    for status, body in (value for value in HOPELESS.values() if value[0] >= 500):
        before = len(server.requests)
        server.fail(Fault(status=status, body=body))
        with pytest.raises(errors.ProviderError):
            llm.complete("What?", picture())
        assert sum(request.method == "POST" for request in server.requests[before:]) == 1, body


@hows
async def test_a_request_above_the_whole_limit_fails_at_once_with_advice(server, how):
    server.fail(Fault(status=429, retry_after=0.01, body=error(TOO_LARGE, code="rate_limit_exceeded")), times=9)
    with pytest.raises(errors.RequestTooLargeError, match="fewer or smaller images"):
        await ask(make(server), how)
    assert len(server.requests) == 1


def test_compare_does_not_repeat_a_request_above_the_whole_limit(server, tmp_path):
    server.fail(Fault(status=429, body=error(TOO_LARGE, code="rate_limit_exceeded")), times=1)
    rows = vn.compare(make(server), ["1?", "2?"], picture(), store=tmp_path / "a", progress=False, concurrency=1)
    assert "fewer or smaller images" in rows[0].error and rows[1].finished
    assert len(server.requests) == 2


def http_date(seconds):
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


LONG = {"seconds": "99999", "infinite": "inf", "date": "Wed, 21 Oct 2099 07:28:00 GMT", "overflow": "1e999"}


@pytest.mark.parametrize("value", LONG.values(), ids=LONG)
@hows
async def test_a_call_fails_at_once_if_the_server_asks_for_more_than_a_minute(server, how, value):
    server.fail(Fault(status=429, retry_after=value), times=9)
    with pytest.raises(errors.RateLimitError) as caught:
        await ask(make(server), how)
    assert len(server.requests) == 1 and caught.value.retry_after > 60


@pytest.mark.parametrize("value", LONG.values(), ids=LONG)
def test_compare_waits_no_longer_than_max_wait_and_then_has_an_error_row(server, tmp_path, value):
    server.fail(Fault(status=429, retry_after=value), times=1000)
    prompts = [f"{number}?" for number in range(20)]
    options = {"store": tmp_path / "a", "progress": False, "max_wait": 0.2}
    comparison = vn.compare(make(server), prompts, picture(), **options)
    assert all(row.error.startswith("RateLimitError") for row in comparison)
    assert len(server.requests) <= 20 + 10  # a second attempt only for the 8 calls that waited, and 2 for their turn
    server._faults.clear()
    assert not comparison.retry_errors(progress=False).errors


def test_a_call_succeeds_after_the_longest_pause(server, tmp_path):
    server.fail(Fault(status=429, retry_after=99999))
    (row,) = vn.compare(make(server), "What?", picture(), store=tmp_path / "a", progress=False, max_wait=0.2)
    assert row.finished and len(server.requests) == 2


@pytest.mark.parametrize("value", ["-5", "soon", "nan", "", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_an_unusable_retry_after_does_not_disturb_compare(server, tmp_path, value):
    server.fail(Fault(status=429, retry_after=value))
    (row,) = vn.compare(make(server), "What?", picture(), store=tmp_path / "a", progress=False, max_wait=0.2)
    assert row.finished and len(server.requests) == 2


def test_compare_repeats_a_rate_limited_call_itself_and_not_through_the_client(server, tmp_path):
    server.fail(Fault(status=429, retry_after=0.01), times=1000)
    (row,) = vn.compare(make(server), "What?", picture(), store=tmp_path / "a", progress=False)
    assert row.error and len(server.requests) == 7


@pytest.mark.parametrize("max_wait", [-1, math.inf, math.nan, "60", True, None])
def test_a_wrong_max_wait_is_an_error(server, tmp_path, max_wait):
    with pytest.raises(errors.SettingsError, match="max_wait"):
        vn.compare(make(server), "What?", picture(), store=tmp_path / "a", progress=False, max_wait=max_wait)


def test_every_form_of_retry_after_is_read():
    for value, expected in {"7": 7, "1.5": 1.5, " 2 ": 2, "-3": 0, "inf": math.inf, "1e999": math.inf}.items():
        assert parse_retry_after(value) == requested_pause(value) == expected
    for value in ("", "nan", "soon", "Wed, 99 Foo 2026", "7 seconds"):
        assert parse_retry_after(value) is None and requested_pause(value) is None
    assert parse_retry_after(None) is None and parse_retry_after(None, "250") == 0.25
    assert parse_retry_after("7", "garbage") == 7
    assert 25 < parse_retry_after(http_date(30)) <= 30 and parse_retry_after(http_date(-30)) == 0
    assert 25 < parse_retry_after(http_date(30).replace("GMT", "-0000")) <= 30


def test_milliseconds_take_precedence(server):
    server.fail(Fault(status=429, retry_after=50, headers={"retry-after-ms": "20"}))
    started = time.monotonic()
    assert make(server).complete("What?").text and time.monotonic() - started < 40
