"""A chat panel stays usable: long answers, stops at any moment, failures, and whoever else asks."""

import asyncio
import time

import pytest
from conftest import picture
from test_chat_panel import llm, press, settled, write  # noqa: F401 - llm is a fixture

import vision_nb as vn

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
    for ticks in range(200):
        await asyncio.sleep(0)
    assert panel.chat.answering is not None and ticks == 199
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
    monkeypatch.setattr(thumbnails, "thumbnail", lambda _: 1 / 0)
    document = vn.ImageDocument(image=picture())
    panel._thumbnails.get(document)
    assert (await panel.ask("one")).text == "to one"
    assert panel._thumbnails._making == {}
