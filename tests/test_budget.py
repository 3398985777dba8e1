"""Budgets: reserving before a call, settling after it, and waiting for calls in progress."""

import asyncio
from decimal import Decimal

import pytest

import vision_nb as vn
from tests.conftest import picture
from vision_nb import errors
from vision_nb.cost.budget import Budget
from vision_nb.demo import Fault


@pytest.fixture
def llm(server):
    server.answer_with("The sky is blue.")
    return vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, max_new_tokens=100)


def test_reservations_and_prices_count_against_the_limit():
    budget = Budget(Decimal(10))
    first = budget.reserve(Decimal(6), "A call")
    with pytest.raises(
        errors.BudgetExceededError, match=r"could cost 5.* 6.* reserved for calls in progress"
    ) as caught:
        budget.reserve(Decimal(5), "A call")
    assert caught.value.may_pass_later
    budget.settle(first, lambda: Decimal(4))
    assert budget.spent == 4
    second = budget.reserve(Decimal(5), "A call")
    budget.settle(second, None)  # the call failed
    assert budget.spent == 4
    with pytest.raises(errors.BudgetExceededError) as caught:
        budget.reserve(Decimal(7), "A call")
    assert not caught.value.may_pass_later


def test_a_call_of_unknown_price_counts_with_its_whole_reservation():
    budget = Budget(Decimal(10))
    budget.settle(budget.reserve(Decimal(6), "A call"), lambda: None)
    assert budget.spent == 6


def test_a_free_call_is_possible_when_the_budget_is_spent():
    assert Budget(Decimal(1), spent=Decimal(2)).reserve(Decimal(0), "A call") == 0


def test_a_limit_that_is_lifted_while_a_call_is_reserved_applies_to_that_call(monkeypatch):
    budget = Budget(Decimal(1))
    update = budget._update

    def lift():
        budget.limit = None
        update()

    monkeypatch.setattr(budget, "_update", lift)
    with pytest.raises(errors.BudgetExceededError, match="could cost 5"):
        budget.reserve(Decimal(5), "A call")
    assert budget.reserve(Decimal(5), "A call") == 0


def test_each_call_is_priced_once_however_often_the_total_is_read():
    priced = []
    budget = Budget(Decimal(1000))
    for _ in range(100):
        budget.settle(Decimal(0), lambda: priced.append(1) or Decimal(1))
    for _ in range(3):
        assert budget.spent == 100
        budget.reserve(Decimal(1), "A call")
    assert len(priced) == 100


async def test_calls_in_an_active_budget_wait_for_each_other(server, llm):
    server.fail(Fault(delay=0.05), times=4)
    budget = Budget(vn.estimate_cost("What?", [(64, 48)], llm).usd * Decimal("1.5"))
    with budget.active():
        first = await asyncio.gather(*(llm.acomplete("What?", picture()) for _ in range(2)))
    assert budget.spent == sum(response.cost for response in first) == vn.ledger.total


async def test_a_call_that_is_cancelled_while_it_waits_reserves_nothing(llm):
    budget = Budget(Decimal(1))
    reserved = budget.reserve(Decimal(1), "Another call")
    with budget.active():
        waiting = asyncio.create_task(llm.acomplete("What?", picture()))
        await asyncio.sleep(0.3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    budget.settle(reserved, None)
    assert budget.reserve(Decimal(1), "Everything") == 1


async def test_an_active_budget_refuses_a_call_that_can_never_pass(server, llm):
    llm.max_new_tokens = None
    with Budget(Decimal("0.0001")).active(), pytest.raises(errors.BudgetExceededError) as caught:
        await llm.acomplete("What?", picture())
    assert str(caught.value).startswith("A call to openai:gpt-4o (up to 4,096 output tokens) could cost ")
    assert str(caught.value).endswith(": raise budget=, or set a lower max_new_tokens.")
    assert server.requests == []


async def test_an_active_budget_needs_prices(server):
    unpriced = vn.OpenAIMultiModal("a-model-of-tomorrow", "k", server.openai_base)
    with Budget(Decimal(1)).active(), pytest.raises(errors.SettingsError, match="set_price"):
        await unpriced.acomplete("What?")
    with Budget().active():
        assert (await unpriced.acomplete("What?")).text


@pytest.mark.parametrize("limit, downloads", [(None, 0), (Decimal(1), 1)])
def test_the_header_of_a_remote_image_is_downloaded_only_if_a_budget_needs_it(
    server, llm, photo, monkeypatch, limit, downloads
):
    downloaded = []

    def download(url, **options):
        downloaded.append(options)
        return photo.read_bytes()

    monkeypatch.setattr("vision_nb.images.content.download", download)
    server.fail(Fault(body={"id": "x", "model": "m", "choices": [{"message": {"content": "x"}}]}))
    with Budget(limit).active():
        llm.complete("What?", vn.ImageDocument(image_url="https://example.org/photo.jpg"))
    assert len(downloaded) == downloads
    assert (vn.ledger.entries[0].expected_tokens is not None) == bool(downloads)
