"""Answers that are too large or never end, and the two names of the length limit."""

import gzip
import itertools
import zlib

import pytest

import vision_nb as vn
from vision_nb import errors
from vision_nb.demo import Fault

FORMS = ["complete", "acomplete", "stream_complete", "astream_complete"]


async def ask(llm, form):
    """Ask a question with one of the methods."""
    result = getattr(llm, form)("Which numbers?")
    if form.startswith("a"):
        result = await result
    if form == "stream_complete":
        return list(result)[-1]
    if form == "astream_complete":
        return [response async for response in result][-1]
    return result


def connect(server, **options):
    return vn.OpenAIMultiModal("gpt-4o", "a-key-of-a-test", server.openai_base, **{"max_retries": 3, **options})


@pytest.mark.parametrize("form", FORMS)
async def test_keep_alives_for_ever_end_at_the_total_timeout_and_are_not_repeated(server, form):
    server.fail(Fault(events=itertools.repeat(": keep-alive\n\n")))
    with pytest.raises(errors.ProviderTimeoutError, match="total_timeout"):
        await ask(connect(server, timeout=30, total_timeout=0.5), form)
    assert len(server.requests) == 1


@pytest.mark.parametrize("compress, encoding", [(gzip.compress, "gzip"), (zlib.compress, "deflate"), (None, "")])
@pytest.mark.parametrize("form", FORMS)
async def test_an_answer_above_the_size_limit_is_refused(server, monkeypatch, form, compress, encoding):
    monkeypatch.setattr("vision_nb.providers.openai.transport.MAX_ANSWER_BYTES", 2**20)
    body = b" " * (3 * 2**20)
    headers = {"Content-Encoding": encoding} if encoding else {}
    server.fail(Fault(status=200, body=compress(body) if compress else body, headers=headers))
    with pytest.raises(errors.ProviderError, match="exceeds 1 MiB"):
        await ask(connect(server, timeout=30), form)
    assert len(server.requests) == 1


@pytest.mark.parametrize("form", FORMS)
async def test_a_reasoning_model_by_any_name_gets_the_limit_that_it_accepts(server, form):
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    server.fail(Fault(status=400, body={"error": {"message": words, "code": "unsupported_parameter"}}))
    llm = vn.AzureOpenAIMultiModal(
        "our-deployment", azure_endpoint=server.url, api_version="2024-10-21", api_key="k", max_new_tokens=9
    )
    assert (await ask(llm, form)).text and (await ask(llm, form)).text
    names = [sorted(name for name in request.body if name.startswith("max_")) for request in server.requests]
    assert names == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]
