"""Models that reason: the answer is the text, and the reasoning is kept apart."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

import vision_nb as vn
from tests.forms import FORMS, each_api
from tests.forms import ask_all as ask
from tests.kernels import markdown_of, run_cells, text_of
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.rendering.answer import THINKING, reasoning_summary
from vision_nb.responses import Response

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
def llm(server, request):
    api = getattr(request, "param", None)
    return vn.OpenAIMultiModal("gpt-4o", "a-key-of-a-test", server.openai_base, max_retries=0, timeout=30, api=api)


@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("form", FORMS)
async def test_the_reasoning_is_not_part_of_the_answer(server, llm, form, fields):
    server.fail(Fault(**fields))
    responses = await ask(llm, form)
    assert (responses[-1].text, responses[-1].reasoning) == ("Three.", "Let me see.")
    assert "".join(r.reasoning_delta for r in responses) == "Let me see."
    assert "".join(r.delta for r in responses) == "Three."
    summary = re.search("<summary>(.*?)</summary>", responses[-1]._repr_markdown_())
    assert summary and summary[1] in ("Reasoning", "Thought for less than 1 s")


@each_api
@pytest.mark.parametrize("form", STREAMS)
async def test_the_reasoning_is_shown_as_thinking_until_the_answer_begins(server, llm, form):
    server.fail(Fault(**SHAPES["reasoning_content"]))
    first = next(r for r in await ask(llm, form) if r.reasoning)
    assert THINKING in first._repr_markdown_() and not first.text


@each_api
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


@each_api
@pytest.mark.parametrize("form", STREAMS)
async def test_the_time_of_the_reasoning_ends_when_the_answer_begins(server, llm, form):
    server.tokens_per_second = 50
    server.fail(Fault(message={"reasoning_content": "Let me see.", "content": "Three, four, five."}))
    responses = await ask(llm, form)
    thinking = [r.reasoning_seconds for r in responses if not r.text and r.reasoning_seconds]
    answering = {r.reasoning_seconds for r in responses if r.text}
    assert thinking == sorted(set(thinking)) and len(answering) == 1
    assert thinking[-1] < answering.pop() < responses[-1].latency


def test_the_line_above_the_reasoning_says_how_long_it_took():
    thinking = Response(reasoning="Hm.")
    assert reasoning_summary(thinking) == THINKING
    assert reasoning_summary(replace(thinking, reasoning_seconds=3.2)) == f"{THINKING} 3 s"
    assert reasoning_summary(replace(thinking, text="Three.", reasoning_seconds=4.4)) == "Thought for 4 s"
    assert reasoning_summary(replace(thinking, finish_reason="length", reasoning_seconds=0.2)).endswith("less than 1 s")
    assert reasoning_summary(replace(thinking, text="Three.")) == "Reasoning"


@each_api
def test_an_answer_that_ends_after_its_reasoning_says_so(server, llm):
    server.fail(Fault(message={"reasoning_content": "Let me see.", "content": ""}))
    assert "gave no answer" in llm.complete("What?").remark


def test_a_comparison_tells_a_long_answer_from_one_that_was_all_reasoning(server, llm, tmp_path):
    def shown(**fault):
        server.fail(Fault(finish_reason="length", **fault))
        images, store = [vn.samples.path("chart")], tmp_path / "answers.sqlite3"
        return vn.compare(llm, [str(fault)], images, store=store, progress=False)._repr_html_()

    assert "cut off at the length limit" in shown(text="Three and")
    assert "reasoning used the whole" in shown(message={"reasoning_content": "Let me see.", "content": ""})


HOSTILE = (
    "</details><script>alert(1)</script><img src=x onerror=alert(1)> ![x](https://evil.example/a.png)\n\n"
    "```html\n</details><script>alert(2)</script>\n\n- $x$ \\href{javascript:alert(3)}{y} $\\unicode{x}$"
)


@pytest.mark.parametrize("form", FORMS)
async def test_hostile_reasoning_stays_inside_its_block_in_every_output(server, llm, form, tmp_path):
    server.fail(Fault(message={"reasoning_content": HOSTILE, "content": "Three."}), times=2)
    shown = [(await ask(llm, form))[-1]._repr_markdown_()]
    chat = vn.Chat(llm)
    chat.ask("Which?")
    shown += [chat.export(tmp_path / f"talk.{ending}").read_text() for ending in ("md", "html", "ipynb")]
    for text in shown:
        outside_code = re.sub(r"```html.*?```", "", text, flags=re.DOTALL)
        assert "<script" not in outside_code and "<img" not in text and "![" not in text
        assert outside_code.count("<details>") == outside_code.count("</details>")
        assert outside_code.index("</details>") < outside_code.index("Three.")


def test_a_conversation_keeps_the_reasoning_and_does_not_send_it(server, llm, tmp_path):
    chat = vn.Chat(llm)
    server.fail(Fault(**SHAPES["reasoning_content"]))
    list(chat.stream("Which?"))
    seconds = chat.responses[0].reasoning_seconds
    again = vn.Chat.load(chat.export(tmp_path / "talk.json"), llm)
    assert (again.responses[0].reasoning, again.responses[0].reasoning_seconds) == ("Let me see.", seconds)
    for ending in ("md", "html", "ipynb"):
        assert "Let me see." in again.export(tmp_path / f"talk.{ending}").read_text()
    again.ask("And then?")
    sent = server.requests[-1].body["messages"]
    assert sent[1] == {"role": "assistant", "content": "Three."} and "Let me see." not in json.dumps(sent)


@pytest.mark.parametrize("field, value", [("reasoning", 3), ("reasoning_seconds", "4"), ("reasoning_seconds", -1)])
def test_a_file_with_damaged_reasoning_is_rejected(server, llm, tmp_path, field, value):
    chat = vn.Chat(llm)
    chat.ask("Which?")
    path = chat.export(tmp_path / "talk.json")
    content = json.loads(path.read_text())
    content["turns"][0]["answer"][field] = value
    path.write_text(json.dumps(content))
    with pytest.raises(errors.SettingsError, match="damaged"):
        vn.Chat.load(path, llm)


def test_a_terminal_shows_the_answer_without_its_reasoning(server, llm, capsys):
    server.fail(Fault(**SHAPES["reasoning_content"]))
    vn.display_stream(llm.stream_complete("Which?"))
    assert capsys.readouterr().out == "Three.\n"


@pytest.mark.kernel
def test_a_cell_shows_the_reasoning_folded_in_every_format_and_again_from_the_store():
    fault = "server.fail(Fault(message={'reasoning_content': 'Let me <b>see</b>.', 'content': '[3]'}))"
    formats = ["markdown", "text", "html", "code", "json", "math", "dataframe"]
    asked = [f"%%vision demo -f {name}\nWhich, as {name}?" for name in formats]
    cells = run_cells(
        "from vision_nb.demo import shared_server, Fault\nserver = shared_server()",
        *(source for cell in asked for source in (fault, cell, cell)),
        fault,
        "%%vision demo -m demo:other --no-cache\nWhich?",
        "print(len(server.requests), _vision[0].response.reasoning or _vision[1].response.reasoning)",
        f"{fault}\nvn.display_stream(vn.connect('demo').stream_complete('Which?'))",
        allow_errors=True,  # "[3]" is not a table
    )
    shown = [cells[number] for block in range(len(formats)) for number in (3 * block + 2, 3 * block + 3)]
    for cell in [*shown, cells[-3], cells[-1]]:
        data = cell.outputs[0].data
        text = data.get("text/markdown") or data["text/html"]
        assert text.count("<details><summary>Thought for less than 1 s</summary>") == 1 or cell is cells[-3]
        assert "Let me &lt;b" in text and text.index("Let me") < text.index("[3]" if "[3]" in text else "about this")
    assert text_of(cells[-2]) == f"{len(formats) + 2} Let me <b>see</b>.\n"
    assert markdown_of(cells[-1])


@pytest.mark.parametrize("form", FORMS)
async def test_an_empty_answer_is_shown_as_empty(server, form):
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    server.fail(Fault(text=""))
    response = (await ask(llm, form))[-1]
    assert response.text == "" and response.remark == "The answer is empty: ask again."
    assert response.remark in response._repr_markdown_()
