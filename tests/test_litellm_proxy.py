"""The real LiteLLM proxy in front of the real llama.cpp server, with our configuration."""

import base64
import json
import urllib.request

import pytest

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.llama_parts import require_litellm, running_litellm
from tests.test_openai_provider import all_eight
from tests.tiny_models import NOT_ENDING, write_pair
from tests.walkthrough_llava import both_samples_run
from vision_nb import errors
from vision_nb.providers.local.discovery import detect

pytestmark = pytest.mark.slow

PROMPT = "日本語で答えてください。\n人物は登場しますか？、男女どちらですか？、服は何色ですか？"


@pytest.fixture(scope="module")
def api_base(tmp_path_factory):
    require_litellm()
    folder = tmp_path_factory.mktemp("proxy")
    with vn.serve(*write_pair(folder), api_key="None", progress=False) as served:
        files = vn.write_localai_config(folder, api_base=served.api_base)
        with running_litellm(files.litellm, folder) as base:
            yield base


@pytest.fixture
def llm(api_base):
    return vn.LocalMultiModal("llava", api_base, max_new_tokens=20, max_retries=0, additional_kwargs=NOT_ENDING)


async def test_all_eight_methods_answer_through_the_proxy(llm):
    question = vn.generate_openai_multi_modal_chat_message(PROMPT, "user", [picture()])
    texts = await all_eight(llm, PROMPT, picture(), [question])
    assert len(texts) == 8 and all(texts.values())


def test_the_image_reaches_the_engine(llm):
    assert llm.complete(PROMPT, [picture()]).usage.input_tokens > 576 > llm.complete("What?").usage.input_tokens


async def test_a_streams_count_is_the_engines(llm):
    streamed = list(llm.stream_complete(PROMPT, [picture()]))[-1]
    again = [piece async for piece in await llm.astream_complete(PROMPT, [picture()])][-1]
    whole = llm.complete(PROMPT, [picture()])
    assert streamed.usage.input_tokens == again.usage.input_tokens == whole.usage.input_tokens > 576
    assert [entry.is_estimate for entry in vn.ledger.entries] == [False, False, False]


def test_the_proxy_is_recognized_and_its_model_accepts_images(api_base):
    (server,) = detect(ports=[int(api_base.split(":")[2].removesuffix("/v1"))], timeout=5)
    assert (server.kind, server.api_base) == ("LiteLLM", api_base)
    assert [(model.name, model.sees_images) for model in server.models] == [("llava", True)]


def test_a_conversation_that_is_too_long_is_a_context_length_error(llm, api_base):
    with pytest.raises(errors.ContextLengthError, match="holds 4,096"):
        llm.complete(PROMPT, [picture()] * 8)
    unchecked = vn.LocalMultiModal("llava", api_base, context_length=10**6, max_retries=0)
    for ask in (unchecked.complete, lambda *question: list(unchecked.stream_complete(*question))):
        with pytest.raises(errors.ContextLengthError, match="exceeds the available conte"):  # the rest is cut off
            ask(PROMPT, [picture()] * 8)


def test_an_unknown_model_is_named_in_the_error(api_base):
    with pytest.raises(errors.UnknownModelError, match="no-such-model"):
        vn.LocalMultiModal("no-such-model", api_base, max_retries=0).complete("What?")


def test_the_walkthroughs_samples_run_with_another_endpoint(api_base, photo, monkeypatch):
    both_samples_run(api_base, photo, monkeypatch)


def test_the_walkthroughs_curl_request_with_its_misplaced_temperature_is_answered(api_base):
    """The body that curl sends, with an image of our own."""
    image = base64.b64encode(encoded(picture(64, 64))).decode()
    parts = [
        {"type": "text", "text": "どんな画像ですか？"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
    ]
    body = {"model": "llava", "messages": [{"role": "user", "content": parts, "temperature": 0.9}], "max_tokens": 9}
    request = urllib.request.Request(
        f"{api_base}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        assert json.load(answer)["usage"]["prompt_tokens"] > 576
