"""Rate limits of single calls: the limit of a model, and the limits that its server reports."""

import asyncio
import faulthandler
import gc
import os
import threading
import time
import warnings
from decimal import Decimal

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import EIGHT_FORMS, ask, interrupted_when
from tests.kernels import run_cells, text_of
from tests.virtual_minutes import VirtualMinutes
from vision_nb import errors
from vision_nb.cost import request_window
from vision_nb.cost.budget import Budget
from vision_nb.cost.rate_limit import NO_LIMITS, amounts
from vision_nb.cost.request_gate import LimitReport
from vision_nb.cost.request_window import SlidingWindow
from vision_nb.demo import Fault
from vision_nb.notebook import wait_line
from vision_nb.notebook.wait_line import show_wait

SYNC = [form for form in EIGHT_FORMS if not form.startswith("a")]
ASYNC = [form for form in EIGHT_FORMS if form.startswith("a")]
SCHEMA = {"type": "object", "properties": {"height": {"type": "integer"}}, "required": ["height"]}
USED_UP = {
    "x-ratelimit-limit-requests": "1",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "20s",
}


@pytest.fixture
def minutes(monkeypatch):
    return VirtualMinutes(monkeypatch)


@pytest.fixture
def shown():
    """Return the lines that are shown while calls wait."""
    lines = []
    token = show_wait.set(lines.append)
    yield lines
    show_wait.reset(token)


@pytest.fixture
def image():
    return vn.ImageDocument(image=picture(), image_name="photo.png")


def limited(server, requests=1, name="gpt-4o", **options):
    limit = vn.RateLimit(requests_per_minute=requests)
    options = {"api_key": "k", "api_base": server.openai_base, "max_new_tokens": 50, "rate_limit": limit, **options}
    return vn.OpenAIMultiModal(name, **options)


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_calls_keep_the_limit_of_their_model(server, image, minutes, form):
    llm = limited(server, 2)
    for _ in range(3):
        await ask(llm, form, images=[image])
    assert len(server.requests) == 3 and minutes.waits == [[0, 61]]


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_calls_wait_for_the_reset_that_the_server_reports(server, image, minutes, form):
    server.fail(Fault(headers=USED_UP), times=3)
    llm = limited(server, rate_limit=None)
    for _ in range(3):
        await ask(llm, form, images=[image])
    assert minutes.waits == [[20, 20]]


async def test_all_forms_of_a_call_share_the_limit(server, image, minutes):
    llm = limited(server)
    for form in EIGHT_FORMS:
        await ask(llm, form, images=[image])
    assert minutes.waits == [[61] * 7]


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_replicate_calls_keep_the_limit_and_that_of_the_server(server, image, minutes, form):
    server.fail(Fault(headers={"ratelimit-limit": "1", "ratelimit-remaining": "0", "ratelimit-reset": "20"}), times=99)
    options = {"api_token": "r8_" + "k" * 37, "api_base": server.replicate_base}
    reported = vn.ReplicateMultiModal("llava-13b", **options)
    for _ in range(2):
        await ask(reported, form, images=[image])
    limit = vn.RateLimit(requests_per_minute=1)
    await ask(vn.ReplicateMultiModal("llava-13b", rate_limit=limit, **options), form, images=[image])
    assert minutes.waits == [[20, 61]]


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_a_retry_counts_as_a_request(server, image, minutes, form):
    server.fail(Fault(status=500))
    await ask(limited(server), form, images=[image])
    assert len(server.requests) == 2 and minutes.waits == [[61]]


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_a_repair_counts_as_a_request(server, image, minutes, form):
    answers = iter(["tall", '{"height": 3}'])
    server.answer_with(lambda question: next(answers))
    response = await ask(limited(server), form, images=[image], schema=SCHEMA)
    assert response.parsed == {"height": 3} and minutes.waits == [[61]]


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_a_refused_request_is_repeated_after_the_reset(server, image, minutes, form):
    server.fail(Fault(status=429, headers={**USED_UP, "x-ratelimit-reset-requests": "700ms"}))
    await ask(limited(server, rate_limit=None), form, images=[image])
    first, second = server.requests
    assert second.time - first.time >= 0.7


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_the_bill_replaces_the_counted_tokens(server, image, minutes, form):
    server.answer_with(lambda question: "Yes.")
    llm = limited(server, max_new_tokens=400, rate_limit=vn.RateLimit(tokens_per_minute=1000))  # about 660 tokens
    for _ in range(3):
        await ask(llm, form, images=[image])  # billed as about 260
    assert minutes.waits == [[0, 61]]


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_a_request_larger_than_the_limit_is_an_error_at_once(server, image, form):
    llm = limited(server, rate_limit=vn.RateLimit(tokens_per_minute=100))
    with pytest.raises(errors.RequestTooLargeError, match="tokens_per_minute=100"):
        await ask(llm, form, images=[image])
    assert not server.requests


def test_models_with_the_same_name_and_account_share_the_limit(server, image, minutes):
    for model in (limited(server), limited(server), limited(server, api_key="other"), limited(server, name="gpt-4.1")):
        model.complete("What?", image)
    assert minutes.waits == [[61], [], []]


def test_azure_models_with_the_same_token_provider_share_the_limit(server, image, minutes):
    def azure(provider):
        limit = vn.RateLimit(requests_per_minute=1)
        options = {"engine": "gpt-4o", "azure_endpoint": server.url, "api_version": "2024-10-21"}
        return vn.AzureOpenAIMultiModal(**options, azure_ad_token_provider=provider, rate_limit=limit)

    def get_token():
        return "a-token"

    for model in (azure(get_token), azure(get_token), azure(lambda: "a-token")):
        model.complete("What?", image)
    assert minutes.waits == [[61], []]


def test_threads_share_the_limit(server, image, minutes):
    llm = limited(server)
    threads = [threading.Thread(target=llm.complete, args=("What?", image)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert minutes.waits == [[61] * 3]


async def test_tasks_share_the_limit(server, image, minutes):
    llm = limited(server)
    async with asyncio.timeout(60):
        await asyncio.gather(*(llm.acomplete("What?", image) for _ in range(4)))
    assert minutes.waits == [[61] * 3]


def test_a_run_keeps_the_limit_of_its_model_once(server, minutes, tmp_path):
    images = [vn.ImageDocument(image=picture(seed=seed), image_name=f"{seed}.png") for seed in range(3)]
    llm = limited(server)
    llm.complete("What?", images[0])
    comparison = vn.compare(llm, "What?", images, store=tmp_path / "store", progress=False)
    llm.complete("What?", images[0])
    assert not comparison.errors and minutes.waits == [[61] * 4]


def test_the_limit_of_a_run_replaces_that_of_its_model(server, minutes, tmp_path):
    images = [vn.ImageDocument(image=picture(seed=seed), image_name=f"{seed}.png") for seed in range(3)]
    limits = {"gpt-4o": vn.RateLimit(requests_per_minute=3)}
    models = [limited(server), limited(server, name="gpt-4.1")]
    comparison = vn.compare(models, "What?", images, rate_limits=limits, store=tmp_path / "store", progress=False)
    assert not comparison.errors and minutes.waits == [[0, 0], [61, 61]]


def test_a_plan_knows_the_limit_of_its_model(server, image, tmp_path):
    images = [vn.ImageDocument(image=picture(seed=seed), image_name=f"{seed}.png") for seed in range(3)]
    plan = vn.compare(limited(server), "What?", images, dry_run=True, store=tmp_path / "store")
    assert "at least 2 min 2 s at 1 request a minute" in repr(plan)


@pytest.mark.parametrize("limit", [500, {"requests_per_minute": 1}, "500"])
def test_a_limit_of_another_type_is_refused(limit):
    with pytest.raises(errors.SettingsError, match=r"write vn.RateLimit\(requests_per_minute="):
        vn.connect("demo", rate_limit=limit)


@pytest.mark.parametrize("name", ["openai:gpt-4o", "groq:llama", "local:llava", "demo"])
def test_connect_takes_the_limit_for_each_provider(server, name):
    limit = vn.RateLimit(requests_per_minute=5)
    options = {} if name == "demo" else {"api_base": server.openai_base, "api_key": "k"}
    assert vn.connect(name, rate_limit=limit, **options).rate_limit == limit


@pytest.mark.parametrize("form", SYNC)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_ends_the_wait_and_the_call_no_longer_counts(server, image, monkeypatch, form):
    monkeypatch.setattr(request_window, "WINDOW", 600.0)
    llm = limited(server)
    llm.complete("What?", image)
    window, budget = llm.window(), Budget(Decimal(1))
    with budget.active(), pytest.raises(KeyboardInterrupt) as raised, interrupted_when(lambda: bool(window._line)):
        ask(llm, form, images=[image]).send(None)  # `asyncio.run` would only cancel the task
    assert len(server.requests) == 1 and not window._line and not window._unsent
    budget.reserve(Decimal(1), "gpt-4o")  # nothing is reserved any more
    assert raised.tb  # the place is free although the traceback refers to the waiting call


@pytest.mark.parametrize("form", ASYNC)
async def test_a_canceled_call_no_longer_counts(server, image, monkeypatch, form):
    monkeypatch.setattr(request_window, "WINDOW", 600.0)
    llm = limited(server)
    await ask(llm, form, images=[image])
    budget = Budget(Decimal(1))
    with budget.active():
        waiting = asyncio.create_task(ask(llm, form, images=[image]))
    async with asyncio.timeout(60):
        while not llm.window()._line:
            await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    budget.reserve(Decimal(1), "gpt-4o")  # nothing is reserved any more
    assert not llm.window()._line and not llm.window()._unsent and len(server.requests) == 1


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_a_line_says_why_a_call_waits_and_for_how_long(server, image, minutes, shown, form):
    llm = limited(server)
    await ask(llm, form, images=[image])
    assert not shown
    await ask(llm, form, images=[image])
    assert shown[0] == "Waiting 1 min 1 s: openai:gpt-4o has a limit of 1 request a minute." and shown[-1] == ""


def test_the_line_names_the_limit_that_the_server_reports(server, image, minutes, shown):
    server.fail(Fault(headers=USED_UP), times=2)
    llm = limited(server, 500)
    llm.complete("What?", image)
    llm.complete("What?", image)
    assert shown[0] == "Waiting 20 s: the server of openai:gpt-4o reports that its rate limit is used up."
    assert shown[-1] == ""


def test_a_short_wait_is_not_shown(server, image, minutes, shown):
    server.fail(Fault(headers={**USED_UP, "x-ratelimit-reset-requests": "1s"}), times=2)
    llm = limited(server, rate_limit=None)
    llm.complete("What?", image)
    llm.complete("What?", image)
    assert minutes.waits == [[1]] and not shown


def test_a_log_has_one_line_for_each_wait(server, image, minutes, capsys):
    llm = limited(server)
    llm.complete("What?", image)
    llm.complete("What?", image)
    assert capsys.readouterr().err == "Waiting 1 min 1 s: openai:gpt-4o has a limit of 1 request a minute.\n"


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_a_pause_that_the_server_asks_for_is_kept_by_all_calls_to_the_model(server, image, minutes, form):
    server.fail(Fault(status=429, retry_after=20))
    with pytest.raises(errors.RateLimitError):
        await ask(limited(server, rate_limit=None, max_retries=0), form, images=[image])
    await ask(limited(server, rate_limit=None), form, images=[image])
    assert minutes.waits == [[20]]


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_a_pause_that_the_server_asks_for_is_shown(server, image, shown, monkeypatch, form):
    monkeypatch.setattr(wait_line, "SHORTEST", 0.1)
    server.fail(Fault(status=429, retry_after=0.2))
    await ask(limited(server, rate_limit=None), form, images=[image])
    assert shown == ["Waiting 1.0 s: the server asks for a pause before the next attempt.", ""]


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_a_limit_for_longer_than_a_call_waits_is_an_error_at_once(server, image, minutes, form):
    used_up = {**USED_UP, "x-ratelimit-reset-requests": "8h0m0s"}
    server.fail(Fault(status=429, headers=used_up), times=9)
    for sent in (1, 2):
        with pytest.raises(errors.RateLimitError) as caught:
            await ask(limited(server, rate_limit=None), form, images=[image])
        assert caught.value.retry_after == 8 * 3600 and len(server.requests) == sent
    assert minutes.waits == [[0]]


def test_a_run_shows_no_lines_of_single_calls(server, image, minutes, shown, tmp_path, monkeypatch):
    monkeypatch.setattr(wait_line, "SHORTEST", 0.1)
    server.fail(Fault(status=503, retry_after=0.2))
    images = [vn.ImageDocument(image=picture(seed=seed), image_name=f"{seed}.png") for seed in range(3)]
    comparison = vn.compare(limited(server), "What?", images, store=tmp_path / "store", progress=False)
    assert not comparison.errors and not shown and minutes.waits == [[61, 61, 61]]


def test_a_call_that_is_not_sent_leaves_what_the_server_reported():
    window, one = SlidingWindow(lambda: 0.0), amounts(0, 0)
    first = window.admit(NO_LIMITS, one)
    assert first is not None
    window.note_sent(first)
    window.note_reports(first, [LimitReport("requests", 1, 20.0, 500)], is_refused=False, max_wait=60)
    second = window.admit(NO_LIMITS, one)
    assert second is not None and window.wait(NO_LIMITS, one) == 20
    window.drop_unsent(second)
    assert window.wait(NO_LIMITS, one) == 0


def test_a_call_that_is_not_sent_makes_room_for_another():
    window, limits, one = SlidingWindow(lambda: 0.0), vn.RateLimit(requests_per_minute=1).per_minute, amounts(0, 0)
    first = window.admit(limits, one)
    assert first is not None and window.admit(limits, one) is None
    window.drop_unsent(first)
    assert window.admit(limits, one) is not None


@pytest.mark.parametrize("billed", [100, 950])
def test_billed_tokens_leave_the_window_as_they_were_counted(billed):
    now = [0.0]
    window, limits = SlidingWindow(lambda: now[0]), vn.RateLimit(tokens_per_minute=1000).per_minute
    first = window.admit(limits, amounts(900, 0))
    assert first is not None
    window.note_sent(first)
    window.correct(first, amounts(billed, 0))
    now[0] = 61.0
    assert window.wait(limits, amounts(1000, 0)) == 0
    assert window.admit(limits, amounts(900, 0)) is not None
    assert window.admit(limits, amounts(100, 0)) is not None and window.admit(limits, amounts(1, 0)) is None


def test_a_large_request_is_not_overtaken_by_small_ones():
    now = [0.0]
    window, limits = SlidingWindow(lambda: now[0]), vn.RateLimit(tokens_per_minute=1000).per_minute
    small, large = amounts(100, 0), amounts(900, 0)
    first = window.admit(limits, amounts(200, 0))
    assert first is not None
    window.note_sent(first)
    with window.place(limits) as place:
        assert window.admit(limits, large, place) is None
        assert window.admit(limits, small) is None
        assert window.admit(NO_LIMITS, small) is not None  # it does not keep this limit
        now[0] = 61.0
        assert window.admit(limits, small) is None
        assert window.admit(limits, large, place) is not None
    assert window.is_first(None, limits)


async def test_a_request_whose_event_loop_is_blocked_loses_its_turn(server, image, minutes, monkeypatch):
    monkeypatch.setattr(request_window, "_LONGEST_SILENCE", 0.2)
    llm = limited(server)
    await llm.acomplete("What?", image)
    minutes.may_pass = lambda: False
    waiting = asyncio.create_task(llm.acomplete("What?", image))
    async with asyncio.timeout(60):
        while not llm.window()._line:
            await asyncio.sleep(0.001)
    minutes.may_pass = lambda: True
    llm.complete("What?", image)  # in the thread of the event loop, on which the other call waits
    assert len(server.requests) == 2
    await waiting
    assert len(server.requests) == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_call_that_waits_when_its_event_loop_is_closed_no_longer_counts(server, image, monkeypatch):
    monkeypatch.setattr(request_window, "WINDOW", 600.0)
    llm = limited(server)
    window = llm.window()

    async def leave_waiting():
        await llm.acomplete("What?", image)
        task = asyncio.get_running_loop().create_task(llm.acomplete("What?", image))
        async with asyncio.timeout(60):
            while not window._line:
                await asyncio.sleep(0.01)
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(leave_waiting())
    loop.run_until_complete(llm._async_clients.aclose())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert window._line and not task.done()
    task._log_destroy_pending = False
    del task, loop
    gc.collect()
    assert not window._line and not window._unsent


@pytest.mark.posix
def test_a_forked_process_counts_what_was_sent_and_does_not_wait_for_its_parents_threads(monkeypatch):
    monkeypatch.setattr(request_window, "_LONGEST_SILENCE", 1e9)
    window, limits = request_window.shared_window("a", "b"), vn.RateLimit(requests_per_minute=2).per_minute
    one = amounts(0, 0)
    sent, unsent = window.admit(limits, one), window.admit(limits, one)
    assert sent is not None and unsent is not None
    window.note_sent(sent)
    held, may_end = threading.Event(), threading.Event()

    def hold():
        with window._lock:
            held.set()
            may_end.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    window._line.append(request_window.Place(limits, time.monotonic()))  # a request of the parent waits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: the process has several threads
        child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(60, exit=True)
        window.correct(unsent, one)
        admitted = [window.admit(limits, one) is not None for _ in range(2)]
        os._exit(0 if admitted == [True, False] else 1)
    status = os.waitpid(child, 0)[1]
    may_end.set()
    thread.join(60)
    assert os.waitstatus_to_exitcode(status) == 0


NOTEBOOK = """
import vision_nb as vn
from vision_nb.demo import Fault, shared_server
names = ("limit", "remaining", "reset")
headers = {f"x-ratelimit-{name}-requests": value for name, value in zip(names, ("1", "0", "15s"))}
shared_server().fail(Fault(headers=headers))
from IPython.display import DisplayHandle
lines, update = [], DisplayHandle.update
def record(handle, data, **options):
    lines.append(data.get("text/plain"))
    update(handle, data, **options)
DisplayHandle.update = record
"""


@pytest.mark.kernel
def test_a_notebook_shows_the_line_below_the_cell_until_the_call_is_sent():
    _, _, waited, shown = run_cells(
        NOTEBOOK,
        "%%vision demo --no-stream\nWhat?",
        "%%vision demo --no-stream\nWhere?",
        "print(lines)",
    )
    line, answer = waited.outputs
    assert not line.data and "about this answer" in answer.data["text/markdown"]
    assert "None]" in text_of(shown) and "reports that its rate limit is used up" in text_of(shown)
