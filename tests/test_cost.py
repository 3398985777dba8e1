"""The cost functions: tokens of texts and images, prices, estimates, smaller sizes and the tile plot."""

import copy
import hashlib
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot
from genai_prices.types import ModelPrice

import vision_nb as vn
from tests.conftest import encoded, picture
from vision_nb import errors
from vision_nb.cost import price_list, prices, text_tokens
from vision_nb.cost.image_rules import view_of
from vision_nb.cost.price_list import listed_price
from vision_nb.demo import Fault


def test_a_count_has_rule_size_grid_and_source():
    counted = vn.image_tokens((2048, 4096), "gpt-4o", "high")
    assert (counted.tokens, counted.seen_size, counted.grid) == (1105, (768, 1536), (2, 3))
    assert "tiles" in counted.rule and "2026" in counted.source


def test_a_list_has_an_error_entry_for_an_unreadable_image(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    counts = vn.image_tokens([(1024, 1024), broken, picture(), tmp_path / "missing.png"], "gpt-4o", "high")
    assert [count.tokens for count in counts] == [765, None, 255, None]
    assert "broken.png" in counts[1].error and "There is no file" in counts[3].error


def test_a_documents_own_detail_level_is_used():
    document = vn.ImageDocument.of(picture(2000, 2000), detail="low")
    assert vn.image_tokens(document, "gpt-4o").tokens == 85
    assert vn.image_tokens(document, "gpt-4o", "high").tokens == 765


def test_text_tokens_are_estimated_without_a_cached_vocabulary(monkeypatch, tmp_path):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    text_tokens._encoding.cache_clear()
    counted = text_tokens.text_tokens("What is in this picture?")
    assert counted.is_estimate and 6 <= counted.tokens - text_tokens.MESSAGE_TOKENS <= 8
    assert text_tokens.text_tokens("どんな画像ですか？").tokens - text_tokens.MESSAGE_TOKENS == 9
    text_tokens._encoding.cache_clear()


def test_text_tokens_are_counted_with_a_cached_vocabulary(monkeypatch, tmp_path):
    tiktoken = pytest.importorskip("tiktoken")
    url = text_tokens._VOCABULARIES["o200k_base"]
    (tmp_path / hashlib.sha1(url.encode()).hexdigest()).write_bytes(b"")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    letters = tiktoken.Encoding(
        "letters", pat_str=".", mergeable_ranks={bytes([byte]): byte for byte in range(256)}, special_tokens={}
    )
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: letters)
    text_tokens._encoding.cache_clear()
    counted = text_tokens.text_tokens("12345 <|endoftext|>", "gpt-4o")
    assert (counted.tokens, counted.is_estimate) == (text_tokens.MESSAGE_TOKENS + 19, False)
    text_tokens._encoding.cache_clear()


@pytest.mark.parametrize("provider", ["openai", "azure"])
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-2024-08-06", "ft:gpt-4o-2024-08-06:team::1", "gpt-5.4"])
def test_models_with_a_known_price(provider, model):
    assert prices.price(vn.Usage(1000, 100), provider=provider, model=model) > 0


def test_cached_input_is_cheaper_and_an_unknown_price_is_none():
    full, cached = vn.Usage(10_000, 1), vn.Usage(10_000, 1, 9_000)
    assert prices.price(cached, provider="openai", model="gpt-4o") < prices.price(
        full, provider="openai", model="gpt-4o"
    )
    for usage, provider, model in (
        (full, "openai", "a-model-of-tomorrow"),
        (full, "replicate", "gpt-4o"),
        (full, "local", "llava"),
        (vn.Usage(None, 5), "openai", "gpt-4o"),
    ):
        assert prices.price(usage, provider=provider, model=model) is None


def test_the_price_of_each_model_on_the_list_is_that_of_genai_prices():
    for provider in get_snapshot().providers:
        names = [model.id for model in provider.models if not model.id.startswith("ft:")]
        for name in filter(provider.find_model, names):
            for usage in (vn.Usage(1000, 20), vn.Usage(300_000, 7, 1000), vn.Usage(3_000_000, 0, 3_000_000)):
                tokens = genai_prices.Usage(
                    input_tokens=usage.input_tokens,
                    output_tokens=usage.output_tokens,
                    cache_read_tokens=usage.cached_input_tokens or None,
                )
                expected = genai_prices.calc_price(tokens, name, provider_id=provider.id).total_price
                found = listed_price(usage, price_id=provider.id, model=name, service_tier=None)
                assert (name, found) == (name, expected)


def test_a_models_price_is_looked_up_once(monkeypatch):
    found = []
    calc_price = genai_prices.calc_price
    monkeypatch.setattr(price_list, "_lookups", price_list._Lookups())
    monkeypatch.setattr(
        genai_prices, "calc_price", lambda *args, **options: found.append(args) or calc_price(*args, **options)
    )
    for model in ("gpt-4o", "gemini-2.5-pro", "a-model-of-tomorrow"):
        provider = "gemini" if "gemini" in model else "openai"
        several = [prices.price(vn.Usage(tokens, 5), provider=provider, model=model) for tokens in (10, 300_000) * 50]
        assert len(set(several)) == (1 if "tomorrow" in model else 2)
    assert 3 <= len(found) < 10  # once more if a new minute begins


def test_an_updated_price_list_is_used_at_once():
    usage = vn.Usage(1_000_000, 0)
    before = prices.price(usage, provider="openai", model="gpt-4o")
    updated = copy.deepcopy(get_snapshot().providers)
    openai = next(provider for provider in updated if provider.id == "openai")
    openai.find_model("gpt-4o").prices = ModelPrice(input_mtok=Decimal(7), output_mtok=Decimal(8))
    try:
        set_custom_snapshot(DataSnapshot(providers=updated, from_auto_update=False))
        assert prices.price(usage, provider="openai", model="gpt-4o") == 7 != before
    finally:
        set_custom_snapshot(None)
    assert prices.price(usage, provider="openai", model="gpt-4o") == before


@pytest.mark.parametrize("usage", [vn.Usage(-1, 5), vn.Usage(5, -1), vn.Usage(5, 5, 6)])
def test_the_price_of_an_impossible_usage_is_unknown(usage):
    assert prices.price(usage, provider="openai", model="gpt-4o") is None


def test_set_price(server):
    vn.set_price("my-llava", input=0.2, output="0.8")
    assert prices.price(vn.Usage(1_000_000, 500_000), provider="local", model="my-llava") == Decimal("0.6")
    assert vn.estimate_cost("x", (64, 64), "local:my-llava").usd is None  # its image rule is still unknown
    for wrong in ("much", -1, float("nan"), None):
        with pytest.raises(errors.SettingsError, match="million tokens"):
            vn.set_price("x", input=wrong, output=1)


def test_an_estimate_has_parts_a_price_range_and_a_table():
    estimate = vn.estimate_cost("What?", [(1024, 1024), (512, 512)], "gpt-4o", detail="high", max_new_tokens=100)
    assert [image.tokens for image in estimate.images] == [765, 255]
    assert estimate.tokens == estimate.text.tokens + 1020
    assert estimate.usd - estimate.usd_low == Decimal("0.00001") * 99
    table = estimate._repr_markdown_()
    assert "1,030" in table and "768 x 768" in table and "(estimated)" in table and "USD" in str(estimate)


def test_several_estimates_are_sorted_by_price_with_unknown_prices_last():
    estimates = vn.estimate_cost("x", (1024, 1024), models=["a-new-one", "gpt-4o", "azure:gpt-4o-mini", "gpt-5-nano"])
    assert [one.model for one in estimates][-1] == "a-new-one" and estimates[-1].usd is None
    known = [one.usd for one in estimates[:-1]]
    assert known == sorted(known)
    assert "price unknown" in estimates._repr_markdown_() and len(repr(estimates).splitlines()) == 4
    table = estimates.to_dataframe()
    assert list(table["model"]) == [one.model for one in estimates] and table["usd"][0] == float(estimates[0].usd)
    assert table["usd"].isna().tolist() == table["input_tokens"].isna().tolist() == [False, False, False, True]


def test_an_estimate_has_an_error_row_for_an_unreadable_image(tmp_path):
    estimate = vn.estimate_cost("x", [picture(), tmp_path / "missing.png"], "gpt-4o")
    assert estimate.tokens is None and estimate.usd is None
    assert "There is no file" in estimate._repr_markdown_()


@pytest.mark.parametrize(
    "source, reason", [("missing.png", "There is no file"), ("", "is a folder"), ("*.png", "load_images")]
)
def test_an_estimate_says_why_its_tokens_are_unknown(tmp_path, source, reason):
    estimates = vn.estimate_cost("x", str(tmp_path / source), models=["gpt-4o", "gpt-5.4"])
    assert estimates[0].tokens is None
    for shown in (str(estimates[0]), str(estimates), estimates._repr_markdown_()):
        assert shown.count(reason) == 1


def test_a_model_objects_settings_are_used_and_a_free_model_costs_nothing(server):
    llm = vn.AzureOpenAIMultiModal("d", "gpt-4o", server.url, "v", "k", image_detail="low", max_new_tokens=7)
    estimate = vn.estimate_cost("x", picture(), llm)
    assert (estimate.images[0].tokens, estimate.max_new_tokens) == (85, 7) and estimate.usd > 0
    assert vn.estimate_cost("x", picture(), vn.connect("demo")).usd == 0
    assert vn.estimate_cost("x", picture(), vn.connect("demo:another-model")).usd == 0
    played = vn.connect("demo:gpt-4o").complete("x", picture()).usage
    assert vn.connect("demo:gpt-4o").price(played) == vn.connect("gpt-4o", api_key="key").price(played) > 0


@pytest.mark.parametrize("name", ["smolvlm-500m", "SmolVLM-500M", "local:smolvlm-500m", "demo"])
def test_the_name_of_a_small_model_or_the_demo_costs_nothing_unless_a_price_is_set(name):
    estimate = vn.estimate_cost("x", (1024, 1024), name)
    assert estimate.usd_low == estimate.usd == 0 and str(estimate).endswith(", free")
    assert vn.estimate_cost("x", (1024, 1024), models=["gpt-4o", name])[0].usd == 0
    vn.set_price(name.lower(), input=1, output=1)
    assert vn.estimate_cost("x", (1024, 1024), name).usd > 0


def test_other_local_models_have_an_unknown_price_by_name_and_on_other_machines():
    llm = vn.LocalMultiModal("smolvlm-500m", "http://192.0.2.1/v1", api_key="key")
    assert vn.estimate_cost("x", (1024, 1024), llm).usd is None
    assert vn.estimate_cost("x", (1024, 1024), "local:llava").usd is None


def test_a_smaller_image_saves_nothing_if_the_model_is_free(server):
    for model in ("demo", vn.connect("demo")):
        fits = vn.cheapest_fit((1024, 1024), model)
        assert {step.saved_usd for step in fits.steps} == {0} and "nothing" in fits._repr_markdown_()


def test_an_estimate_uses_the_settings_that_a_call_would_have(server):
    llm = vn.OpenAIMultiModal(
        "gpt-4o", "k", server.openai_base, image_detail="high", additional_kwargs={"max_tokens": 9}
    )
    low = vn.ImageDocument.of(picture(1500, 900), detail="low")
    estimate = vn.estimate_cost("x", [low, picture(1500, 900)], llm)
    assert [image.detail for image in estimate.images] == ["low", "high"] and estimate.max_new_tokens == 9
    assert abs(llm.complete("x", [low, picture(1500, 900)]).usage.input_tokens - estimate.tokens) <= 12


def test_an_estimate_agrees_with_the_reported_tokens(server):
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, image_detail="high")
    images = [picture(1500, 900), picture(300, 300)]
    billed = llm.complete("What is in these pictures?", images).usage.input_tokens
    assert abs(vn.estimate_cost("What is in these pictures?", images, llm).tokens - billed) <= 12


def test_an_exact_count_is_the_providers_own(server):
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    server.fail(Fault(body={"object": "response.input_tokens", "input_tokens": 1234}))
    estimate = vn.estimate_cost("What?", picture(), llm, exact=True)
    assert estimate.tokens == 1234 and estimate.is_exact and "own count" in estimate._repr_markdown_()
    request = server.requests[-1]
    assert request.path == "/v1/responses/input_tokens"
    parts = request.body["input"][0]["content"]
    assert [part["type"] for part in parts] == ["input_text", "input_image"]
    assert parts[1]["image_url"].startswith("data:image/")


def test_an_exact_count_agrees_with_the_reported_tokens(server):
    llm = vn.OpenAIMultiModal("gpt-5.4", "k", server.openai_base)
    images = [picture(1500, 900), picture(300, 300)]
    exact = vn.estimate_cost("What is in these pictures?", images, llm, exact=True).tokens
    assert exact == llm.complete("What is in these pictures?", images).usage.input_tokens


def test_an_unavailable_exact_count_raises():
    with pytest.raises(errors.SettingsError, match="pass a model object"):
        vn.estimate_cost("x", picture(), "gpt-4o", exact=True)
    with pytest.raises(errors.SettingsError, match="images themselves"):
        vn.estimate_cost("x", (10, 10), vn.connect("demo"), exact=True)
    llm = vn.ReplicateMultiModal("llava-13b", api_token="t")
    with pytest.raises(errors.SettingsError, match="cannot count tokens exactly"):
        vn.estimate_cost("x", picture(), llm, exact=True)
    with pytest.raises(errors.SettingsError, match="max_new_tokens must be an integer of at least 1"):
        vn.estimate_cost("x", max_new_tokens=0)


def test_cheapest_fit_finds_the_sizes_at_which_the_count_drops():
    fits = vn.cheapest_fit((2048, 2048), "gpt-4o", "high")
    assert [(step.size, step.tokens, step.saved_tokens) for step in fits.steps] == [((512, 512), 255, 510)]
    assert fits.steps[0].saved_usd == Decimal("510") * Decimal("2.5") / 1_000_000
    patches = vn.cheapest_fit((3000, 2000), "gpt-5.4", "high")
    counts = [patches.tokens, *(step.tokens for step in patches.steps)]
    assert counts == sorted(counts, reverse=True) and len(counts) > 5
    for step in patches.steps:
        assert view_of(step.size, "gpt-5.4", "high").tokens == step.tokens
    assert "3000 x 2000 (full size)" in patches._repr_markdown_()


def test_cheapest_fit_without_smaller_sizes_or_a_known_rule():
    assert vn.cheapest_fit((100, 100), "gpt-4o", "low").steps == ()
    assert vn.cheapest_fit(encoded(picture()), "unknown").tokens is None
    assert "not known" in vn.cheapest_fit((10, 10), "unknown")._repr_markdown_()


@pytest.mark.parametrize("name", ["night_scene", "chart", "street_sign", "label", "grace_hopper"])
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5.4"])
def test_show_tiles_plots_the_seen_size_and_the_grid(name, model):
    document = vn.ImageDocument.of(vn.samples.path(name))
    view = view_of(document.size, model, "high")
    (axis,) = vn.show_tiles(document, model).axes
    assert f"{view.tokens:,} tokens" in axis.get_title()
    assert len(axis.lines) == sum(view.grid) + 2
    assert list(axis.images[0].get_extent()) == [0, view.size[0], view.size[1], 0]


def test_show_tiles_with_several_details_and_without_a_rule():
    figure = vn.show_tiles(picture(2000, 1500), "gpt-4o", ("low", "high"))
    assert ["low" in axis.get_title() for axis in figure.axes] == [True, False]
    with pytest.raises(errors.SettingsError, match="not known"):
        vn.show_tiles(picture(), "unknown")


@pytest.mark.parametrize(
    "model, size, title, lines",
    [
        ("claude-haiku-4-5", (400, 300), "claude-haiku-4-5: 165 tokens", 15 + 11 + 2),
        ("claude-opus-4-8", (3000, 900), "about 2,576 tokens (estimate)", 92 + 28 + 2),
        ("gemini-2.5-flash", (300, 300), "1 x 1 = 1 tile of 768 px", 4),
        ("gemini-2.5-flash", (1000, 300), "2 x 1 = 2 tiles of 768 px", 5),
        ("gemini-3-pro", (1000, 300), "1000 x 300 sent as 1000 x 300\nno tiles, a fixed count", 0),
        ("qwen/qwen3-vl-8b-instruct", (120, 90), "120 x 90 seen as 320 x 224\n10 x 7 = 70 patches of 32 px", 19),
        ("mistral-small-2506", (500, 20), "18 x 1 = 18 patches of 28 px and 1 row end", 21),
        ("smolvlm-500m", (400, 200), "seen as 2048 x 1024\n4 x 2 = 8 tiles of 512 px and an overview", 8),
        ("groq:meta-llama/llama-4-scout", (300, 300), "1 x 1 = 1 tile of 336 px", 4),
        ("groq:meta-llama/llama-4-scout", (700, 300), "3 x 1 = 3 tiles of 336 px and an overview", 6),
        ("grok-4", (2000, 2000), "at most 6 tiles of 448 px and an overview, in an unknown layout", 0),
    ],
)
def test_show_tiles_plots_each_kind_of_rule(model, size, title, lines):
    (axis,) = vn.show_tiles(picture(*size), model).axes
    counted = vn.image_tokens(size, model)
    assert title in axis.get_title() and f"{counted.tokens:,} tokens" in axis.get_title()
    assert "detail" not in axis.get_title() and ("estimate" in axis.get_title()) == counted.is_estimate
    assert len(axis.lines) == lines
    overviews = (
        [f"overview, {title[title.index(' of ') + 4 :][:3]} px"] if "px and an overview" in title and lines else []
    )
    assert [inset.get_title(loc="left") for inset in axis.child_axes] == overviews  # type: ignore[attr-defined]


CLAUDE, LARGE = "claude-opus-4-8", (4032, 3024)


def test_an_estimate_of_image_tokens_says_so_wherever_it_is_shown():
    counted, small = vn.image_tokens(LARGE, CLAUDE), vn.image_tokens((1568, 800), CLAUDE)
    assert counted.tokens == 4740 and counted.is_estimate and not small.is_estimate
    assert (
        "the rule gives 4,740" in counted.checked and vn.image_tokens(LARGE, "gpt-4o").checked == "the guide's examples"
    )
    estimate = vn.estimate_cost("What?", LARGE, CLAUDE)
    assert estimate.is_estimate and estimate.usd > 0
    assert "about 4,740" in estimate._repr_markdown_() and "**about 0.0" in estimate._repr_markdown_()
    assert "about 4,7" in str(estimate) and ", about 0.0" in str(estimate)
    several = vn.estimate_cost("What?", LARGE, models=[CLAUDE, "gpt-4o"])
    assert several._repr_markdown_().count("about") == 3  # the images, the input and the price of one model
    exact = vn.estimate_cost("What?", (800, 600), CLAUDE)
    assert not exact.is_estimate and "about" not in exact._repr_markdown_() + str(exact)


def test_cheapest_fit_marks_estimates():
    fits = vn.cheapest_fit(LARGE, CLAUDE)
    assert fits.is_estimate and "| about 4,740 |" in fits._repr_markdown_()
    assert [step.is_estimate for step in fits.steps] == [max(step.size) > 1568 for step in fits.steps]
    assert {True, False} == {step.is_estimate for step in fits.steps} and fits.steps[0].saved_usd > 0
    assert vn.cheapest_fit(LARGE, "gemini-3-pro").steps == vn.cheapest_fit(LARGE, "smolvlm-500m").steps == ()
