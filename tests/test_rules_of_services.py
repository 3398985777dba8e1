"""The token rules of other vendors' models in real calls: sizes sent, tokens reported, budgets, plans and calibration."""

import base64
import io
from decimal import Decimal

import pytest
from PIL import Image

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.forms import FORMS, ask
from tests.kernels import in_process_shell
from vision_nb import errors
from vision_nb.cost import image_rules
from vision_nb.cost.image_rules import view_of
from vision_nb.cost.ledger import ledger
from vision_nb.cost.rule_kinds import PaddedPatches
from vision_nb.demo.openai import handler
from vision_nb.demo.openai.dialects import service_path
from vision_nb.services.table import SERVICES

pytestmark = pytest.mark.slow

SIZES = ((4032, 3024), (700, 1900), (90, 60))
SENT = {  # the sizes at which the first two are sent; the third is never enlarged
    "anthropic:claude-opus-4-8": [(2212, 1659), (700, 1900)],
    "anthropic:claude-haiku-4-5": [(1269, 952), (578, 1568)],
    "gemini:gemini-2.5-flash": [(3072, 2304), (700, 1900)],
    "gemini:gemini-3-pro": [(2048, 1536), (700, 1900)],
    "openrouter:qwen/qwen2.5-vl-72b-instruct": [(4032, 3024), (700, 1900)],
    "openrouter:anthropic/claude-opus-4.7": [(2212, 1659), (700, 1900)],
    "openrouter:google/gemma-3-27b-it": [(1194, 896), (700, 1900)],
    "mistral:pixtral-12b-2409": [(1024, 768), (377, 1024)],
    "mistral:mistral-medium-latest": [(1540, 1155), (567, 1540)],
    "groq:meta-llama/llama-4-scout-17b-16e-instruct": [(1344, 1008), (672, 1824)],
    "xai:grok-4": [(2048, 1536), (700, 1900)],
    "fireworks:accounts/fireworks/models/qwen2p5-vl-32b-instruct": [(4032, 3024), (700, 1900)],
    "deepinfra:Qwen/Qwen3-VL-30B-A3B-Instruct": [(4032, 3024), (700, 1900)],
}


@pytest.fixture(autouse=True)
def nothing_of_other_tests(monkeypatch):
    monkeypatch.setattr(image_rules, "_calibrated_rules", {})


@pytest.fixture
def connect(server):
    def connect(name, **options):
        row = server.service = SERVICES[name.partition(":")[0]]
        return vn.connect(name, api_base=server.url + service_path(row), api_key="k", **options)

    return connect


def photograph(size):
    return encoded(picture(200, 150).resize(size), "JPEG")


def sent_images(server):
    parts = server.requests[-1].body["messages"][-1]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


@pytest.mark.parametrize("name", SENT)
@pytest.mark.parametrize("form", FORMS)
async def test_images_are_sent_as_the_model_sees_them_and_the_count_agrees(server, connect, name, form):
    llm = connect(name)
    images = [photograph(size) for size in SIZES]
    answer = await ask(llm, form, "How large are they?", images)
    assert [image.size for image in sent_images(server)] == [*SENT[name], SIZES[2]]
    assert abs(ledger.entries[-1].difference) <= 12 and not answer.usage_is_implausible
    estimate = vn.estimate_cost("How large are they?", images, llm)
    assert estimate.tokens == ledger.entries[-1].expected_tokens
    assert ledger.entries[-1].expected_is_estimate == estimate.is_estimate


@pytest.mark.parametrize("name", SENT)
def test_a_budget_and_a_plan_know_the_tokens(connect, name):
    llm, images = connect(name, max_new_tokens=20), [photograph((2000, 700))]
    vn.set_price(name, input=1, output=2)
    plan = vn.compare(llm, "What?", images, dry_run=True).models[0]
    view = view_of((2000, 700), llm.model)
    assert plan.input_tokens > view.tokens and plan.is_estimate == view.is_estimate
    ledger.budget = Decimal(view.tokens) / 1_000_000  # less than the text and the answer need too
    with pytest.raises(errors.BudgetExceededError, match="could cost"):
        llm.complete("What?", images)
    ledger.budget = Decimal(view.tokens + 500) / 1_000_000
    assert llm.complete("What?", images).text


def test_the_plan_and_the_ledger_say_about(connect):
    llm = connect("anthropic:claude-opus-4-8", max_new_tokens=20)
    large, small = photograph((3000, 2000)), photograph((800, 600))
    plan = vn.compare(llm, "What?", [large], dry_run=True)
    assert "about 4," in plan._repr_markdown_() and "about 0.0" in str(plan)
    plan = vn.compare(llm, "What?", [small], dry_run=True)
    assert not plan.is_estimate and "about" not in str(plan) + plan._repr_markdown_()
    llm.complete("What?", [small])
    assert "about" not in ledger._repr_html_()
    llm.complete("What?", [large])
    assert "about 5," in ledger._repr_html_() and list(ledger.to_dataframe().expected_is_estimate) == [False, True]


def test_calibrate_turns_an_estimate_into_a_counted_value(server, connect):
    llm = connect("anthropic:claude-opus-4-8")
    found = vn.calibrate(llm)
    assert found.families[0] == "Claude, high resolution" and len(server.requests) == 4
    found.keep()
    counted = vn.image_tokens((4032, 3024), llm)
    assert (counted.tokens, counted.is_estimate) == (4740, False)
    assert counted.checked == "3 blank images, counted by the server" and counted.source.startswith("calibrate()")
    assert vn.image_tokens((4032, 3024), "claude-opus-4-7").is_estimate  # only the model that was asked


@pytest.mark.parametrize(
    "name, rule, size",
    [
        ("anthropic:claude-opus-4-8", PaddedPatches(28, 2576, 3969), (4032, 3024)),
        ("deepinfra:Qwen/Qwen3-VL-30B-A3B-Instruct", PaddedPatches(32, 4096, 2500), (2048, 2048)),
    ],
)
def test_calibrate_adopts_the_limit_that_a_server_applies(connect, monkeypatch, name, rule, size):
    llm = connect(name)
    monkeypatch.setattr(handler, "image_tokens", lambda size, model, detail: rule.view(size, "auto").tokens)
    found = vn.calibrate(llm)
    assert found.families == () and found.rule is not None
    found.keep()
    assert vn.image_tokens(size, llm).tokens == rule.view(size, "auto").tokens
    assert not vn.image_tokens(size, llm).is_estimate


def test_calibrate_counts_a_model_with_a_nearly_fixed_count(connect, monkeypatch):
    llm = connect("gemini:gemini-3-pro")
    monkeypatch.setattr(handler, "image_tokens", lambda size, model, detail: 1065 + (size[0] == size[1]) * 15)
    vn.calibrate(llm).keep()
    assert (vn.image_tokens((9, 9), llm).tokens, vn.image_tokens((9, 9), llm).is_estimate) == (1080, False)


def test_a_reported_count_is_believed_where_the_rule_is_an_estimate_or_was_never_compared(connect, monkeypatch):
    for name in ("anthropic:claude-opus-4-8", "gemini:gemini-2.5-flash", "openrouter:qwen/qwen2.5-vl-72b-instruct"):
        llm = connect(name)
        monkeypatch.setattr(handler, "image_tokens", lambda size, model, detail: 40)
        answer = llm.complete("What?", [photograph((3000, 2000))])
        assert not answer.usage_is_implausible and not ledger.entries[-1].is_estimate


def test_the_services_limits_are_errors_before_sending_with_the_figures(server, connect, monkeypatch):
    llm = connect("anthropic:claude-opus-4-8")
    with pytest.raises(errors.SettingsError, match="accepts 100 images per request and got 101"):
        llm.complete("x", [encoded(picture(8, 8))] * 101)
    monkeypatch.setattr(llm, "max_image_bytes", 20_000)
    with pytest.raises(
        errors.ImageTooLargeError, match=r"is \d\.\d MB at 2212 x 1659 pixels, but the limit is 0.02 MB"
    ):
        llm.complete("x", [picture(4032, 3024)])
    assert not server.requests


@pytest.mark.parametrize(("size", "is_estimate"), [((3000, 2000), True), ((800, 600), False)])
def test_a_dry_run_of_a_cell_says_about(tmp_path, monkeypatch, size, is_estimate):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    path = tmp_path / "photo.jpg"
    path.write_bytes(photograph(size))
    with in_process_shell(tmp_path) as shell:
        preview = shell.run_cell_magic("vision", f"claude-opus-4-8 --dry-run -i {path}", "What?")
        shown = repr(preview)
        assert ("tokens, estimated: about 4," in shown and "estimated: about 0." in shown) == is_estimate
        assert ("about" in shown) == is_estimate and not shell.server.requests


def test_a_plan_counts_images_at_the_largest_side_that_is_sent(connect):
    images = [photograph((3000, 2000))]
    plans = [
        vn.compare(connect("anthropic:claude-opus-4-8", **side), "What?", images, dry_run=True).models[0]
        for side in ({}, {"max_side": 800})
    ]
    assert [plan.is_estimate for plan in plans] == [True, False]
    assert plans[0].input_tokens - plans[1].input_tokens == 4704 - 29 * 20
