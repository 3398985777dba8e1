"""Earlier conversations of a chat panel can be chosen; renamed notebooks, cut-off answers, limits and clearing."""

import asyncio

import pytest

import vision_nb as vn
from tests.conftest import encoded, picture, rows_in
from tests.forms import until
from tests.test_kept_conversations import llm, named, new_kernel, panel_of, path  # noqa: F401 - fixtures
from vision_nb.conversation import places
from vision_nb.conversation import record as records
from vision_nb.demo import Fault
from vision_nb.storage import conversations as storage
from vision_nb.store import Store

# ruff: noqa: F811


def titles(panel):
    return [one["title"] for one in panel._view.status["earlier"]]


def prompts(panel):
    return [turn.question.text for turn in panel.chat.turns]


async def stored(panel):
    """Wait until everything is written, and the panel has been told."""
    panel._record.flush()
    for _ in range(3):
        await asyncio.sleep(0)
    panel._redraw_timer.now()


async def choose(panel, title):
    (chosen,) = [one for one in panel._view.status["earlier"] if one["title"] == title]
    panel._view._on_action({"do": "open", "id": chosen["id"]})
    await panel._controller._background_task
    await stored(panel)


async def test_an_earlier_conversation_can_be_chosen_and_continued(llm, path, new_kernel):
    panel = panel_of(llm, path)
    await panel.ask("What is on the first chart, in one or two sentences, and which colors does it have?")
    panel._view._on_action({"do": "start_new"})
    await panel.ask("Second?", named("cat.png"))
    await stored(panel)
    assert titles(panel) == ["What is on the first chart, in one or two sentences, and..."]
    await choose(panel, titles(panel)[0])
    assert prompts(panel)[0].startswith("What is on the first chart") and titles(panel) == ["Second?"]
    assert panel._view.status["continued_from"] and panel._view.status["removed"] == 0
    await panel.ask("Which year?")
    await stored(panel)
    new_kernel()
    again = panel_of(llm, path)
    assert prompts(again)[1:] == ["Which year?"] and titles(again) == ["Second?"]
    await choose(again, "Second?")
    assert again.chat.turns[0].question.image_documents[0].title == "cat.png"
    assert rows_in(path, "SELECT count(*) FROM conversations") == [(2,)]


async def test_an_unanswered_question_of_the_chosen_conversation_can_be_asked_again(server, llm, path):
    panel = panel_of(llm, path)
    server.fail(Fault(status=500))
    with pytest.raises(vn.errors.ProviderError):
        await panel.ask("First?")
    panel.start_new_conversation()
    await panel.ask("Second?")
    await stored(panel)
    await choose(panel, "First?")
    assert panel._view.turns[-1]["state"] == "failed" and len(panel._view.turns) == 1
    await choose(panel, "Second?")
    assert [turn["state"] for turn in panel._view.turns] == ["done"]


async def test_no_other_conversation_is_opened_while_the_model_answers_or_if_this_one_would_be_lost(
    server, llm, path, monkeypatch
):
    panel = panel_of(llm, path)
    await panel.ask("First?")
    panel.start_new_conversation()
    await panel.ask("Second?")
    await stored(panel)
    server.fail(Fault(hang=60))
    task = asyncio.create_task(panel.ask("Third?"))
    await until(lambda: panel.chat.answering is not None, task)
    await choose(panel, "First?")
    assert "still answering" in panel._view.status["error"] and prompts(panel) == ["Second?"]
    panel.stop()
    with pytest.raises(asyncio.CancelledError):
        await task

    def fail(*_, **__):
        raise vn.errors.StoreError("The disk is full.")

    monkeypatch.setattr(panel._record._store, "update_conversation", fail)
    await panel.ask("Fourth?")
    await stored(panel)
    await choose(panel, "First?")
    assert "would be lost: export it first. The disk is full." in panel._view.status["error"]
    assert prompts(panel)[-1] == "Fourth?"


@pytest.mark.parametrize("change", ["deleted", "damaged"])
async def test_a_conversation_that_cannot_be_opened_is_reported(llm, path, change):
    panel = panel_of(llm, path)
    await panel.ask("First?")
    panel.start_new_conversation()
    await panel.ask("Second?")
    await stored(panel)
    rows_in(path, "DELETE FROM conversations WHERE id = 1" if change == "deleted" else "UPDATE turns SET value = '7'")
    await choose(panel, "First?")
    assert ("no longer" if change == "deleted" else "damaged") in panel._view.status["error"]
    assert prompts(panel) == ["Second?"] and titles(panel) == ([] if change == "deleted" else ["First?"])


async def test_a_page_cannot_open_the_conversation_of_another_place_by_its_id(llm, path):
    await vn.ChatPanel(llm, name="secret", store=path).ask("Secret?")
    panel = vn.ChatPanel(llm, name="other", store=path)
    await panel.ask("Other?")
    await stored(panel)
    ids = [number for (number,) in rows_in(path, "SELECT id FROM conversations")]
    assert len(ids) == 2
    own = panel._record._id
    for number in (*(one for one in ids if one != own), 0, -1, 10**30):
        panel._view._on_action({"do": "open", "id": number})
        await panel._controller._background_task
        await stored(panel)
        assert "no longer in the store" in panel._view.status["error"] and prompts(panel) == ["Other?"]


async def test_the_part_of_an_answer_that_arrived_before_the_kernel_ended_is_shown_as_cut_off(
    server, llm, path, new_kernel, monkeypatch
):
    monkeypatch.setattr(records, "PARTIAL_PAUSE", 0.05)
    server.answer_with("word " * 50)
    server.fail(Fault(hang=60))
    panel = panel_of(llm, path)
    panel._handle({"do": "send", "text": "What?"})
    count = "SELECT count(*) FROM partial_answers WHERE value LIKE '%word word%'"
    await until(lambda: path.exists() and rows_in(path, count) == [(1,)])
    new_kernel()  # as after kill -9
    again = panel_of(llm, path)
    assert again.chat.responses[0].text.startswith("word word")
    (view,) = again._view.turns
    assert view["state"] == "stopped" and "cut off before it was finished" in view["remark"]
    server.answer_with("Fine.")
    await again.ask("And now?")
    again._record.flush()
    new_kernel()
    assert prompts(panel_of(llm, path)) == ["What?", "And now?"]
    panel.stop()
    await until(lambda: panel.chat.answering is None)


async def test_the_part_of_an_answer_is_deleted_when_the_answer_is_complete(server, llm, path, monkeypatch):
    monkeypatch.setattr(records, "PARTIAL_PAUSE", 0.02)
    server.answer_with("word " * 50)
    server.tokens_per_second = 100
    panel = panel_of(llm, path)
    panel._handle({"do": "send", "text": "What?"})
    count = "SELECT count(*) FROM partial_answers"
    await until(lambda: path.exists() and rows_in(path, count) == [(1,)])
    await until(lambda: panel.chat.turns)
    await asyncio.sleep(0.1)
    panel._record.flush()
    assert rows_in(path, count) == [(0,)]


@pytest.fixture
def notebook(monkeypatch, tmp_path):
    """Return a function that acts as a cell of a notebook."""
    monkeypatch.setattr(places, "current_cell_id", lambda: "cell")

    def open_notebook(name):
        monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / name))

    return open_notebook


async def test_a_panel_continues_after_its_notebook_was_renamed_but_not_in_a_copy(
    llm, path, tmp_path, notebook, new_kernel
):
    (tmp_path / "a.ipynb").touch()
    notebook("a.ipynb")
    panel = vn.ChatPanel(llm, store=path)
    await panel.ask("First?")
    panel._record.flush()
    new_kernel()
    (tmp_path / "copy.ipynb").touch()
    notebook("copy.ipynb")
    assert prompts(vn.ChatPanel(llm, store=path)) == []
    new_kernel()
    (tmp_path / "a.ipynb").rename(tmp_path / "b.ipynb")
    notebook("b.ipynb")
    assert prompts(vn.ChatPanel(llm, store=path)) == ["First?"]
    new_kernel()
    (tmp_path / "b.ipynb").rename(tmp_path / "c.ipynb")  # renamed again before anything was asked
    notebook("c.ipynb")
    assert prompts(vn.ChatPanel(llm, store=path)) == ["First?"]
    new_kernel()
    notebook("a.ipynb")  # a new notebook with the old name
    assert prompts(vn.ChatPanel(llm, store=path)) == []


@pytest.mark.parametrize("earlier", ["relative.ipynb", "/no/such/folder/a.ipynb"])
async def test_a_notebook_whose_folder_is_missing_was_not_renamed(
    llm, path, notebook, new_kernel, monkeypatch, earlier
):
    monkeypatch.setenv("JPY_SESSION_NAME", earlier)
    panel = vn.ChatPanel(llm, store=path)
    await panel.ask("First?")
    panel._record.flush()
    new_kernel()
    notebook("b.ipynb")
    assert prompts(vn.ChatPanel(llm, store=path)) == []


async def test_the_oldest_conversations_are_deleted_when_all_are_too_large(llm, path, monkeypatch):
    image = vn.ImageDocument(image=encoded(picture(300, 300)), image_name="a.png")
    for name in ("one", "two", "three"):
        panel = vn.ChatPanel(llm, name=name, store=path)
        await panel.ask(f"{name}?", image)
        panel._record.flush()
        if name == "one":
            size = len(rows_in(path, "SELECT value FROM turns")[0][0])
            monkeypatch.setattr(storage, "MAX_BYTES", 2 * size + size // 2)
    store = Store(path)
    found = [store.find_conversation(places.place_of_name(name).id) for name in ("one", "two", "three")]
    assert [one is None for one in found] == [True, False, False]
    assert rows_in(path, "SELECT count(*) FROM turn_sizes") == [(2,)]
    monkeypatch.setattr(storage, "MAX_BYTES", 1)
    await panel.ask("Again?")
    panel._record.flush()
    found = [store.find_conversation(places.place_of_name(name).id) for name in ("two", "three")]
    assert found[0] is None and len(found[1].turns) == 2  # the current one is never deleted


async def test_an_image_that_can_no_longer_be_read_does_not_prevent_turns_from_being_stored(
    server, llm, path, tmp_path, new_kernel
):
    file = tmp_path / "cat.png"
    file.write_bytes(encoded(picture()))

    def answer(_):
        panel._record.flush()  # the question is stored
        file.unlink(missing_ok=True)
        return "A cat."

    server.answer_with(answer)
    panel = vn.ChatPanel(llm, name="talk", store=path, keep_images=0)  # it is not sent again
    await panel.ask("What?", file)
    await panel.ask("Sure?")
    panel._record.flush()
    assert not panel._record.error
    new_kernel()
    again = panel_of(llm, path)
    assert prompts(again) == ["What?", "Sure?"]
    assert again.chat.turns[0].question.image_documents[0].size  # it was encoded before it was deleted


async def test_a_note_replaces_an_image_that_cannot_be_stored(llm, path, tmp_path, new_kernel):
    file = tmp_path / "cat.png"
    file.write_bytes(encoded(picture()))
    panel = panel_of(llm, path)
    question = vn.generate_openai_multi_modal_chat_message("What?", image_documents=[vn.ImageDocument.of(file)])
    file.unlink()
    panel.chat.add(question, vn.ChatResponse("A cat."))
    await stored(panel)
    assert not panel._record.error and "cat.png" in panel._composer.note
    new_kernel()
    assert prompts(panel_of(llm, path)) == ["What?\n(The image cat.png could not be read.)"]


async def test_an_open_panel_does_not_write_a_cleared_conversation_back(server, llm, path, new_kernel):
    panel = panel_of(llm, path)
    await panel.ask("Before?")
    server.fail(Fault(delay=0.3))
    task = asyncio.create_task(panel.ask("Asked before?"))
    await until(lambda: panel.chat.answering is not None, task)
    panel._record.flush()
    Store(path).clear()
    await task
    panel._record.flush()
    assert rows_in(path, "SELECT count(*) FROM conversations") == [(0,)]
    await panel.ask("After?")
    panel._record.flush()
    text = "".join(path.with_name(path.name + end).read_bytes().decode("latin1") for end in ("", "-wal"))
    assert "After?" in text and "efore?" not in text
    new_kernel()
    assert prompts(panel_of(llm, path)) == ["After?"]


async def test_without_store_the_panel_uses_the_store_that_is_configured_for_the_magics(llm, tmp_path, monkeypatch):
    path = tmp_path / "configured.sqlite3"
    (tmp_path / "pyproject.toml").write_text('[tool.vision_nb]\nstore = "configured.sqlite3"\n')
    monkeypatch.chdir(tmp_path)
    panel = vn.ChatPanel(llm, name="talk")
    await panel.ask("What?")
    panel._record.flush()
    assert rows_in(path, "SELECT count(*) FROM conversations") == [(1,)]
