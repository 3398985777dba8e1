"""Model names: with and without a provider, everywhere, and what misspelled ones suggest."""

import pytest
from IPython.core.error import UsageError

import vision_nb as vn
from tests.conftest import picture
from vision_nb import errors
from vision_nb.cost.model_reference import REPLICATE_MODELS, counted_model, parse_model_name
from vision_nb.magics.models import resolve
from vision_nb.providers.replicate.catalog import MODELS

BARE = {
    "gpt-4o": "openai:gpt-4o",
    "o3": "openai:o3",
    "o4-mini": "openai:o4-mini",
    "ft:gpt-4o:team::1": "openai:ft:gpt-4o:team::1",
    "claude-sonnet-5": "anthropic:claude-sonnet-5",
    "gemini-2.5-flash": "gemini:gemini-2.5-flash",
    "grok-4": "xai:grok-4",
    "pixtral-large-latest": "mistral:pixtral-large-latest",
    "openrouter:qwen/qwen3-vl:free": "openrouter:qwen/qwen3-vl:free",
    "demo": "demo",
}
MISSPELLED = {
    "gtp-4o": "openai:gpt-4o",
    "opnai:gpt-4o": "openai:gpt-4o",
    "anthropc:claude-sonnet-5": "anthropic:claude-sonnet-5",
    "cluade-sonnet-5": "anthropic:claude-sonnet-5",
}
SIZE = (1024, 1024)
FUNCTIONS = {
    "connect": lambda name: vn.connect(name, api_key="k"),
    "image_tokens": lambda name: vn.image_tokens(SIZE, name),
    "image_tokens_array": lambda name: vn.image_tokens_array([1024], [1024], name),
    "estimate_cost": lambda name: vn.estimate_cost("x", SIZE, name),
    "cheapest_fit": lambda name: vn.cheapest_fit(SIZE, name),
    "show_tiles": lambda name: vn.show_tiles(picture(), name),
    "compare": lambda name: vn.compare(name, "x", picture(), dry_run=True),
    "extract": lambda name: vn.extract(picture(), {"enum": ["a", "b"]}, model=name, dry_run=True),
    "Chat": lambda name: vn.Chat(name),
    "ChatPanel": lambda name: vn.ChatPanel(name),
}


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, "k")


@pytest.mark.parametrize(("name", "full"), BARE.items())
def test_a_name_that_only_one_provider_has_needs_no_provider(name, full):
    assert str(parse_model_name(name)) == full and resolve(name, {}) == full
    assert str(vn.connect(name, **({} if name == "demo" else {"api_key": "k"}))) == full


@pytest.mark.parametrize("name", ["gpt-oss-20b", "qwen/qwen3-vl", "llava-13b", "llama-4", "o"])
def test_a_name_that_several_providers_may_have_is_refused(name):
    with pytest.raises(errors.SettingsError, match="Unknown provider or model"):
        vn.connect(name, api_key="k")


@pytest.mark.parametrize("name", ["openai:", "anthropic:", "ollama:", " openai: "])
def test_a_provider_without_the_model_that_its_colon_announces_is_refused(name, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    provider = name.strip(" :")
    for function in (vn.connect, lambda name: vn.estimate_cost("How?", (64, 64), name)):
        with pytest.raises(
            errors.SettingsError, match=f"'{provider}:' does not include a model: write {provider}:NAME"
        ):
            function(name)
    with pytest.raises(UsageError, match=f"did you mean {provider}:NAME"):
        resolve(name.strip(), {})


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("name", "nearest"), MISSPELLED.items())
def test_a_misspelled_name_is_an_error_that_suggests_the_nearest(function, name, nearest):
    with pytest.raises(errors.SettingsError, match=f"did you mean '{nearest}'"):
        FUNCTIONS[function](name)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_takes_a_name_with_and_without_its_provider(function):
    for name in ("gpt-4o", "openai:gpt-4o"):
        assert FUNCTIONS[function](name) is not None


def test_counting_functions_take_model_objects():
    llm = vn.connect("gpt-4o")
    assert vn.image_tokens(SIZE, llm).tokens == vn.image_tokens(SIZE, "openai:gpt-4o").tokens == 765
    assert vn.cheapest_fit(SIZE, llm).steps == vn.cheapest_fit(SIZE, "gpt-4o").steps
    assert vn.image_tokens_array([1024], [1024], llm).tolist() == [765]
    with pytest.raises(errors.SettingsError, match="An int is not a model"):
        vn.image_tokens(SIZE, 3)


def test_one_model_name_is_one_row_and_never_its_letters():
    (estimate,) = vn.estimate_cost("x", SIZE, models="gpt-4o")
    assert estimate.model == "gpt-4o" and estimate.usd > 0
    (by_object,) = vn.estimate_cost("x", SIZE, models=vn.connect("gpt-4o"))
    assert by_object.usd == estimate.usd
    assert [one.model for one in vn.compare("gpt-4o", "x", picture(), dry_run=True).models] == ["openai:gpt-4o"]
    plan = vn.compare(" replicate:llava-13b", "x", picture(), dry_run=True)  # without a token
    assert [one.model for one in plan.models] == ["replicate:llava-13b"]
    assert str(vn.ChatPanel("gpt-4o").chat.llm) == "openai:gpt-4o"


def test_a_name_that_resembles_no_other_is_a_model_without_a_known_rule():
    assert vn.image_tokens(SIZE, "a-model-of-tomorrow").tokens is None
    assert counted_model("our-deployment").provider == ""


def test_a_routers_name_for_a_model_uses_the_models_own_rule():
    assert vn.image_tokens(SIZE, "openrouter:openai/gpt-4o").tokens == 765
    assert vn.image_tokens(SIZE, "openrouter:somebody/gpt-4o").tokens is None


def test_a_price_and_a_limit_of_concurrency_take_both_forms():
    vn.set_price("openai:gpt-4o", input=7, output=8)
    vn.set_price("my-llava:7b", input=1, output=1)
    usage = vn.Usage(1_000_000, 0)
    assert vn.connect("gpt-4o").price(usage) == 7
    assert vn.connect("local:my-llava:7b", api_base="http://127.0.0.1:1/v1").price(usage) == 1
    for limits in ({"gpt-4o": 2}, {"openai:gpt-4o": 2}):
        assert vn.compare("gpt-4o", "x", picture(), concurrency=limits, dry_run=True).calls == 1
    with pytest.raises(errors.SettingsError, match="not one of the models"):
        vn.compare("gpt-4o", "x", picture(), concurrency={"o3": 2}, dry_run=True)


def test_a_value_that_is_not_a_name_is_an_error():
    with pytest.raises(errors.SettingsError, match="An int is not a model's name"):
        vn.connect(3)  # type: ignore[arg-type]


def test_a_misspelled_name_of_a_replicate_model_is_an_error_in_estimates_too():
    with pytest.raises(errors.SettingsError, match="did you mean 'replicate:llava-13b'"):
        vn.estimate_cost("What?", [(100, 100)], models="lava-13b")
    for name in ("llava-13b", "fuyu-8b", "bakllava-13b", "llama-13b"):  # also models of other servers
        assert vn.estimate_cost("What?", [(100, 100)], name).usd is None


def test_estimates_know_the_short_names_of_replicates_models():
    assert [model.key for model in MODELS] == list(REPLICATE_MODELS)
