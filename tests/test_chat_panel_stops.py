"""The chat panel stays usable: long answers, stops at any moment, failures, and questions asked elsewhere."""

import asyncio
import threading
import time

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import APIS, until
from tests.test_chat_panel import Page, llm, press, settled, write  # noqa: F401 - llm is a fixture
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.widgets import thumbnails

LONG = "some **longer** words of an answer, `code` and $x^2$\n\n" * 2500


async def wait_for_text(panel):
    """Wait until an answer has begun."""
    async with asyncio.timeout(60):
        while not (panel.chat.answering and panel.chat.answering.answer.text):
            await asyncio.sleep(0)


async def test_an_answer_that_arrives_all_at_once_can_be_stopped(server, llm, monkeypatch):  # noqa: F811
    server.tokens_per_second = float("inf")
    server.answer_with(LONG)
    assert len(LONG) > 100_000
    panel = vn.ChatPanel(llm)
    drawn = 0
    draw = panel._redraw_timer._redraw

    def counted():
        nonlocal drawn
        drawn += 1
        draw()

    monkeypatch.setattr(panel._redraw_timer, "_redraw", counted)
    write(panel, do="send", text="Go.")
    await wait_for_text(panel)
    for _ in range(200):
        await asyncio.sleep(0)
    assert panel.chat.answering is not None
    write(panel, do="stop")
    await settled(panel)
    assert panel.chat.responses[0].finish_reason == "interrupted"
    assert 0 < len(panel.chat.responses[0].text) < len(LONG) // 2
    panel.close()


async def test_slow_redraws_are_postponed_until_the_answer_has_ended(llm, monkeypatch):  # noqa: F811
    panel = vn.ChatPanel(llm)
    timer = panel._redraw_timer
    timer.seconds = 1.0  # as if it took a second
    timer.drawn_at = time.monotonic() - 2
    drawn = []
    monkeypatch.setattr(timer, "_redraw", lambda: drawn.append(1))
    stream = panel.chat.astream("Go.")
    await anext(stream)
    assert drawn == [] and timer.is_due
    await stream.aclose()
    assert drawn  # a complete answer is drawn immediately


async def test_stopping_before_the_first_step_leaves_the_panel_ready(server, llm):  # noqa: F811
    panel = vn.ChatPanel(llm)
    write(panel, do="send", text="one")
    write(panel, do="stop")
    await settled(panel)
    assert panel._view.turns[-1]["error"] == "Stopped before the answer began." and panel._composer.state == "ready"
    llm.price = None  # reading the price list fails
    write(panel, do="send", text="two")
    await settled(panel)
    assert panel._controller._task is None


async def test_stopping_after_the_end_of_an_answer_keeps_all_of_it(server, llm, monkeypatch):  # noqa: F811
    panel = vn.ChatPanel(llm)
    price = llm.price

    def slow(usage):
        time.sleep(0.5)
        return price(usage)

    monkeypatch.setattr(llm, "price", slow)
    task = asyncio.ensure_future(panel.ask("one"))
    await until(lambda: len(panel.chat), task)
    panel.stop()
    assert (await task) is panel.chat.responses[0]


async def test_stop_ends_a_question_asked_by_another_panel_or_by_code(server, llm):  # noqa: F811
    server.tokens_per_second = 50
    server.answer_with("words " * 500)
    first = vn.ChatPanel(llm)
    second = vn.ChatPanel(chat=first.chat)
    write(first, do="send", text="one")
    await wait_for_text(first)
    write(second, do="stop")
    await settled(first)
    assert first.chat.responses[0].finish_reason == "interrupted"
    server.fail(Fault(delay=60))
    task = asyncio.ensure_future(first.chat.aask("two"))
    await until(lambda: len(server.requests) == 2, task)
    write(first, do="stop")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(first.chat) == 1 and first.chat.answering is None


async def test_messages_that_arrive_on_another_thread_are_handled_on_the_panels_own(server, llm):  # noqa: F811
    server.answer_with("words " * 500)
    server.tokens_per_second = 50
    panel = vn.ChatPanel(llm)
    threads = set()
    panel.chat.watch(lambda: threads.add(threading.current_thread()))
    await asyncio.to_thread(write, panel, do="send", text="one")  # as JupyterLab does with ipykernel 7
    await wait_for_text(panel)
    await asyncio.to_thread(write, panel, do="stop")
    await settled(panel)
    await asyncio.to_thread(press, panel, do="delete", id=panel._view.turns[0]["id"])
    await asyncio.sleep(0)
    assert len(panel.chat) == 0 and threads == {threading.current_thread()}


async def test_a_broken_thumbnail_does_not_delay_an_answer(llm, monkeypatch):  # noqa: F811
    panel = vn.ChatPanel(llm)
    monkeypatch.setattr(thumbnails, "make_thumbnail", lambda _: 1 / 0)
    document = vn.ImageDocument(image=picture())
    panel._thumbnails.get(document)
    assert (await panel.ask("one")).text == "to one"
    assert panel._thumbnails._tasks == {}


async def test_attached_images_stay_when_an_earlier_question_is_asked_again(server, llm):  # noqa: F811
    panel = vn.ChatPanel(llm)
    await panel.ask("one")
    panel.add(picture())
    press(panel, do="ask_again", id=panel._view.turns[0]["id"])
    await settled(panel)
    press(panel, do="edit", id=panel._view.turns[0]["id"], text="uno")
    await settled(panel)
    assert panel.chat.responses[0].text == "to uno" and len(panel._composer.documents) == 1
    await panel.ask("two")
    assert panel._composer.documents == [] and len(panel.chat.turns[1].question.image_documents) == 1


async def test_a_failed_question_can_be_recalled_and_restored(server, llm):  # noqa: F811
    sent = []
    panel = vn.ChatPanel(llm)
    panel._composer.send = lambda content, buffers=None: sent.append(content)
    await panel.ask("one")
    server.fail(Fault(status=500))
    write(panel, do="send", text="two")
    await settled(panel)
    write(panel, do="recall", steps_back=1, view="v")
    assert sent[-1]["recall"] == "two"
    write(panel, do="send", text="three")
    await settled(panel)
    assert [turn["state"] for turn in panel._view.turns] == ["done", "done"]
    for steps_back, text in enumerate(("three", "two", "one"), 1):
        write(panel, do="recall", steps_back=steps_back, view="v")
        assert sent[-1]["recall"] == text
    assert panel._view.status["removed"] == 1
    press(panel, do="restore")
    assert panel._view.turns[-1]["state"] == "failed" and panel._view.status["removed"] == 0
    press(panel, do="delete", id="failed")
    assert panel._view.status["removed"] == 1 and len(panel._view.turns) == 2
    press(panel, do="restore")
    press(panel, do="ask_again", id="failed")
    await settled(panel)
    assert [answer.text for answer in panel.chat.responses] == ["to one", "to three", "to two"]
    assert panel._view.status["removed"] == 0


async def test_a_rejected_action_removes_nothing(server, llm):  # noqa: F811
    one = vn.ReplicateMultiModal("llava-13b", api_token="r8_verysecret", api_base=server.replicate_base)
    panel = vn.ChatPanel(llm)
    await panel.ask("one", [picture(seed=1), picture(seed=2)])
    server.fail(Fault(status=500))
    with pytest.raises(errors.ServerError):
        await panel.ask("two", [picture(seed=1), picture(seed=2)])
    panel.chat.llm = one
    for message in ({"do": "ask_again"}, {"do": "edit", "text": "zwei"}):
        for place in (0, 1):
            press(panel, id=panel._view.turns[place]["id"], **message)
            assert "remove 1" in panel._view.status["error"]
            assert [turn["state"] for turn in panel._view.turns] == ["done", "failed"]


async def test_closing_the_panel_during_an_answer_saves_the_part_that_has_arrived(server, llm, monkeypatch):  # noqa: F811
    server.tokens_per_second = 50
    server.answer_with("words " * 500)
    panel = vn.ChatPanel(llm, images=picture())
    saved = []
    monkeypatch.setattr(panel._static_transcript, "update", lambda chat: saved.append(len(chat.turns)))
    write(panel, do="send", text="one")
    await wait_for_text(panel)
    panel.add(picture(seed=2))
    panel.close()
    await settled(panel)
    assert saved[-1] == 1
    assert panel._composer.documents == [] and len(panel._composer._uploads) == 0 and panel._thumbnails.count == 0


async def test_the_widget_state_contains_no_images_or_answers(server, llm):  # noqa: F811
    panel = vn.ChatPanel(llm, images=picture())
    await panel._thumbnails.wait()
    panel._redraw_timer.now()
    sent = []
    panel._composer.send = lambda content, buffers=None: sent.append(content)
    write(panel, do="hello", request_id="t")
    assert sent[0]["thumbnails"]["image-1"].startswith("data:image") and sent[1]["reply_to"] == "t"
    await panel.ask("one")
    assert sent[-1] == {"attachments": []} or {"attachments": []} in sent
    for widget in (panel._composer, panel._view):
        state = str({name: value for name, value in widget.get_state().items() if name not in ("_esm", "_css")})
        assert "base64" not in state and "to one" not in state


async def test_malformed_messages_are_ignored(llm):  # noqa: F811
    panel = vn.ChatPanel(llm)
    for message in (None, [], "x", {"do": "upload", "upload_id": "k", "name": "n", "last": True}):
        panel._composer._handle_custom_msg(message, [])
        panel._view._handle_custom_msg(message, [])
    assert panel._composer.documents == []


@pytest.mark.parametrize("api", APIS)
async def test_the_panel_asks_streams_and_stops_through_each_api(server, api):
    server.tokens_per_second = 5  # slower than the panel is redrawn
    path = {"chat": "/chat/completions", "responses": "/responses"}[api]
    panel = vn.ChatPanel(vn.OpenAIMultiModal("gpt-4o", "sk-secret-key", server.openai_base, max_retries=0, api=api))
    page = Page(panel)
    server.answer_with("one two three")
    await panel.ask("Count.", picture())
    assert "one two three" in page.turns[0]["html"]
    assert sum(message["op"] == "update" for message in page.sent) > 2  # the answer arrived in pieces
    server.tokens_per_second = 200
    server.answer_with(LONG)
    write(panel, do="send", text="Go on.")
    await wait_for_text(panel)
    write(panel, do="stop")
    await settled(panel)
    stopped = panel.chat.responses[1]
    assert stopped.finish_reason == "interrupted" and 0 < len(stopped.text) < len(LONG)
    server.answer_with("four")
    assert (await panel.ask("And then?")).text == "four"
    assert [request.path.removeprefix("/v1") for request in server.requests] == [path] * 3
    panel.close()
