"""What new users write first, and what they are told."""

from pathlib import Path

import pytest
from PIL import Image

import vision_nb as vn

CHART = vn.samples.path("chart")
DATA = {"type": "object", "properties": {"height": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("openai:gpt-4oo", "openai:gpt-4o"),
        ("gpt-4o-minni", "openai:gpt-4o-mini"),
        ("anthropic:claude-sonet-5", "anthropic:claude-sonnet-5"),
        ("gemini:gemini-2.5-flas", "gemini:gemini-2.5-flash"),
    ],
)
def test_a_misspelled_model_without_a_price_is_said_to_be_one_before_anything_is_sent(name, meant):
    remark = f"is not known: it may be a misspelling of {meant}"
    plan = vn.compare(name, "What?", CHART, dry_run=True)
    assert plan.usd is None and remark in plan.notes[-1] and remark in plan._repr_markdown_()
    estimate = vn.estimate_cost("What?", CHART, name)
    assert estimate.usd is None and all(remark in text for text in (repr(estimate), estimate._repr_markdown_()))
    assert remark in vn.estimate_cost("What?", CHART, models=[name, "gpt-4o"])._repr_markdown_()


@pytest.mark.parametrize("name", ["openai:gpt-4o", "openai:our-model", "local:llava", "openrouter:a/b", "groq:x"])
def test_other_models_are_not_said_to_be_misspelled(name):
    options = {"api_base": "http://127.0.0.1:9/v1"} if name.startswith("local") else {}
    llm = vn.connect(name, api_key="key", **options)
    assert vn.compare(llm, "What?", CHART, dry_run=True).notes == ()
    assert vn.estimate_cost("What?", CHART, llm).remark == ""


def test_a_rate_limit_says_how_to_write_one():
    with pytest.raises(vn.errors.SettingsError, match=r"write vn.RateLimit\(requests_per_minute=10\)"):
        vn.connect("demo", rate_limit=10)
    with pytest.raises(vn.errors.SettingsError, match=r"write vn.RateLimit\(requests_per_minute=500\)"):
        vn.compare("demo", "What?", CHART, rate_limits=500)  # type: ignore[call-overload] # on purpose
    with pytest.raises(vn.errors.ArgumentError, match=r"write RateLimit\(requests_per_minute=...\)"):
        vn.RateLimit(10)  # type: ignore[call-arg] # on purpose


def test_a_message_without_a_role_says_how_to_write_one():
    with pytest.raises(vn.errors.SettingsError, match=r"write ChatMessage\('user', 'hi'\)"):
        vn.ChatMessage("hi")
    assert vn.ChatMessage("user").text == "" and vn.ChatMessage(vn.MessageRole.USER).text == ""


async def test_without_a_model_the_default_one_answers():
    assert str(vn.Chat().llm) == "demo"
    assert vn.extract(CHART, DATA, progress=False)[0].parsed == {"height": 600}
    assert (await vn.aextract(CHART, DATA, progress=False))[0].parsed == {"height": 600}
    assert vn.extract(CHART, DATA, dry_run=True).models[0].model == "demo"


@pytest.mark.parametrize(
    "call",
    [
        lambda: vn.extract("demo", [CHART]),
        lambda: vn.extract(vn.connect("demo"), CHART, model="demo"),
        lambda: vn.extract(dict, CHART, model="demo"),
        lambda: vn.extract(CHART, "demo", model=DATA),
    ],
)
def test_the_order_of_the_arguments_of_extract(call):
    with pytest.raises(vn.errors.SettingsError, match=r"write extract\(images, schema, model=...\)"):
        call()


def test_a_list_of_names_is_not_a_schema_of_extract():
    with pytest.raises(vn.errors.SettingsError, match=r"schema=\['shop', 'total'\] is not a schema: pass a pydantic"):
        vn.extract(CHART, ["shop", "total"], model="demo")


def test_the_order_of_other_arguments():
    with pytest.raises(vn.errors.SettingsError, match="the prompt comes first, and then the images"):
        vn.connect("demo").complete(CHART, "What?")  # type: ignore[arg-type] # on purpose
    with pytest.raises(vn.errors.SettingsError, match="for a single prompt, use complete"):
        vn.connect("demo").chat(CHART)  # type: ignore[arg-type] # on purpose
    with pytest.raises(vn.errors.SettingsError, match=r"write compare\(models, prompts, images\)"):
        vn.compare([CHART], "What?", "demo")


def test_pages_of_an_animation_are_frames(tmp_path):
    path = tmp_path / "moving.gif"
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="has frames instead of pages: choose them with frames= or every_s="):
        assert len(vn.load_images(path, pages=2)) == 1
    assert len(vn.load_images(path, frames=2)) == 2


def test_what_models_and_panels_have_is_in_their_repr():
    llm = vn.connect("demo", rate_limit=vn.RateLimit(requests_per_minute=3), max_side=512)
    assert (
        repr(llm) == "DemoMultiModal(model='demo', max_side=512, rate_limit=RateLimit(requests_per_minute=3, "
        "tokens_per_minute=None))"
    )
    panel = vn.ChatPanel("demo", [CHART, Path(CHART)], store=False)
    assert repr(panel) == "ChatPanel(demo, 0 turns, 2 images attached)"
    stream = vn.connect("demo").stream_complete("How large is it?", [vn.samples.path("chart")])
    assert repr(stream) == "ResponseStream(not read yet: '')"
    assert list(stream) and repr(stream).startswith("ResponseStream(ended: \"The image's size is **1,000")
    panel.close()
