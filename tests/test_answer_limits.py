"""Answers that are too large or never end, the two names of the length limit, and Azure's endpoints."""

import gzip
import itertools
import zlib

import httpx2
import pytest

import vision_nb as vn
from tests.forms import FORMS, ask
from vision_nb import errors
from vision_nb.demo import DemoServer, Fault

pytestmark = pytest.mark.slow


def connect(server, **options):
    return vn.OpenAIMultiModal("gpt-4o", "a-key-of-a-test", server.openai_base, **{"max_retries": 3, **options})


@pytest.mark.parametrize("form", FORMS)
async def test_keep_alives_forever_end_at_the_total_timeout_and_are_not_repeated(server, form):
    server.fail(Fault(events=itertools.repeat(": keep-alive\n\n")))
    with pytest.raises(errors.ProviderTimeoutError, match="total_timeout"):
        await ask(connect(server, timeout=30, total_timeout=3), form)
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


@pytest.mark.parametrize("form", FORMS)
async def test_the_v1_endpoint_of_azure_needs_no_version_and_errors_name_the_deployment(server, form):
    llm = vn.AzureOpenAIMultiModal(
        "our-deployment", "gpt-4o", azure_endpoint=f"{server.url}/openai/v1/", api_key="k", max_retries=0
    )
    assert (await ask(llm, form)).text
    assert server.requests[-1].body["model"] == "our-deployment"
    server.fail(Fault(status=404))
    with pytest.raises(errors.UnknownModelError, match="our-deployment"):
        await ask(llm, form)


@pytest.mark.parametrize("form", ["complete", "stream_complete"])
async def test_an_asynchronous_token_provider_is_refused_in_a_synchronous_call(server, form):
    async def token():
        return "token"

    llm = vn.AzureOpenAIMultiModal("d", azure_endpoint=f"{server.url}/openai/v1", azure_ad_token_provider=token)
    with pytest.raises(errors.SettingsError, match="asynchronous"):
        await ask(llm, form)
    assert (await ask(llm, f"a{form}")).text


@pytest.mark.parametrize("form", FORMS)
async def test_a_token_provider_works_with_the_v1_endpoint(form):
    with DemoServer(tokens_per_second=5000) as server:
        server.require_key = "token-of-entra"
        endpoint = f"{server.url}/openai/v1"
        llm = vn.AzureOpenAIMultiModal("d", azure_endpoint=endpoint, azure_ad_token_provider=lambda: "token-of-entra")
        assert (await ask(llm, form)).text


@pytest.fixture(params=["default client", "own client"])
async def client_options(request):
    """Return the options for the client that the model makes, and for clients of the user's."""
    if request.param == "default client":
        yield {}
        return
    with httpx2.Client() as client:
        async with httpx2.AsyncClient() as async_client:
            yield {"http_client": client, "async_http_client": async_client}


@pytest.mark.parametrize("form", FORMS)
async def test_headers_that_drip_forever_end_at_the_total_timeout(server, client_options, form):
    server.fail(Fault(headers={"X-Long": "x" * 10_000}, header_drip=0.1))
    with pytest.raises(errors.ProviderTimeoutError, match="total_timeout") as caught:
        await ask(connect(server, timeout=30, total_timeout=0.5, **client_options), form)
    assert len(server.requests) == 1 and caught.value.may_be_billed


@pytest.mark.parametrize("form", FORMS)
async def test_a_connection_that_is_used_again_has_the_deadline_too(server, client_options, form):
    llm = connect(server, timeout=30, total_timeout=1, **client_options)
    assert (await ask(llm, form)).text
    server.fail(Fault(headers={"X-Long": "x" * 10_000}, header_drip=0.1))
    with pytest.raises(errors.ProviderTimeoutError, match="total_timeout"):
        await ask(llm, form)
    assert (await ask(llm, form)).text


@pytest.mark.parametrize("form", FORMS)
async def test_the_limits_apply_to_a_client_of_the_users(server, monkeypatch, client_options, form):
    monkeypatch.setattr("vision_nb.providers.openai.transport.MAX_ANSWER_BYTES", 2**20)
    llm = connect(server, timeout=30, total_timeout=0.5, **client_options)
    server.fail(Fault(status=200, body=b" " * (3 * 2**20)))
    with pytest.raises(errors.ProviderError, match="exceeds 1 MiB"):
        await ask(llm, form)
    server.fail(Fault(events=itertools.repeat(": keep-alive\n\n")))
    with pytest.raises(errors.ProviderTimeoutError, match="total_timeout"):
        await ask(llm, form)


async def test_requests_of_the_users_own_are_not_limited(server, monkeypatch):
    monkeypatch.setattr("vision_nb.providers.openai.transport.MAX_ANSWER_BYTES", 10)
    with httpx2.Client() as client, connect(server, http_client=client, total_timeout=0.001) as llm:
        assert llm.client is not None
        assert len(client.get(f"{server.openai_base}/models").content) > 10


@pytest.mark.parametrize("form", FORMS)
async def test_the_body_of_a_whole_answer_that_drips_ends_at_the_total_timeout(server, client_options, form):
    server.fail(Fault(drip=0.2))
    with pytest.raises(errors.ProviderTimeoutError, match="total_timeout"):
        await ask(connect(server, timeout=30, total_timeout=0.5, **client_options), form)
