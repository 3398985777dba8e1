"""The chat panel shows what the next question would cost, before it is sent."""

import asyncio
import threading

import pytest

import vision_nb as vn
from tests.conftest import picture
from vision_nb.cost import image_tokens
from vision_nb.cost.text_tokens import TextTokens
from vision_nb.images import content
from vision_nb.widgets import question_price
from vision_nb.widgets.question_price import detail_choices


def write(panel, **message):
    panel._composer._handle_custom_msg(message, [])


async def price_of(panel, text):
    """Type a text, and return the price that the panel then shows."""
    write(panel, do="draft", text=text)
    await panel._composer._price.wait()
    return panel._composer.price


@pytest.fixture
def llm(monkeypatch):
    monkeypatch.setattr(question_price, "text_tokens", lambda text, model: TextTokens(len(text.split()), False))
    return vn.OpenAIMultiModal("gpt-4o", "sk-secret")


async def test_the_price_counts_the_text_the_images_and_the_conversation_so_far(llm):
    panel = vn.ChatPanel(llm)
    assert await price_of(panel, "two words") == "2 tokens \u00b7 would cost 0.000005 USD plus the answer"
    image = vn.ImageDocument(image=picture(1024, 1024), detail="high")  # 765 tokens, as OpenAI documents
    panel.add(image, image)
    assert await price_of(panel, "two words") == (
        "1,532 tokens (text 2, 2 images 1,530) \u00b7 would cost 0.00383 USD plus the answer"
    )
    panel.chat.add(vn.ChatMessage("user", ["one more word", image]), vn.ChatResponse("a b c d", model="gpt-4o"))
    assert await price_of(panel, "two words") == (
        "2,304 tokens (text 2, 2 images 1,530, conversation so far 772) \u00b7 would cost 0.00576 USD plus the answer"
    )
    assert await price_of(panel, " ") != "" and await price_of(vn.ChatPanel(llm), " ") == ""


async def test_the_price_follows_the_detail_level_and_the_model(llm):
    panel = vn.ChatPanel([llm, vn.OpenAIMultiModal("gpt-4o-mini", "sk-secret"), "demo"], images=picture(1024, 1024))
    assert "image 765)" in await price_of(panel, "word")
    write(panel, do="detail_of_all", detail="low")
    assert (
        await price_of(panel, "word") == "86 tokens (text 1, 1 image 85) \u00b7 would cost 0.000215 USD plus the answer"
    )
    write(panel, do="model", name="openai:gpt-4o-mini")
    await asyncio.sleep(0.2)  # until the redraw
    await panel._composer._price.wait()
    assert panel._composer.price.startswith("2,834 tokens (text 1, 1 image 2,833)")
    write(panel, do="model", name="demo")
    assert (await price_of(panel, "word")).endswith(" \u00b7 free")


async def test_unknown_rules_and_prices_are_shown_as_unknown(llm):
    panel = vn.ChatPanel(vn.OpenAIMultiModal("some-new-model", "sk-secret"), images=picture())
    assert await price_of(panel, "word") == "Tokens unknown (text 1, 1 image unknown) \u00b7 price unknown"
    panel = vn.ChatPanel(vn.ReplicateMultiModal("llava-13b", api_token="r8_secret"), images=picture())
    assert (await price_of(panel, "word")).endswith("price unknown")


async def test_a_detail_level_that_the_model_does_not_support_is_reported_before_sending(llm):
    panel = vn.ChatPanel(llm, images=vn.ImageDocument(image=picture(), detail="original"))
    assert "does not support the detail level 'original'" in await price_of(panel, "word")
    assert [level for level, _ in panel._composer.details] == ["", "auto", "low", "high"]


async def test_an_image_from_an_untrusted_file_is_not_downloaded_for_the_price(llm, monkeypatch):
    downloads: list[str] = []
    monkeypatch.setattr(content, "download", lambda url, **_: downloads.append(url))
    linked = vn.ImageDocument(image_url="https://example.org/a.png")
    linked.show_as_link()
    panel = vn.ChatPanel(llm)
    panel.chat.add(vn.ChatMessage("user", ["Old?", linked]), vn.ChatResponse("Yes.", model="gpt-4o"))
    assert await price_of(panel, "word") == "Tokens unknown (text 1, conversation so far unknown) \u00b7 price unknown"
    assert downloads == []


async def test_headers_are_read_outside_the_event_loop_and_only_the_last_estimate_is_shown(llm, monkeypatch):
    panel, shown, is_released = vn.ChatPanel(llm, images=picture()), [], threading.Event()
    count = image_tokens.count_images

    def delayed(*args, **options):
        assert threading.current_thread() is not threading.main_thread()
        assert is_released.wait(60)
        return count(*args, **options)

    monkeypatch.setattr(question_price, "count_images", delayed)
    panel._composer.observe(lambda change: shown.append(change.new), "price")
    for number in range(1, 50):
        write(panel, do="draft", text="word " * number)
        await asyncio.sleep(0.002)  # the first estimate begins
    is_released.set()
    assert "(text 49," in await price_of(panel, "word " * 49)
    assert len(shown) == 1


def test_the_choice_that_follows_the_model_names_its_level():
    assert detail_choices(vn.connect("gpt-4o", api_key="sk-x"))[0] == ("", "Model's default")
    assert detail_choices(vn.connect("gpt-4o", api_key="sk-x", image_detail="low"))[0] == ("", "Model's default (low)")
    assert detail_choices(vn.connect("anthropic:claude-sonnet-5", api_key="sk-x")) == []
