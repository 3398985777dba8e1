"""The chat panel's decisions, with its page left out; tests/test_chat_panel_browser.py has the page."""

import asyncio
import json

import nbformat
import pytest
from conftest import encoded, picture
from kernels import cell_runner, markdown_of, run_cells, text_of
from nbconvert import HTMLExporter, MarkdownExporter

import vision_nb as vn
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.widgets.transcript_view import TranscriptView


@pytest.fixture
def llm(server):
    server.answer_with(lambda question: f"to {question.prompt}")
    return vn.OpenAIMultiModal("gpt-4o", "sk-secret-key", server.openai_base, max_retries=0)


class Page:
    """What a page knows of the turns: it follows the messages as the script does."""

    def __init__(self, panel):
        self.entries, self.sent = [], []
        view = panel._view
        view.send = lambda content, buffers=None: (self.sent.append(content), self.receive(content))
        view._receive(view, {"do": "hello"}, [])

    def receive(self, content):
        if content["op"] == "all":
            self.entries = [dict(entry) for entry in content["entries"]]
        elif content["op"] == "change":
            if content["at"] == len(self.entries):
                self.entries.append({"html": ""})
            entry = self.entries[content["at"]]
            entry.update(content.get("fields", {}))
            if "html" in content:
                kept = entry["html"].encode("utf-16-le")[: 2 * content["keep"]].decode("utf-16-le")
                entry["html"] = kept + content["html"]
        elif content["op"] == "cut":
            del self.entries[content["at"] :]


async def settled(panel):
    async with asyncio.timeout(20):
        while panel._answering._task is not None:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.12)  # the last drawing


def press(panel, **message):
    panel._view._receive(panel._view, message, [])


def write(panel, **message):
    panel._composer._receive(panel._composer, message, [])


async def test_the_page_is_brought_up_to_the_conversation_by_changes_alone(server, llm):
    server.tokens_per_second = 200
    server.answer_with("**Bold** \N{GRINNING FACE} words, and `code`.\n\n" + "more words " * 60)
    panel = vn.ChatPanel(llm)
    page = Page(panel)
    await panel.ask("Tell me.")
    await asyncio.sleep(0.2)
    assert page.entries == [dict(entry) for entry in panel._view._shown]
    assert "<strong>Bold</strong>" in page.entries[0]["html"] and page.entries[0]["state"] == "done"
    grown = [content for content in page.sent if content["op"] == "change" and "html" in content]
    assert len(grown) > 5 and sum(len(content["html"]) for content in grown) < 2 * len(page.entries[0]["html"])


def test_changes_are_counted_as_javascript_counts():
    sent = []
    view = TranscriptView(height="1px", plain="x", act=print)
    view.send = lambda content, buffers=None: sent.append(content)
    entry = {"id": "1", "html": "\N{GRINNING FACE}a"}
    view.show([entry])
    view.show([{**entry, "html": "\N{GRINNING FACE}ab"}])
    assert sent[-1] == {"op": "change", "at": 0, "keep": 3, "html": "b"}
    view.show([])
    assert sent[-1] == {"op": "cut", "at": 0}


async def test_a_panel_with_no_model_offers_what_is_ready(monkeypatch):
    panel = vn.ChatPanel()
    assert panel._composer.models == ["demo"] and "No key was found" in panel._composer.note
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_secret_token")
    panel = vn.ChatPanel()
    assert panel._composer.models[0].startswith("replicate:") and panel._composer.models[-1] == "demo"
    assert panel._composer.note == "" and "r8_secret" not in repr(panel) + json.dumps(
        panel._composer.get_state(), default=str
    )
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert vn.ChatPanel()._composer.model.startswith("openai:")


def test_models_are_given_by_name_object_or_list(llm):
    other = vn.OpenAIMultiModal("gpt-4o", "sk-other", temperature=1.0)
    panel = vn.ChatPanel([llm, other, "demo"])
    assert panel._composer.models == ["openai:gpt-4o", "openai:gpt-4o (2)", "demo"]
    write(panel, do="model", name="openai:gpt-4o (2)")
    assert panel.chat.llm is other
    write(panel, do="model", name="none")
    assert "offers no model 'none'" in panel._composer.problem and panel.chat.llm is other
    with pytest.raises(errors.SettingsError, match="A int is no model"):
        vn.ChatPanel(3)
    with pytest.raises(errors.MissingKeyError):
        vn.ChatPanel("openai:gpt-4o")


def test_settings_reach_the_conversation(llm):
    panel = vn.ChatPanel(llm, system="Be brief.", keep_images=2, height="10em")
    assert (panel.chat.system, panel.chat.keep_images, panel._view.height) == ("Be brief.", 2, "10em")
    again = vn.ChatPanel(chat=panel.chat)
    assert again.chat is panel.chat and again.chat.llm is llm and again.chat.system == "Be brief."
    with pytest.raises(errors.SettingsError, match="keep_images=-1"):
        vn.ChatPanel(llm, keep_images=-1)
    with pytest.raises(errors.ImageNotFoundError):
        vn.ChatPanel(llm, images="nowhere.png")


def test_a_panel_that_is_refused_has_changed_nothing(llm):
    chat = vn.Chat(llm, system="Be brief.", keep_images=2)
    for options, message in (
        ({"keep_images": "two"}, "keep_images='two'"), ({"keep_images": 1, "system": 3}, "system= must be a string"),
        ({"height": True}, "height=True"), ({"height": "1px; color: red"}, "height="),
    ):  # fmt: skip
        with pytest.raises(errors.SettingsError, match=message):
            vn.ChatPanel("demo", chat=chat, **options)
    with pytest.raises(errors.SettingsError, match="chat= is a Chat"):
        vn.ChatPanel(llm, chat="x")
    assert (chat.llm, chat.system, chat.keep_images, chat._watchers) == (llm, "Be brief.", 2, [])
    panel = vn.ChatPanel(chat=chat, height=480)
    assert panel._view.height == "480px"
    with pytest.raises(AttributeError):
        panel.chat = vn.Chat(llm)


async def test_an_error_is_raised_for_code_and_shown_too(server, llm):
    panel = vn.ChatPanel(llm)
    await panel.ask("one")
    server.fail(Fault(status=500))
    with pytest.raises(errors.ServerError):
        await panel.ask("two", picture())
    await asyncio.sleep(0.1)
    failed = panel._view._shown[-1]
    assert failed["state"] == "failed" and "500" in failed["error"] and len(panel.chat) == 1
    press(panel, do="again", id="failed")
    await settled(panel)
    assert [turn.question.text for turn in panel.chat.turns] == ["one", "two"]
    assert len(panel.chat.turns[1].question.image_documents) == 1 and panel._view._shown[-1]["state"] == "done"


async def test_an_error_that_nobody_expected_is_shown_without_its_secrets(server, llm):
    panel = vn.ChatPanel(llm)

    async def closed(*_, **__):
        raise RuntimeError("the client with sk-secret-key is closed")

    llm.astream_chat = closed
    write(panel, do="send", text="one")
    await settled(panel)
    assert panel._view._shown[-1]["error"] == "RuntimeError: the client with *** is closed"


async def test_a_question_stopped_before_the_first_word_can_be_asked_again(server, llm):
    server.fail(Fault(delay=3))
    panel = vn.ChatPanel(llm)
    write(panel, do="send", text="one")
    await asyncio.sleep(0.3)
    assert panel._composer.state == "answering" and panel._view._shown[-1]["state"] == "waiting"
    write(panel, do="stop")
    await settled(panel)
    assert panel._view._shown[-1]["error"] == "Stopped before the first word." and panel._composer.state == "ready"
    press(panel, do="again", id="failed")
    await settled(panel)
    assert panel.chat.responses[-1].text == "to one"


async def test_two_panels_share_a_conversation_and_one_asks_at_a_time(server, llm):
    server.tokens_per_second = 50
    server.answer_with("words " * 20)
    first = vn.ChatPanel(llm)
    second = vn.ChatPanel(chat=first.chat)
    write(first, do="send", text="one")
    await asyncio.sleep(0.3)
    assert second._composer.state == "answering" and second._view._shown[-1]["html"]
    write(second, do="send", text="two")
    assert "still answer" in second._composer.problem
    press(second, do="delete", id="pending")
    await settled(first)
    second.close()
    second.close()
    with pytest.raises(errors.SettingsError, match="panel is closed"):
        await second.ask("three")
    assert (await first.ask("three")).text and len(first.chat) == 2


async def test_pieces_of_a_file_come_together_and_a_break_leaves_nothing(llm):
    panel = vn.ChatPanel(llm)
    data = encoded(picture())
    composer = panel._composer

    def piece(part, key="k", last=False, name="a.png"):
        composer._receive(composer, {"do": "upload", "key": key, "name": name, "last": last}, [memoryview(part)])

    piece(data[:50])
    piece(data[50:], last=True)
    assert [document.title for document in composer.documents] == ["a.png"] and composer.documents[0].size == (64, 48)
    piece(data[:50], key="gone")
    write(panel, do="abandon", key="gone")
    piece(data[:50], key="page")
    write(panel, do="hello")
    assert composer._uploads == {}
    piece(b"x" * 50_000_001, key="large")
    assert "a.png is larger than 50 MB" in composer.problem and len(composer.documents) == 1 and composer._uploads == {}


async def test_messages_that_make_no_sense_change_nothing(llm):
    panel = vn.ChatPanel(llm, images=picture())
    await asyncio.sleep(0.2)
    for message in (
        {}, {"do": "remove", "place": 7}, {"do": "remove", "place": -1}, {"do": "detail", "place": 0, "detail": "vast"},
        {"do": "upload"}, {"do": "send"}, {"do": "send", "text": 3}, {"do": "recall", "back": "x", "view": 1}, {"do": 5},
    ):  # fmt: skip
        write(panel, **message)
    for message in ({}, {"do": "delete", "id": "x"}, {"do": "edit", "id": None}, {"do": "put_back"}, {"do": "enlarge"}):
        press(panel, **message)
    assert len(panel._composer.documents) == 1 and len(panel.chat) == 0


async def test_only_the_newest_pictures_are_sent_and_the_panel_says_so(llm):
    panel = vn.ChatPanel(llm, keep_images=1)
    await panel.ask("one", picture(seed=1))
    panel.add(picture(seed=2))
    await asyncio.sleep(0.1)
    assert panel._composer.note == "Of 2 pictures in this conversation, openai:gpt-4o will see the newest 1."
    await panel.ask("two")
    await asyncio.sleep(0.1)
    assert panel._view._shown[1]["note"] == "Sent without 1 earlier image."
    assert panel._view.status["totals"].startswith("2 answers")


def test_the_saved_notebook_reads_without_a_kernel(photo):
    cells = run_cells(
        "panel = vn.ChatPanel('demo', images='photo.jpg')\npanel",
        "answer = await panel.ask('What are the colours?')",
        "panel.chat.ask('And its size?')\nNone",
        "print(panel.export('talk.md').name)",
        folder=photo.parent,
    )
    (kept,) = markdown_of(cells[0])
    assert kept.count("**You**") == 2 and "And its size?" in kept and "2 answers" in kept
    assert kept.count("<img ") == 1 and len(kept) < 15_000
    assert text_of(cells[3]) == "talk.md\n" and (photo.parent / "talk.md").read_text().count("**You**") == 2
    notebook = nbformat.v4.new_notebook(cells=cells)
    html, _ = HTMLExporter().from_notebook_node(notebook)
    markdown, _ = MarkdownExporter().from_notebook_node(notebook)
    for page in (html, markdown):
        assert "And its size?" in page and "data:image/jpeg;base64," in page


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
