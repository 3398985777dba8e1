"""The tokens and the price of an answer that was stopped or cut off."""

from contextlib import aclosing
from dataclasses import replace

import pytest

import vision_nb as vn
from vision_nb.conversation.export import facts_line, totals
from vision_nb.cost.answer_cost import answer_cost
from vision_nb.demo import Fault


@pytest.fixture
def chat(server):
    server.tokens_per_second = 1_000_000
    server.answer_with("word " * 200)
    return vn.Chat(vn.OpenAIMultiModal("gpt-4o", "sk-secret", server.openai_base, max_retries=0))


async def stop_after(chat, words):
    async with aclosing(chat.astream("How many?")) as stream:
        async for answer in stream:
            if len(answer.text.split()) >= words:
                break


async def test_a_stopped_answer_has_the_estimate_of_the_ledger(chat, tmp_path):
    await stop_after(chat, 30)
    (answer,), (entry,) = chat.responses, vn.ledger.entries
    cost = answer_cost(answer)
    assert answer.usage is None and answer.cost is None and answer.finish_reason == "interrupted"
    assert entry.is_estimate and (cost.usage, cost.usd, cost.is_estimate) == (entry.usage, entry.usd, True)
    line = facts_line(answer)
    assert line.startswith(f"about {cost.usage.input_tokens} tokens in, about {cost.usage.output_tokens} out")
    assert "about 0.00" in line and "unknown" not in line
    for path in (chat.export(tmp_path / "talk.md"), chat.export(tmp_path / "talk.html")):
        assert f"about {cost.usage.output_tokens} out" in path.read_text()
    again = vn.Chat.load(chat.export(tmp_path / "talk.json"), chat.llm)
    assert facts_line(again.responses[0]) == line


async def test_the_totals_are_an_estimate_if_they_contain_one(chat):
    await chat.aask("One?")
    exact = totals(chat.turns)
    assert "about" not in exact
    await stop_after(chat, 30)
    both = totals(chat.turns)
    assert both.count("about") == 3 and both.startswith("2 answers") and "unknown" not in both


async def test_only_an_answer_that_was_cut_off_is_estimated(server, chat):
    server.fail(Fault(text="3, 5 and 7.", cut_after=4, end="clean"))
    with pytest.raises(vn.errors.IncompleteResponseError):
        await stop_after(chat, 1_000)
    assert answer_cost(chat.responses[-1]).is_estimate
    complete = replace(chat.responses[-1], finish_reason="stop")
    assert answer_cost(complete).usage is None and "price unknown" in facts_line(complete)
