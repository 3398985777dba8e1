"""Batches of processes that are killed at any step, and of several processes at once: nothing is submitted twice."""

import math
import signal
import subprocess
import sys

import pytest

import vision_nb as vn
from vision_nb.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.posix]

RUN = """
import os, signal, sys
import vision_nb as vn
from vision_nb.providers.openai.batches import OpenAIBatches
from vision_nb.store import Store

base, store, image, step = sys.argv[1:]

def kill_after(owner, name, condition=lambda *_: True, *, before=False, is_async=False):
    function = getattr(owner, name)

    def end(arguments):
        if condition(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)

    def replacement(self, *arguments, **options):
        if before:
            end([*arguments, options])
        result = function(self, *arguments, **options)
        end([*arguments, options])
        return result

    async def async_replacement(self, *arguments, **options):
        if before:
            end([*arguments, options])
        result = await function(self, *arguments, **options)
        end([*arguments, options])
        return result

    setattr(owner, name, async_replacement if is_async else replacement)

changes = lambda name: (lambda token, options: name in options)
steps = {
    "reserved": lambda: kill_after(Store, "reserve_batch"),
    "about to be uploaded": lambda: kill_after(OpenAIBatches, "upload", before=True, is_async=True),
    "uploaded": lambda: kill_after(OpenAIBatches, "upload", is_async=True),
    "upload noted": lambda: kill_after(Store, "update_batch", changes("file_id")),
    "submitted": lambda: kill_after(OpenAIBatches, "submit", is_async=True),
    "submission noted": lambda: kill_after(Store, "update_batch", changes("batch_id")),
    "some answers stored": lambda: kill_after(Store, "put"),
    "some questions settled": lambda: kill_after(Store, "remove_questions"),
    "collected": lambda: kill_after(Store, "finish_batch"),
    "a file deleted": lambda: kill_after(OpenAIBatches, "delete", is_async=True),
    "never": lambda: None,
}
steps[step]()
import vision_nb.comparison.batch_jobs as batch_jobs
batch_jobs._LINES = 2
llm = vn.OpenAIMultiModal("gpt-4o", "k", base)
questions = [f"Question {n}?" for n in range(5)]
comparison = vn.compare(llm, questions, image, store=store, progress=False, batch=True)
comparison.wait(100, progress=False)
assert [row.response for row in comparison] == questions, comparison
"""


def start(server, path, photo, step):
    return subprocess.Popen([sys.executable, "-c", RUN, server.openai_base, str(path), str(photo), step])


@pytest.fixture
def server(server):
    server.batch_seconds = 0
    server.answer_with(lambda question: question.prompt)
    return server


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite3"


def created(server):
    """Return the number of questions in all batches that were created."""
    with vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base) as llm:
        return [batch.request_counts.total for batch in llm.client.batches.list()], list(llm.client.files.list())


@pytest.mark.parametrize(
    "step",
    [
        "reserved",
        "about to be uploaded",
        "uploaded",
        "upload noted",
        "submitted",
        "submission noted",
        "some answers stored",
        "some questions settled",
        "collected",
        "a file deleted",
    ],
)
def test_a_run_after_a_kill_submits_nothing_twice_and_leaves_no_file(server, path, photo, step):
    killed = start(server, path, photo, step)
    assert killed.wait(300) == -signal.SIGKILL
    with vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base) as llm:
        questions = [f"Question {number}?" for number in range(5)]
        comparison = vn.compare(llm, questions, photo, store=path, progress=False, batch=True)
        comparison.wait(100, progress=False)
    assert [row.response for row in comparison] == questions
    totals, files = created(server)
    assert totals == [5] and files == []
    with Store(path) as store:
        assert store.count() == 5
        assert [(batch.questions, batch.step) for batch in store.batches()] == [(5, "over")]


def test_several_processes_that_run_the_same_cell_submit_each_question_once(server, path, photo):
    runs = [start(server, path, photo, "never") for _ in range(2)]
    assert [run.wait(600) for run in runs] == [0, 0]
    totals, files = created(server)
    assert sum(totals) == 5 and files == []
    assert len([request for request in server.requests if request.path.endswith("/chat/completions")]) == 0


def test_a_question_that_another_process_asks_directly_is_not_submitted(server, path, photo):
    with vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base) as llm, Store(path) as store:
        (row,) = vn.compare(llm, "Question?", photo, store=store, progress=False)
        store.clear()
        claim = store.claim(row.key)
        assert claim.attempt()
        found = vn.compare(llm, "Question?", photo, store=path, progress=False, batch=True)
        assert found.pending == [] and created(server)[0] == []
        assert "Another process is asking" in found.incomplete
        claim.release()
        found = vn.compare(llm, "Question?", photo, store=path, progress=False, batch=True)
        assert len(found.pending) == 1
        assert found.wait(100, progress=False)[0].response == "Question?"


def test_a_question_that_is_submitted_after_the_look_up_of_a_direct_run_is_not_asked(server, path, photo):
    with vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base) as llm, Store(path) as store:
        server.batch_seconds = math.inf
        (row,) = vn.compare(llm, "Question?", photo, store=store, progress=False, batch=True)
        claim = store.claim(row.key, heed_batches=True)
        assert claim.attempt() and claim.is_in_batch and claim.answer is None
        other = store.claim(row.key)
        assert other.attempt() and not other.is_in_batch
        other.release()
