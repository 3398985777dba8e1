"""A chat panel that the same cell creates again continues its conversation, also after a restart of the kernel."""

import asyncio
import base64
import re

import pytest

import vision_nb as vn
from tests.conftest import encoded, picture, rows_in
from vision_nb.conversation import places
from vision_nb.conversation import record as records
from vision_nb.conversation.chat import Chat
from vision_nb.conversation.places import Place
from vision_nb.conversation.record import begin_record
from vision_nb.demo import Fault
from vision_nb.store import Store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite3"


@pytest.fixture
def llm(server):
    return vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, max_retries=0)


@pytest.fixture
def new_kernel(monkeypatch):
    """Return a function that forgets what a new process would not know."""
    return lambda: monkeypatch.setattr(records, "_records", {})


def named(name):
    return vn.ImageDocument(image=encoded(picture()), image_name=name)


def panel_of(llm, path, images=()):
    return vn.ChatPanel(llm, images, name="talk", store=path)


async def test_a_panel_with_the_same_name_continues_after_a_restart(llm, path, new_kernel):
    panel = panel_of(llm, path)
    first = await panel.ask("How large is it?", named("cat.png"))
    await panel.ask("And how bright?")
    panel._record.flush()
    new_kernel()
    again = panel_of(llm, path)
    assert [turn.question.text for turn in again.chat.turns] == ["How large is it?", "And how bright?"]
    assert again.chat.responses[0].text == first.text and again.chat.responses[0].usage == first.usage
    assert again.chat.turns[0].question.image_documents[0].title == "cat.png"
    assert again._view.status["continued_from"] and len(again._view.turns) == 2
    await again.ask("And its colors?")
    again._record.flush()
    new_kernel()
    assert len(panel_of(llm, path).chat) == 3
    assert rows_in(path, "SELECT count(*) FROM conversations") == [(1,)]


async def test_an_image_is_kept_without_metadata(llm, path, new_kernel):
    from PIL import Image

    exif = Image.Exif()
    exif[0x010E] = "secret place"
    panel = panel_of(llm, path)
    await panel.ask("What?", encoded(picture(), "JPEG", exif=exif))
    panel._record.flush()
    (turn,) = [value for (value,) in rows_in(path, "SELECT value FROM turns")]
    (image,) = re.findall('"data": "([^"]+)"', turn)
    assert b"secret place" not in base64.b64decode(image) + turn.encode()


async def test_a_question_that_was_not_answered_comes_back_to_be_asked_again(server, llm, path, new_kernel):
    panel = panel_of(llm, path)
    await panel.ask("First?")
    server.fail(Fault(status=500))
    with pytest.raises(vn.errors.ProviderError):
        await panel.ask("Second?")
    panel._record.flush()
    new_kernel()
    again = panel_of(llm, path)
    assert len(again.chat) == 1 and again._view.turns[-1]["prompt"] == "Second?"
    assert again._view.turns[-1]["error"] == "This question was not answered."


async def test_the_question_is_kept_while_its_answer_is_streaming(server, llm, path, new_kernel):
    server.answer_with("word " * 50)
    server.fail(Fault(hang=60))
    panel = panel_of(llm, path)
    panel._handle({"do": "send", "text": "What?"})
    while panel.chat.answering is None:
        await asyncio.sleep(0.01)
    panel._record.flush()
    new_kernel()  # as after kill -9
    again = panel_of(llm, path)
    assert again._view.turns[-1]["prompt"] == "What?" and again._view.turns[-1]["state"] == "failed"
    panel.stop()
    while panel.chat.answering is not None:
        await asyncio.sleep(0.01)


async def test_a_new_conversation_leaves_the_old_one_in_the_store_and_can_be_undone(llm, path, new_kernel):
    panel = panel_of(llm, path, images=named("first.png"))
    await panel.ask("Old?")
    panel._view._on_action({"do": "start_new"})
    assert not panel.chat.turns and [document.title for document in panel._composer.documents] == ["first.png"]
    panel._view._on_action({"do": "restore"})
    assert len(panel.chat) == 1
    panel._view._on_action({"do": "start_new"})
    await panel.ask("New?")
    panel._record.flush()
    new_kernel()
    assert [turn.question.text for turn in panel_of(llm, path).chat.turns] == ["New?"]
    assert rows_in(path, "SELECT count(*) FROM conversations") == [(2,)]


async def test_code_that_asks_its_first_question_again_starts_a_new_conversation(llm, path, new_kernel):
    for _ in range(3):  # "Run All" after each restart
        panel = panel_of(llm, path)
        await panel.ask("First?")
        await panel.ask("Second?")
        assert [turn.question.text for turn in panel.chat.turns] == ["First?", "Second?"]
        panel._record.flush()
        new_kernel()
    panel = panel_of(llm, path)
    await panel.ask("Another?")
    assert len(panel.chat) == 3


async def two_processes(llm, path):
    """Return the records of two processes that continue one conversation with a first question."""
    first = begin_record(Chat(llm), Place("place"), Store(path))
    await first.chat.aask("Shared?")
    first.save()
    first.flush()
    return first, begin_record(Chat(llm), Place("place"), Store(path))


async def test_two_processes_that_continue_one_conversation_lose_nothing(llm, path):
    first, second = await two_processes(llm, path)
    one, other = first.chat, second.chat
    await one.aask("In the first?")
    await other.aask("In the second?")
    for record in (first, second):
        record.save()
        record.flush()
    rows = rows_in(path, "SELECT conversation, value FROM turns ORDER BY conversation, number")
    texts = [[], []]
    for conversation, value in rows:
        texts[conversation - 1] += [text for text in ("Shared?", "In the first?", "In the second?") if text in value]
    assert texts == [["Shared?", "In the first?"], ["Shared?", "In the second?"]]


async def test_a_failed_write_does_not_overwrite_the_conversation_of_another_process(llm, path, monkeypatch):
    first, second = await two_processes(llm, path)
    one, other = first.chat, second.chat
    await other.aask("In the second?")
    second.save()
    second.flush()

    def fail(*_, **__):
        raise vn.errors.StoreError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(first._store, "add_conversation", fail)
        await one.aask("In the first?")
        first.save()
        first.flush()
        assert first.error == "The disk is full."
    await one.aask("Later in the first?")
    first.save()
    first.flush()
    rows = rows_in(path, "SELECT conversation, value FROM turns ORDER BY conversation, number")
    found = [(conversation, "In the second?" in value) for conversation, value in rows]
    assert found == [(1, False), (1, True), (2, False), (2, False), (2, False)] and not first.error


async def test_only_the_latest_conversations_of_a_place_are_kept(llm, path):
    panel = panel_of(llm, path)
    for number in range(8):
        await panel.ask(f"Number {number}?")
        panel.start_new_conversation()
    panel._record.flush()
    assert rows_in(path, "SELECT count(*) FROM conversations") == [(5,)]
    assert rows_in(path, "SELECT count(DISTINCT conversation) FROM turns") == [(5,)]


async def test_nothing_is_kept_with_store_false_or_without_a_known_cell(llm, path, monkeypatch):
    default = path.with_name("default.sqlite3")
    monkeypatch.setattr("vision_nb.store.default_path", lambda: default)
    for panel in (vn.ChatPanel(llm, store=False, name="talk"), vn.ChatPanel(llm)):
        await panel.ask("What?")
        panel._record.flush()
    assert not default.exists()


async def test_the_panel_shows_that_the_store_cannot_be_used(llm, tmp_path):
    panel = panel_of(llm, tmp_path)  # a folder
    await panel.ask("What?")
    assert "will be lost" in panel._composer.note and "is a folder" in panel._composer.note


@pytest.mark.parametrize("value", ['{"answer": 1, "question": 2}', "{", "7", "[" * 100_000])
async def test_a_damaged_conversation_is_reported_and_not_overwritten(llm, path, new_kernel, value):
    panel = panel_of(llm, path)
    await panel.ask("What?")
    panel._record.flush()
    new_kernel()
    rows_in(path, "UPDATE turns SET value = ?", value)
    again = panel_of(llm, path)
    assert not again.chat.turns and "damaged" in again._composer.note
    await again.ask("Again?")
    again._record.flush()
    assert rows_in(path, "SELECT count(*) FROM conversations") == [(2,)]


def test_clearing_the_store_deletes_conversations(llm, path):
    chat = Chat(llm)
    record = begin_record(chat, Place("place"), Store(path))
    chat.ask("What?")
    record.save()
    record.flush()
    Store(path).clear()
    assert rows_in(path, "SELECT count(*) FROM turns") == [(0,)]


@pytest.mark.parametrize("name", ["", 5])
def test_a_name_must_be_a_string(llm, name):
    with pytest.raises(vn.errors.SettingsError, match="name="):
        vn.ChatPanel(llm, name=name)


def test_visitors_of_a_dashboard_do_not_see_each_others_conversations(monkeypatch):
    monkeypatch.setattr(places, "current_cell_id", lambda: "cell")
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/me/talk.ipynb")
    assert places.place_of_cell(0) and places.place_of_name("talk")
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5.11")
    assert places.place_of_cell(0) is places.place_of_name("talk") is None


async def test_any_failure_to_write_is_reported_in_the_panel(llm, path, monkeypatch):
    panel = panel_of(llm, path)

    def fail(*_, **__):
        raise ZeroDivisionError("in a custom class")

    monkeypatch.setattr(panel._record._store, "add_conversation", fail)
    panel.chat.add(vn.ChatMessage("user", "What?"), vn.ChatResponse("A cat."))
    panel._record.flush()
    panel._redraw_timer.now()
    assert "will be lost" in panel._composer.note and "ZeroDivisionError: in a custom class" in panel._composer.note
