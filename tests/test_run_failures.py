"""Every kind of failed call in a run: the same rows, errors and ledger with either transport, and no secrets."""

import asyncio
import re
from typing import Any

import pytest
from pydantic import BaseModel

import vision_nb as vn
from tests.conftest import closed_port, picture
from vision_nb.comparison.grid import Row
from vision_nb.demo import Fault
from vision_nb.providers.openai.aiohttp_transport import AiohttpTransport

pytestmark = pytest.mark.slow

SECRET = "sk-a-secret-key-of-this-test"
HEADER = "a-secret-header-of-this-test"
MANY = 100
"""Calls of a run from which aiohttp sends them."""
TRIES = 7
"""Calls after which a row has a rate limit error."""
RATE_LIMITS = {"429", "429 with Retry-After"}
FAULTS = {
    "no failure": Fault(text="Blue."),
    "401": Fault(status=401),
    "403": Fault(status=403),
    "404": Fault(status=404),
    "429": Fault(status=429),
    "429 with Retry-After": Fault(status=429, retry_after=0.01),
    "500": Fault(status=500),
    "503 with HTML": Fault(status=503, body=b"<html>down</html>", content_type="text/html"),
    "no answer in time": Fault(delay=60),
    "reset before the answer": Fault(cut_after=0),
    "reset in the middle": Fault(cut_after=60),
    "broken JSON": Fault(body=b'{"id": "x", "choices": [{"ind', content_type="application/json"),
    "HTML": Fault(garbage=True),
    "no choices": Fault(empty_choices=True),
    "refused by the model": Fault(message={"content": None, "refusal": "I cannot help with that."}),
    "refused by a filter": Fault(finish_reason="content_filter", text=""),
    "cut off": Fault(finish_reason="length", text='{"color": "bl'),
    "empty": Fault(text=""),
    "another 401 with the key in its message": Fault(status=401, body={"error": {"message": f"Bad key {SECRET}"}}),
}
ERRORS = {
    "no failure": None,
    "401": "AuthenticationError: ",
    "403": "AuthenticationError: ",
    "404": "UnknownModelError: ",
    "429": "RateLimitError: ",
    "429 with Retry-After": "RateLimitError: ",
    "500": "ServerError: ",
    "503 with HTML": "ServerError: ",
    "no answer in time": "ProviderTimeoutError: ",
    "reset before the answer": "ProviderConnectionError: ",
    "reset in the middle": "ProviderConnectionError: ",
    "broken JSON": "MalformedResponseError: ",
    "HTML": "MalformedResponseError: ",
    "no choices": "MalformedResponseError: ",
    "refused by the model": None,
    "refused by a filter": None,
    "cut off": None,
    "empty": None,
    "another 401 with the key in its message": "AuthenticationError: ",
}


class Color(BaseModel):
    """What is read from each image."""

    color: str


@pytest.fixture
def failures(monkeypatch):
    """The errors that rows are given."""
    found: list[Exception] = []
    with_error = Row.with_error

    def seen(self, error):
        found.append(error)
        return with_error(self, error)

    monkeypatch.setattr(Row, "with_error", seen)
    return found


@pytest.fixture
def sent(monkeypatch):
    """The requests that aiohttp sends."""
    found = []
    send = AiohttpTransport.handle_async_request

    async def counted(self, request):
        found.append(request)
        return await send(self, request)

    monkeypatch.setattr(AiohttpTransport, "handle_async_request", counted)
    return found


def run(form, base, count, store, **options):
    """Ask one question about each of some images, in order; return what is the same in two runs: rows and ledger."""
    vn.ledger.reset()
    headers = {"X-Secret": HEADER}
    llm = vn.OpenAIMultiModal("gpt-4o", SECRET, base, max_retries=0, default_headers=headers, **options)
    images = [picture(16, 16, seed=seed) for seed in range(count)]
    settings: Any = {"store": store, "progress": False, "concurrency": 1, "max_wait": 0.01}
    if form == "extract":
        rows = vn.extract(images, Color, model=llm, max_repairs=0, **settings)
    elif form == "compare":
        rows = vn.compare(llm, "Which color?", images, **settings)
    else:
        rows = asyncio.run(vn.acompare(llm, "Which color?", images, **settings))
    assert rows.incomplete is None and len(rows) == count
    shown = [(row.response, _words(row.error), row.finish_reason, row.input_tokens, row.usd) for row in rows]
    entries = [(one.model, one.usage, one.usd, one.is_estimate, one.expected_tokens) for one in vn.ledger.entries]
    vn.ledger.reset()
    return shown, entries


def _words(error):
    """Return an error without the transport's own words for a broken connection, which are in parentheses."""
    return error and re.sub(r" \(.*\)(?=: )", "", error) if "ConnectionError" in (error or "") else error


def check_secrets(error):
    """Check what an error and all that it refers to contain."""
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        one = chain.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        text = f"{one!r} {one} {vars(one)} {getattr(one, '__notes__', '')}"
        assert SECRET not in text and HEADER not in text and not type(one).__module__.startswith("aiohttp"), text
        chain += [one.__cause__, one.__context__]


@pytest.mark.parametrize("form", ["compare", "acompare", "extract"])
def test_each_failure_is_the_same_with_both_transports(server, tmp_path, form, failures, sent):
    results = []
    for count in (MANY, MANY - 1):
        sent.clear()
        for name, fault in FAULTS.items():
            server.fail(fault, TRIES if name in RATE_LIMITS else 1)
        requests = len(server.requests)
        results.append(run(form, server.openai_base, count, tmp_path / f"{count}.sqlite3", timeout=10))
        made = count + (TRIES - 1) * len(RATE_LIMITS)
        assert len(server.requests) - requests == made and len(sent) == (made if count == MANY else 0)
    (rows, entries), (other_rows, other_entries) = results
    assert rows[: MANY - 1] == other_rows
    assert entries[: len(other_entries)] == other_entries and len(entries) == len(other_entries) + 1
    assert len(failures) >= 2 * sum(error is not None for error in ERRORS.values())
    for error in failures:
        check_secrets(error)
    if form != "extract":
        for (name, expected), row in zip(ERRORS.items(), rows, strict=False):
            assert row[1] is None if expected is None else (row[1] or "").startswith(expected), (name, row)
    assert all(row[1] is None for row in rows[len(FAULTS) :])


@pytest.mark.parametrize("form", ["compare", "acompare", "extract"])
def test_a_server_that_is_not_there_is_the_same_error_with_both_transports(tmp_path, form, failures, sent):
    with closed_port() as port:
        base = f"http://127.0.0.1:{port}/v1"
        (rows, entries), (other_rows, other_entries) = (
            run(form, base, count, tmp_path / f"{count}.sqlite3") for count in (MANY, MANY - 1)
        )
    assert len(sent) == MANY and rows[: MANY - 1] == other_rows and entries == other_entries == []
    assert all("ProviderConnectionError" in row[1] and "cannot be reached" in row[1] for row in rows)
    assert len(failures) == 2 * MANY - 1
    for error in failures:
        check_secrets(error)
