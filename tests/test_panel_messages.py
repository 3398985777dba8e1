"""Whatever a page sends to a panel, nothing foreign is raised, and unfinished uploads are limited."""

import asyncio
import json
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.drawn_files import colored_pdf
from vision_nb.demo import DemoServer
from vision_nb.images.renderer import Renderer
from vision_nb.widgets import composer, uploads

PROPERTY = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def send(widget, message, *buffers):
    """Send a message to a widget as ipywidgets does, which would only log an exception."""
    for callback in widget._msg_callbacks.callbacks:
        callback(widget, message, list(buffers))


def upload(panel, data, upload_id="k", start=0, last=False, name="a.png"):
    message = {"do": "upload", "upload_id": upload_id, "name": name, "start": start, "last": last}
    send(panel._composer, message, memoryview(data))


async def upload_last(panel, data, upload_id="k", start=0, name="a.png"):
    """Send the last part of a file, and wait until the file has been read."""
    upload(panel, data, upload_id, start, last=True, name=name)
    await asyncio.gather(*panel._composer._tasks)


@pytest.fixture(scope="module")
def server():
    with DemoServer(tokens_per_second=float("inf")) as server:
        yield server


@pytest.fixture(scope="module")
def comparison(server, tmp_path_factory):
    store = tmp_path_factory.mktemp("labels") / "a.sqlite3"
    with vn.compare("demo", ["Size?"], [picture()], store=store, progress=False).store as store:
        yield vn.compare("demo", ["Size?"], [picture()], store=store, progress=False)


@pytest.fixture
async def panel(server):
    panel = vn.ChatPanel(vn.connect("demo", api_base=server.openai_base))
    yield panel
    panel.close()


async def test_the_parts_of_a_file_are_joined(panel):
    data = encoded(picture())
    upload(panel, data[:50])
    assert len(panel._composer._uploads) == 1
    await upload_last(panel, data[50:], start=50)
    assert [document.title for document in panel._composer.documents] == ["a.png"]
    assert panel._composer.documents[0].size == (64, 48) and len(panel._composer._uploads) == 0


async def test_an_upload_that_was_cancelled_or_whose_page_was_reloaded_is_discarded(panel):
    upload(panel, b"x")
    send(panel._composer, {"do": "cancel_upload", "upload_id": "k"})
    assert len(panel._composer._uploads) == 0
    upload(panel, b"x")
    send(panel._composer, {"do": "hello"})
    assert len(panel._composer._uploads) == 0


async def test_a_file_with_a_missing_part_is_not_attached(panel):
    data = encoded(picture())
    for parts in ([(50, None)], [(0, 50), (60, None)], [(0, 50), (50, 60), (50, None)]):
        for start, end in parts:
            upload(panel, data[start:end], start=start, last=end is None)
        assert panel._composer.error == "The upload of a.png was interrupted: attach it again."
        assert panel._composer.documents == [] and len(panel._composer._uploads) == 0


async def test_the_number_of_unfinished_uploads_is_limited(panel):
    for number in range(uploads.MAX_UPLOADS):
        upload(panel, b"x", f"{number}")
    assert panel._composer.error == ""
    upload(panel, b"x", "one more")
    assert "Too many files" in panel._composer.error and len(panel._composer._uploads) == uploads.MAX_UPLOADS
    await upload_last(panel, encoded(picture()), "whole")  # is not kept as unfinished
    assert len(panel._composer.documents) == 1 and panel._composer.error == ""


async def test_the_bytes_of_a_file_and_of_all_unfinished_uploads_are_limited(panel):
    part = b"x" * 30_000_000
    for number in range(5):
        upload(panel, part, f"{number}")
    assert "Too many files" in panel._composer.error
    assert panel._composer._uploads.size <= uploads.MAX_UPLOAD_BYTES and len(panel._composer._uploads) == 3
    upload(panel, part, "0", start=len(part))
    assert "a.png is larger than 50 MB" in panel._composer.error and len(panel._composer._uploads) == 2


async def test_an_upload_without_further_parts_expires(panel, monkeypatch):
    monkeypatch.setattr(uploads, "UPLOAD_TIMEOUT", 0.05)
    upload(panel, b"x")
    async with asyncio.timeout(20):
        while len(panel._composer._uploads):
            await asyncio.sleep(0.01)
    await upload_last(panel, b"x", start=1)
    assert "interrupted" in panel._composer.error


async def test_names_of_uploaded_files_are_short_and_printable(panel):
    for name in ("\ud800.png", "a\n\x1b[31mb\u202e.png", "x" * 100_000, "", "\x00"):
        await upload_last(panel, encoded(picture()), name=name)
        await upload_last(panel, b"not an image", name=name)
        assert 0 < len(panel._composer.error) <= 300 and panel._composer.error.isprintable()
    titles = [document.title for document in panel._composer.documents]
    assert titles[:2] == ["\ufffd.png", "a [31mb.png"] and titles[3:] == ["image", "image"] and len(titles[2]) == 200
    json.dumps(panel._composer.attachments, ensure_ascii=False).encode()


async def test_the_pages_of_an_uploaded_pdf_document_are_attached(panel):
    await upload_last(panel, colored_pdf(3), name="report.pdf")
    assert [document.title for document in panel._composer.documents] == [f"report.pdf#page={n}" for n in (1, 2, 3)]
    await upload_last(panel, colored_pdf(21), "long", name="long.pdf")
    assert "long.pdf has 21 pages, more than the 20" in panel._composer.error and len(panel._composer.documents) == 3
    await upload_last(panel, b"%PDF-1.7 ...", "broken", name="broken.pdf")
    assert "broken.pdf is a damaged PDF document" in panel._composer.error


@pytest.mark.parametrize("where", ["in a thread", "at once"])
async def test_the_page_gets_a_reply_after_an_unexpected_error_too(panel, monkeypatch, where):
    def fail(*_, **__):
        raise RuntimeError("disk on fire")

    if where == "in a thread":
        monkeypatch.setattr(composer, "find_images", fail)
    else:
        monkeypatch.setattr(panel._composer._uploads, "add", fail)
    sent = []
    monkeypatch.setattr(panel._composer, "send", sent.append)
    message = {"do": "upload", "upload_id": "k", "name": "a.png", "start": 0, "last": True, "request_id": "r"}
    with pytest.raises(RuntimeError):  # for the log of the kernel
        send(panel._composer, message, memoryview(encoded(picture())))
        await asyncio.gather(*panel._composer._tasks)
    (reply,) = [one for one in sent if one.get("reply_to") == "r"]
    assert "RuntimeError: disk on fire" in reply["rejection"] and panel._composer.error == reply["rejection"]
    assert ("a.png could not be attached" in reply["rejection"]) is (where == "in a thread")


async def test_the_pages_of_a_document_are_read_in_a_thread(panel, monkeypatch):
    threads = []
    ask = Renderer.ask
    monkeypatch.setattr(
        Renderer, "ask", lambda *given, **more: threads.append(threading.current_thread()) or ask(*given, **more)
    )
    await upload_last(panel, colored_pdf(1), name="report.pdf")
    await panel.ask("What?", colored_pdf(2))
    assert len(threads) > 2 and threading.main_thread() not in threads
    assert len(panel.chat.turns[0].question.image_documents) == 3


async def test_a_question_with_lone_surrogates_is_asked(panel):
    send(panel._composer, {"do": "send", "text": "caf\udce9?"})
    await asyncio.wait([panel._controller._task])
    json.dumps(panel._view.turns, ensure_ascii=False).encode()
    assert panel.chat.turns[0].question.text == "caf\ufffd?"


async def test_a_page_cannot_change_the_traits_of_a_panel(panel, comparison):
    for widget in (panel._composer, panel._view, vn.LabelPanel(comparison)):
        before = widget.get_state()
        for value in (5, None, {"a": []}, "\ud800"):
            data = {"method": "update", "state": {"error": value, "status": value, "_esm": value}, "buffer_paths": []}
            widget._handle_msg({"content": {"data": data}, "buffers": []})
        assert widget.get_state() == before


TEXTS = st.text(st.characters(codec=None), max_size=8) | st.just("\ud800") | st.just("x" * 3000)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**50) | st.floats() | TEXTS | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ACTIONS = st.sampled_from(
    "hello ping upload cancel_upload remove remove_all move detail detail_of_all draft send stop model recall copy enlarge enlarge_other ask_again edit delete restore "
    "ready score select move undo comment".split()
)
PLAUSIBLE = {
    "id": st.sampled_from(["failed", "answering", "turn-1", "turn-2", "image-1", "image-2"]), "index": st.integers(-1, 2), "text": TEXTS,
    "name": TEXTS | st.just("demo"), "upload_id": TEXTS, "start": st.integers(-1, 2), "last": st.booleans(),
    "detail": st.sampled_from(["low", "", "vast"]), "steps_back": st.integers(-1, 3), "view": TEXTS,
    "request_id": TEXTS, "value": st.integers(-1, 6), "aspect": st.just("relevance"), "by": st.sampled_from([-1, 1]),
    "position": st.integers(0, 3),
}  # fmt: skip
FIELDS = st.fixed_dictionaries({}, optional={name: value | VALUES for name, value in PLAUSIBLE.items()})
MESSAGES = VALUES | st.builds(lambda do, fields: {"do": do, "action": do, **fields}, ACTIONS | VALUES, FIELDS)
BUFFERS = st.lists(
    st.binary(max_size=8).map(lambda data: memoryview(data)) | st.just(memoryview(encoded(picture()))), max_size=2
)


async def sent_after(server, comparison, messages):
    """Send messages to all widgets, and return what they sent to the page, and every exception."""
    panel = vn.ChatPanel(vn.connect("demo", api_base=server.openai_base), images=picture())
    await panel.ask("one")
    sent = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: sent.append(context["exception"]))
    for widget in (panel._composer, panel._view, vn.LabelPanel(comparison, annotator="a")):
        widget.send = lambda content, buffers=None: sent.append(content)
        for message, buffers in messages:
            send(widget, message, *buffers)
            await asyncio.sleep(0)
    panel.stop()
    if panel._controller._task is not None:
        await asyncio.wait([panel._controller._task])
    sent += [panel._composer.error, panel._view.status["error"], *(turn["error"] for turn in panel._view.turns)]
    panel.close()
    return sent


@pytest.mark.slow
@PROPERTY
@given(messages=st.lists(st.tuples(MESSAGES, BUFFERS), min_size=1, max_size=6))
def test_any_message_is_handled_or_ignored(server, comparison, messages):
    for sent in asyncio.run(sent_after(server, comparison, messages)):
        json.dumps(sent, ensure_ascii=False).encode()  # an exception is not JSON
        assert not isinstance(sent, str) or len(sent) <= 300
