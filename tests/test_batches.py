"""`batch=True`: questions that are submitted as batches, and the collection of their answers."""

import asyncio
import json
import math
import threading
import time
from decimal import Decimal
from typing import Any

import pytest

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.forms import interrupted_when
from tests.forms import wait_until as until
from vision_nb import errors
from vision_nb.comparison import batch_jobs, batch_result, rows
from vision_nb.comparison.compare import acompare
from vision_nb.demo import BatchFault, DemoServer, Fault
from vision_nb.demo.openai import files
from vision_nb.providers.openai import batches as openai_batches
from vision_nb.providers.openai.batches import OpenAIBatches
from vision_nb.storage.batches import OVER, SUBMITTING, UPLOADING
from vision_nb.store import Store

SCHEMA = {"type": "object", "properties": {"width": {"type": "integer"}}, "required": ["width"]}
MINUTE = 60.0


@pytest.fixture
def server(server):
    server.batch_seconds = 0
    return server


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite3"


@pytest.fixture
def llm(server):
    with vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, max_retries=0) as llm:
        yield llm


@pytest.fixture
def images():
    return [vn.ImageDocument.of(picture(seed=seed)) for seed in range(4)]


def batch_of(llm, path, images, prompts="How large?", **options):
    return vn.compare(llm, prompts, images, store=path, progress=False, **{"batch": True, **options})


def collected(llm, path, images, prompts="How large?", **options):
    return batch_of(llm, path, images, prompts, **options).wait(MINUTE, progress=False)


def direct(llm, path, images, prompts="How large?", **options):
    return vn.compare(llm, prompts, images, store=path, progress=False, **options)


def asked(server, method, end):
    return sum(one.method == method and one.path.endswith(end) for one in server.requests)


def batches(server):
    return asked(server, "POST", "/batches")


def calls(server):
    return asked(server, "POST", "/chat/completions") + asked(server, "POST", "/responses")


def test_the_call_returns_at_once_and_the_rows_wait(server, llm, path, images, capsys):
    server.batch_seconds = math.inf
    comparison = batch_of(llm, path, images)
    assert repr(comparison) == "Comparison(4 rows, 0 answered, 0 failed, 4 in batches)"
    assert len(comparison.pending) == 4 and comparison.pending[0].batch.startswith("batch_")
    assert comparison.incomplete is None and "waits in a batch" in repr(comparison[0])
    for text in (comparison.batch_status, comparison._repr_html_(), "\n".join(map(str, comparison._terminal_parts()))):
        assert "4 rows wait in a batch (" in text and "0 of 4 requests done, submitted just now" in text
    assert "waits in a batch" in comparison._repr_html_()
    assert (batches(server), calls(server)) == (1, 0)
    server.batch_seconds = 0
    assert repr(comparison.wait(MINUTE, progress=False)) == "Comparison(4 rows, 4 answered, 0 failed)"
    capsys.readouterr()
    assert comparison.pending == [] and comparison.batch_status == "" and comparison.wait() is comparison
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("schema", [None, SCHEMA])
def test_answers_are_those_of_direct_calls_and_both_ways_fill_the_same_store(
    server, llm, path, images, tmp_path, schema
):
    batch = collected(llm, path, images, schema=schema)
    other = direct(llm, tmp_path / "other.sqlite3", images, schema=schema)
    assert [(row.response, row.parsed, row.input_tokens) for row in batch] == [
        (row.response, row.parsed, row.input_tokens) for row in other
    ]
    assert [row.key for row in batch] == [row.key for row in other]
    before = len(server.requests)
    again = direct(llm, path, images, schema=schema)
    assert all(row.from_store for row in again) and [row.response for row in again] == [row.response for row in batch]
    assert repr(batch_of(llm, tmp_path / "other.sqlite3", images, schema=schema)) == repr(other)
    assert len(server.requests) == before


def test_stored_answers_keep_the_sizes_of_images_and_the_notes(server, llm, path):
    collected(llm, path, [vn.ImageDocument.of(picture(3000, 2000))])
    with Store(path) as store:
        (key,) = [key for (key,) in store._connection.execute("SELECT key FROM answers")]
        answer = store.get(key)
    assert answer.sent_images[0].size == (3000, 2000) and "scaled from 3000 x 2000" in answer.image_notes[0]
    assert answer.service_tier == "batch"


def test_batches_cost_half_in_rows_and_in_the_ledger_and_also_from_the_store(server, llm, path, images, tmp_path):
    full = direct(llm, tmp_path / "direct.sqlite3", images)
    vn.ledger.reset()
    half = collected(llm, path, images)
    assert [2 * row.usd for row in half] == [row.usd for row in full]
    assert len(vn.ledger.entries) == 4 and 2 * vn.ledger.total == sum(row.usd for row in full)
    assert half.budget.spent == vn.ledger.total
    half.refresh()
    stored = direct(llm, path, images)
    assert [row.usd for row in stored] == [row.usd for row in half] and len(vn.ledger.entries) == 4
    vn.set_price("gpt-4o", input=2, output=2)
    row = direct(llm, path, images)[0]
    assert row.usd == Decimal(row.input_tokens + row.output_tokens) / 1_000_000


def test_the_same_cell_finds_its_batch_and_collects_it_without_submitting_again(server, llm, path, images):
    server.batch_seconds = math.inf
    batch_of(llm, path, images)
    assert len(batch_of(llm, path, images[:3]).pending) == 3
    assert len(batch_of(llm, path, images).pending) == 4
    server.batch_seconds = 0
    found = collected(llm, path, images)
    assert found.rows.answered == 4 and batches(server) == 1


def test_only_missing_questions_are_submitted(server, llm, path, images):
    direct(llm, path, images[:2])
    assert collected(llm, path, images).rows.answered == 4
    with Store(path) as store:
        assert [batch.questions for batch in store.batches()] == [2]


def test_equal_images_are_submitted_once_and_all_have_their_rows(server, llm, path, images):
    comparison = collected(llm, path, [images[0], images[0], images[1]])
    assert comparison.rows.answered == 3
    assert [row.from_store for row in comparison] == [False, True, False]
    with Store(path) as store:
        assert [batch.questions for batch in store.batches()] == [2]


def test_each_model_has_its_own_batch(server, path, images):
    models = [vn.OpenAIMultiModal(name, "k", server.openai_base) for name in ("gpt-4o", "gpt-4o-mini")]
    comparison = collected(models, path, images)
    assert comparison.rows.answered == 8 and batches(server) == 2
    for model in models:
        model.close()


def test_input_files_are_split_by_bytes_and_by_count(server, llm, path, images, monkeypatch):
    monkeypatch.setattr(OpenAIBatches, "max_requests", 3)
    assert collected(llm, path, images).rows.answered == 4 and batches(server) == 2
    monkeypatch.undo()
    monkeypatch.setattr(OpenAIBatches, "max_bytes", 20_000)  # a line has about 8,000
    assert collected(llm, path, images, "And now?").rows.answered == 4 and batches(server) == 4
    with Store(path) as store:
        assert sorted(batch.questions for batch in store.batches()) == [1, 2, 2, 3]


def test_uploaded_and_downloaded_files_are_deleted(server, llm, path, images):
    server.fail_batch(BatchFault(line_errors={0: "No."}))
    collected(llm, path, images)
    assert list(llm.client.files.list()) == []
    server.fail_batch(BatchFault(fails="Too many tokens."))
    collected(llm, path, images, "And now?")
    assert list(llm.client.files.list()) == []
    with Store(path) as store:
        assert {batch.step for batch in store.batches()} == {OVER}


def test_files_that_could_not_be_deleted_are_deleted_by_the_next_run(server, llm, path, images):
    comparison = batch_of(llm, path, images)
    batch_id = comparison[0].batch
    until(lambda: llm.client.batches.retrieve(batch_id).status == "completed")
    server.fail(Fault(), 2)  # the state of the batch and its output
    server.fail(Fault(status=500))  # the deletion of the input file
    with pytest.warns(UserWarning, match="could not be deleted yet"):
        comparison.refresh()
    assert comparison.rows.answered == 4 and len(list(llm.client.files.list())) == 2
    assert batch_of(llm, path, images).rows.answered == 4 and list(llm.client.files.list()) == []


def test_a_line_that_failed_becomes_a_row_with_the_servers_words(server, llm, path, images):
    server.fail_batch(BatchFault(line_errors={1: "The image is too small."}))
    comparison = collected(llm, path, images)
    (failed,) = comparison.errors
    assert failed.error.startswith("RequestRejectedError:") and "The image is too small" in failed.error
    assert comparison.rows.answered == 3 and len(vn.ledger.entries) >= 3
    assert comparison.retry_errors(progress=False).rows.answered == 4 and calls(server) == 1


def test_a_failed_batch_shows_the_servers_words_and_the_next_run_submits_again(server, llm, path, images):
    server.fail_batch(BatchFault(fails="Enqueued token limit reached for gpt-4o."))
    comparison = collected(llm, path, images)
    assert all("BatchError" in row.error and "Enqueued token limit reached" in row.error for row in comparison)
    assert collected(llm, path, images).rows.answered == 4 and batches(server) == 2


def test_what_an_expired_batch_answered_is_used_and_the_rest_is_submitted_again(server, llm, path, images):
    server.fail_batch(BatchFault(expires=True, finished=1))
    comparison = collected(llm, path, images)
    assert (comparison.rows.answered, comparison.rows.failed) == (1, 3)
    assert all("expired" in row.error and "run the cell again" in row.error for row in comparison.errors)
    assert collected(llm, path, images).rows.answered == 4
    with Store(path) as store:
        assert [batch.questions for batch in store.batches()] == [4, 3]


def test_the_run_that_finds_an_expired_batch_submits_the_rest_at_once(server, llm, path, images):
    server.fail_batch(BatchFault(expires=True, finished=1))
    server.batch_seconds = math.inf
    batch_of(llm, path, images)
    server.batch_seconds = 0
    found = None
    for _ in range(200):
        found = batch_of(llm, path, images)
        if batches(server) == 2:
            break
    assert found is not None and found.rows.answered >= 1
    assert found.wait(MINUTE, progress=False).rows.answered == 4 and batches(server) == 2


def test_odd_output_files_are_read_as_far_as_possible(server, llm, path, images):
    unknown = json.dumps({"custom_id": "x", "response": {"status_code": 200, "body": {}}, "error": None})
    incomplete = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Half"}, "finish_reason": None}]}
    extra = ["not JSON", "", "[]", '"text"', "{}", '{"custom_id": 7}', unknown, '{"custom_id": null, "error": 3}']
    server.fail_batch(BatchFault(missing=[0], bodies={1: {"choices": []}, 2: incomplete}, extra_lines=extra))
    comparison = collected(llm, path, images)
    assert "ended without a line for this question" in comparison[0].error
    assert comparison[1].error.startswith("MalformedResponseError")
    assert comparison[3].finished and comparison.pending == []


@pytest.mark.parametrize("resume", [True, False])
def test_rows_have_the_answers_that_were_read_before_a_download_breaks_off(
    server, llm, path, images, monkeypatch, resume
):
    comparison = batch_of(llm, path, images, resume=resume, budget=1)
    lines, is_broken, at_first = OpenAIBatches.lines, True, reserved(comparison)

    async def broken_lines(api, file_id):
        async for line in lines(api, file_id):
            yield line
            if is_broken:
                raise errors.ProviderError("The connection was lost.")

    monkeypatch.setattr(batch_jobs, "_LINES", 1)
    monkeypatch.setattr(OpenAIBatches, "lines", broken_lines)
    with pytest.raises(errors.ProviderError, match="connection was lost"):
        comparison.wait(MINUTE, progress=False)
    assert comparison.rows.answered == 1 and len(comparison.pending) == 3
    assert comparison.budget.spent > 0 and reserved(comparison) == pytest.approx(at_first * 3 / 4)
    is_broken = False
    assert comparison.wait(MINUTE, progress=False).rows.answered == 4 and batches(server) == 1
    assert reserved(comparison) == 0
    assert not any(row.from_store for row in comparison)


def cut_off(server, llm, comparison):
    """Refresh a comparison whose batch has ended, while the download of the answers is cut off."""
    until(lambda: llm.client.batches.retrieve(comparison[0].batch).status == "completed")
    server.fail(Fault())  # the state of the batch
    server.fail(Fault(body=b'{"id": "batch_req_1", "custom_id": "'))
    with pytest.raises(errors.ProviderConnectionError, match="was cut off: call refresh"):
        comparison.refresh()
    assert len(comparison.pending) == 4 and len(list(llm.client.files.list())) == 2


def test_a_download_that_ends_in_the_middle_of_a_line_is_not_the_end_of_the_batch(server, llm, path, images):
    comparison = batch_of(llm, path, images)
    cut_off(server, llm, comparison)
    assert comparison.refresh().rows.answered == 4 and batches(server) == 1
    again = batch_of(llm, path, images, resume=False)
    cut_off(server, llm, again)
    again.cancel()
    assert again.pending == [] and again.rows.answered == 0


def test_a_line_that_is_there_twice_counts_once(server, llm, path, images):
    comparison = batch_of(llm, path, images)
    line = json.dumps(
        {
            "custom_id": comparison[0].key,
            "response": {
                "status_code": 200,
                "body": {
                    "id": "chatcmpl-1",
                    "object": "chat.completion",
                    "model": "gpt-4o",
                    "choices": [
                        {"index": 0, "message": {"role": "assistant", "content": "First"}, "finish_reason": "stop"}
                    ],
                    "usage": {"prompt_tokens": 300, "completion_tokens": 1, "total_tokens": 301},
                },
            },
            "error": None,
        }
    )
    comparison.wait(MINUTE, progress=False)
    vn.ledger.reset()
    server.fail_batch(BatchFault(extra_lines=[line, line]))
    again = collected(llm, path, images, resume=False)
    assert again[0].response == "First" and len(vn.ledger.entries) == 4


def test_an_unfinished_answer_is_shown_but_not_stored(server, llm, path, images):
    with vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, api="responses") as llm:
        server.fail_batch(BatchFault(bodies={0: {"status": "incomplete", "incomplete_details": None}}))
        comparison = collected(llm, path, images)
        assert comparison[0].finish_reason == "incomplete" and comparison[0].finished
        with Store(path) as store:
            assert store.count() == 3
        assert comparison.rows.answered == 4


def test_the_responses_api_has_batches_of_its_own(server, path, images):
    with vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, api="responses") as llm:
        assert collected(llm, path, images, schema=SCHEMA).rows.answered == 4
    (created,) = [one.body for one in server.requests if one.path.endswith("/batches") and one.method == "POST"]
    assert created["endpoint"] == "/v1/responses"


@pytest.mark.parametrize("is_v1", [True, False])
def test_azure_takes_batches(server, path, images, is_v1):
    options: Any = {} if is_v1 else {"api_version": "2024-10-21"}
    endpoint = f"{server.url}/openai/v1/" if is_v1 else server.url
    with vn.AzureOpenAIMultiModal("our-batches", "gpt-4o", endpoint, api_key="k", **options) as llm:
        comparison = collected(llm, path, images)
        assert comparison.rows.answered == 4 and comparison[0].usd > 0
        assert list(llm.client.files.list()) == []


def test_a_batch_is_created_when_azure_has_processed_its_file(server, path, images, monkeypatch):
    monkeypatch.setattr(openai_batches, "_FIRST_PAUSE", 0.01)
    describe, states = files._file_json, iter(["pending", "pending", "running"])
    monkeypatch.setattr(
        files, "_file_json", lambda id, file: {**describe(id, file), "status": next(states, "processed")}
    )
    with vn.AzureOpenAIMultiModal("our-batches", "gpt-4o", f"{server.url}/openai/v1/", api_key="k") as llm:
        assert len(batch_of(llm, path, images).pending) == 4
    methods = [one.method for one in server.requests if "/files" in one.path or one.method == "POST"]
    assert methods == ["POST", "GET", "GET", "GET", "POST"]


def test_invalid_structured_answers_are_paid_for_and_not_repaired(server, llm, path, images):
    server.answer_with('{"width": "wide"}')
    found = vn.extract(images, SCHEMA, model=llm, store=path, progress=False, batch=True)
    assert repr(found) == "Extraction(4 rows, 0 answered, 0 failed, 4 in batches)"
    assert "4 rows wait" in found._repr_html_()
    found.wait(MINUTE, progress=False)
    assert len(found.failed) == 4 and found.failed[0].error.startswith("SchemaError")
    assert all(row.usd and row.attempts == 1 for row in found.failed) and len(vn.ledger.entries) == 4
    assert calls(server) == 0
    with Store(path) as store:
        assert store.count() == 0
    server.answer_with('{"width": 64}')
    retried = found.retry(progress=False)
    assert [row.parsed for row in retried] == [{"width": 64}] * 4 and calls(server) == 4


def test_refusals_and_answers_that_were_cut_off_are_errors_as_in_direct_calls(server, llm, path, images):
    refusal = {"index": 0, "message": {"role": "assistant", "content": None, "refusal": "No!"}, "finish_reason": "stop"}
    cut_off = {"index": 0, "message": {"role": "assistant", "content": '{"wid'}, "finish_reason": "length"}
    server.fail_batch(BatchFault(bodies={0: {"choices": [refusal]}, 1: {"choices": [cut_off]}}))
    comparison = collected(llm, path, images, schema=SCHEMA)
    assert "refused to answer: No! Change" in comparison[0].error and "cut off" in comparison[1].error
    assert comparison.rows.answered == 2


@pytest.mark.parametrize("step", ["write", "read"])
def test_an_unexpected_error_in_one_question_or_answer_does_not_affect_the_others(
    server, llm, path, images, monkeypatch, step
):
    original, lock, faults = getattr(OpenAIBatches, step), threading.Lock(), [OSError("Unexpected.")]

    def fail_once(api, *arguments, **options):
        with lock:
            fault = faults.pop() if faults else None
        if fault is not None:
            raise fault
        return original(api, *arguments, **options)

    monkeypatch.setattr(OpenAIBatches, step, fail_once)
    comparison = collected(llm, path, images)
    assert [row.error for row in comparison.errors] == ["OSError: Unexpected."] and comparison.rows.answered == 3
    assert list(llm.client.files.list()) == []


def test_an_image_that_cannot_be_read_is_a_row_with_an_error(server, llm, path, images, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    comparison = collected(llm, path, [broken, tmp_path / "missing.png", images[0]])
    assert [bool(row.error) for row in comparison] == [True, True, False]


def test_a_direct_run_leaves_out_what_waits_in_a_batch_unless_it_is_told_to_ask(server, llm, path, images):
    server.batch_seconds = math.inf
    batch_of(llm, path, images[:2])
    found = direct(llm, path, images)
    assert repr(found) == "Comparison(4 rows, 2 answered, 0 failed, 2 in batches)" and calls(server) == 2
    assert "batch=False asks directly" in found.batch_status
    plan = direct(llm, path, images, dry_run=True)
    assert plan.calls == 0 and "2 questions wait in batches" in str(plan._repr_markdown_())
    assert direct(llm, path, images, batch=False).rows.answered == 4 and calls(server) == 4
    server.batch_seconds = 0
    assert found.wait(MINUTE, progress=False).rows.answered == 4


def test_a_canceled_batch_gives_its_questions_back(server, llm, path, images):
    server.batch_seconds = math.inf
    comparison = batch_of(llm, path, images)
    comparison.cancel()
    comparison.wait(MINUTE, progress=False)
    assert comparison.pending == [] and comparison.rows.failed == 0
    assert list(llm.client.files.list()) == []
    assert direct(llm, path, images).rows.answered == 4


async def test_a_call_does_not_wait_for_the_budget_that_a_batch_has_reserved(server, llm, path, images):
    server.batch_seconds = math.inf
    vn.ledger.budget = Decimal("0.1")
    waiting = await acompare(llm, "How large?", images, store=path, progress=False, batch=True)
    asking = acompare(llm, "Which colors?", images, store=path, progress=False)
    comparison = await asyncio.wait_for(asking, MINUTE)
    assert "is reserved for batches and calls in progress: raise vn.ledger.budget" in comparison.incomplete
    await waiting.acancel()
    await waiting.await_(MINUTE, progress=False)
    assert direct(llm, path, images, "Which colors?").rows.answered == 4


def test_rows_that_were_to_be_asked_again_do_not_get_their_earlier_answers_when_the_batch_is_canceled(
    server, llm, path, images
):
    direct(llm, path, images)
    server.batch_seconds = math.inf
    server.fail_batch(BatchFault(finished=0))
    comparison = batch_of(llm, path, images, resume=False)
    comparison.cancel()
    comparison.wait(MINUTE, progress=False)
    assert comparison.pending == [] and comparison.rows.answered == 0


def test_rows_that_were_asked_again_have_the_answers_that_another_run_collected(server, llm, path, images):
    direct(llm, path, images)
    server.batch_seconds = math.inf
    first, second = (batch_of(llm, path, images, resume=False) for _ in range(2))
    server.batch_seconds = 0
    assert second.wait(MINUTE, progress=False).rows.answered == 4 and batches(server) == 1
    first.wait(MINUTE, progress=False)
    assert first.rows.answered == 4 and first.pending == []
    assert all(row.usd == other.usd for row, other in zip(first, second, strict=True))


def test_a_store_that_was_deleted_finds_its_batches_on_the_server(server, llm, path, images, tmp_path):
    server.batch_seconds = math.inf
    batch_of(llm, path, images)
    for file in tmp_path.glob("answers.sqlite3*"):
        file.unlink()
    found = batch_of(llm, path, images)
    assert len(found.pending) == 4 and batches(server) == 1
    server.batch_seconds = 0
    assert found.wait(MINUTE, progress=False).rows.answered == 4
    assert list(llm.client.files.list()) == []


def test_rows_whose_store_was_deleted_say_how_to_find_their_batch(server, llm, path, images):
    comparison = batch_of(llm, path, images)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    comparison.refresh()
    assert all("run the cell again, which finds the batch on the server" in row.error for row in comparison)
    assert collected(llm, path, images).rows.answered == 4 and batches(server) == 1


def test_another_store_shares_the_batch_and_its_price_and_leaves_its_files(server, llm, path, images, tmp_path):
    server.batch_seconds = math.inf
    first = batch_of(llm, path, images)
    other = batch_of(llm, tmp_path / "other.sqlite3", images)
    assert batches(server) == 1
    server.batch_seconds = 0
    assert other.wait(MINUTE, progress=False).rows.answered == 4
    assert len(list(llm.client.files.list())) == 2
    assert first.wait(MINUTE, progress=False).rows.answered == 4 and list(llm.client.files.list()) == []
    assert len(vn.ledger.entries) == 4 and vn.ledger.total == sum(row.usd for row in first)


def test_a_store_says_that_another_one_has_collected_its_batch(server, llm, path, images, tmp_path):
    server.batch_seconds = math.inf
    first = batch_of(llm, path, images)
    other = batch_of(llm, tmp_path / "other.sqlite3", images)
    server.batch_seconds = 0
    assert first.wait(MINUTE, progress=False).rows.answered == 4
    assert other.wait(MINUTE, progress=False).pending == []
    assert all("another store has collected its answers" in row.error for row in other)


def killed_before_it_was_noted(path):
    """Change the batch of a store as if its process had been killed after it was submitted, and before that was noted."""
    with Store(path) as store:
        (batch,) = store.batches()
        store.update_batch(batch.token, step=SUBMITTING, batch_id="")
    return batch.token


def test_an_image_that_changes_before_it_is_sent_leaves_the_question_to_its_equals(
    server, llm, path, tmp_path, monkeypatch
):
    server.answer_with(lambda question: "x".join(map(str, question.images[0].size)))
    first, changed, equal = (tmp_path / name for name in ("first.png", "changed.png", "equal.png"))
    for seed, file in enumerate((first, changed)):
        picture(40, 30, seed=seed).save(file)
    equal.write_bytes(changed.read_bytes())
    before, write = changed.read_bytes(), OpenAIBatches.write

    def write_after_the_change(api, key, prompt, document, schema):
        if document.title == "changed.png":
            picture(50, 20).save(changed)
        return write(api, key, prompt, document, schema)

    monkeypatch.setattr(OpenAIBatches, "write", write_after_the_change)
    comparison = collected(llm, path, [first, changed, equal])
    assert [row.response for row in comparison] == ["40x30", None, "40x30"]
    assert "changed.png changed during the run" in comparison[1].error and batches(server) == 1
    monkeypatch.undo()
    again = collected(llm, path, [first, changed, equal])
    assert [row.response for row in again] == ["40x30", "50x20", "40x30"]
    changed.write_bytes(before)
    assert [row.response for row in direct(llm, path, [first, changed, equal])] == ["40x30"] * 3


def batch_in(path, token):
    with Store(path) as store:
        return store.batches([token])[0]


def test_a_model_of_the_same_name_on_another_server_leaves_a_batch_alone(server, llm, path, images):
    server.batch_seconds = math.inf
    server.answer_with("scripted")
    batch_of(llm, path, images)
    token = killed_before_it_was_noted(path)
    with DemoServer() as elsewhere:
        elsewhere.answer_with("scripted")
        elsewhere.batch_seconds = 0
        with vn.OpenAIMultiModal("gpt-4o", "k", elsewhere.openai_base) as other:
            assert str(other) == str(llm)
            assert collected(other, path, images).rows.answered == 4
    assert batch_in(path, token).step == SUBMITTING and batch_in(path, token).server == server.openai_base
    assert len(batch_of(llm, path, images[:3]).pending) == 3 and batches(server) == 1


def test_another_account_leaves_a_batch_alone_until_it_cancels_it(server, llm, path, images):
    server.batch_seconds = math.inf
    server.answer_with("scripted")
    batch_of(llm, path, images)
    token = killed_before_it_was_noted(path)
    with vn.OpenAIMultiModal("gpt-4o", "k2", server.openai_base) as other:
        assert len(batch_of(other, path, images, "Another question").pending) == 4
        server.fail(Fault(body={"object": "list", "data": [], "has_more": False}))  # of the batches it can see
        comparison = batch_of(other, path, images)
        assert batch_in(path, token).step == SUBMITTING and len(comparison.pending) == 4
        assert "was being submitted with another API key" in comparison.batch_status and batches(server) == 2
        comparison.cancel()
        assert comparison.pending == [] and batch_in(path, token).step == OVER


def test_a_batch_that_another_account_does_not_see_stays_in_the_store(server, llm, path, images):
    server.batch_seconds = math.inf
    server.answer_with("scripted")
    batch_of(llm, path, images)
    with vn.OpenAIMultiModal("gpt-4o", "k2", server.openai_base, max_retries=0) as other:
        server.fail(Fault(status=404))
        assert "submitted with another API key" in batch_of(other, path, images).batch_status
    server.batch_seconds = 0
    assert collected(llm, path, images).rows.answered == 4 and batches(server) == 1


def test_batches_in_a_store_of_an_earlier_version_are_collected(server, llm, path, images):
    server.batch_seconds = math.inf
    batch_of(llm, path, images)
    with Store(path) as store, store._transaction() as connection:
        for column in ("server", "account"):
            connection.execute(f"ALTER TABLE batches DROP COLUMN {column}")
    server.batch_seconds = 0
    assert collected(llm, path, images).rows.answered == 4 and batches(server) == 1
    with Store(path) as store:
        assert [(batch.server, batch.account, batch.step) for batch in store.batches()] == [("", "", OVER)]


def test_a_repeated_upload_leaves_no_second_file(server, path, images):
    server.batch_seconds = math.inf
    with vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base) as llm:
        server.fail(Fault())  # the list of batches
        server.fail(Fault(cut_after=5))  # the answer to the upload
        comparison = batch_of(llm, path, images)
        uploads = asked(server, "POST", "/files")
        assert (uploads, len(list(llm.client.files.list())), batches(server)) == (2, 1, 1)
        server.batch_seconds = 0
        assert comparison.wait(MINUTE, progress=False).rows.answered == 4


def test_a_request_that_failed_although_the_batch_was_created_is_not_repeated(server, llm, path, images):
    for _ in range(2):  # the list of batches and the upload
        server.fail(Fault())
    server.fail(Fault(cut_after=5))  # the answer to the creation of the batch is broken off
    comparison = collected(llm, path, images)
    assert comparison.rows.answered == 4 and batches(server) == 1


def test_a_refused_batch_is_an_error_of_its_rows_and_leaves_no_file(server, llm, path, images):
    for _ in range(2):
        server.fail(Fault())
    server.fail(Fault(status=429, body={"error": {"message": "Billing hard limit.", "code": "insufficient_quota"}}))
    comparison = batch_of(llm, path, images)
    assert all("QuotaExceededError" in row.error and "Billing hard limit" in row.error for row in comparison)
    assert comparison.pending == [] and list(llm.client.files.list()) == []
    assert collected(llm, path, images).rows.answered == 4


def test_a_large_comparison_reads_the_answers_of_its_batches_from_the_store(
    server, llm, path, images, monkeypatch, tmp_path
):
    monkeypatch.setattr(rows, "ROWS_IN_MEMORY", 2)
    images, prompts = [*images, images[0]], ["How large?", "And now?"]
    comparison = collected(llm, path, images, prompts)
    assert comparison.rows.is_large and comparison.rows.answered == 10 and comparison.pending == []
    tally = comparison.rows.tally()
    assert (tally.paid, tally.usd) == (8, vn.ledger.total) and len(vn.ledger.entries) == 8
    expected = direct(llm, tmp_path / "other.sqlite3", images, prompts)
    assert [row.response for row in comparison] == [row.response for row in expected]


def test_a_budget_is_checked_before_anything_is_submitted(server, llm, path, images):
    comparison = batch_of(llm, path, images, budget=0.01)
    assert comparison.incomplete.startswith("A batch of 4 questions to openai:gpt-4o (demo) could cost 0.")
    assert "4 questions were not submitted" in comparison.incomplete
    assert asked(server, "POST", "/files") == 0
    with vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, max_new_tokens=50) as short:
        found = batch_of(short, path, images, budget=0.01)
        assert len(found.pending) == 4 and found.budget._reserved > 0
        found.wait(MINUTE, progress=False)
        assert 0 < found.budget.spent < Decimal("0.01") and found.budget._reserved == 0


@pytest.mark.parametrize("reason", ["two models", "two files"])
def test_the_price_of_all_batches_is_checked_before_the_first_file_is_uploaded(
    server, path, images, monkeypatch, reason
):
    names = ["gpt-4o", "gpt-4o-mini"] if reason == "two models" else ["gpt-4o"]
    models = [vn.OpenAIMultiModal(name, "k", server.openai_base, max_new_tokens=50) for name in names]
    if reason == "two files":
        monkeypatch.setattr(OpenAIBatches, "max_requests", 2)
    price = batch_of(models, path, images, dry_run=True).batch_usd
    comparison = batch_of(models, path, images, budget=price * Decimal("0.99"))  # enough for the first file
    assert comparison.pending == [] and "budget" in comparison.incomplete
    assert asked(server, "POST", "/files") == 0
    assert len(batch_of(models, path, images, budget=2 * price).pending) == 4 * len(models) and batches(server) == 2
    for model in models:
        model.close()


def test_a_dry_run_shows_both_prices(server, llm, path, images):
    plan = batch_of(llm, path, images, dry_run=True)
    assert plan.usd == 2 * plan.batch_usd > 0
    text = plan._repr_markdown_()
    assert "max. batch price" in text and "as a batch" in text and "directly" in text
    assert "batch" not in direct(llm, path, images, dry_run=True)._repr_markdown_()


@pytest.mark.parametrize("name", ["anthropic:claude-sonnet-5", "replicate:yorickvp/llava-13b", "local"])
def test_other_services_are_refused_with_a_list_of_those_that_take_batches(server, path, images, monkeypatch, name):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("REPLICATE_API_TOKEN", "k")
    model = vn.LocalMultiModal("llava", server.openai_base) if name == "local" else name
    for dry_run in (True, False):
        with pytest.raises(errors.SettingsError, match="does not take batches: OpenAI, Azure OpenAI and the demo do"):
            batch_of(model, path, images, dry_run=dry_run)


def test_a_server_without_batches_says_so(server, llm, path, images):
    server.fail(Fault(status=404))
    comparison = batch_of(llm, path, images)
    assert all("does not take batches: omit batch=True" in row.error for row in comparison)


def test_a_batch_that_the_server_does_not_know_is_not_submitted_again_until_it_is_canceled(server, llm, path, images):
    server.batch_seconds = math.inf
    server.answer_with("scripted")  # the server does not count as the demo then
    comparison = batch_of(llm, path, images)
    with Store(path) as store:
        (batch,) = store.batches()
        store.update_batch(batch.token, batch_id="batch_of_another_project")
    comparison.refresh()
    assert len(comparison.pending) == 4 and "not found" in comparison.batch_status
    assert "check that the API key is that of its project" in comparison.batch_status
    assert len(batch_of(llm, path, images).pending) == 4 and batches(server) == 1
    comparison.cancel()
    assert comparison.pending == []


def reserved(comparison):
    """Return what is reserved in the budget of a comparison."""
    assert comparison.budget.spent >= 0  # this adds up what has been settled
    return comparison.budget._reserved


@pytest.mark.parametrize("reason", ["collected by another process", "unknown to the server, and canceled"])
def test_the_budget_is_free_again_when_the_batch_is_over(server, llm, path, images, reason):
    server.batch_seconds = math.inf
    server.answer_with("scripted")
    comparison = batch_of(llm, path, images, budget=1)
    with Store(path) as store:
        (batch,) = store.batches()
        if reason == "collected by another process":
            store.finish_batch(batch.token, OVER)
        else:
            store.update_batch(batch.token, batch_id="batch_of_another_project", status="not found")
            assert reserved(comparison) > 0
            comparison.cancel()
    comparison.refresh()
    assert comparison.pending == [] and reserved(comparison) == 0


def test_a_submission_of_unknown_outcome_shows_the_servers_words_until_it_is_known(server, llm, path, images):
    for status in (None, None, 500, 500):  # the list of batches, the upload, the submission, the list again
        server.fail(Fault(status=status))
    comparison = batch_of(llm, path, images, budget=1)
    assert len(comparison.pending) == 4 and reserved(comparison) > 0
    assert "interrupted" in comparison.batch_status and "returned error 500" in comparison.batch_status
    comparison.refresh()
    assert all("no batch with this question any more: run the cell again" in row.error for row in comparison)
    assert reserved(comparison) == 0 and list(llm.client.files.list()) == []
    assert collected(llm, path, images).rows.answered == 4 and batches(server) == 2


def test_a_copy_of_the_store_from_before_the_submission_finds_the_batch(server, llm, path, images):
    server.batch_seconds = math.inf
    server.answer_with("scripted")
    batch_of(llm, path, images)
    with Store(path) as store:
        (batch,) = store.batches()
        store.update_batch(batch.token, step=UPLOADING, file_id="", batch_id="")
    comparison = batch_of(llm, path, images)
    assert len(comparison.pending) == 4 and len(list(llm.client.files.list())) == 1
    server.batch_seconds = 0
    assert comparison.wait(MINUTE, progress=False).rows.answered == 4 and batches(server) == 1


def test_answers_that_the_store_could_not_take_at_first_are_paid_once(server, llm, path, images, monkeypatch):
    comparison, put = batch_of(llm, path, images), Store.put
    tries = iter([True, True, False])

    def put_unless_full(store, *arguments):
        if not next(tries, True):
            raise errors.StoreError("The disk is full.")
        put(store, *arguments)

    monkeypatch.setattr(Store, "put", put_unless_full)
    with pytest.raises(errors.StoreError, match="disk is full"):
        comparison.wait(MINUTE, progress=False)
    assert comparison.wait(MINUTE, progress=False).rows.answered == 4
    assert comparison.budget.spent == vn.ledger.total == sum(row.usd for row in comparison)


def test_a_batch_that_the_server_knows_again_has_no_problem(server, llm, path, images):
    server.batch_seconds = math.inf
    server.answer_with("scripted")
    comparison = batch_of(llm, path, images)
    with Store(path) as store:
        (batch,) = store.batches()
        for batch_id, is_known in (("batch_of_another_project", False), (batch.batch_id, True)):
            store.update_batch(batch.token, batch_id=batch_id)
            comparison.refresh()
            assert ("check that the API key" in comparison.batch_status) is not is_known


async def test_a_batch_stays_busy_while_its_file_is_uploaded_however_slowly(server, llm, path, images, monkeypatch):
    upload = OpenAIBatches.upload

    async def slow(api, file, name):
        with Store(path) as store:
            assert sorted(one.step for one in store.batches()) == ["preparing", "uploading"]
            for one in store.batches():
                store.update_batch(one.token, busy_until=0.0)
            deadline = time.monotonic() + MINUTE
            while not all(one.is_busy for one in store.batches()):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
        return await upload(api, file, name)

    monkeypatch.setattr(batch_jobs, "_RENEWAL", 0.02)
    monkeypatch.setattr(OpenAIBatches, "upload", slow)
    assert len((await acompare(llm, "How large?", images, store=path, progress=False, batch=True)).pending) == 4


@pytest.mark.parametrize("step", ["write", "upload"])
def test_questions_that_another_process_took_over_are_not_submitted_twice(server, llm, path, images, monkeypatch, step):
    server.batch_seconds = math.inf
    original, lock, has_begun = getattr(OpenAIBatches, step), threading.Lock(), threading.Event()

    def take_over():
        with lock:
            if has_begun.is_set():
                return
            has_begun.set()
        with Store(path) as store, vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base) as other:
            for one in store.batches():
                store.update_batch(one.token, busy_until=0.0)  # as if this process had been suspended
            assert len(batch_of(other, path, images).pending) == 4

    def slow_write(api, *arguments):
        take_over()
        return original(api, *arguments)

    async def slow_upload(api, *arguments):
        await asyncio.to_thread(take_over)
        return await original(api, *arguments)

    monkeypatch.setattr(OpenAIBatches, step, slow_write if step == "write" else slow_upload)
    comparison = batch_of(llm, path, images)
    assert len(comparison.pending) == 4 and comparison.rows.failed == 0
    assert batches(server) == 1 and len(list(llm.client.files.list())) == 1


async def test_the_asynchronous_twins(server, llm, path, images):
    server.batch_seconds = math.inf
    comparison = await acompare(llm, "How large?", images, store=path, progress=False, batch=True)
    assert len((await comparison.arefresh()).pending) == 4
    assert len((await comparison.await_(0.01, progress=False)).pending) == 4
    server.batch_seconds = 0
    assert (await comparison.await_(MINUTE, progress=False)).rows.answered == 4
    server.batch_seconds = math.inf
    found = await vn.aextract(images, SCHEMA, model=llm, store=path, progress=False, batch=True)
    await found.acancel()
    assert (await found.await_(MINUTE, progress=False)).pending == []


async def test_the_store_is_not_used_in_the_thread_of_the_event_loop(server, llm, path, images, monkeypatch):
    users, locked, opened = set(), Store._locked, Store.__init__

    def note_use(store):
        users.add(threading.get_ident())
        return locked(store)

    def note_opening(store, *arguments):
        users.add(threading.get_ident())
        opened(store, *arguments)

    monkeypatch.setattr(Store, "_locked", note_use)
    monkeypatch.setattr(Store, "__init__", note_opening)
    server.batch_seconds = math.inf
    comparison = await acompare(llm, "How large?", images, store=path, progress=False, batch=True)
    await comparison.arefresh()
    await comparison.await_(0.5, progress=False)
    await comparison.acancel()
    await comparison.await_(MINUTE, progress=False)
    assert comparison.pending == [] and users and threading.get_ident() not in users


def test_the_longest_pause_is_checked_and_kept_for_calls_that_are_repeated_directly(server, llm, path, images):
    with pytest.raises(errors.SettingsError, match="max_wait"):
        batch_of(llm, path, images, max_wait=-1)
    assert asked(server, "POST", "/files") == 0
    assert batch_of(llm, path, images, max_wait=5).options.max_wait == 5


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(status=429)])
def test_waiting_goes_on_after_a_failure_of_the_server(server, llm, path, images, monkeypatch, fault):
    comparison = batch_of(llm, path, images)
    server.fail(fault)
    assert comparison.wait(MINUTE, progress=False).rows.answered == 4
    comparison = batch_of(llm, path, images, "And now?")
    monkeypatch.setattr(batch_result, "_PATIENCE", -1.0)
    server.fail(fault)
    with pytest.raises(errors.ProviderError):
        comparison.wait(MINUTE, progress=False)
    assert comparison.wait(MINUTE, progress=False).rows.answered == 4


def test_the_timeout_of_wait_is_checked(llm, path, images):
    comparison = batch_of(llm, path, images)
    with pytest.raises(errors.SettingsError, match="timeout"):
        comparison.wait(-1)
    comparison.wait(MINUTE, progress=False)


def test_uploaded_images_are_sent_themselves(server, llm, path, images):
    uploaded = images[0].upload(llm)
    server.batch_seconds = math.inf
    comparison = batch_of(llm, path, [uploaded])
    (created,) = [one.body for one in server.requests if one.path.endswith("/batches") and one.method == "POST"]
    assert created["endpoint"] == "/v1/chat/completions"  # only the Responses API could refer to the uploaded file
    uploaded.delete()
    server.batch_seconds = 0
    assert comparison.wait(MINUTE, progress=False).rows.answered == 1


def test_the_store_has_no_key(server, path, images, tmp_path):
    key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
    with vn.OpenAIMultiModal("gpt-4o", key, server.openai_base) as llm:
        collected(llm, path, images)
    for file in tmp_path.glob("answers.sqlite3*"):
        assert key.encode() not in file.read_bytes()


def test_the_demo_model_takes_batches(path, images):
    from vision_nb.demo import shared_server

    shared_server().batch_seconds = 0
    try:
        assert collected("demo", path, images).rows.answered == 4
    finally:
        shared_server().batch_seconds = 2.0


@pytest.mark.posix
def test_an_interrupt_ends_the_waiting_and_not_the_batch(server, llm, path, images):
    server.batch_seconds = math.inf
    comparison = batch_of(llm, path, images)
    before = len(server.requests)
    with interrupted_when(lambda: len(server.requests) > before + 2):
        assert comparison.wait(progress=False) is comparison
    assert len(comparison.pending) == 4
    server.batch_seconds = 0
    assert comparison.wait(MINUTE, progress=False).rows.answered == 4


async def test_a_refresh_that_is_canceled_does_not_keep_the_batch_busy(server, llm, path, images):
    server.batch_seconds = math.inf
    comparison = await acompare(llm, "How large?", images, store=path, progress=False, batch=True)
    with Store(path) as store:
        for number in range(15):
            task = asyncio.create_task(comparison.arefresh())
            await asyncio.sleep(number * 0.002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not any(batch.is_busy for batch in store.batches())
    server.batch_seconds = 0
    assert (await comparison.await_(MINUTE, progress=False)).rows.answered == 4


def test_clearing_the_store_keeps_its_batches_without_the_names_of_images(server, llm, path, tmp_path):
    image = tmp_path / "private name.png"
    image.write_bytes(encoded(picture(3000, 2000)))
    server.batch_seconds = math.inf
    comparison = batch_of(llm, path, [image])
    with Store(path) as store:
        (key,) = store.questions_in_batches([comparison[0].key])
        (token,) = store.questions_in_batches([key]).values()
        assert "private name" in str(store.questions_of_batch(token, [key]))
        store.clear()
        assert store.questions_of_batch(token, [key]) == {key: {}}
    server.batch_seconds = 0
    assert comparison.wait(MINUTE, progress=False)[0].response


@pytest.mark.parametrize("names", [["gpt-4o"], ["gpt-4o", "gpt-4o-mini"]])
def test_if_the_server_fails_for_one_batch_the_others_are_collected_or_canceled(
    server, path, images, monkeypatch, names
):
    monkeypatch.setattr(OpenAIBatches, "max_requests", 2 * len(names))  # two batches
    models = [vn.OpenAIMultiModal(name, "k", server.openai_base, max_retries=0) for name in names]
    comparison = batch_of(models, path, images)
    until(lambda: {one.status for one in models[0].client.batches.list()} == {"completed"})
    server.fail(Fault(status=401))
    with pytest.raises(errors.AuthenticationError):
        comparison.refresh()
    assert comparison.rows.answered == len(comparison.pending) == len(comparison) / 2
    server.batch_seconds = math.inf
    comparison = batch_of(models, path, images, "And now?")
    server.fail(Fault(status=401))
    with pytest.raises(errors.AuthenticationError):
        comparison.cancel()
    assert asked(server, "POST", "/cancel") == 2
    until(lambda: len(comparison.refresh().pending) == len(comparison) / 2)
    for model in models:
        model.close()
