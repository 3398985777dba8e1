"""Comparisons prepare the images of the next calls while models answer, within a limit of bytes."""

import asyncio
import os
import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

import vision_nb as vn
from tests.conftest import encoded, picture
from vision_nb import compare
from vision_nb.comparison.calls import LocalCalls
from vision_nb.comparison.prepared_queue import MAX_AHEAD_BYTES, PreparedQueue, QueuedCall
from vision_nb.images.content import MemoryContent
from vision_nb.images.document import ImageDocument


class WatchedContent(MemoryContent):
    """An image that notes when it is decoded."""

    def __init__(self, seed):
        super().__init__(encoded(picture(seed=seed)), f"{seed}.png")
        self.decoded = threading.Event()

    def source(self):
        self.decoded.set()
        return super().source()


@pytest.fixture
def contents():
    return [WatchedContent(seed) for seed in range(200, 206)]


def documents(contents):
    return [ImageDocument(image=content) for content in contents]


@pytest.fixture
def store(tmp_path):
    return tmp_path / "answers.sqlite3"


def test_the_next_image_is_prepared_before_the_answer_about_this_one_arrives(server, contents, store):
    waited = []

    def answer(question):
        waited.append(contents[min(len(waited) + 1, 5)].decoded.wait(timeout=60))
        return "An answer."

    server.answer_with(answer)
    llm = vn.DemoMultiModal(api_base=server.openai_base)
    comparison = compare(llm, "What is this?", documents(contents), store=store, concurrency=1, progress=False)
    assert [row.response for row in comparison] == ["An answer."] * 6 and waited == [True] * 6


def test_no_image_is_prepared_after_the_budget_has_stopped_the_run(server, store, monkeypatch):
    begun, prepare = [], LocalCalls.prepare

    def recorded(self, model, document):
        begun.append(document)
        return prepare(self, model, document)

    monkeypatch.setattr(LocalCalls, "prepare", recorded)
    ahead = 2 * (os.cpu_count() or 1)
    images = [ImageDocument(image=encoded(picture(8, 8, seed=seed))) for seed in range(2 * ahead + 10)]
    llm = vn.OpenAIMultiModal("gpt-4o", api_base=server.openai_base, api_key="k", max_new_tokens=10)
    comparison = compare(llm, "What?", images, store=store, concurrency=1, budget=0.000001, progress=False)
    assert not any(row.finished for row in comparison) and 1 <= len(begun) <= ahead + 2


def test_an_image_that_cannot_be_prepared_is_the_error_of_its_row(server, tmp_path, store):
    broken = tmp_path / "broken.png"
    broken.write_bytes(encoded(picture(200, 200))[:2000])
    llm = vn.DemoMultiModal(api_base=server.openai_base)
    images = [picture(), broken, picture(seed=1)]
    comparison = compare(llm, "What is this?", images, store=store, concurrency=1, progress=False)
    assert [row.finished for row in comparison] == [True, False, True]
    assert "CorruptImageError" in str(comparison[1].error)


class Preparation:
    """Records for which images preparation begins."""

    def __init__(self):
        self.futures = {}

    def begin(self, model, image):
        self.futures[image] = Future()
        return self.futures[image]

    def finish(self, image, length):
        self.futures[image].set_running_or_notify_cancel()
        self.futures[image].set_result(SimpleNamespace(bytes=length))

    @property
    def begun(self):
        return list(self.futures)


def queue_of(preparation, count, *, ahead):
    queue = PreparedQueue(100, preparation.begin, ahead=ahead)
    for image in range(count):
        queue.put_nowait(QueuedCall(image, 0, image))
    queue.put_nowait(None)
    return queue


async def test_images_are_prepared_in_order_and_only_for_the_next_calls():
    preparation = Preparation()
    queue = queue_of(preparation, 6, ahead=2)
    begun = [preparation.begun]
    while (call := await queue.get()) is not None:
        assert (call.row, call.model, call.document) == (call.row, 0, call.row)
        assert call.image is preparation.futures[call.row]
        begun.append(preparation.begun)
    assert begun == [list(range(min(count, 6))) for count in range(2, 9)]
    assert queue.empty()


async def test_no_more_images_are_prepared_while_enough_bytes_wait():
    preparation = Preparation()
    queue = queue_of(preparation, 6, ahead=3)
    for image in (0, 1, 2):
        preparation.finish(image, MAX_AHEAD_BYTES // 2)
    await queue.get()
    assert preparation.begun == [0, 1, 2]
    await queue.get()
    assert preparation.begun == [0, 1, 2, 3, 4]


async def test_an_error_of_a_preparation_does_not_stop_the_queue():
    preparation = Preparation()
    queue = queue_of(preparation, 4, ahead=2)
    preparation.futures[0].set_exception(ValueError())
    async with asyncio.timeout(60):
        while await queue.get() is not None:
            pass
    assert preparation.begun == [0, 1, 2, 3]


async def test_successive_calls_about_an_image_share_its_preparation_and_its_bytes():
    preparation, begun = Preparation(), []

    def begin(model, image):
        begun.append(image)
        return preparation.begin(model, image)

    queue = PreparedQueue(100, begin, ahead=4)
    for row, image in enumerate((0, 0, 0, 1, 2)):
        queue.put_nowait(QueuedCall(row, 0, image))
    assert begun == [0, 1]
    preparation.finish(0, MAX_AHEAD_BYTES // 2 + 1)
    await queue.get()
    assert begun == [0, 1, 2]
