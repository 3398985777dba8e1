"""The ledger records every call once, and a budget is checked before a call is sent."""

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

import vision_nb as vn
from tests.conftest import picture
from vision_nb import errors
from vision_nb.cost import image_rules
from vision_nb.cost import ledger as module
from vision_nb.cost.accounting import ModelPricing
from vision_nb.demo import Fault, sample_url
from vision_nb.images import content


@pytest.fixture
def llm(server):
    server.answer_with("The sky is blue.")
    return vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, max_new_tokens=100)


async def test_each_of_the_eight_methods_records_one_call(llm, ledger):
    message = vn.ChatMessage("user", ["What?", picture()])
    llm.complete("What?", picture())
    llm.chat([message])
    list(llm.stream_complete("What?", picture()))
    list(llm.stream_chat([message]))
    await llm.acomplete("What?", picture())
    await llm.achat([message])
    assert [r async for r in await llm.astream_complete("What?", picture())]
    assert [r async for r in await llm.astream_chat([message])]
    assert len(ledger.entries) == 8
    assert len({(entry.usage, entry.usd, entry.expected_tokens) for entry in ledger.entries}) == 1
    entry = ledger.entries[0]
    assert not entry.is_estimate and entry.usd > 0 and abs(entry.difference) < 15
    assert ledger.total == 8 * entry.usd == ledger.by_model()["openai:gpt-4o"][2]


def test_retries_count_as_one_call_and_failures_do_not_count(server, llm, ledger):
    server.fail(Fault(status=500, retry_after=0.01), times=2)
    llm.complete("What?")
    assert len(server.requests) == 3 and len(ledger.entries) == 1
    server.fail(Fault(status=400))
    with pytest.raises(errors.RequestRejectedError):
        llm.complete("What?")
    assert len(ledger.entries) == 1


def test_answers_from_the_store_do_not_count(llm, ledger, tmp_path):
    for _ in range(2):
        vn.compare(llm, ["a?", "b?"], picture(), store=tmp_path / "a.sqlite3", progress=False)
    assert len(ledger.entries) == 2


def test_a_broken_or_abandoned_stream_is_recorded_with_estimated_usage(server, llm, ledger):
    server.fail(Fault(cut_after=4))
    with pytest.raises(errors.ProviderConnectionError):
        list(llm.stream_complete("What?", picture()))
    with llm.stream_complete("What?", picture()) as stream:
        next(stream)
    assert [entry.is_estimate for entry in ledger.entries] == [True, True]
    assert all(entry.usage.output_tokens > 0 and entry.usage.input_tokens > 255 for entry in ledger.entries)


@pytest.mark.parametrize("fault", [Fault(no_usage=True), None], ids=["missing", "implausible"])
def test_missing_or_implausible_usage_is_estimated_and_marked(server, llm, ledger, fault):
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "llava",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "A llama."}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 138, "total_tokens": 139},
    }
    server.fail(fault or Fault(body=body))
    response = llm.complete("What?", picture())
    (entry,) = ledger.entries
    assert entry.is_estimate and entry.usage.input_tokens == entry.expected_tokens > 255
    if fault is None:
        assert response.usage == vn.Usage(1, 138) and entry.usage.output_tokens == 138


def test_the_count_of_an_image_behind_a_url_is_believed_for_any_shape(server, ledger):
    llm = vn.LocalMultiModal("smolvlm-500m", server.openai_base)
    narrow = 64 * (4 + 1)  # four tiles and the overview, as for an image of 3000 x 500 pixels
    server.fail(Fault(answer={"usage": {"prompt_tokens": narrow + 5, "completion_tokens": 3}}))
    response = llm.complete("What?", sample_url(server, "chart"))
    assert response.usage == vn.Usage(narrow + 5, 3) == ledger.entries[0].usage
    assert not response.usage_is_implausible and not ledger.entries[0].is_estimate


def test_calls_of_unknown_price_are_counted_separately(server, ledger):
    vn.OpenAIMultiModal("a-model-of-tomorrow", "k", server.openai_base).complete("What?")
    assert ledger.unpriced == 1 and ledger.total == 0
    assert ledger.by_model()["openai:a-model-of-tomorrow (demo)"][2] is None
    assert "1 call of unknown price" in str(ledger) and "unknown" in ledger._repr_html_()


def test_a_call_that_could_exceed_the_budget_is_not_sent(server, llm, ledger):
    one = vn.estimate_cost("What?", [(64, 48)], llm).usd
    ledger.budget = one * Decimal("1.5")
    llm.complete("What?", picture())
    llm.complete("What?", picture())
    asked = len(server.requests)
    with pytest.raises(errors.BudgetExceededError, match=r"could cost .* is spent"):
        for _ in range(20):
            llm.complete("What?", picture())
    assert ledger.total <= ledger.budget
    assert len(server.requests) == asked + len(ledger.entries) - 2
    with pytest.raises(errors.BudgetExceededError):
        llm.stream_complete("What?", picture(), max_tokens=10_000)
    ledger.budget = None
    llm.complete("What?", picture())


async def test_a_budget_includes_calls_in_progress(server, llm, ledger):
    server.fail(Fault(delay=0.2), times=50)
    ledger.budget = vn.estimate_cost("What?", [(64, 48)], llm).usd * 4
    results = await asyncio.gather(*(llm.acomplete("What?", picture()) for _ in range(20)), return_exceptions=True)
    sent = [result for result in results if not isinstance(result, Exception)]
    assert 0 < len(sent) == len(server.requests) <= 4
    assert all(isinstance(result, errors.BudgetExceededError) for result in results if isinstance(result, Exception))


def test_a_budget_refuses_calls_of_unknown_price(server, ledger, tmp_path):
    ledger.budget = "0.01"
    with vn.OpenAIMultiModal("a-model-of-tomorrow", "k", server.openai_base) as llm:
        with pytest.raises(errors.BudgetExceededError, match=r"price of this call .* set a price with vn.set_price"):
            llm.complete("What?")
        vn.set_price("a-model-of-tomorrow", input=1, output=1)
        with pytest.raises(errors.BudgetExceededError, match=r"number of input tokens of this call .* choose a model"):
            llm.complete("What?", picture())
        batch = vn.compare(llm, "What?", picture(), store=tmp_path / "a.sqlite3", progress=False, batch=True)
        assert "The number of input tokens of a batch of openai:a-model-of-tomorrow is unknown" in batch.incomplete
    vn.connect("demo", api_base=server.openai_base).complete("What?", picture())
    assert [request.path for request in server.requests] == ["/v1/batches", "/v1/chat/completions"]


def test_the_budget_stops_a_comparison(server, llm, ledger, tmp_path):
    ledger.budget = Decimal("0.01")
    prompts = [f"question {number}?" for number in range(30)]
    comparison = vn.compare(llm, prompts, picture(), store=tmp_path / "a.sqlite3", progress=False)
    assert "budget" in comparison.incomplete and not comparison.errors
    assert 0 < sum(row.finished for row in comparison) < 30
    assert ledger.total <= Decimal("0.01")
    assert len(server.requests) == len(ledger.entries)


@pytest.mark.parametrize("amount", [-1, "much", float("nan"), float("inf")])
def test_an_invalid_budget_is_rejected(ledger, amount):
    with pytest.raises(errors.SettingsError, match="amount of US dollars"):
        ledger.budget = amount


def test_calls_from_many_threads_are_all_recorded_and_release_their_reservations(llm, ledger):
    ledger.budget = 1
    threads = [threading.Thread(target=lambda: [llm.complete("x") for _ in range(10)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.entries) == 80 and ledger.total == sum(entry.usd for entry in ledger.entries)
    left = ledger.spending.reserve(ledger.budget - ledger.total, "Everything that is left")
    ledger.spending.settle(left, None)  # later tests have budgets of their own


def entry(usd="1", *, model="m", pricing=None):
    usd = None if usd is None else Decimal(usd)
    return module.Entry(model, vn.Usage(1_000_000, 0), False, None, pricing or (lambda usage: usd), 0.1)


def test_each_call_is_priced_once_however_often_the_totals_are_read(ledger):
    priced = []
    for number in range(100):
        ledger.record(entry(pricing=lambda usage: priced.append(usage) or Decimal(1)))
        assert ledger.total == number + 1 and ledger.unpriced == 0
    assert ledger.by_model()["m"][2] == ledger.entries[0].usd * 100
    assert str(ledger) == "100 calls, 100.00 USD" and len(priced) == 100


def test_the_totals_follow_the_prices_that_the_user_sets(ledger):
    ledger.record(entry(pricing=ModelPricing("local", "my-llava", False)))
    ledger.record(entry("5"))
    for _ in range(2):
        assert (ledger.total, ledger.unpriced, ledger.entries[0].usd) == (5, 1, None)
    vn.set_price("my-llava", input=2, output=2)
    assert (ledger.entries[0].usd, ledger.total, ledger.unpriced) == (2, 7, 0)
    ledger.record(entry(pricing=ModelPricing("local", "my-llava", False)))
    vn.set_price("my-llava", input=3, output=3)
    assert (ledger.by_model()["m"][2], ledger.total) == (11, 11)
    ledger.budget = 12
    with pytest.raises(errors.BudgetExceededError, match=r"11\.00 USD of the budget"):
        ledger.spending.reserve(Decimal(2), "Another call")
    ledger.reset()
    vn.set_price("my-llava", input=4, output=4)
    assert (ledger.entries, ledger.total, ledger.unpriced) == ([], 0, 0)


def test_a_reported_price_does_not_follow_the_price_that_the_user_sets(server, ledger):
    llm = vn.connect("openrouter:our-model", api_key="k", api_base=server.openai_base)
    server.fail(Fault(answer={"usage": {"prompt_tokens": 10, "completion_tokens": 2, "cost": 0.25}}))
    llm.complete("What?")
    assert ledger.total == Decimal("0.25")
    vn.set_price("our-model", input=1, output=1)
    assert ledger.total == ledger.entries[0].usd == Decimal("0.25")


def test_the_reservation_of_a_call_of_unknown_price_counts_for_the_budget_but_is_not_a_price(ledger):
    ledger.budget = 10
    ledger.record(entry(None), ledger.spending.reserve(Decimal(6), "A call"))
    assert (ledger.total, ledger.unpriced, ledger.spending.spent) == (0, 1, 6)
    with pytest.raises(errors.BudgetExceededError, match=r"6\.00 USD of the budget"):
        ledger.spending.reserve(Decimal(5), "A call")


def test_a_reset_keeps_the_reservations_of_calls_in_progress(ledger):
    ledger.budget = 10
    ledger.record(entry("3"), ledger.spending.reserve(Decimal(4), "A call"))
    in_progress = ledger.spending.reserve(Decimal(6), "A call")
    ledger.reset()
    assert (ledger.total, ledger.entries) == (0, [])
    with pytest.raises(errors.BudgetExceededError, match="reserved"):
        ledger.spending.reserve(Decimal(5), "A call")
    ledger.record(entry("1"), in_progress)
    assert ledger.total == 1
    ledger.spending.settle(ledger.spending.reserve(Decimal(9), "Everything that is left"), None)


def test_the_totals_are_right_while_other_threads_record_calls_and_set_prices(ledger):
    def record():
        for number in range(200):
            ledger.record(entry("0.01"))
            ledger.record(entry(None))
            vn.set_price("another-model", input=number, output=1)
            assert ledger.total <= 8 and ledger.unpriced <= 800

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(record) for _ in range(4)]:
            done.result()
    assert (ledger.total, ledger.unpriced, len(ledger.entries)) == (8, 800, 1600)


def test_the_table_shows_expected_and_reported_tokens(llm, ledger):
    llm.complete("What?", picture())
    frame = ledger.to_dataframe()
    assert frame.difference[0] == frame.input_tokens[0] - frame.expected_tokens[0]
    assert "openai:gpt-4o" in ledger._repr_html_()
    assert module.Ledger().to_dataframe().empty


async def test_the_ledger_and_the_responses_release_the_model(server, ledger):
    llm = vn.OpenAIMultiModal("gpt-4o", "a-secret-key", server.openai_base)
    response = llm.complete("What?", picture())
    streamed = list(llm.stream_complete("What?"))[-1]
    awaited = await llm.acomplete("What?", picture())
    model = weakref.ref(llm)
    del llm
    gc.collect()
    async with asyncio.timeout(10):
        while model() is not None:  # from Python 3.15, until the event loop has closed the connections
            await asyncio.sleep(0.01)
            gc.collect()
    assert len(ledger.entries) == 3
    assert ledger.total == response.cost + streamed.cost + awaited.cost > 0


COLLECT_WHILE_PRICING = """
import gc, sys
import vision_nb as vn
from vision_nb.cost import accounting

price = accounting.price

def collect_an_open_stream_first(*args, **options):
    if streams:
        cycle = [streams.pop()]
        cycle.append(cycle)
        del cycle
        gc.collect()
    return price(*args, **options)

accounting.price = collect_an_open_stream_first
llm = vn.OpenAIMultiModal("gpt-4o", "k", sys.argv[1])
streams = [llm.stream_complete("What?") for _ in range(4)]
for stream in streams:
    next(stream)
del stream
vn.ledger.budget = 100
for _ in range(3):
    llm.complete("What?")
print(len(streams), len(vn.ledger.entries), vn.ledger.total > 0)
"""


@pytest.mark.slow
def test_a_stream_that_is_garbage_collected_while_the_ledger_is_locked_does_not_deadlock(server):
    command = [sys.executable, "-c", COLLECT_WHILE_PRICING, server.openai_base]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("0 7 True\n", "")


def test_a_call_reads_an_images_header_once(llm, ledger, photo, monkeypatch):
    read = []
    header = content.read_header  # type: ignore[attr-defined]
    monkeypatch.setattr(content, "read_header", lambda *args: read.append(1) or header(*args))
    ledger.budget = 1
    for image in (photo, photo.read_bytes()):
        llm.complete("What?", image)
    assert len(read) == 2 and all(entry.expected_tokens > 255 for entry in ledger.entries)


def azure(server, engine):
    return vn.AzureOpenAIMultiModal(engine, "mystery", server.url, "2024-06-01", "k")


@pytest.mark.parametrize(
    "engine, family",
    [("gpt-4o", "gpt-4o"), ("gpt-5.4", "gpt-5.4"), ("gpt-6-astra", "gpt-6-astra"), ("gpt-4o-mini", "gpt-4o-mini")],
)
def test_calibrate_finds_the_model_family_of_a_deployment(server, monkeypatch, engine, family):
    monkeypatch.setattr(image_rules, "_calibrated_rules", {})
    server.strict = False  # of the length limit's names, the client cannot know the deployment's
    llm = azure(server, engine)
    assert vn.image_tokens((800, 600), "mystery").tokens is None
    found = vn.calibrate(llm)
    assert family in found.families and len(server.requests) == 4
    found.keep()
    assert vn.image_tokens((800, 600), "mystery").tokens == vn.image_tokens((800, 600), family).tokens


def test_calibrate_reports_no_family_if_none_fits(server):
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "blank"}}],
        "usage": usage,
    }
    server.fail(Fault(body=body), times=4)
    found = vn.calibrate(azure(server, "x"))
    assert found.families == () and found.rule is None
    with pytest.raises(errors.SettingsError, match="No known rule"):
        found.keep()
    server.fail(Fault(no_usage=True))
    with pytest.raises(errors.MalformedResponseError, match="cannot be calibrated"):
        vn.calibrate(azure(server, "x"))
