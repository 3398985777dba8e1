"""Writes of a run share transactions, and are finished even if their tasks are canceled."""

import asyncio
import sqlite3
import threading
from contextlib import closing, contextmanager

import pytest

import vision_nb as vn
from tests.conftest import picture
from vision_nb import errors
from vision_nb.responses import CompletionResponse, Usage
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
    """The keys in a table, as another process sees them."""
    with closing(sqlite3.connect(store.path)) as connection:
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
