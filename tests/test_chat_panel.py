"""The chat panel in Python, without a page; tests/test_chat_panel_browser.py tests the page."""

import asyncio
import json
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter, MarkdownExporter

import vision_nb as vn
from tests.conftest import picture
from tests.kernels import cell_runner, markdown_of, run_cells, text_of
from tests.virtual_minutes import VirtualMinutes
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.rendering.page import answer_html
from vision_nb.widgets.transcript_view import TranscriptView


@pytest.fixture
def llm(server):
    server.answer_with(lambda question: f"to {question.prompt}")
    return vn.OpenAIMultiModal("gpt-4o", "sk-secret-key", server.openai_base, max_retries=0)


class Page:
    """The turns as a page displays them, updated from the messages as in transcript_view.js."""

    def __init__(self, panel):
        self.turns, self.sent = [], []
        view = panel._view
        view.send = lambda content, buffers=None: (self.sent.append(content), self.receive(content))
        view._handle_custom_msg({"do": "hello"}, [])

    def receive(self, content):
        if content["op"] == "reset":
            self.turns = [dict(turn) for turn in content["turns"]]
        elif content["op"] == "update":
            if content["index"] == len(self.turns):
                self.turns.append({"html": "", "reasoning": ""})
            turn = self.turns[content["index"]]
            turn.update(content.get("fields", {}))
            for name in content.keys() & {"html", "reasoning"}:
                kept = turn[name].encode("utf-16-le")[: 2 * content[name]["keep"]].decode("utf-16-le")
                turn[name] = kept + content[name]["end"]
        elif content["op"] == "truncate":
            del self.turns[content["length"] :]


async def settled(panel):
    async with asyncio.timeout(20):
        while panel._controller._task is not None:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.12)  # until the last redraw


def press(panel, **message):
    panel._view._handle_custom_msg(message, [])


def write(panel, **message):
    panel._composer._handle_custom_msg(message, [])


@pytest.mark.slow
async def test_only_changes_are_sent_to_the_page(server, llm):
    server.tokens_per_second = 100
    server.answer_with("**Bold** \N{GRINNING FACE} words, and `code`.\n\n" + "more words " * 60)
    answer_html("$x$")  # imports the renderer, which would make the first redraw slow and the next ones rare
    panel = vn.ChatPanel(llm)
    page = Page(panel)
    await panel.ask("Tell me.")
    await asyncio.sleep(0.2)
    assert page.turns == [dict(turn) for turn in panel._view.turns]
    assert "<strong>Bold</strong>" in page.turns[0]["html"] and page.turns[0]["state"] == "done"
    grown = [content for content in page.sent if content["op"] == "update" and "html" in content]
    assert len(grown) > 3 and sum(len(content["html"]["end"]) for content in grown) < 2 * len(page.turns[0]["html"])


def test_kept_characters_are_counted_in_utf_16_code_units():
    sent = []
    view = TranscriptView(height="1px", static_class="x", on_action=print)
    view.send = lambda content, buffers=None: sent.append(content)
    turn: Any = {"id": "1", "html": "\N{GRINNING FACE}a", "reasoning": "", "state": "answering"}
    view.show([turn])
    turn = {**turn, "html": "\N{GRINNING FACE}ab"}
    view.show([turn])
    assert sent[-1] == {"op": "update", "index": 0, "html": {"keep": 3, "end": "b"}}
    view.show([])
    assert sent[-1] == {"op": "truncate", "length": 0}


async def test_a_panel_without_a_model_asks_the_default_and_offers_the_models_whose_key_is_set(monkeypatch):
    panel = vn.ChatPanel()
    assert panel._composer.models == ["demo"] and panel._composer.note.startswith("demo answers: no model was named")
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_secret_token")
    panel = vn.ChatPanel()
    assert panel._composer.models[0] == panel._composer.model == "demo"
    assert panel._composer.models[1].startswith("replicate:")
    assert "%vision use replicate:llava-13b" in panel._composer.note
    write(panel, do="model", name="replicate:llava-13b")
    panel._redraw_timer.now()
    assert panel._composer.model == "replicate:llava-13b" and panel._composer.note == ""
    assert "r8_secret" not in repr(panel) + json.dumps(panel._composer.get_state(), default=str)


def test_models_can_be_objects_names_or_a_list(llm):
    other = vn.OpenAIMultiModal("gpt-4o", "sk-other", temperature=1.0)
    panel = vn.ChatPanel([llm, other, "demo"])
    assert panel._composer.models == ["openai:gpt-4o", "openai:gpt-4o (2)", "demo"]
    write(panel, do="model", name="openai:gpt-4o (2)")
    assert panel.chat.llm is other
    write(panel, do="model", name="none")
    assert "does not offer 'none'" in panel._composer.error and panel.chat.llm is other
    with pytest.raises(errors.SettingsError, match="not an int"):
        vn.ChatPanel(3)  # type: ignore[arg-type]
    with pytest.raises(errors.MissingKeyError):
        vn.ChatPanel("openai:gpt-4o")


def test_settings_are_applied_to_the_conversation(llm):
    panel = vn.ChatPanel(llm, system="Be brief.", keep_images=2, height="10em")
    assert (panel.chat.system, panel.chat.keep_images, panel._view.height) == ("Be brief.", 2, "10em")
    again = vn.ChatPanel(chat=panel.chat)
    assert again.chat is panel.chat and again.chat.llm is llm and again.chat.system == "Be brief."
    with pytest.raises(errors.SettingsError, match="keep_images must be an integer of at least 0: got -1"):
        vn.ChatPanel(llm, keep_images=-1)
    with pytest.raises(errors.ImageNotFoundError):
        vn.ChatPanel(llm, images="nowhere.png")


def test_invalid_settings_leave_the_conversation_unchanged(llm):
    chat = vn.Chat(llm, system="Be brief.", keep_images=2)
    for options, message in (
        ({"keep_images": "two"}, "at least 0: got 'two'"), ({"keep_images": 1, "system": 3}, "system= must be a string"),
        ({"height": True}, "height=True"), ({"height": "1px; color: red"}, "height="),
    ):  # fmt: skip
        with pytest.raises(errors.SettingsError, match=message):
            vn.ChatPanel("demo", chat=chat, **options)
    with pytest.raises(errors.SettingsError, match="chat= must be a Chat"):
        vn.ChatPanel(llm, chat="x")  # type: ignore[arg-type]
    assert (chat.llm, chat.system, chat.keep_images, chat._watchers._functions) == (llm, "Be brief.", 2, [])
    panel = vn.ChatPanel(chat=chat, height=480)
    assert panel._view.height == "480px"
    with pytest.raises(AttributeError):
        panel.chat = vn.Chat(llm)  # type: ignore[misc]


async def test_an_error_is_raised_by_ask_and_displayed(server, llm):
    panel = vn.ChatPanel(llm)
    await panel.ask("one")
    server.fail(Fault(status=500))
    with pytest.raises(errors.ServerError):
        await panel.ask("two", picture())
    await asyncio.sleep(0.1)
    failed = panel._view.turns[-1]
    assert failed["state"] == "failed" and "500" in failed["error"] and len(panel.chat) == 1
    press(panel, do="ask_again", id="failed")
    await settled(panel)
    assert [turn.question.text for turn in panel.chat.turns] == ["one", "two"]
    assert len(panel.chat.turns[1].question.image_documents) == 1 and panel._view.turns[-1]["state"] == "done"


async def test_api_keys_are_removed_from_unexpected_errors(server, llm):
    panel = vn.ChatPanel(llm)

    async def closed(*_, **__):
        raise RuntimeError("the client with sk-secret-key is closed")

    llm.astream_chat = closed
    write(panel, do="send", text="one")
    await settled(panel)
    assert panel._view.turns[-1]["error"] == "RuntimeError: the client with *** is closed"


async def test_a_question_stopped_before_its_answer_began_can_be_retried(server, llm):
    server.fail(Fault(delay=3))
    panel = vn.ChatPanel(llm)
    write(panel, do="send", text="one")
    await asyncio.sleep(0.3)
    assert panel._composer.state == "answering" and panel._view.turns[-1]["state"] == "waiting"
    write(panel, do="stop")
    await settled(panel)
    assert panel._view.turns[-1]["error"] == "Stopped before the answer began." and panel._composer.state == "ready"
    press(panel, do="ask_again", id="failed")
    await settled(panel)
    assert panel.chat.responses[-1].text == "to one"


@pytest.mark.slow
async def test_two_panels_share_a_conversation_and_only_one_asks_at_a_time(server, llm):
    server.tokens_per_second = 50
    server.answer_with("words " * 20)
    first = vn.ChatPanel(llm)
    second = vn.ChatPanel(chat=first.chat)
    write(first, do="send", text="one")
    async with asyncio.timeout(20):
        while not (second._view.turns and second._view.turns[-1]["html"]):
            await asyncio.sleep(0.01)
    assert second._composer.state == "answering"
    write(second, do="send", text="two")
    assert "still answer" in second._composer.error
    press(second, do="delete", id="answering")
    await settled(first)
    second.close()
    second.close()
    with pytest.raises(errors.SettingsError, match="panel is closed"):
        await second.ask("three")
    assert (await first.ask("three")).text and len(first.chat) == 2


async def test_reasoning_is_shown_folded_while_it_runs_and_only_its_new_end_is_sent(server, llm):
    server.tokens_per_second = 100
    server.fail(Fault(message={"reasoning_content": "I <b>look</b> at $x$. " * 30, "content": "Three."}))
    answer_html("$x$")  # imports the renderer, which would make the first redraw slow and the next ones rare
    panel = vn.ChatPanel(llm)
    page = Page(panel)
    await panel.ask("Which?")
    await asyncio.sleep(0.2)
    (turn,) = page.turns
    assert turn == dict(panel._view.turns[0]) and turn["html"].strip() == "<p>Three.</p>"
    assert "I &lt;b&gt;look" in turn["reasoning"] and "<math" in turn["reasoning"]
    assert turn["reasoning_summary"].startswith("Thought for ") and turn["state"] == "done"
    states = [content["fields"]["state"] for content in page.sent if "state" in content.get("fields", {})]
    assert "thinking" in states and states[-1] == "done"
    summaries = {content.get("fields", {}).get("reasoning_summary") for content in page.sent}
    assert "Thinking\N{HORIZONTAL ELLIPSIS}" in summaries
    grown = [content["reasoning"] for content in page.sent if "reasoning" in content]
    assert len(grown) > 3 and sum(len(change["end"]) for change in grown) < 2 * len(turn["reasoning"])


async def test_an_empty_answer_says_that_the_reasoning_used_the_whole_limit(server, llm):
    server.fail(Fault(message={"reasoning_content": "Let me see.", "content": ""}, finish_reason="length"))
    panel = vn.ChatPanel(llm)
    await panel.ask("Which?")
    turn = panel._view.turns[0]
    assert turn["html"] == "" and "Let me see." in turn["reasoning"] and "reasoning used the whole" in turn["remark"]


@pytest.mark.parametrize("end", ["clean", "mid_line", "broken"])
async def test_an_answer_that_was_cut_off_stays_marked_and_can_be_asked_again(server, llm, end):
    server.fail(Fault(text="3, 5 and 7.", cut_after=4, end=end))
    panel = vn.ChatPanel(llm)
    write(panel, do="send", text="Which?")
    await settled(panel)
    (turn,) = panel._view.turns
    assert "3, 5 and" in turn["html"] and turn["state"] == "stopped" and turn["error"] == ""
    assert turn["remark"] == "The answer was cut off before it was finished. Ask again."
    assert bool(panel._view.status["error"]) == (end == "broken")  # what the clean end is, the remark says
    press(panel, do="ask_again", id=turn["id"])
    await settled(panel)
    assert [answer.text for answer in panel.chat.responses] == ["to Which?"]
    assert panel._view.turns[-1]["state"] == "done" and panel._view.status["error"] == ""


async def test_a_stream_that_ends_in_its_reasoning_is_one_failed_question(server, llm):
    server.fail(Fault(message={"reasoning_content": "Let me see."}, cut_after=4, end="clean"))
    panel = vn.ChatPanel(llm)
    write(panel, do="send", text="Which?")
    await settled(panel)
    (turn,) = panel._view.turns
    assert turn["state"] == "failed" and "incomplete" in turn["error"] and turn["remark"] == ""
    assert "Let me" in turn["reasoning"] and len(panel.chat) == 0


async def test_invalid_messages_from_the_page_change_nothing(llm):
    panel = vn.ChatPanel(llm, images=picture())
    await asyncio.sleep(0.2)
    for message in (
        {}, {"do": "remove", "id": "image-7"}, {"do": "remove", "id": ["image-1"]}, {"do": "remove", "index": 0},
        {"do": "move", "id": "image-1", "index": "1"}, {"do": "move", "id": "image-7", "index": 0},
        {"do": "detail", "id": "image-1", "detail": "vast"}, {"do": "detail", "id": "image-7", "detail": "low"},
        {"do": "detail_of_all", "detail": ["low"]}, {"do": "enlarge", "id": "image-7"}, {"do": "enlarge", "id": {}},
        {"do": "upload"}, {"do": "send"}, {"do": "send", "text": 3}, {"do": "recall", "steps_back": "x", "view": 1}, {"do": 5},
    ):  # fmt: skip
        write(panel, **message)
    for message in ({}, {"do": "delete", "id": "x"}, {"do": "edit", "id": None}, {"do": "restore"}, {"do": "enlarge"}):
        press(panel, **message)
    assert [document.detail for document in panel._composer.documents] == [None] and len(panel.chat) == 0


def attached(panel):
    """Return the seeds of the attached images, which are their names, with their detail levels."""
    return [(document.title, document.detail) for document in panel._composer.documents]


async def test_attached_images_are_moved_removed_and_given_detail_levels_by_id(llm):
    images = [vn.ImageDocument(image=picture(seed=seed), image_name=str(seed)) for seed in range(4)]
    panel = vn.ChatPanel(llm, images=images)
    for image_id, index in (("image-1", 2), ("image-4", -(10**50)), ("image-2", 10**50)):
        write(panel, do="move", id=image_id, index=index)
    assert attached(panel) == [("3", None), ("2", None), ("0", None), ("1", None)]
    for _ in range(2):  # the same button again, before the page has removed the image
        panel._composer._receive({"do": "remove", "id": "image-3"}, [])
    write(panel, do="detail_of_all", detail="low")
    write(panel, do="detail", id="image-1", detail="high")
    panel.add(picture())
    assert attached(panel) == [("3", "low"), ("0", "high"), ("1", "low"), ("PNG image", "low")]
    write(panel, do="detail_of_all", detail="")
    assert attached(panel) == [("3", None), ("0", None), ("1", None), ("PNG image", None)]
    write(panel, do="remove_all")
    assert attached(panel) == [] and panel._composer.attachments == []


async def test_each_thumbnail_is_sent_to_the_page_once(llm):
    panel, sent = vn.ChatPanel(llm), []
    panel._composer.send = lambda content, buffers=None: sent.append(content)
    panel.add(*(picture(seed=seed) for seed in range(5)))
    await panel._thumbnails.wait()
    await asyncio.sleep(0.2)  # until the redraw
    write(panel, do="move", id="image-1", index=3)
    write(panel, do="detail_of_all", detail="low")
    await panel._thumbnails.wait()
    thumbnails = [item for content in sent for item in content.get("thumbnails", {}).items() if item[1]]
    assert len(thumbnails) == len(dict(thumbnails)) == 5 and panel._thumbnails.count == 5
    sent.clear()
    write(panel, do="hello")
    assert [list(content["thumbnails"].values()) for content in sent] == [
        list(panel._composer._sent_thumbnails.values())
    ]


async def test_the_panel_displays_how_many_images_are_dropped(llm):
    panel = vn.ChatPanel(llm, keep_images=1)
    await panel.ask("one", picture(seed=1))
    panel.add(picture(seed=2))
    await asyncio.sleep(0.1)
    assert panel._composer.note == "Of the 2 images in this conversation, openai:gpt-4o will get the most recent 1."
    await panel.ask("two")
    await asyncio.sleep(0.1)
    assert panel._view.turns[1]["note"] == "Sent without 1 earlier image."
    assert panel._view.status["totals"].startswith("2 answers")


@pytest.mark.slow
def test_the_saved_notebook_contains_the_transcript(photo):
    cells = run_cells(
        "panel = vn.ChatPanel('demo', images='photo.jpg')\npanel",
        "answer = await panel.ask('What are the colors?')",
        "panel.chat.ask('And its size?')\nNone",
        "print(panel.export('talk.md').name)",
        folder=photo.parent,
    )
    (markdown,) = markdown_of(cells[0])
    assert markdown.count("**You**") == 2 and "And its size?" in markdown and "2 answers" in markdown
    assert markdown.count("<img ") == 1 and len(markdown) < 15_000
    assert text_of(cells[3]) == "talk.md\n" and (photo.parent / "talk.md").read_text().count("**You**") == 2
    notebook = nbformat.v4.new_notebook(cells=cells)
    for exporter in (HTMLExporter(), MarkdownExporter()):
        page, _ = exporter.from_notebook_node(notebook)
        assert "And its size?" in page and "data:image/webp;base64," in page


@pytest.mark.kernel
def test_rerunning_a_cell_closes_its_earlier_panels_and_closed_panels_are_released():
    setup = (
        "import gc, vision_nb as vn\n"
        "def panels():\n"
        "    gc.collect()\n"
        "    return len([one for one in gc.get_objects() if isinstance(one, vn.ChatPanel)])"
    )
    with cell_runner() as run:
        run("setup", setup)
        for cell in ("one", "one", "one", "two"):
            run(cell, "vn.ChatPanel('demo', images=[vn.samples.path('chart')]);")
        for number in range(5):
            run(f"cell {number}", "panel = vn.ChatPanel('demo')\npanel.close()\ndel panel")
        assert run("last", "pass", "panels()") == 2


async def test_a_question_that_waits_for_a_rate_limit_says_why_until_it_is_sent(server, monkeypatch):
    minutes = VirtualMinutes(monkeypatch)
    server.answer_with(lambda question: f"to {question.prompt}")
    limit = vn.RateLimit(requests_per_minute=1)
    panel = vn.ChatPanel(vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, rate_limit=limit))
    page, waits = Page(panel), []
    panel._view.send = lambda content, buffers=None: (
        page.receive(content),
        waits.extend(turn["wait"] for turn in page.turns[-1:]),
    )
    await panel.ask("One?")
    assert not any(waits)
    await panel.ask("Two?")
    await settled(panel)
    assert "Waiting 1 min 1 s: openai:gpt-4o has a limit of 1 request a minute." in waits
    assert page.turns[-1]["wait"] == "" and page.turns[-1]["state"] == "done" and minutes.waits == [[61]]
