"""What an answer costs: the service tier and the model that it names, and the price that it reports."""

from decimal import Decimal

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import FORMS, ask
from vision_nb import errors
from vision_nb.cost import prices
from vision_nb.demo import Fault
from vision_nb.store import Store

pytestmark = pytest.mark.slow

TIERS = {  # input and output in US dollars per million tokens: genai-prices 0.2.3, rates verified there on 2026-10-12
    ("gpt-5", "default"): ("1.25", "10"),
    ("gpt-5", "auto"): ("1.25", "10"),
    ("gpt-5", "flex"): ("0.625", "5"),
    ("gpt-5", "priority"): ("2.5", "20"),
    ("gpt-4o", "priority"): ("4.25", "17"),
}


def connect(server, model="gpt-5", **options):
    return vn.OpenAIMultiModal(model, "a-key-of-a-test", server.openai_base, max_retries=0, **options)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model, tier", TIERS)
async def test_the_service_tier_that_the_answer_names_has_its_own_price(server, ledger, form, model, tier):
    server.fail(Fault(answer={"service_tier": tier}))
    response = await ask(connect(server, model), form)
    rates = [Decimal(rate) for rate in TIERS[model, tier]]
    tokens = (response.usage.input_tokens, response.usage.output_tokens)
    assert response.service_tier == tier
    assert response.cost == sum(count * rate for count, rate in zip(tokens, rates, strict=True)) / 1_000_000
    assert ledger.entries[0].usd == ledger.total == response.cost


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("api, asked, answered", [("chat", "prompt", "completion"), ("responses", "input", "output")])
async def test_reasoning_that_is_only_part_of_the_total_is_paid_as_output(server, ledger, form, api, asked, answered):
    llm = connect(server, api=api)
    for total, reasoning, output in (
        (1900, 800, 900),
        (1900, None, 900),
        (1100, 80, 100),
        (1900, 0, 100),
        ("", 80, 100),
    ):
        details = {f"{answered}_tokens_details": {"reasoning_tokens": reasoning}}
        usage = {f"{asked}_tokens": 1000, f"{answered}_tokens": 100, "total_tokens": total, **details}
        server.fail(Fault(answer={"usage": usage}))
        response = await ask(llm, form)
        assert response.usage == vn.Usage(1000, output)
        assert response.cost == ledger.entries[-1].usd == (1000 * Decimal("1.25") + output * 10) / 1_000_000


@pytest.mark.parametrize("form", FORMS)
async def test_the_price_of_a_tier_without_known_rates_is_unknown(server, ledger, form):
    for model, tier in (("gpt-4o", "flex"), ("gpt-5", "scale"), ("gpt-5", "a-tier-of-tomorrow")):
        server.fail(Fault(answer={"service_tier": tier}))
        assert (await ask(connect(server, model), form)).cost is None
    assert ledger.unpriced == 3 and ledger.total == 0


@pytest.mark.parametrize("form", FORMS)
async def test_azures_tiers_have_no_known_rates(server, form):
    llm = vn.AzureOpenAIMultiModal("d", "gpt-5", f"{server.url}/openai/v1", api_key="k")
    assert (await ask(llm, form)).cost > 0
    server.fail(Fault(answer={"service_tier": "priority"}))
    assert (await ask(llm, form)).cost is None


@pytest.mark.parametrize("form", FORMS)
async def test_the_tier_of_the_answer_counts_and_not_the_one_that_was_asked_for(server, form):
    standard = await ask(connect(server), form)
    server.fail(Fault(answer={"service_tier": "default"}))
    assert (await ask(connect(server), form, service_tier="priority")).cost == standard.cost
    server.fail(Fault(answer={"service_tier": None}))
    assert (await ask(connect(server), form, service_tier="priority")).cost == 2 * standard.cost


def test_cached_tokens_have_the_tiers_own_rate():
    usage = vn.Usage(1_000_000, 0, 1_000_000)
    assert prices.price(usage, provider="openai", model="gpt-5", service_tier="flex") == Decimal("0.0625")


def test_a_price_that_was_set_holds_for_every_tier(server):
    vn.set_price("gpt-5", input=1, output=2)
    server.fail(Fault(answer={"service_tier": "scale"}))
    response = connect(server).complete("What?")
    assert response.cost == Decimal(response.usage.input_tokens + 2 * response.usage.output_tokens) / 1_000_000


def test_estimates_and_budgets_use_the_tier_that_is_asked_for(server, ledger):
    flex = connect(server, additional_kwargs={"service_tier": "flex"})
    usage = vn.Usage(1000, 100)
    assert flex.price(usage) * 2 == connect(server).price(usage)
    assert vn.estimate_cost("What?", (64, 64), flex).usd * 2 == vn.estimate_cost("What?", (64, 64), connect(server)).usd
    ledger.budget = vn.estimate_cost("What?", (64, 64), connect(server), max_new_tokens=100).usd * Decimal("1.5")
    assert connect(server).complete("What?", picture(64, 64), max_tokens=100).text
    vn.ledger.reset()
    with pytest.raises(errors.BudgetExceededError, match="could cost"):
        connect(server).complete("What?", picture(64, 64), max_tokens=100, service_tier="priority")
    with pytest.raises(errors.BudgetExceededError, match="unknown"):
        connect(server, "gpt-4o").complete("What?", service_tier="flex")


def test_a_timeout_is_estimated_at_the_tier_that_was_asked_for(server, ledger):
    server.fail(Fault(delay=30), times=2)
    for tier in ("default", "flex"):
        with pytest.raises(errors.ProviderTimeoutError):
            connect(server, timeout=0.2).complete("What?", service_tier=tier)
    standard, flex = (entry.usd for entry in ledger.entries)
    assert standard == 2 * flex > 0


@pytest.mark.parametrize("form", FORMS)
async def test_the_price_that_openrouter_reports_is_the_cost(server, ledger, form):
    server.fail(Fault(answer={"usage": {"cost": 0.0125}}))
    response = await ask(connect(server, "qwen/qwen3-vl"), form)
    assert response.cost == response.reported_cost == Decimal("0.0125")
    assert ledger.total == ledger.entries[0].usd == ledger.entries[0].reported_usd == Decimal("0.0125")
    assert "0.0125 USD (reported)" in ledger._repr_html_()
    assert ledger.to_dataframe().usd_is_reported.tolist() == [True]


@pytest.mark.parametrize("cost", [-1, True, "0.5", float("nan"), {"total_cost": 1}, None])
async def test_a_reported_price_that_is_not_an_amount_is_ignored(server, cost):
    server.fail(Fault(answer={"usage": {"cost": cost}}))
    response = connect(server).complete("What?")
    assert response.reported_cost is None and response.cost > 0


def test_a_reported_price_counts_against_the_budget_even_if_the_tokens_are_implausible(server, ledger):
    server.fail(Fault(answer={"usage": {"cost": 0.0125, "prompt_tokens": 1}}))
    ledger.budget = 1
    response = connect(server).complete("What?", picture())
    assert response.usage_is_implausible and ledger.entries[0].is_estimate
    assert response.cost == ledger.total == Decimal("0.0125")


def test_compare_shows_and_stores_the_reported_price(server, tmp_path):
    server.fail(Fault(answer={"usage": {"cost": 0.0125}}))
    llm = connect(server, "qwen/qwen3-vl")
    for from_store in (False, True):
        comparison = vn.compare(llm, "What?", picture(), store=tmp_path / "a.sqlite3", progress=False)
        (row,) = comparison
        assert (row.usd, row.usd_is_reported, row.from_store) == (Decimal("0.0125"), True, from_store)
        assert comparison.to_dataframe().usd.tolist() == [0.0125]
        assert "0.0125 USD (reported)" in comparison._repr_html_()


def test_compares_budget_counts_the_reported_price(server, tmp_path):
    server.fail(Fault(answer={"usage": {"cost": 0.9999}}))
    comparison = vn.compare(
        connect(server, "gpt-4o", max_new_tokens=100),
        ["What?", "How?"],
        picture(),
        concurrency=1,
        budget=1,
        store=tmp_path / "a.sqlite3",
        progress=False,
    )
    assert [row.finished for row in comparison] == [True, False] and "budget" in comparison.incomplete


def test_a_chat_keeps_the_reported_price_when_it_is_saved(server, tmp_path):
    server.fail(Fault(answer={"usage": {"cost": 0.0125}}))
    chat = vn.Chat(connect(server, "qwen/qwen3-vl"))
    chat.ask("What?")
    assert "0.0125 USD (reported)" in chat._repr_markdown_()
    loaded = vn.Chat.load(chat.export(tmp_path / "chat.json"), chat.llm)
    assert loaded.responses[0].reported_cost == loaded.responses[0].cost == Decimal("0.0125")


def test_the_store_keeps_the_service_tier_of_an_answer(server, tmp_path):
    server.fail(Fault(answer={"service_tier": "flex"}))
    llm = connect(server)
    rows = [vn.compare(llm, "What?", picture(), store=tmp_path / "a.sqlite3", progress=False)[0] for _ in range(2)]
    assert rows[1].from_store and rows[0].usd == rows[1].usd < llm.price(vn.Usage(*_tokens(rows[0])))


def _tokens(row):
    return row.input_tokens, row.output_tokens


METHODS = ["complete", "chat", "stream_complete", "stream_chat"]
METHODS += [f"a{name}" for name in METHODS]


async def call(llm, method):
    prompt = [{"role": "user", "content": "What?"}] if method.endswith("chat") else "What?"
    result = getattr(llm, method)(prompt)
    if method.startswith("a"):
        result = await result
    if "astream" in method:
        return [response async for response in result][-1]
    return list(result)[-1] if "stream" in method else result


@pytest.mark.parametrize("method", METHODS)
async def test_the_v1_endpoint_of_azure_works_in_all_methods_at_the_price_of_the_answers_model(server, ledger, method):
    server.deployments["our-vision"] = "gpt-4o"
    llm = vn.AzureOpenAIMultiModal("our-vision", azure_endpoint=f"{server.url}/openai/v1/", api_key="k")
    response = await call(llm, method)
    assert response.model == "gpt-4o" and server.requests[-1].path == "/openai/v1/chat/completions"
    assert response.cost == prices.price(response.usage, provider="azure", model="gpt-4o") == ledger.total > 0


@pytest.mark.parametrize("form", FORMS)
async def test_a_model_that_was_named_keeps_its_price_whatever_azure_answers(server, form):
    server.deployments["our-vision"] = "gpt-4o"
    options = {"azure_endpoint": server.url, "api_version": "2024-10-21", "api_key": "k"}
    named = await ask(vn.AzureOpenAIMultiModal("our-vision", "gpt-4o-mini", **options), form)
    assert named.cost == prices.price(named.usage, provider="azure", model="gpt-4o-mini") > 0
    vn.set_price("our-vision", input=1, output=1)
    own = await ask(vn.AzureOpenAIMultiModal("our-vision", **options), form)
    assert own.cost == Decimal(own.usage.total_tokens) / 1_000_000


def test_a_stored_answer_of_a_deployment_keeps_the_price_of_its_model(server, tmp_path):
    server.deployments["our-vision"] = "gpt-4o"
    llm = vn.AzureOpenAIMultiModal("our-vision", azure_endpoint=f"{server.url}/openai/v1", api_key="k")
    with Store(tmp_path / "a.sqlite3") as store:
        rows = [vn.compare(llm, "What?", picture(), store=store, progress=False)[0] for _ in range(2)]
    assert rows[1].from_store and rows[0].usd == rows[1].usd > 0
