"""`vn.show` and its widget, without a browser."""

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import vision_nb as vn
import vision_nb.widgets
from tests.conftest import encoded, picture
from tests.forms import wait_until
from vision_nb.errors import ImageNotFoundError, SettingsError
from vision_nb.images.cards import PAGE
from vision_nb.images.document import ImageDocument
from vision_nb.widgets.composer import Composer
from vision_nb.widgets.image_browser import ImageBrowser
from vision_nb.widgets.label_panel import LabelPanel
from vision_nb.widgets.prefetch import PrefetchCache
from vision_nb.widgets.region_select import RegionSelect
from vision_nb.widgets.review_panel import ReviewPanel
from vision_nb.widgets.transcript_view import TranscriptView


@pytest.fixture
def folder(tmp_path):
    for number in range(45):
        (tmp_path / f"{number}.png").write_bytes(encoded(picture(80, 60, seed=number)))
    return tmp_path


def recorded(browser, monkeypatch):
    """Collect the messages that an image browser sends to its page."""
    sent = []
    monkeypatch.setattr(browser, "send", lambda message, buffers=None: sent.append(message))
    return sent


def test_show_takes_every_kind_of_source_and_makes_cards_of_broken_ones(folder):
    browser = vn.show([folder / "3.png", picture(), [str(folder / "4?.png")], "missing.png", 7])
    cards = browser._pages.get(0)
    assert [card.name for card in cards[:1] + cards[2:]] == [
        "3.png",
        *(f"4{n}.png" for n in range(5)),
        "missing.png",
        "images[4]",
    ]
    assert "There is no file" in cards[-2].facts and not cards[-2].thumbnail
    assert "int" in cards[-1].facts and not cards[-1].thumbnail


@pytest.mark.parametrize(
    "source, title",
    [
        ("https://me:hunter2hunter2@127.0.0.1:9/a.pdf", "https://127.0.0.1:9/a.pdf"),
        ("https://127.0.0.1:9/a.pdf?sig=hunter2hunter2", "https://127.0.0.1:9/a.pdf"),
        ("memory://me:hunter2hunter2@bucket/*.png", "memory://bucket/*.png"),
        ("ftp://me:hunter2hunter2@127.0.0.1/a.png", "ftp://127.0.0.1/a.png"),
        ("simplecache::s3://me:hunter2hunter2@bucket/a.png", "simplecache::s3://bucket/a.png"),
    ],
)
def test_the_card_of_a_broken_source_names_no_secret(source, title):
    browser = vn.show([picture(), source])
    assert browser._pages.get(0)[1].name == title
    assert "hunter2" not in f"{browser.images!r}{browser}{browser.images._repr_html_()}"


def test_a_single_broken_source_is_an_error(tmp_path):
    with pytest.raises(ImageNotFoundError, match="There is no file"):
        vn.show(tmp_path / "missing.png")
    for nothing in ([], None):
        with pytest.raises(SettingsError, match="There is nothing to show"):
            vn.show(nothing)


@pytest.mark.parametrize("fails", [False, True])
def test_a_page_that_is_requested_twice_at_once_is_read_once_and_again_after_an_error(fails):
    reads, may_end = [], threading.Event()

    def read(index):
        reads.append(index)
        may_end.wait(60)
        if fails and len(reads) == 1:
            raise OSError("The disk is busy.")
        return index

    cache = PrefetchCache(read, size=4)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, 7)
        wait_until(lambda: reads)
        second = pool.submit(cache.get, 7)
        wait_until(second.running)
        may_end.set()
    assert fails or (first.result(), second.result(), reads) == (7, 7, [7])
    assert not fails or (isinstance(first.exception(), OSError) and cache.get(7) == 7)


@pytest.mark.parametrize("columns", [0, -1, 2.5, "3"])
def test_columns_must_be_a_positive_integer(columns):
    with pytest.raises(SettingsError, match="columns must be an integer of at least 1"):
        vn.show(picture(), columns=columns)


def test_a_terminal_gets_names_and_sizes(folder):
    text = str(vn.show(folder))
    assert text.startswith("45 images") and "80 x 60" in text and "more" in text


def test_only_the_pages_that_are_displayed_are_decoded(folder, monkeypatch):
    decoded = []
    thumbnail = ImageDocument.thumbnail
    monkeypatch.setattr(
        ImageDocument, "thumbnail", lambda self, *a, **k: decoded.append(self.title) or thumbnail(self, *a, **k)
    )
    browser = vn.show(folder)
    sent = recorded(browser, monkeypatch)
    assert decoded == []
    browser._receive({"action": "ready"}, [])
    browser._pages.wait()
    assert len(decoded) == 2 * PAGE  # the next page is prepared
    browser._receive({"action": "page", "page": 2}, [])
    browser._receive({"action": "ready"}, [])
    assert [message["page"] for message in sent] == [0, 2, 2] and len(decoded) == 45
    assert [card["name"] for card in sent[1]["cards"]] == [f"{number}.png" for number in range(40, 45)]
    assert sent[1]["cards"][0]["index"] == 40 and sent[1]["pages"] == 3 and sent[1]["total"] == 45


def test_an_enlarged_image_is_sent_at_its_own_size_and_a_deleted_one_is_not_sent(folder, monkeypatch):
    path = folder / "large.png"
    path.write_bytes(encoded(picture(1000, 500)))
    browser = vn.show([path])
    sent = recorded(browser, monkeypatch)
    browser._receive({"action": "enlarge", "index": 0}, [])
    assert ImageDocument(image_url=sent[0]["image"]).size == (1000, 500)
    path.unlink()
    browser._receive({"action": "enlarge", "index": 0}, [])
    assert sent[1] == {"kind": "enlarged", "index": 0, "image": ""}


@pytest.mark.parametrize(
    "message",
    [{}, {"action": "page"}, {"action": "page", "page": 3}, {"action": "page", "page": -1}, {"action": "page", "page": "1"},
     {"action": "enlarge", "index": 45}, {"action": "enlarge", "index": None}, {"action": ["page"]}],
)  # fmt: skip
def test_other_messages_of_the_page_are_ignored(folder, monkeypatch, message):
    browser = vn.show(folder)
    sent = recorded(browser, monkeypatch)
    browser._on_message(None, message, [])
    assert sent == []


async def test_thumbnails_are_made_in_threads_and_an_outdated_page_is_not_sent(folder, monkeypatch):
    browser = vn.show(folder)
    answers, threads, started, release = [], set(), threading.Event(), threading.Event()
    monkeypatch.setattr(browser, "_send_result", answers.append)
    read = browser._pages._read

    def slow(page):
        threads.add(threading.current_thread())
        if page == 0:
            started.set()
            assert release.wait(30)
        return read(page)

    async def wait_for(is_done):
        until = time.monotonic() + 30
        while not is_done() and time.monotonic() < until:
            await asyncio.sleep(0.01)

    monkeypatch.setattr(browser._pages, "_read", slow)
    browser._receive({"action": "ready"}, [])
    await wait_for(started.is_set)  # the event loop goes on while a page is being made
    browser._receive({"action": "page", "page": 2}, [])
    await wait_for(lambda: answers)
    release.set()
    await wait_for(lambda: len(answers) == 2)
    assert answers[0]["page"] == 2 and answers[1] is None and threading.main_thread() not in threads


def test_widgets_on_one_page_do_not_share_the_styles_of_a_class():
    folder = Path(vision_nb.widgets.__file__).parent
    sheets = [path.read_text(encoding="utf-8") for path in folder.glob("*.css")]
    widgets: list[Any] = [Composer, ImageBrowser, LabelPanel, RegionSelect, ReviewPanel, TranscriptView]
    for name in set(re.findall(r"^\.([\w-]+)", "\n".join(sheets), re.MULTILINE)):
        styled = [sheet for sheet in sheets if re.search(rf"^\.{name}(?![\w-])", sheet, re.MULTILINE)]
        assert any(all(sheet.strip() in str(widget._css) for sheet in styled) for widget in widgets), name
