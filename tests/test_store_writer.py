"""Writes of a run share transactions, and are finished even if their tasks are canceled."""

import asyncio
import sqlite3
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

import vision_nb as vn
from tests.conftest import picture
from vision_nb import errors
from vision_nb.comparison.calls import LocalCalls
from vision_nb.comparison.grid import Row
from vision_nb.demo import Fault
from vision_nb.responses import CompletionResponse, Usage
from vision_nb.storage import store_file
from vision_nb.storage.annotations import Label
from vision_nb.store import Store

ANSWER = CompletionResponse("Blue.", usage=Usage(10, 2), model="m", finish_reason="stop", latency=0.5)


@pytest.fixture
def statements(monkeypatch):
    """The statements of all connections."""
    found: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.set_trace_callback(found.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    return found


@pytest.fixture
def store(tmp_path, statements):
    with Store(tmp_path / "answers.sqlite3") as opened:
        yield opened


@contextmanager
def held(writer):
    """Let writes wait while the block runs."""
    released = threading.Event()
    writer.executor.submit(released.wait, 60)
    try:
        yield
    finally:
        released.set()


def on_disk(store, table):
    """The keys in a table of an open store, as another process sees them."""
    return on_disk_at(store.path, table)


def on_disk_at(path, table):
    """The keys in a table of the store at a path, as another process sees them."""
    with closing(sqlite3.connect(path)) as connection:
        return [key for (key,) in connection.execute(f"SELECT key FROM {table} ORDER BY key")]


async def test_writes_that_wait_share_a_transaction_of_few_statements(store, statements):
    counts = []
    with store.writer() as writer:
        for number in (2, 40):
            first, second = ([store.claim(f"{name} {one}") for one in range(number)] for name in (number, -number))
            await asyncio.gather(*map(writer.attempt, first))
            with held(writer):
                statements.clear()
                writes = [writer.put(claim, "m", ANSWER) for claim in first]
                writes += [writer.attempt(claim) for claim in second]
            await asyncio.gather(*writes)
            assert not any(claim.is_held for claim in first) and all(claim.is_held for claim in second)
            counts.append(len(statements))
            assert sum(one.startswith("BEGIN") for one in statements) == 1
            await asyncio.gather(*map(writer.release, second))
    assert counts[0] == counts[1] <= 8
    assert len(on_disk(store, "answers")) == 42 and not on_disk(store, "claims")


async def test_a_claim_is_on_disk_when_it_is_reported(store):
    with store.writer() as writer:
        claim = store.claim("k")
        await writer.attempt(claim)
        assert claim.is_held and on_disk(store, "claims") == ["k"]
        await writer.put(claim, "m", ANSWER)
        assert not claim.is_held and on_disk(store, "answers") == ["k"] and not on_disk(store, "claims")


async def test_claims_of_one_transaction_find_what_the_store_has(store):
    store.put("answered", "m", ANSWER)
    elsewhere, again = store.claim("elsewhere"), store.claim("answered", reuse=False)
    assert elsewhere.attempt()
    claims = [store.claim(key) for key in ("answered", "elsewhere", "new", "new")]
    with store.writer() as writer:
        with held(writer):
            writes = [writer.attempt(claim) for claim in (*claims, again)]
        await asyncio.gather(*writes)
        assert [claim.answer and claim.answer.text for claim in claims] == ["Blue.", None, None, None]
        assert [claim.is_elsewhere for claim in claims] == [False, True, False, True]
        assert [claim.is_held for claim in claims] == [False, False, True, False] and again.is_held
        await asyncio.gather(writer.put(again, "m", ANSWER), writer.release(claims[2]))
    elsewhere.release()
    assert not on_disk(store, "claims")


async def test_a_write_that_fails_does_not_affect_those_of_the_same_transaction(store):
    claims = [store.claim(f"{number}") for number in range(3)]
    bad = CompletionResponse("Blue.", latency=object())  # type: ignore[arg-type]
    with store.writer() as writer:
        await asyncio.gather(*map(writer.attempt, claims))
        with held(writer):
            writes = [writer.put(claim, "m", bad if claim is claims[1] else ANSWER) for claim in claims]
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), errors.StoreError, type(None)]
        assert on_disk(store, "answers") == ["0", "2"] and on_disk(store, "claims") == ["1"]
        await writer.release(claims[1])
    assert not on_disk(store, "claims")


async def test_an_answer_that_could_not_be_written_is_written_once_more_at_the_end(store):
    claims = [store.claim(f"{number}") for number in range(3)]
    store._connection.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other, store.writer() as writer:
        await asyncio.gather(*(writer.attempt(claim) for claim in claims))
        other.execute("BEGIN IMMEDIATE")
        for claim in claims:
            with pytest.raises(errors.StoreError, match="locked"):
                await writer.put(claim, "m", ANSWER)
        other.execute("ROLLBACK")
        assert not on_disk(store, "answers")
        await writer.finish()
        assert on_disk(store, "answers") == ["0", "1", "2"] and not on_disk(store, "claims")


async def test_if_no_transaction_can_begin_all_writes_fail_at_once(store, statements):
    claims = [store.claim(f"{number}") for number in range(5)]
    store._connection.execute("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other, store.writer() as writer:
        other.execute("BEGIN IMMEDIATE")
        with held(writer):
            statements.clear()
            writes = [writer.attempt(claim) for claim in claims]
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert all(isinstance(result, errors.StoreError) and "locked" in str(result) for result in results)
        assert len(statements) == 1
        other.execute("ROLLBACK")


async def test_a_task_that_is_canceled_ends_when_its_answer_is_on_disk(store):
    claim, seen = store.claim("k"), []

    async def put():
        try:
            await writer.put(claim, "m", ANSWER)
        finally:
            seen.append(on_disk(store, "answers"))

    with store.writer() as writer:
        await writer.attempt(claim)
        task = asyncio.create_task(put())
        with held(writer):
            for _ in range(3):
                await asyncio.sleep(0)
                task.cancel()
            assert not task.done()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert seen == [["k"]]


def test_answers_are_written_even_if_the_event_loop_ends_first(store):
    loop = asyncio.new_event_loop()
    claims = [store.claim(f"{number}") for number in range(3)]
    with store.writer() as writer:

        async def attempt():
            await asyncio.gather(*map(writer.attempt, claims))

        async def put():
            for claim in claims:
                writer.put(claim, "m", ANSWER)

        loop.run_until_complete(attempt())
        with held(writer):
            loop.run_until_complete(put())
            loop.close()
    assert on_disk(store, "answers") == ["0", "1", "2"] and not on_disk(store, "claims")


def test_questions_whose_event_loop_ends_before_they_are_claimed_are_released(store):
    loop = asyncio.new_event_loop()
    claims = [store.claim(f"{number}") for number in range(3)]
    with store.writer() as writer:

        async def attempt():
            for claim in claims:
                writer.attempt(claim)

        with held(writer):
            loop.run_until_complete(attempt())
            loop.close()
    assert not any(claim.is_held for claim in claims) and not on_disk(store, "claims")


def test_a_run_whose_event_loop_ends_releases_its_questions(store, monkeypatch):
    has_begun = asyncio.Event()

    async def ask(*_):
        has_begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(LocalCalls, "ask", ask)
    loop = asyncio.new_event_loop()
    run = loop.create_task(vn.acompare("demo", ["1", "2"], picture(), store=store, progress=False))
    loop.run_until_complete(has_begun.wait())
    assert on_disk(store, "claims") and not run.done()
    tasks: set[Any] = asyncio.all_tasks(loop)
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False
        with suppress(RuntimeError, ValueError):  # they need the event loop, or their own context
            task.get_coro().close()
    assert not on_disk(store, "claims")
    monkeypatch.undo()
    assert [row.error for row in vn.compare("demo", ["1", "2"], picture(), store=store, progress=False)] == [None, None]


@pytest.mark.parametrize("change", ["deleted", "replaced", "moved"])
def test_a_run_ends_when_its_store_is_no_longer_at_its_path(server, tmp_path, change):
    path = tmp_path / "folder" / "answers.sqlite3"

    def answer(question):
        if question.prompt == "2" and len(server.requests) == 3:
            path.rename(tmp_path / "elsewhere") if change == "moved" else path.unlink()
            if change == "replaced":
                path.write_bytes(b"")
        return question.prompt

    server.answer_with(answer)
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    prompts = [f"{number}" for number in range(6)]
    comparison = vn.compare(llm, prompts, picture(), store=path, progress=False, concurrency=1)
    assert [row.response for row in comparison] == ["0", "1", "2", None, None, None]
    assert "deleted, moved or replaced" in comparison.incomplete and "3 calls were not made" in comparison.incomplete
    assert len(server.requests) == 3
    again = vn.compare(llm, prompts, picture(), store=path, progress=False)
    assert [row.response for row in again] == prompts and len(on_disk_at(path, "answers")) == 6
    assert again.rows.from_store == 1, "the answer to the last call before the change was kept"
    with Store(path) as opened:
        path.unlink()
        with pytest.raises(errors.StoreError, match="deleted, moved or replaced"):
            opened.put_label("key", Label(correctness=3))


def test_the_working_directory_may_change_while_a_store_is_open(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Store("answers.sqlite3") as store:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        store.put("k", "m", ANSWER)
        assert store.known(["k"]) == {"k"}


def test_an_answer_is_on_its_way_to_the_store_before_anything_else_is_done_with_it(server, store, monkeypatch):
    def fail(*_, **__):
        raise ValueError("The price cannot be computed.")

    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    monkeypatch.setattr(Row, "with_answer", fail)
    [row] = vn.compare(llm, "What?", picture(), store=store, progress=False)
    assert row.error == "ValueError: The price cannot be computed."
    assert on_disk(store, "answers") == [row.key] and not on_disk(store, "claims")


class Checked(BaseModel):
    """An answer that an earlier version of the class accepted."""

    value: int

    @field_validator("value")
    @classmethod
    def _is_accepted(cls, value: int) -> int:
        if value < 0:
            raise ValueError("it must not be negative")
        return value


def test_a_question_whose_stored_answer_no_longer_passes_is_claimed_before_it_is_asked(server, store):
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    server.answer_with(lambda question: '{"value": 1}')
    [first] = vn.extract(picture(), Checked, model=llm, store=store, progress=False)
    store.put(first.key, "m", replace(ANSWER, text='{"value": -1}'))
    claimed = []

    def answer(question):
        claimed.extend(on_disk(store, "claims"))
        return '{"value": 2}'

    server.answer_with(answer)
    for _ in range(2):
        [row] = vn.extract(picture(), Checked, model=llm, store=store, progress=False)
        assert row.parsed.value == 2 and claimed == [first.key]
    assert len(server.requests) == 2 and not on_disk(store, "claims")


@pytest.mark.parametrize("count", [2**53 + 1, 2**63, 10**30])
def test_an_answer_with_an_impossible_token_count_is_stored(server, store, count):
    usage = {"prompt_tokens": count, "completion_tokens": 2, "total_tokens": count}
    server.fail(Fault(answer={"usage": usage}, text="Blue."))
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    [row] = vn.compare(llm, "What?", picture(), store=store, progress=False)
    assert (row.response, row.input_tokens, row.error) == ("Blue.", None, None)
    assert on_disk(store, "answers") == [row.key]


def test_each_question_is_claimed_on_disk_when_it_is_sent(server, tmp_path):
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    with Store(tmp_path / "answers.sqlite3") as store:
        claimed = {}

        def answer(question):
            claimed[question.prompt] = on_disk(store, "claims")
            return question.prompt

        server.answer_with(answer)
        prompts = [f"{number}?" for number in range(8)]
        comparison = vn.compare(llm, prompts, picture(), store=store, progress=False, concurrency=4)
        assert [row.response for row in comparison] == prompts
        assert all(row.key in claimed[row.prompt] for row in comparison)
        assert on_disk(store, "answers") == sorted(row.key for row in comparison) and not on_disk(store, "claims")


def test_a_failed_question_is_released_before_the_run_ends(server, tmp_path):
    path, claimed = tmp_path / "answers.sqlite3", []

    def answer(question):
        claimed.extend(on_disk_at(path, "claims"))
        return "Blue."

    server.answer_with(answer)
    server.fail(Fault(status=500))
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, max_retries=0)
    failed, answered = vn.compare(llm, ["1", "2"], picture(), store=path, progress=False, concurrency=1)
    assert failed.error and answered.response == "Blue." and claimed == [answered.key]


async def test_a_few_seconds_after_an_answer_the_named_file_holds_it_although_the_run_goes_on(store, monkeypatch):
    monkeypatch.setattr(store_file, "_CHECKPOINT_PAUSE", 0.05)
    with store.writer() as writer:
        claim = store.claim("k")
        await writer.attempt(claim)
        await writer.put(claim, "m", replace(ANSWER, text="an answer to look for"))
        async with asyncio.timeout(60):
            while b"an answer to look for" not in store.path.read_bytes():
                await asyncio.sleep(0.05)
