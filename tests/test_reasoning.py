"""Models that reason: the answer is the text, and the reasoning is kept apart."""

from typing import Any

import pytest

import vision_nb as vn
from tests.forms import FORMS
from tests.forms import ask_all as ask
from vision_nb.demo import Fault

STREAMS = FORMS[2:]
PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "Let me see."}]},
    {"type": "text", "text": "Three."},
]
SHAPES: dict[str, dict[str, Any]] = {
    "reasoning_content": {"message": {"reasoning_content": "Let me see.", "content": "Three."}},
    "reasoning": {"message": {"reasoning": "Let me see.", "content": "Three."}},
    "think tags": {"text": "<think>Let me see.</think>\n\nThree."},
    "parts": {"message": {"content": PARTS}},
}


@pytest.fixture
def llm(server):
    return vn.OpenAIMultiModal("gpt-4o", "a-key-of-a-test", server.openai_base, max_retries=0, timeout=30)


@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("form", FORMS)
async def test_the_reasoning_is_not_part_of_the_answer(server, llm, form, fields):
    server.fail(Fault(**fields))
    responses = await ask(llm, form)
    assert (responses[-1].text, responses[-1].reasoning) == ("Three.", "Let me see.")
    assert "".join(r.reasoning_delta for r in responses) == "Let me see."
    assert "".join(r.delta for r in responses) == "Three."
    assert "<summary>Reasoning</summary>" in responses[-1]._repr_markdown_()


@pytest.mark.parametrize("form", STREAMS)
async def test_the_reasoning_is_shown_as_thinking_until_the_answer_begins(server, llm, form):
    server.fail(Fault(**SHAPES["reasoning_content"]))
    first = next(r for r in await ask(llm, form) if r.reasoning)
    assert "Thinking ..." in first._repr_markdown_() and not first.text


@pytest.mark.parametrize("form", FORMS)
async def test_an_empty_answer_says_that_the_reasoning_used_the_whole_limit(server, llm, form):
    server.fail(Fault(message={"reasoning_content": "Let me see.", "content": ""}, finish_reason="length"))
    (*_, response) = await ask(llm, form)
    assert response.text == "" and "reasoning used the whole" in response.remark


@pytest.mark.parametrize("form", STREAMS)
async def test_a_local_stream_of_reasoning_alone_is_not_repeated(server, form):
    llm = vn.LocalMultiModal("llava", server.openai_base, max_retries=0)
    server.fail(Fault(message={"reasoning_content": "Let me see.", "content": ""}, finish_reason="length"))
    assert (await ask(llm, form))[-1].reasoning == "Let me see."
    assert len(server.requests) == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", ["<thinly> sliced", "<", "a <think>b</think>", "</think>", "<think"])
async def test_an_answer_that_only_looks_like_reasoning_stays_whole(server, llm, form, text):
    server.fail(Fault(text=text))
    responses = await ask(llm, form)
    assert responses[-1].text == "".join(r.delta for r in responses) == text and not responses[-1].reasoning
