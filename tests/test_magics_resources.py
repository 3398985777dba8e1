"""What the magics keep open between cells: connections, files and the event loop."""

import asyncio
import gc
import sqlite3
import sys
import threading
import time
import weakref
from pathlib import Path

import psutil
import pytest
from openai import OpenAI

import vision_nb as vn
from tests.conftest import picture
from tests.kernels import in_process_shell
from vision_nb.magics.compare import aask_all
from vision_nb.magics.question import Question
from vision_nb.store import Store


@pytest.fixture
def shell(tmp_path):
    with in_process_shell(tmp_path) as shell:
        yield shell


def clients(besides=()):
    """Return the openai clients that are alive, besides those that an earlier test may still hold."""
    gc.collect()
    return weakref.WeakSet(one for one in gc.get_objects() if type(one) is OpenAI and one not in besides)


def ask(shell, options="", prompt="What?"):
    shell.run_cell(f"%%vision demo {options}\n{prompt}").raise_error()


@pytest.mark.slow
def test_cells_with_different_settings_share_a_client(shell, capsys):
    before = clients()
    for number in range(200):
        ask(shell, f"--no-cache -t {number / 100} --max-tokens {number + 1} -p seed={number}")
    sent = [request.body for request in shell.server.requests]
    assert [body["temperature"] for body in sent] == [number / 100 for number in range(200)]
    assert [(body["max_tokens"], body["seed"]) for body in sent] == [(number + 1, number) for number in range(200)]
    assert len(clients(besides=before)) == 1


def test_a_settings_default_does_not_outlast_its_cell(shell, capsys):
    ask(shell, "-t 0.5 -d low -p seed=1")
    ask(shell, "--no-cache")
    assert not shell.server.requests[-1].body.keys() & {"temperature", "seed"}


@pytest.mark.slow
def test_a_changed_key_replaces_the_connection_and_no_key_is_kept_in_a_dict_key(shell, monkeypatch, capsys):
    before = clients()
    for key in ("sk-first-secret", "sk-second-secret", "sk-third-secret"):
        monkeypatch.setenv("MY_KEY", key)
        shell.run_cell("%%vision openai:gpt-4o --no-cache --api-key-env MY_KEY\nWhat?").raise_error()
    keys = [request.headers["authorization"] for request in shell.server.requests]
    assert keys == ["Bearer sk-first-secret", "Bearer sk-second-secret", "Bearer sk-third-secret"]
    assert len(clients(besides=before)) == 1
    keys = [key for one in gc.get_objects() if isinstance(one, dict) for key in list(one)]
    parts = [part for key in keys for part in (key if isinstance(key, tuple) else (key,))]
    assert not [part for part in parts if isinstance(part, str) and "-secret" in part]


def test_a_parameter_that_limits_the_length_replaces_max_tokens(shell, capsys):
    shell.magics.max_tokens = 9
    ask(shell)
    ask(shell, "-p max_completion_tokens=5")
    limits = [
        {name: value for name, value in request.body.items() if "tokens" in name} for request in shell.server.requests
    ]
    assert limits == [{"max_tokens": 9}, {"max_completion_tokens": 5}]


@pytest.mark.posix
@pytest.mark.slow
def test_open_files_do_not_grow_with_cells(shell, tmp_path, capsys):
    def open_files():
        gc.collect()
        return psutil.Process().num_fds()

    ask(shell)
    ask(shell, "-m demo:other")
    before = open_files()
    for number in range(20):
        shell.magics.store = str(tmp_path / f"{number}.sqlite3")
        ask(shell, f"-t 0.{number}")
        ask(shell, f"-m demo:other -t 0.{number}")
    for _ in range(20):
        Path(shell.magics.store).unlink()
        ask(shell)
    assert open_files() <= before + 2


@pytest.mark.slow
def test_the_event_loop_runs_while_another_process_holds_the_store(server, tmp_path):
    server.answer_with("Yes.")
    llm = vn.OpenAIMultiModal("gpt-4o", "demo", server.openai_base)
    images = [vn.ImageDocument.of(picture())]
    longest = 0.0

    async def tick():
        nonlocal longest
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            last, longest = now, max(longest, now - last)

    async def run():
        with Store(tmp_path / "answers.sqlite3") as store:
            questions = [Question(llm, vn.Chat(llm), f"Question {number}?", images) for number in range(3)]
            await llm.achat(questions[0].messages)  # imports and connects
            writer = sqlite3.connect(store.path, isolation_level=None)
            writer.execute("BEGIN IMMEDIATE")
            ticker = asyncio.create_task(tick())
            answers = asyncio.create_task(aask_all(questions, store, cache=True))
            await asyncio.sleep(1.5)
            assert not answers.done()
            writer.execute("ROLLBACK")
            assert [str(answer.response) for answer in await answers] == ["Yes."] * 3
            ticker.cancel()
            assert store.count() == 3
            writer.close()

    asyncio.run(run())
    assert longest < 0.7


@pytest.mark.parametrize("options", ["", "--no-stream", "-m demo:second"])
def test_a_cell_says_that_its_answer_is_being_made_elsewhere(shell, tmp_path, capsys, monkeypatch, options):
    shell.magics.store = str(tmp_path / "answers.sqlite3")
    ask(shell, options)
    asked = len(shell.server.requests)
    with Store(shell.magics.store) as store:
        connection = store._connection
        (key,) = connection.execute("SELECT key FROM answers WHERE asked_model = 'demo'").fetchone()
        (answer,) = store.get_many([key]).values()
        connection.execute("DELETE FROM answers WHERE key = ?", [key])
        assert store.claim(key).attempt()
        elsewhere = threading.Timer(0.3, store.put, [key, "demo", answer])
        elsewhere.start()
        capsys.readouterr()
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        ask(shell, options)
        elsewhere.join()
    shown = capsys.readouterr()
    assert "is asking demo the same question: waiting for" in shown.err
    assert "asked demo the same question: waited" in shown.err
    assert answer.text in shown.out or "-m" in options
    assert len(shell.server.requests) == asked
