"""The store of a comparison: written off the event loop, complete after a cancellation, and closed after the run."""

import asyncio
import contextlib
import gc
import sqlite3
import time

import psutil
import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.forms import until
from vision_nb import errors
from vision_nb.comparison import run
from vision_nb.storage import database
from vision_nb.storage.writer import StoreWriter
from vision_nb.store import Store


@pytest.fixture
def store(tmp_path):
    return tmp_path / "answers.sqlite3"


@pytest.fixture
def llm(server):
    return vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)


@pytest.fixture
def lock_before_answering(server, store):
    """Locks the store as another process would, while the server answers; the returned stack releases the lock."""
    locks = contextlib.ExitStack()

    def answer(question):
        connection = sqlite3.connect(store, isolation_level=None, check_same_thread=False)
        locks.callback(connection.close)
        connection.execute("BEGIN IMMEDIATE")
        return "an answer"

    server.answer_with(answer)
    with locks:
        yield locks


def open_files(path):
    return [file.path for file in psutil.Process().open_files() if file.path.startswith(str(path))]


async def test_the_event_loop_runs_while_the_store_is_locked(server, llm, store, lock_before_answering):
    task = asyncio.create_task(vn.acompare(llm, "What?", picture(), store=store, progress=False))
    await until(lambda: server.requests)
    pauses = []
    for _ in range(50):
        started = time.monotonic()
        await asyncio.sleep(0.01)
        pauses.append(time.monotonic() - started)
    assert max(pauses) < 0.5 and not task.done()
    lock_before_answering.close()
    comparison = await task
    assert [row.response for row in comparison] == ["an answer"]


async def test_an_answer_that_arrives_while_the_store_is_locked_is_not_paid_for_again(
    server, llm, store, lock_before_answering, monkeypatch
):
    monkeypatch.setattr(database, "_BUSY_TIMEOUT", 0.1)
    finish = StoreWriter.finish

    async def finish_unlocked(self):
        lock_before_answering.close()
        await finish(self)

    monkeypatch.setattr(StoreWriter, "finish", finish_unlocked)
    first = await vn.acompare(llm, "What?", picture(), store=store, progress=False)
    assert first[0].response == "an answer"
    again = await vn.acompare(llm, "What?", picture(), store=store, progress=False)
    assert again[0].from_store and len(server.requests) == 1


async def test_a_cancelled_run_still_stores_the_answer_that_it_received(server, llm, store, lock_before_answering):
    task = asyncio.create_task(vn.acompare(llm, "What?", picture(), store=store, progress=False))
    await until(lambda: server.requests)
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.sleep(0.1)
    assert not task.done()
    lock_before_answering.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    with Store(store) as opened:
        assert opened.count() == 1
    assert open_files(store) == []


async def test_compare_closes_the_store_that_it_opened(llm, store):
    for number in range(3):
        vn.compare(llm, f"{number}?", picture(), store=store, progress=False)
        await vn.acompare(llm, f"{number}?", picture(), store=store, progress=False)
        vn.compare(llm, f"{number}?", picture(), store=store, dry_run=True)
    assert open_files(store) == []


def test_compare_leaves_the_users_store_open(llm, store):
    with Store(store) as opened:
        comparison = vn.compare(llm, "What?", picture(), store=opened, progress=False)
        assert comparison.store is opened and opened.count() == 1
    assert open_files(store) == []


def test_a_comparison_opens_its_store_again_for_labels(llm, store):
    comparison = vn.compare(llm, "What?", picture(), store=store, progress=False)
    assert len(comparison.to_dataframe()) == 1 and comparison.summary().models[0].labels == 0
    assert len(comparison.retry_errors(progress=False)) == 1
    assert open_files(store) == []
    comparison.set_label(0, correctness=4, annotator="ann")
    assert comparison.get_label(0, "ann").correctness == 4
    assert vn.compare(llm, "What?", picture(), store=store, progress=False).get_label(0, "ann").correctness == 4
    del comparison
    gc.collect()
    assert open_files(store) == []


def test_a_store_that_fails_during_a_run_ends_it_with_the_answers_so_far(server, llm, store, monkeypatch):
    images = [picture(seed=seed) for seed in range(20)]
    look_up = Store.get_many

    def fails_later(self, keys, pricing=None):
        if server.requests:
            raise errors.StoreError("The disk is gone.")
        return look_up(self, keys, pricing)

    monkeypatch.setattr(Store, "get_many", fails_later)
    monkeypatch.setattr(run, "_QUEUED", 1)
    comparison = vn.compare(llm, "What?", images, store=store, progress=False, concurrency=1)
    assert comparison.incomplete.startswith("The disk is gone; ")
    assert 0 < sum(row.finished for row in comparison) == len(server.requests) < 20


def test_a_store_that_fails_before_the_first_call_is_an_error(server, llm, store, monkeypatch):
    def fail(*_):
        raise errors.StoreError("The disk is gone.")

    monkeypatch.setattr(Store, "get_many", fail)
    with pytest.raises(errors.StoreError, match="The disk is gone"):
        vn.compare([llm, "demo"], "What?", picture(), store=store, progress=False)
    assert not server.requests
