"""The demo server's batches, used through the openai client."""

import io
import json
import math
import time

import openai
import pytest

from vision_nb.demo import BatchFault

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ENDED = ("completed", "failed", "expired", "cancelled")


@pytest.fixture
def client(server):
    server.batch_seconds = 0
    with openai.OpenAI(api_key="k", base_url=server.openai_base, max_retries=0) as client:
        yield client


def line(number, url=CHAT, model="gpt-4o", text="How are you?"):
    question = {"input": text} if url == RESPONSES else {"messages": [{"role": "user", "content": text}]}
    return {"custom_id": f"row-{number}", "method": "POST", "url": url, "body": {"model": model, **question}}


def start(client, lines, endpoint=CHAT, **options):
    text = "".join(f"{json.dumps(one) if isinstance(one, dict) else one}\n" for one in lines)
    file = client.files.create(file=("in.jsonl", io.BytesIO(text.encode())), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **options)


def ended(client, batch):
    deadline = time.monotonic() + 60
    while batch.status not in ENDED:
        assert time.monotonic() < deadline
        batch = client.batches.retrieve(batch.id)
        time.sleep(0.01)
    return batch


def read(client, file_id):
    return [] if file_id is None else [json.loads(one) for one in client.files.content(file_id).text.splitlines()]


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_a_batch_answers_every_line_like_a_direct_call_and_in_another_order(client, endpoint):
    batch = start(client, [line(number, endpoint) for number in range(3)], endpoint, metadata={"grid": "abc"})
    assert batch.status == "validating"
    batch = ended(client, batch)
    assert (batch.status, batch.metadata, batch.error_file_id) == ("completed", {"grid": "abc"}, None)
    found = read(client, batch.output_file_id)
    assert [one["custom_id"] for one in found] == ["row-2", "row-1", "row-0"]
    body = found[0]["response"]["body"]
    if endpoint == CHAT:
        direct = client.chat.completions.create(**line(0)["body"])
        assert body["choices"][0]["message"]["content"] == direct.choices[0].message.content
    else:
        assert (
            body["output"][0]["content"][0]["text"] == client.responses.create(**line(0, endpoint)["body"]).output_text
        )


def test_batches_are_listed_newest_first_with_pages(client):
    ids = [start(client, [line(0)]).id for _ in range(3)]
    assert [batch.id for batch in client.batches.list(limit=2)] == ids[::-1]
    assert client.batches.list(limit=1).data[0].id == ids[-1]


def test_a_line_that_a_direct_call_would_refuse_is_in_the_error_file(client):
    refused = line(1)
    refused["body"]["max_tokens"] = 0
    batch = ended(client, start(client, [line(0), refused]))
    (error,) = read(client, batch.error_file_id)
    assert error["custom_id"] == "row-1" and error["response"]["status_code"] == 400
    assert "max_tokens" in error["response"]["body"]["error"]["message"]
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 1)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["nonsense"], "invalid_json_line"),
        ([line(0), line(0)], "duplicate_custom_id"),
        ([line(0), line(1, model="gpt-4o-mini")], "mismatched_model"),
        ([line(0, RESPONSES)], "mismatched_url"),
        ([], "empty_file"),
    ],
)
def test_an_invalid_file_fails_the_batch(client, lines, code):
    batch = ended(client, start(client, lines or ["\n"]) if lines else start(client, [""]))
    assert batch.status == "failed" and code in [error.code for error in batch.errors.data]


def test_a_batch_takes_as_long_as_the_server_says_and_can_be_canceled(server, client):
    server.batch_seconds = math.inf
    batch = start(client, [line(0)])
    assert client.batches.retrieve(batch.id).status == "in_progress"
    assert client.batches.cancel(batch.id).status == "cancelling"
    assert ended(client, batch).status == "cancelled"
    with pytest.raises(openai.ConflictError, match="Cannot cancel"):
        client.batches.cancel(batch.id)


def test_unknown_batches_and_files_are_refused(client):
    with pytest.raises(openai.NotFoundError, match="No batch found"):
        client.batches.retrieve("batch_none")
    with pytest.raises(openai.BadRequestError, match="input file"):
        client.batches.create(input_file_id="file-none", endpoint=CHAT, completion_window="24h")


def test_faults_of_a_batch(server, client):
    for fault in (
        BatchFault(fails="Enqueued token limit reached."),
        BatchFault(expires=True, finished=1),
        BatchFault(missing=[0], line_errors={1: "No."}, bodies={2: {"choices": []}}, extra_lines=["not JSON"]),
    ):
        server.fail_batch(fault)
    lines = [line(number) for number in range(3)]
    failed, expired, odd = (ended(client, start(client, lines)) for _ in range(3))
    assert failed.status == "failed" and failed.errors.data[0].message == "Enqueued token limit reached."
    assert expired.status == "expired" and len(read(client, expired.output_file_id)) == 1
    assert [one["error"]["code"] for one in read(client, expired.error_file_id)] == ["batch_expired"] * 2
    first, answer = client.files.content(odd.output_file_id).text.splitlines()
    assert first == "not JSON" and json.loads(answer)["response"]["body"]["choices"] == []
    (error,) = read(client, odd.error_file_id)
    assert (error["custom_id"], error["response"]["body"]["error"]["message"]) == ("row-1", "No.")


@pytest.mark.parametrize("is_v1", [True, False])
def test_azure_has_batches_at_its_own_addresses(server, is_v1):
    server.batch_seconds = 0
    if is_v1:
        client = openai.OpenAI(api_key="k", base_url=f"{server.url}/openai/v1")
    else:
        client = openai.AzureOpenAI(api_key="k", azure_endpoint=server.url, api_version="2024-10-21")
    endpoint = CHAT if is_v1 else "/chat/completions"
    with client:
        batch = ended(client, start(client, [line(0, endpoint)], endpoint))
        assert batch.status == "completed" and len(read(client, batch.output_file_id)) == 1
