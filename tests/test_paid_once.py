"""No answer is paid for twice: questions are claimed, and the store's file is complete and known to be writable."""

import asyncio
import gc
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

import vision_nb as vn
from tests.conftest import fill_up, picture
from tests.forms import wait_until as until
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.notebook.run_sync import run_sync
from vision_nb.storage import claims, processes
from vision_nb.storage.claims import aclaimed, claimed
from vision_nb.storage.processes import is_running, this_process
from vision_nb.store import Store

ANSWER = vn.CompletionResponse("Blue.", usage=vn.Usage(10, 5, 2), model="gpt-4o", finish_reason="stop", latency=1.5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite3"


@pytest.fixture
def llm(server):
    return vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)


COMPARE = """
import sys
import vision_nb as vn
base, store, count = sys.argv[1:]
llm = vn.OpenAIMultiModal("gpt-4o", "k", base)
questions = [f"question {n}" for n in range(int(count))]
comparison = vn.compare(llm, questions, vn.samples.path("chart"), store=store, progress=False)
assert all(row.response == row.prompt for row in comparison), comparison
"""


def start(server, path, count):
    return subprocess.Popen([sys.executable, "-c", COMPARE, server.openai_base, str(path), str(count)])


@pytest.mark.slow
def test_two_processes_that_ask_the_same_60_questions_make_60_calls(server, path):
    server.answer_with(lambda question: time.sleep(0.05) or question.prompt)
    runs = [start(server, path, 60) for _ in range(2)]
    assert [run.wait(120) for run in runs] == [0, 0]
    assert len(server.requests) == 60


@pytest.mark.slow
def test_the_calls_of_a_killed_process_are_made_again_at_once(server, path):
    released = threading.Event()
    server.answer_with(lambda question: released.wait(60) and question.prompt)
    run = start(server, path, 3)
    until(lambda: len(server.requests) == 3)
    run.send_signal(signal.SIGKILL)  # it is not waited for: a zombie does not count as running
    try:
        again = start(server, path, 3)
        until(lambda: len(server.requests) == 6)
        released.set()
        assert again.wait(60) == 0 and len(server.requests) == 6
    finally:
        released.set()
        run.wait()


INTERRUPTED = """
import signal, sys
import vision_nb as vn
from vision_nb.store import Store
base, path = sys.argv[1:]
llm = vn.OpenAIMultiModal("gpt-4o", "k", base)
questions = [f"question {n}" for n in range(8)]
with Store(path) as store:
    def compare():
        image = vn.samples.path("chart")
        return vn.compare(llm, questions, image, store=store, progress=False, concurrency=4)
    for step in (compare, *[lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)] * 4):
        try:
            step()
        except KeyboardInterrupt:
            pass
    assert [row.response for row in compare()] == questions
"""


@pytest.mark.slow
@pytest.mark.posix
@pytest.mark.parametrize("gap", [0.0005, 0.0005, 0.001, 0.002])
def test_a_run_that_is_interrupted_three_times_keeps_no_question(server, path, gap):
    server.answer_with(lambda question: question.prompt)
    server.fail(Fault(delay=60), times=4)
    run = subprocess.Popen([sys.executable, "-c", INTERRUPTED, server.openai_base, str(path)])
    try:
        until(lambda: len(server.requests) == 4)
        for _ in range(3):
            run.send_signal(signal.SIGINT)
            time.sleep(gap)
        assert run.wait(120) == 0 and len(server.requests) == 12
    finally:
        run.kill()
        run.wait()


def test_a_claim_of_another_machine_holds_until_its_lease_has_run_out(path, monkeypatch):
    with Store(path) as store:
        monkeypatch.setattr(claims, "this_process", lambda: json.dumps(["another machine", 1, None]))
        assert store.claim("k").attempt()
        monkeypatch.undo()
        assert not store.claim("k").attempt()
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + claims.LEASE + 1)
        other = store.claim("k")
        assert other.attempt() and other.answer is None
        other.release()


def test_a_claim_is_renewed_while_its_question_is_being_asked(path, monkeypatch):
    monkeypatch.setattr(claims, "RENEWAL", 0.05)
    monkeypatch.setattr(claims, "_renewer", claims._Renewer())
    with Store(path) as store:

        def expires():
            return store._connection.execute("SELECT expires FROM claims").fetchone()[0]

        with claimed(store.claim("k")):
            first = expires()
            until(lambda: expires() > first)
        assert store._connection.execute("SELECT count(*) FROM claims").fetchone() == (0,)
    until(lambda: not claims._renewer._is_running)


def test_whoever_waits_receives_the_answer_or_takes_over_after_a_failure(path):
    seen = []

    def wait_for(key):
        with Store(path) as store, claimed(store.claim(key)) as answer:
            seen.append(answer and answer.text)

    with Store(path) as store:
        for is_answered in (True, False):
            key = f"answered {is_answered}"
            with claimed(store.claim(key)):
                waiting = threading.Thread(target=wait_for, args=[key])
                waiting.start()
                time.sleep(0.2)
                assert waiting.is_alive()
                if is_answered:
                    store.put(key, "m", ANSWER)
            waiting.join(60)
    assert seen == ["Blue.", None]


async def test_a_canceled_question_is_released(path):
    with Store(path) as store:

        async def ask():
            async with aclaimed(store.claim("k")):
                await asyncio.sleep(60)

        for _ in range(20):
            task = asyncio.create_task(ask())
            await asyncio.sleep(0.002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            other = store.claim("k")
            assert other.attempt()
            other.release()


def is_claimed(store, key):
    """Whether a question is still claimed by an earlier claim."""
    other = store.claim(key)
    try:
        return not other.attempt()
    finally:
        other.release()


async def test_a_question_that_is_canceled_twice_is_released(path):
    with Store(path) as store:
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")

        async def ask():
            async with aclaimed(store.claim("k")):
                raise AssertionError("asked without a claim")

        task = asyncio.create_task(ask())
        for _ in range(3):
            await asyncio.sleep(0.05)
            task.cancel()
        await asyncio.sleep(0.05)
        writer.execute("ROLLBACK")
        writer.close()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_claimed(store, "k")


def test_a_question_is_released_if_its_event_loop_ends_first(path):
    with Store(path) as store:
        claimed_by_task = []

        async def ask():
            async with aclaimed(store.claim("k")):
                claimed_by_task.append(True)
                await asyncio.sleep(60)

        async def main():
            while not claimed_by_task:
                await asyncio.sleep(0.01)

        loop = asyncio.new_event_loop()
        task = loop.create_task(ask())
        loop.run_until_complete(main())
        assert is_claimed(store, "k")
        loop.close()
        del task
        gc.collect()
        assert not is_claimed(store, "k")


def test_a_question_is_released_if_its_executor_ends_first(path):
    async def ask(store):
        with ThreadPoolExecutor(max_workers=1) as executor:
            async with aclaimed(store.claim("k"), executor):
                executor.shutdown()

    with Store(path) as store:
        asyncio.run(ask(store))
        assert not is_claimed(store, "k")


def test_closing_a_store_releases_its_claims_only(path):
    with Store(path) as store, Store(path) as other:
        assert store.claim("k").attempt()
        kept = other.claim("other")
        assert kept.attempt()
        store.close()
        assert not is_claimed(other, "k") and is_claimed(other, "other")
        kept.release()


@pytest.mark.parametrize("kind", ["no loop", "running loop", "uvloop"])
@pytest.mark.posix
def test_an_interrupt_waits_until_the_coroutine_has_cleaned_up(kind):
    cleaned_up = []

    async def work():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            cleaned_up.append(True)

    async def main():
        interrupt()

    def interrupt():
        with pytest.raises(KeyboardInterrupt):
            run_sync(work())
        assert cleaned_up == [True]

    if kind == "no loop":
        interrupt()
    else:
        factory = pytest.importorskip("uvloop").new_event_loop if kind == "uvloop" else asyncio.new_event_loop
        loop = factory()
        loop.run_until_complete(main())
        loop.close()


def test_questions_that_are_asked_elsewhere_come_last(server, path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    released = threading.Event()

    def answer(question):
        asked.append(question.prompt)
        if question.prompt == "first?":
            released.wait(60)
        return question.prompt

    def compare(prompts):
        llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
        found.append(vn.compare(llm, prompts, picture(), store=path, concurrency=1))

    def errors_shown():
        shown.append(capsys.readouterr().err)
        return "".join(shown)

    asked: list[str] = []
    shown: list[str] = []
    found: list[vn.Comparison] = []
    server.answer_with(answer)
    elsewhere = threading.Thread(target=compare, args=[["first?"]])
    elsewhere.start()
    until(lambda: asked == ["first?"])
    here = threading.Thread(target=compare, args=[["first?", "second?", "third?"]])
    here.start()
    try:
        until(lambda: asked == ["first?", "second?", "third?"])
        until(lambda: "1 being answered elsewhere" in errors_shown())
    finally:
        released.set()
        elsewhere.join()
        here.join()
    assert asked == ["first?", "second?", "third?"]
    found.sort(key=len)
    assert [row.response for row in found[1]] == ["first?", "second?", "third?"]
    assert "elsewhere" not in errors_shown().rpartition("3 of 3")[2]


def test_the_same_image_twice_is_asked_once(server, llm, path, tmp_path):
    for name in ("a.png", "b.png"):
        picture().save(tmp_path / name)
    comparison = vn.compare(llm, "What?", [tmp_path / "a.png", tmp_path / "b.png"], store=path, progress=False)
    assert len(server.requests) == 1 and [row.finished for row in comparison] == [True, True]
    assert sorted(row.from_store for row in comparison) == [False, True]


@pytest.mark.parametrize("resume", [True, False])
def test_duplicates_are_asked_once_and_counted_in_a_note(server, llm, path, resume):
    server.answer_with("Yes.")
    other, same = picture(seed=1), [picture(), picture(), picture()]
    question = (llm, ["What?", "Why?", "What?"], [same[0], other, *same[1:]])
    plan = vn.compare(*question, store=path, dry_run=True)
    comparison = vn.compare(*question, store=path, progress=False, resume=resume)
    assert plan.calls == len(server.requests) == 4 and len(comparison) == 8
    assert [row.response for row in comparison] == ["Yes."] * 8
    note = "2 of 4 images are duplicates and are asked about once. 1 of 3 prompts is a duplicate and is asked once."
    assert note in repr(plan) and note in plan._repr_markdown_() and note in comparison._repr_html_()
    assert note == " ".join(
        f"{line}." for line in str(comparison).splitlines() if "are duplicates" in line or "is a duplicate" in line
    )
    assert comparison.budget.spent == sum(row.usd for row in comparison if not row.from_store) > 0
    assert "duplicate" not in str(vn.compare(llm, "What?", [other, same[0]], store=path, progress=False))


def test_the_error_of_a_duplicate_is_in_both_rows(server, llm, path):
    server.fail(Fault(status=400))
    comparison = vn.compare(llm, "What?", [picture(), picture()], store=path, progress=False)
    assert len(server.requests) == 1 and all(row.error for row in comparison)


def test_without_resume_nothing_is_shared(server, llm, path):
    with Store(path) as store, claimed(store.claim("k")), claimed(store.claim("k", reuse=False)) as answer:
        assert answer is None
    for _ in range(2):
        vn.compare(llm, "What?", picture(), store=path, progress=False, resume=False)
    assert len(server.requests) == 2


def test_a_process_that_has_ended_is_not_running():
    child = subprocess.Popen([sys.executable, "-c", ""])
    machine, number, start = json.loads(this_process())
    until(lambda: not is_running(json.dumps([machine, child.pid, processes._start(child.pid) or start])))  # a zombie
    child.wait()
    assert not is_running(json.dumps([machine, child.pid, start]))
    assert is_running(this_process()) and is_running(json.dumps(["another machine", child.pid, start]))
    assert not is_running(json.dumps([machine, number, "0"]))  # the number belongs to another process by now


def test_a_full_store_is_noticed_before_the_first_call(server, llm, path):
    with Store(path) as store:
        fill_up(store)
        with pytest.raises(errors.StoreError, match="full"):
            vn.compare(llm, "What?", picture(), store=store, progress=False)
    assert not server.requests


def test_answers_that_a_full_store_cannot_take_are_written_when_it_has_room_again(server, llm, path):
    prompts = [f"{number}?" for number in range(9)]
    all_asked = threading.Barrier(4)
    with Store(path) as store:

        def fill(question):
            if question in prompts[:4]:
                all_asked.wait(60)
            with store._lock:
                fill_up(store)
            return "a long answer " * 5000

        server.answer_with(fill)
        full = vn.compare(llm, prompts, picture(), store=store, progress=False, concurrency=4)
        answered = len(server.requests)
        assert answered == full.rows.answered in (4, 5), "a fifth may be asked while the first is being written"
        assert "free some disk space" in full.incomplete and f"{9 - answered} calls were not made" in full.incomplete
        assert store.count() == 0
    server.answer_with(lambda question: "short")
    again = vn.compare(llm, prompts, picture(), store=path, progress=False, concurrency=4)
    assert len(server.requests) == 9 and again.rows.from_store == answered
    assert [row.response for row in again][:4] == ["a long answer " * 5000] * 4


FULL_DISK = """
import resource, sys
import vision_nb as vn
from vision_nb.store import Store
base, path = sys.argv[1:]
store = Store(path)
store.checkpoint()
limit = 8192
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    vn.compare(vn.OpenAIMultiModal("gpt-4o", "k", base), "What?", vn.samples.path("chart"), store=store, progress=False)
except vn.errors.StoreError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_full_disk_is_noticed_before_the_first_call(server, path):
    Store(path).close()
    command = [sys.executable, "-c", FULL_DISK, server.openai_base, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "cannot be used" in done.stdout, done.stderr
    assert not server.requests


def answers_in_a_copy(path, folder):
    """The number of answers in a copy of only the named file."""
    copy = shutil.copy(path, folder / "copy.sqlite3")
    with closing(sqlite3.connect(f"file:{copy}?mode=ro&immutable=1", uri=True)) as connection:
        return connection.execute("SELECT count(*) FROM answers").fetchone()[0]


def test_after_compare_the_named_file_holds_the_answers(llm, path, tmp_path):
    with Store(path) as store:
        vn.compare(llm, ["1?", "2?"], picture(), store=store, progress=False)
        assert answers_in_a_copy(path, tmp_path) == 2
        with Store(path):
            vn.compare(llm, ["3?"], picture(), store=path, progress=False)
            assert answers_in_a_copy(path, tmp_path) == 3


@pytest.mark.slow
def test_a_few_seconds_after_a_write_the_named_file_holds_it(path, tmp_path):
    with Store(path) as store:
        store.checkpoint()
        store.put("k", "m", ANSWER)
        assert answers_in_a_copy(path, tmp_path) == 0
        until(lambda: answers_in_a_copy(path, tmp_path) == 1)


CELL = """
import os, signal
from IPython.core.interactiveshell import InteractiveShell
import vision_nb as vn
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "vision_nb")
shell.run_cell("%config VisionMagics.store = 'STORE'")
for options in ("", "--no-stream", "-m demo:second"):
    shell.run_cell(f"%%vision demo {options}\\nHow large is it? {options}").raise_error()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_after_a_cell_the_named_file_holds_the_answer(path, tmp_path):
    command = [sys.executable, "-c", CELL.replace("STORE", str(path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert answers_in_a_copy(path, tmp_path) == 4


@pytest.mark.slow
def test_at_exit_the_named_file_holds_what_was_written_last(path, tmp_path):
    code = (
        "import sys, vision_nb as vn\nfrom vision_nb.store import Store\n"
        "store = Store(sys.argv[1])\nstore.put('k', 'm', vn.CompletionResponse('Blue.'))\n"
    )
    with Store(path):  # while another process has the file open, SQLite itself moves nothing
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=120)
        assert answers_in_a_copy(path, tmp_path) == 1


@pytest.mark.slow
def test_two_notebooks_that_ask_the_same_question_make_one_call(server, path):
    asked = threading.Event()
    server.answer_with(lambda question: asked.wait(60) and "an answer")
    code = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "vision_nb")
shell.run_line_magic("config", f"VisionMagics.store = {sys.argv[2]!r}")
shell.run_cell(f"%%vision openai:gpt-4o --api-base {sys.argv[1]} " + sys.argv[3] + f"\\nWhat? {sys.argv[3]}").raise_error()
assert shell.user_ns["_vision"], "no answer"
"""
    environment = {**os.environ, "OPENAI_API_KEY": "k"}
    for options in ("", "--no-stream", "-m openai:gpt-4o-mini"):
        before = len(server.requests)
        models = 2 if "-m" in options else 1
        asked.clear()
        command = [sys.executable, "-c", code, server.openai_base, str(path), options]
        notebooks = [subprocess.Popen(command, env=environment) for _ in range(2)]
        until(lambda before=before, models=models: len(server.requests) == before + models)
        time.sleep(2)
        asked.set()
        assert [notebook.wait(120) for notebook in notebooks] == [0, 0]
        assert len(server.requests) == before + models


def test_a_failed_question_can_be_asked_again_at_once(server, llm, path):
    server.fail(Fault(status=400))
    (row,) = vn.compare(llm, "What?", picture(), store=path, progress=False)
    assert row.error
    (row,) = vn.compare(llm, "What?", picture(), store=path, progress=False)
    assert row.finished and len(server.requests) == 2
