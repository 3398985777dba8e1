"""A chat panel stays usable: long answers, stops at any moment, failures, and whoever else asks."""

import asyncio
import time

import pytest
from conftest import picture
from test_chat_panel import llm, press, settled, write  # noqa: F401 - llm is a fixture

import vision_nb as vn
from vision_nb import errors
from vision_nb.demo import Fault

LONG = "some **longer** words of an answer, `code` and $x^2$\n\n" * 2500


async def answering(panel):
    """Wait until the first words of an answer are there."""
    async with asyncio.timeout(20):
        while not (panel.chat.answering and panel.chat.answering.answer.text):
            await asyncio.sleep(0)


async def test_an_answer_that_arrives_all_at_once_can_be_stopped(server, llm, monkeypatch):  # noqa: F811
    server.tokens_per_second = float("inf")
    server.answer_with(LONG)
    assert len(LONG) > 100_000
    panel = vn.ChatPanel(llm)
    drawn = 0
    draw = panel._draw

    def counted():
        nonlocal drawn
        drawn += 1
        draw()

    monkeypatch.setattr(panel, "_draw", counted)
    write(panel, do="send", text="Go.")
    await answering(panel)
    for _ in range(200):
        await asyncio.sleep(0)
    assert panel.chat.answering is not None
    write(panel, do="stop")
    await settled(panel)
    assert panel.chat.responses[0].finish_reason == "interrupted"
    assert 0 < len(panel.chat.responses[0].text) < len(LONG) // 2
    panel.close()


async def test_drawing_leaves_the_kernel_most_of_its_time(llm, monkeypatch):  # noqa: F811
    panel = vn.ChatPanel(llm)
    panel._drawing = 1.0  # as if it took a second
    panel._drawn_at = time.monotonic() - 2
    drawn = []
    monkeypatch.setattr(panel, "_draw", lambda: drawn.append(1))
    stream = panel.chat.astream("Go.")
    await anext(stream)
    assert drawn == [] and panel._timer is not None
    await stream.aclose()
    assert drawn  # an answer that has ended is drawn at once


async def test_a_stop_before_the_first_step_leaves_the_panel_ready(server, llm):  # noqa: F811
    panel = vn.ChatPanel(llm)
    write(panel, do="send", text="one")
    write(panel, do="stop")
    await settled(panel)
    assert panel._view._shown[-1]["error"] == "Stopped before the first word." and panel._composer.state == "ready"
    llm.price = None  # what is done before the question is sent fails
    write(panel, do="send", text="two")
    await settled(panel)
    assert panel._answering._task is None


async def test_a_stop_after_the_last_word_takes_nothing_away(server, llm, monkeypatch):  # noqa: F811
    panel = vn.ChatPanel(llm)
    price = llm.price

    def slow(usage):
        time.sleep(0.5)
        return price(usage)

    monkeypatch.setattr(llm, "price", slow)
    task = asyncio.ensure_future(panel.ask("one"))
    while not len(panel.chat):
        await asyncio.sleep(0.01)
    panel.stop()
    assert (await task) is panel.chat.responses[0]


async def test_a_question_that_nobody_here_asked_is_stopped_too(server, llm):  # noqa: F811
    server.tokens_per_second = 50
    server.answer_with("words " * 500)
    first = vn.ChatPanel(llm)
    second = vn.ChatPanel(chat=first.chat)
    write(first, do="send", text="one")
    await answering(first)
    write(second, do="stop")
    await settled(first)
    assert first.chat.responses[0].finish_reason == "interrupted"
    task = asyncio.ensure_future(first.chat.aask("two"))
    while first.chat.answering is None:
        await asyncio.sleep(0)
    write(first, do="stop")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(first.chat) == 1 and first.chat.answering is None


async def test_a_picture_that_never_comes_holds_up_no_answer(llm, monkeypatch):  # noqa: F811
    from vision_nb.widgets import thumbnails

    panel = vn.ChatPanel(llm)
    monkeypatch.setattr(thumbnails, "make_thumbnail", lambda _: 1 / 0)
    document = vn.ImageDocument(image=picture())
    panel._thumbnails.get(document)
    assert (await panel.ask("one")).text == "to one"
    assert panel._thumbnails._making == {}


async def test_pictures_for_the_next_question_stay_while_another_is_asked_again(server, llm):  # noqa: F811
    panel = vn.ChatPanel(llm)
    await panel.ask("one")
    panel.add(picture())
    press(panel, do="again", id=panel._view._shown[0]["id"])
    await settled(panel)
    press(panel, do="edit", id=panel._view._shown[0]["id"], text="eins")
    await settled(panel)
    assert panel.chat.responses[0].text == "to eins" and len(panel._composer.documents) == 1
    await panel.ask("two")
    assert panel._composer.documents == [] and len(panel.chat.turns[1].question.image_documents) == 1


async def test_a_question_without_an_answer_is_not_lost(server, llm):  # noqa: F811
    sent = []
    panel = vn.ChatPanel(llm)
    panel._composer.send = lambda content, buffers=None: sent.append(content)
    await panel.ask("one")
    server.fail(Fault(status=500))
    write(panel, do="send", text="two")
    await settled(panel)
    write(panel, do="recall", back=1, view="v")
    assert sent[-1]["recall"] == "two"
    write(panel, do="send", text="three")
    await settled(panel)
    assert [entry["state"] for entry in panel._view._shown] == ["done", "done"]
    for back, text in enumerate(("three", "two", "one"), 1):
        write(panel, do="recall", back=back, view="v")
        assert sent[-1]["recall"] == text
    assert panel._view.status["removed"] == 1
    press(panel, do="put_back")
    assert panel._view._shown[-1]["state"] == "failed" and panel._view.status["removed"] == 0
    press(panel, do="delete", id="failed")
    assert panel._view.status["removed"] == 1 and len(panel._view._shown) == 2
    press(panel, do="put_back")
    press(panel, do="again", id="failed")
    await settled(panel)
    assert [answer.text for answer in panel.chat.responses] == ["to one", "to three", "to two"]
    assert panel._view.status["removed"] == 0


async def test_what_is_refused_takes_nothing_away(server, llm):  # noqa: F811
    one = vn.ReplicateMultiModal("llava-13b", api_token="r8_verysecret", api_base=server.replicate_base)
    panel = vn.ChatPanel(llm)
    await panel.ask("one", [picture(seed=1), picture(seed=2)])
    server.fail(Fault(status=500))
    with pytest.raises(errors.ServerError):
        await panel.ask("two", [picture(seed=1), picture(seed=2)])
    panel.chat.llm = one
    for message in ({"do": "again"}, {"do": "edit", "text": "zwei"}):
        for place in (0, 1):
            press(panel, id=panel._view._shown[place]["id"], **message)
            assert "remove 1" in panel._view.status["problem"]
            assert [entry["state"] for entry in panel._view._shown] == ["done", "failed"]


async def test_a_panel_that_is_closed_in_mid_answer_writes_down_what_had_arrived(server, llm, monkeypatch):  # noqa: F811
    server.tokens_per_second = 50
    server.answer_with("words " * 500)
    panel = vn.ChatPanel(llm, images=picture())
    plain = []
    monkeypatch.setattr(panel._plain, "update", lambda chat: plain.append(len(chat.turns)))
    write(panel, do="send", text="one")
    await answering(panel)
    panel.add(picture(seed=2))
    panel.close()
    await settled(panel)
    assert plain[-1] == 1
    assert panel._composer.documents == [] and panel._composer._uploads == {} and panel._thumbnails.count == 0


async def test_pictures_and_answers_are_in_no_saved_state(server, llm):  # noqa: F811
    panel = vn.ChatPanel(llm, images=picture())
    await panel._thumbnails.settled()
    panel._draw()
    sent = []
    panel._composer.send = lambda content, buffers=None: sent.append(content)
    write(panel, do="hello", ticket="t")
    assert sent[0]["attachments"][0]["thumbnail"].startswith("data:image") and sent[1]["done"] == "t"
    await panel.ask("one")
    assert sent[-1] == {"attachments": []} or {"attachments": []} in sent
    for widget in (panel._composer, panel._view):
        assert "base64" not in str(widget.get_state()) and "to one" not in str(widget.get_state())


async def test_messages_that_are_none_are_ignored(llm):  # noqa: F811
    panel = vn.ChatPanel(llm)
    for message in (None, [], "x", {"do": "upload", "key": "k", "name": "n", "last": True}):
        panel._composer._receive(panel._composer, message, [])
        panel._view._receive(panel._view, message, [])
    assert panel._composer.documents == []
