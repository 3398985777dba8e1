"""Workers and schedulers that are killed while calls are made, and workers that come and go."""

import asyncio
import collections
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster
from PIL import Image

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.forms import until
from tests.test_cluster import ask_together, number_of_tasks
from tests.virtual_minutes import RecordedWindow
from vision_nb.comparison import cluster as cluster_calls
from vision_nb.comparison import cluster_session

pytestmark = [
    pytest.mark.slow,
    pytest.mark.posix,
    pytest.mark.filterwarnings("ignore:Creating scratch directories:UserWarning"),  # a busy disk
]


def test_a_killed_worker_costs_at_most_the_calls_in_progress_there(server, tmp_path):
    paid = collections.Counter()
    pids = []

    def answer(question):
        paid[question.images[0].getpixel((0, 0))] += 1
        if sum(paid.values()) == 120:
            os.kill(pids[0], signal.SIGKILL)
        return "an answer"

    server.answer_with(answer)
    pictures = [encoded(Image.new("RGB", (40, 30), (number % 256, number // 256, 7))) for number in range(300)]
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    with (
        local_cluster(2) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        pids += client.run(os.getpid).values()
        comparison = vn.compare(
            llm, "How?", pictures, store=tmp_path / "a", cluster=client, concurrency=8, progress=False
        )
    assert len(comparison) == len(paid) == 300 and not comparison.errors
    assert 120 < len(server.requests) <= 309
    assert len(vn.ledger.entries) >= len(server.requests)


def lose_messages():
    """Lose this worker's messages that it does not wait for, as if it died before they were sent; but not results."""
    session: Any = cluster_session.Session
    tell = session.tell

    def tell_or_lose(self, kind, call, data, number=""):
        if number or kind == "result":
            tell(self, kind, call, data, number)

    session.tell = tell_or_lose


async def test_a_request_whose_worker_dies_at_once_is_in_the_ledger(server, tmp_path):
    pids = []

    def answer(question):
        if pids:
            os.kill(pids.pop(), signal.SIGKILL)
        return "an answer"

    server.answer_with(answer)
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    with local_cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
        pids += client.run(os.getpid).values()
        client.run(lose_messages)
        running = asyncio.create_task(
            vn.acompare(llm, "How?", [colored(0)], store=tmp_path / "a", cluster=client, progress=False)
        )
        await until(running.done)
    assert running.result()[0].response == "an answer"
    assert len(vn.ledger.entries) == len(server.requests) == 2


def jobs_left():
    return sum(len(run._tasks._jobs) for run in cluster_calls._runs.values())


def colored_files(folder, numbers):
    for number in numbers:
        (folder / f"{number}.png").write_bytes(colored(number))
    return folder


@pytest.mark.parametrize("lost", ["worker", "connection"])
async def test_an_answer_that_has_arrived_is_kept_and_not_asked_for_again(server, tmp_path, lost):
    may_answer = threading.Event()
    asked = collections.Counter()

    def answer(question):
        number = question.images[0].getpixel((0, 0))[0]
        asked[number] += 1
        if number == 1:
            may_answer.wait(120)
        return f"answer {number}"

    server.answer_with(answer)
    with local_cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
        [pid] = client.run(os.getpid).values()
        running = asyncio.create_task(ask_together(server, client, colored_files(tmp_path, [0, 1])))
        await until(lambda: jobs_left() == 1 and asked[1] == 1, running)
        assert client.run_on_scheduler(number_of_tasks) == 1
        if lost == "worker":
            os.kill(pid, signal.SIGKILL)
        else:
            await asyncio.to_thread(client.close)
        may_answer.set()
        await until(running.done)
    first, second = running.result()
    assert first.text == "answer 0"
    if lost == "worker":
        assert second.text == "answer 1" and asked == {0: 1, 1: 2}
    else:
        assert second.is_lost and asked == {0: 1, 1: 1}
    assert len(vn.ledger.entries) == len(server.requests) == sum(asked.values())


def local_cluster(workers):
    return LocalCluster(n_workers=workers, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0")


def colored(number):
    return encoded(Image.new("RGB", (40, 30), (number, 50, 7)))


async def test_an_image_that_kills_its_workers_is_an_error_and_the_others_of_its_task_are_answered(server, tmp_path):
    may_answer = threading.Event()
    asked = collections.Counter()

    def answer(question):
        number = question.images[0].getpixel((0, 0))[0]
        asked[number] += 1
        if number == 1:
            asyncio.run(until(lambda: asked[2] and jobs_left() == 2))
            [pid] = client.run(os.getpid).values()
            os.kill(pid, signal.SIGKILL)
        if asked[2] == 1 and number == 2:
            may_answer.wait(120)
        return f"answer {number}"

    server.answer_with(answer)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        local_cluster(1) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        first, killing, last = await ask_together(server, client, colored_files(tmp_path, [0, 1, 2]))
        may_answer.set()
    assert (first.text, last.text) == ("answer 0", "answer 2") and asked == {0: 1, 1: 2, 2: 2}
    assert str(killing).startswith("Workers died while they worked on this image (attempts: 1;")
    assert len(vn.ledger.entries) == len(server.requests) == 5


async def test_a_request_that_a_dead_worker_has_not_sent_is_not_counted(server, tmp_path, monkeypatch):
    window, reservations = RecordedWindow(monkeypatch), []

    class Accounts(cluster_calls._Accounts):
        async def reserve(self, wanted):
            reservations.append(wanted)
            await super().reserve(wanted)

    monkeypatch.setattr(cluster_calls, "_Accounts", Accounts)
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    with local_cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
        [pid] = client.run(os.getpid).values()
        running = asyncio.create_task(
            vn.acompare(
                llm,
                "How?",
                [colored(0), colored(1)],
                store=tmp_path / "a",
                cluster=client,
                rate_limits=vn.RateLimit(requests_per_minute=1),
                progress=False,
            )
        )
        await until(lambda: window.refused and len(vn.ledger.entries) == 1, running)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: len(reservations) == 3, running)
        window.now += 61.0
        await until(running.done)
    assert not running.result().errors and not running.result().incomplete
    assert len(window.admitted) == len(server.requests) == len(vn.ledger.entries) == 2


def run_dask(module, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{module}", "--no-dashboard", *arguments],
        stderr=subprocess.DEVNULL,
    )


async def test_a_killed_scheduler_ends_the_run_and_keeps_the_rows_so_far(server, tmp_path):
    may_answer, answered = threading.Event(), []

    def answer(question):
        answered.append(question)
        if len(answered) > 2:
            may_answer.wait(120)
        return "an answer"

    server.answer_with(answer)
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    images = [colored(number) for number in range(6)]
    file = tmp_path / "scheduler.json"
    scheduler = run_dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
    worker = run_dask("worker", "--scheduler-file", str(file), "--no-nanny", "--nthreads", "2", "--host", "127.0.0.1")
    try:
        await until(lambda: file.exists() and file.stat().st_size)
        client = await asyncio.to_thread(lambda: Client(scheduler_file=str(file), set_as_default=False, timeout=60))
        running = asyncio.create_task(
            vn.acompare(llm, "How?", images, store=tmp_path / "a", cluster=client, concurrency=2, progress=False)
        )
        await until(lambda: len(server.requests) == 4, running)
        scheduler.kill()
        await until(running.done)
        await asyncio.to_thread(client.close)
    finally:
        may_answer.set()
        for process in (scheduler, worker):
            process.kill()
            process.wait(60)
    comparison = running.result()
    assert comparison.incomplete.startswith("The connection to the Dask cluster was lost")
    assert sum(row.finished for row in comparison) == 2 and not comparison.errors
    again = await vn.acompare(llm, "How?", images, store=tmp_path / "a", progress=False)
    assert sum(row.from_store for row in again) == 2 and not again.errors


async def test_a_cluster_that_grows_and_shrinks_answers_each_question_once(server, tmp_path):
    may_answer = threading.Event()

    def answer(question):
        may_answer.wait(120)
        return "an answer"

    server.answer_with(answer)
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    images = [encoded(picture(800, 600, seed=number), "JPEG") for number in range(12)]
    with local_cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
        cluster.adapt(minimum=1, maximum=2, interval="100ms", wait_count=10_000, target_duration="10ms")
        running = asyncio.create_task(
            vn.acompare(llm, "How?", images, store=tmp_path / "a", cluster=client, concurrency=12, progress=False)
        )
        await until(lambda: len(client.nthreads()) == 2, running)
        may_answer.set()
        await until(running.done)
        cluster.adapt(minimum=1, maximum=1, interval="100ms", wait_count=1)
        await until(lambda: len(client.nthreads()) == 1)
        again = asyncio.create_task(
            vn.acompare(llm, "Which?", images, store=tmp_path / "a", cluster=client, progress=False)
        )
        await until(again.done)
    for comparison in (running.result(), again.result()):
        assert len(comparison) == 12 and not comparison.errors and not comparison.incomplete
    assert len(server.requests) == 24
