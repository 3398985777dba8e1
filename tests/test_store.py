"""The store keeps answers and labels through crashes, damage, other processes and other versions."""

import asyncio
import gc
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

import vision_nb as vn
from tests.conftest import encoded, picture, rows_in
from vision_nb import errors
from vision_nb.storage.annotations import Label, Review
from vision_nb.storage.answer_keys import answer_key
from vision_nb.store import Store, default_path

ANSWER = vn.CompletionResponse("Blue.", usage=vn.Usage(10, 5, 2), model="gpt-4o", finish_reason="stop", latency=1.5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deeper" / "answers.sqlite3"


def test_a_stored_answer_is_returned_unchanged(path):
    Store(path).put("k", "openai:gpt-4o", ANSWER)
    found = Store(path).get("k")
    assert (found.text, found.usage, found.model, found.finish_reason, found.latency) == (
        "Blue.",
        vn.Usage(10, 5, 2),
        "gpt-4o",
        "stop",
        1.5,
    )
    assert Store(path).get("other") is None


def test_unknown_usage_stays_unknown(path):
    store = Store(path)
    store.put("a", "m", vn.CompletionResponse("x"))
    store.put("b", "m", vn.CompletionResponse("x", usage=vn.Usage(None, 3)))
    assert store.get("a").usage is None and store.get("b").usage == vn.Usage(None, 3)


def test_the_default_path_is_in_the_users_cache_folder(tmp_path, monkeypatch):
    for variable in ("XDG_CACHE_HOME", "WIN_PD_OVERRIDE_LOCAL_APPDATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert default_path() == tmp_path / "vision_nb" / "answers.sqlite3"


def test_the_key_depends_on_every_part_of_the_question():
    base: dict[str, Any] = {"model": "m", "parameters": {"t": 1}, "prompt": "p", "image_digests": ["d"]}
    others: list[dict[str, Any]] = [
        {},
        {"model": "n"},
        {"parameters": {"t": 2}},
        {"prompt": "q"},
        {"image_digests": ["d", "d"]},
        {"system": "s"},
    ]
    keys = {answer_key(**{**base, **other}) for other in others}
    assert len(keys) == len(others)
    assert answer_key(**{**base, "parameters": {"a": 1, "b": 2}}) == answer_key(
        **{**base, "parameters": {"b": 2, "a": 1}}
    )


def test_the_key_is_made_of_any_parameters_that_json_can_have():
    def key(bias: Any) -> str:
        return answer_key(model="m", parameters={"logit_bias": bias, 1: 2}, prompt="p", image_digests=["d"])

    assert key({50256: -100, "7": 5}) == key({"7": 5, "50256": -100}) != key({"7": 5, "50256": -99})
    circular: dict[str, Any] = {}
    circular["itself"] = circular
    for bias in ({(1, 2): 3}, circular):
        with pytest.raises(errors.SettingsError, match="A request parameter cannot be written as JSON"):
            key(bias)


def test_a_files_digest_is_stored_until_the_file_changes(path, tmp_path, monkeypatch):
    picture_path = tmp_path / "it.png"
    picture_path.write_bytes(encoded(picture()))
    store, document = Store(path), vn.ImageDocument.of(picture_path)
    first = store.digest(document)
    assert store.digest(vn.ImageDocument.of(picture_path.read_bytes())) == first
    reads = []
    monkeypatch.setattr(vn.ImageDocument, "read", lambda self: reads.append(self) or b"")
    assert store.digest(document) == first and not reads
    monkeypatch.undo()
    picture_path.write_bytes(encoded(picture(seed=1)))
    assert store.digest(document) != first


@pytest.mark.posix
def test_files_of_one_size_and_time_that_change_places_keep_their_own_digests(path, tmp_path):
    places = [tmp_path / "a.bmp", tmp_path / "b.bmp"]
    for seed, place in enumerate(places):
        place.write_bytes(encoded(picture(seed=seed), "BMP"))
        os.utime(place, (1e9, 1e9))  # as unzip does
    documents = [vn.ImageDocument.of(place) for place in places]
    store = Store(path)
    first, second = store.digests(documents)
    prepared = [document.prepare().data for document in documents]
    for source, target in (places[0], tmp_path / "c"), (places[1], places[0]), (tmp_path / "c", places[1]):
        source.rename(target)
    assert store.digests(documents) == [second, first]
    assert [document.prepare().data for document in documents] == prepared[::-1]


def test_each_annotator_has_one_label_per_answer(path):
    store = Store(path)
    store.put_label("k", Label(4, 5, "good", "ann"))
    store.put_label("k", Label(2, None, "", "bob"))
    store.put_label("k", Label(3, 5, "", "ann"))
    assert {label.annotator: label.correctness for label in store.labels(["k"])["k"]} == {"ann": 3, "bob": 2}
    store.remove_label("k", "bob")
    assert len(store.labels(["k"])["k"]) == 1 and store.labels(["z"]) == {}


def test_leaving_the_context_closes_the_store_and_closing_twice_is_harmless(path):
    with Store(path) as store:
        store.put("k", "m", ANSWER)
    store.close()
    with pytest.raises(errors.StoreError, match="closed"):
        store.get("k")
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # the write-ahead log is gone


def test_a_store_that_nobody_closed_is_closed_when_it_is_collected(path):
    store = Store(path)
    connection = store._connection
    del store
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def instructions(store, look_up, keys):
    """How many instructions SQLite runs for a look-up."""
    count = 0

    def step():
        nonlocal count
        count += 1

    store._connection.set_progress_handler(step, 1)
    look_up(keys)
    store._connection.set_progress_handler(None, 1)
    return count


@pytest.mark.parametrize("number_of_keys", [1, 50])
def test_a_look_up_costs_the_same_in_a_large_store(path, number_of_keys):
    keys = [str(number) for number in range(number_of_keys)]
    with Store(path) as store:
        costs = []
        for numbers in (range(100), range(100, 2000)):
            for number in numbers:
                store.put(str(number), "m", ANSWER)
                store.put_label(str(number), Label(3, annotator="ann"))
            assert len(store.labels(keys)) == len(store.get_many(keys)) == number_of_keys
            costs.append([instructions(store, look_up, keys) for look_up in (store.labels, store.get_many)])
    assert costs[0] == costs[1]


async def test_a_put_in_a_thread_waits_for_another_writer_without_blocking_the_event_loop(path):
    with Store(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(asyncio.to_thread(store.put, "k", "m", ANSWER))
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert not waiting.done()
        other.execute("COMMIT")
        other.close()
        await waiting
        assert store.get("k").text == "Blue."


@pytest.mark.parametrize("kind", ["truncated", "half"])
def test_a_damaged_file_is_renamed_and_never_deleted(path, kind):
    store = Store(path)
    for number in range(2000):
        store.put(str(number), "m", ANSWER)
    store.close()
    whole = path.read_bytes()
    damaged = {"truncated": whole[: len(whole) // 3], "half": whole[:2048]}[kind]
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"damaged.*kept as answers.sqlite3.damaged-"):
        fresh = Store(path)
    assert fresh.get("1") is None
    fresh.put("1", "m", ANSWER)
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == damaged


def test_a_file_of_another_program_is_not_touched(path):
    path.parent.mkdir()
    path.write_text("model,prompt\n")
    with pytest.raises(errors.StoreError, match=r"cannot be .* as a store"):
        Store(path)
    assert path.read_text() == "model,prompt\n"
    path.unlink()
    rows_in(path, "CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(errors.StoreError, match="another program"):
        Store(path)
    assert path.read_bytes() == before


def test_a_file_with_a_newer_layout_is_not_touched(path):
    Store(path).close()
    rows_in(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(errors.StoreError, match="newer version of vision_nb"):
        Store(path)
    assert path.read_bytes() == before


def test_a_file_with_the_first_layout_is_upgraded_and_keeps_its_answers(path):
    with Store(path) as store:
        store.put("key", "demo", ANSWER)
    rows_in(path, "ALTER TABLE answers DROP COLUMN details")
    rows_in(path, "PRAGMA user_version = 1")
    with Store(path) as store:
        assert (store.get("key").text, store.get("key").usage) == (ANSWER.text, ANSWER.usage)
        store.put("other", "demo", replace(ANSWER, reasoning="It is wide."))
        assert store.get("other").reasoning == "It is wide."


def test_reasoning_and_image_notes_are_stored_with_the_answer(path):
    response = replace(ANSWER, reasoning="It is \ud800 wide.", image_notes=("scan.png: scaled",))
    with Store(path) as store:
        store.put("key", "demo", response)
        assert store.get("key").reasoning == response.reasoning
        assert store.get("key").image_notes == response.image_notes


@pytest.mark.posix
def test_an_unusable_path_is_an_error(tmp_path):
    with pytest.raises(errors.StoreError, match="is a folder"):
        Store(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.StoreError, match="choose another store="):
        Store(tmp_path / "file" / "answers.sqlite3")
    with pytest.raises(errors.StoreError, match="choose another store="):
        Store("/proc/answers.sqlite3")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(errors.StoreError, match="is not a file"):
            Store(path)
    for path in (":memory:", "https://example.com/answers.sqlite3"):
        with pytest.raises(errors.StoreError, match="is not a path"):
            Store(path)
    assert not Path(":memory:").exists()


@pytest.mark.posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_claims_of_a_forked_process_are_its_own(path):
    read, write = os.pipe()
    with Store(path) as store:
        if (child := os.fork()) == 0:
            os.write(write, store.claim("key").token.encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert store.claim("key").token != os.read(read, 1000).decode() != ""
    os.close(read)
    os.close(write)


def _write(path, name):
    store = Store(path)
    for number in range(300):
        store.put(f"{name}-{number}", "m", ANSWER)


@pytest.mark.slow
def test_two_processes_write_at_the_same_time(path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(Store(path).get_many(f"{name}-{number}" for name in "ab" for number in range(300))) == 600


CHILD = """
import sys
import threading
import vision_nb as vn
base, folder, store, journal = sys.argv[1:]
models = [vn.OpenAIMultiModal(name, "k", base) for name in ("gpt-4o", "gpt-4o-mini")]
from vision_nb.storage.writer import StoreWriter
commit = StoreWriter._commit
def recorded(self, writes):
    # The answers are committed: from here on they must not be lost.
    with open(journal, "a") as file:
        ended = commit(self, writes)
        file.writelines(write.answer.key + "\\n" for write, error in ended if write.answer and error is None)
    return ended
StoreWriter._commit = recorded
vn.compare(models, [f"question {n}" for n in range(80)], folder, store=store, progress=False, concurrency=4)
"""


@pytest.mark.slow
def test_a_killed_run_loses_no_answer_and_repeats_no_request(server, path, tmp_path):
    """A child process that runs a comparison is killed twenty times at random moments, and started again."""
    folder, journal = tmp_path / "images", tmp_path / "journal"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(encoded(picture(seed=number)))
    server.answer_with(lambda question: time.sleep(0.02) or question.prompt)
    generator, concurrency, kills, rows = random.Random(7), 4, 0, 640
    command = [sys.executable, "-c", CHILD, server.openai_base, str(folder), str(path), str(journal)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    for _ in range(25):
        child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        if kills < 20:
            seen = len(server.requests)
            patience = generator.uniform(0.0, 0.1)
            deadline = time.monotonic() + 20
            while len(server.requests) == seen and child.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(patience)
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                kills += 1
        _, problems = child.communicate()
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL, problems.decode()
    assert child.returncode == 0
    received = Path(journal).read_text().split()
    assert len(received) == len(set(received)), "a received answer was requested again"
    assert len(Store(path).get_many(received)) == len(received), "a received answer was lost"
    assert len(server.requests) <= rows + concurrency * kills
    assert kills == 20


@pytest.mark.slow
def test_of_two_runs_on_one_store_either_may_be_killed(server, path, tmp_path):
    """Two processes ask the same questions; again and again, one of them is killed at a random moment and replaced."""
    folder, journal = tmp_path / "images", tmp_path / "journal"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(encoded(picture(seed=number)))
    server.answer_with(lambda question: time.sleep(0.02) or question.prompt)
    generator, concurrency, kills, rows = random.Random(11), 4, 0, 320
    command = [sys.executable, "-c", CHILD, server.openai_base, str(folder), str(path), str(journal)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    runs = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    for number in range(10):
        seen, deadline = len(server.requests), time.monotonic() + 60
        while len(server.requests) < seen + 8 and time.monotonic() < deadline:
            if any(run.poll() is not None for run in runs):
                break
            time.sleep(0.005)
        time.sleep(generator.uniform(0.0, 0.05))
        victim = runs[number % 2]
        if victim.poll() is not None:
            break
        victim.send_signal(signal.SIGKILL)
        kills += 1
        victim.communicate()
        runs[number % 2] = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    problems = [run.communicate(timeout=300)[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], problems
    received = Path(journal).read_text().split()
    assert len(received) == len(set(received)), "a received answer was requested again"
    with Store(path) as store:
        assert len(store.get_many(received)) == len(received), "a received answer was lost"
        assert store.count() == rows
    assert kills >= 5 and len(server.requests) <= rows + concurrency * kills


def test_clear_removes_answers_from_the_disk_and_keeps_labels(path):
    store = Store(path)
    store.put("k", "openai:gpt-4o", vn.CompletionResponse("a secret answer", model="gpt-4o"))
    store.put_label("k", Label(correctness=4, annotator="ann"))
    store.clear()
    left = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"a secret answer" not in left and store.labels(["k"])["k"][0].correctness == 4
    store.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no POSIX file modes")
@pytest.mark.posix
def test_only_the_owner_can_read_a_new_store(path):
    Store(path).put("k", "openai:gpt-4o", ANSWER)
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.posix
def test_images_answers_and_names_with_lone_surrogates_are_stored(path, tmp_path):
    image = tmp_path / "caf\udce9.png"
    image.write_bytes(encoded(picture()))
    answer = vn.CompletionResponse("a\ud800", model="\udfff", finish_reason="stop\ud800")
    with Store(path) as store:
        document = vn.ImageDocument(image_path=image)
        assert (
            store.digest(document) == store.digest(document) == store.digest(vn.ImageDocument(image=image.read_bytes()))
        )
        assert store.digest(vn.ImageDocument(image_url="http://127.0.0.1:9/\udce9.png"))
        store.put("k", "\ud800", answer)
        assert store.get("k").text == "a\ufffd"
        for name in ("\udce9", "\ud800\udc00"):
            store.put_label("k", Label(3, annotator=name))
            store.remove_label("k", name)
            store.put_review("k", Review({"a": "\ud800"}, name))
            store.remove_review("k", name)
            store.put_draft("k", Review({}, name))
            assert store.draft("k", name) is not None
            store.remove_draft("k", name)
            assert store.draft("k", name) is None
        assert store.labels(["k"]) == {} and store.reviews(["k"]) == {}


class Watched(sqlite3.Connection):
    """Calls a function before a statement of the store that is being opened."""

    before: ClassVar[dict[str, Callable[[], object]]] = {}

    def execute(self, statement, *arguments):
        Watched.before.pop(statement, lambda: None)()
        return super().execute(statement, *arguments)


@pytest.fixture
def before(monkeypatch):
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, factory=Watched, **options))
    yield Watched.before
    Watched.before.clear()


def test_a_store_that_another_process_creates_meanwhile_is_used(path, before):
    statements = ["PRAGMA application_id", "SELECT COUNT(*) FROM sqlite_master"]

    def create_at_the_second():
        if not before.keys() & set(statements):
            Store(path).put("k", "m", ANSWER)

    before.update(dict.fromkeys(statements, create_at_the_second))
    with Store(path) as store:
        assert store.get("k").text == ANSWER.text


@pytest.mark.posix
@pytest.mark.filterwarnings("ignore:The store .* is damaged")
def test_a_damaged_store_that_another_process_replaces_meanwhile_is_renamed_once(path, before):
    with Store(path) as store:
        store.put("k", "m", ANSWER)
    whole = path.read_bytes()
    damaged = whole[:8192] + b"x" * (len(whole) - 8192)
    path.write_bytes(damaged)
    others = []

    def replace():
        if not others:
            others.append(None)
            others[0] = Store(path)
            others[0].put("k", "m", ANSWER)

    before["PRAGMA quick_check(1)"] = replace
    with Store(path) as store:
        assert store.get("k").text == ANSWER.text
    others[0].put("l", "m", ANSWER)
    others[0].close()
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == damaged


def test_a_new_store_is_opened_by_many_threads_at_once(tmp_path):
    failed = []
    for number in range(30):
        barrier = threading.Barrier(4)

        def create(path=tmp_path / f"{number}.sqlite3", barrier=barrier):
            barrier.wait(60)
            try:
                Store(path).close()
            except errors.StoreError as error:
                failed.append(error)

        threads = [threading.Thread(target=create) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed
