"""What an error of a server says, and the advice that fits it."""

import openai
import pytest

import vision_nb as vn
from tests.forms import FORMS, ask
from vision_nb import errors
from vision_nb.demo import Fault


def connect(server, **options):
    return vn.OpenAIMultiModal(
        "gpt-4o", "a-key-of-a-test", **{"api_base": server.openai_base, "timeout": 30, **options}
    )


OVERFLOWS = {
    "vLLM": (400, "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens."),
    "Ollama": (400, "the input length exceeds the context length"),
    "llama.cpp": (500, "the request exceeds the available context size, try increasing it"),
    "llama-cpp-python": (500, "Requested tokens (9000) exceed context window of 4096"),
    "LM Studio": (400, "The number of tokens to keep from the initial prompt is greater than the context length."),
    "Anthropic": (400, "input length and `max_tokens` exceed context limit: 198000 + 8192 > 200000"),
    "LM Studio, older": (400, "Trying to keep the first 9000 tokens when context the overflows."),
}


@pytest.mark.parametrize("status, words", OVERFLOWS.values(), ids=OVERFLOWS)
@pytest.mark.parametrize("form", FORMS)
async def test_a_context_overflow_is_recognized_in_every_servers_words_and_not_repeated(server, form, status, words):
    server.fail(Fault(status=status, body={"error": {"message": words}}), times=5)
    with pytest.raises(errors.ContextLengthError, match="smaller images"):
        await ask(connect(server, max_retries=3), form)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("form", FORMS)
async def test_a_server_without_a_projector_is_asked_once(server, form, status):
    words = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
    server.fail(Fault(status=status, body={"error": {"message": words}}), times=5)
    with pytest.raises(errors.RequestRejectedError, match=r"cannot see images.*mmproj"):
        await ask(connect(server, max_retries=3), form)
    assert len(server.requests) == 1


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_openai_client_of_a_model_does_not_repeat_what_cannot_succeed(server, is_async):
    server.fail(Fault(status=500, body={"error": {"message": OVERFLOWS["llama.cpp"][1]}}), times=5)
    llm = connect(server, max_retries=3)
    messages = [{"role": "user", "content": "What?"}]
    with pytest.raises(openai.InternalServerError):
        if is_async:
            await llm.async_client.chat.completions.create(model="gpt-4o", messages=messages)
        else:
            llm.client.chat.completions.create(model="gpt-4o", messages=messages)
    assert len(server.requests) == 1


@pytest.mark.parametrize("form", FORMS)
async def test_a_base_url_without_v1_is_named(server, form):
    llm = connect(server, api_base=server.openai_base.removesuffix("/v1"), max_retries=0)
    with pytest.raises(errors.ProviderError, match=r"lacks /v1: try http://.*/v1"):
        await ask(llm, form)


@pytest.mark.parametrize("words", ["remote image URLs are not allowed", "invalid url: must be base64 encoded image"])
@pytest.mark.parametrize("form", FORMS)
async def test_a_server_that_takes_no_image_urls_is_helped_by_inline_urls(server, form, words):
    server.fail(Fault(status=400, body={"error": {"message": words}}))
    with pytest.raises(errors.RequestRejectedError, match="inline_urls=True"):
        await ask(connect(server, max_retries=0), form)


NO_DOWNLOADS = {  # how servers say that they could not download an image
    "OpenAI": (400, "Error while downloading http://x.org/y.png.", "invalid_image_url"),
    "OpenAI, slow": (400, "Timeout while downloading http://x.org/y.png.", "invalid_image_url"),
    "OpenAI, Responses API": (400, "Failed to download image.", "failed_to_download_image"),
    "vLLM": (500, "Failed to fetch image: 404, message='Not Found', url='http://x.org/y.png'", None),
    "Ollama": (502, "could not download remote file http://x.org/y.png", None),
    "LiteLLM": (500, "litellm.BadRequestError: Unable to fetch image from URL. Status code: 404", None),
    "another": (400, "Cannot load image from URL http://x.org/y.png?token=secret-token-1234", None),
}


@pytest.mark.parametrize(("status", "words", "code"), NO_DOWNLOADS.values(), ids=NO_DOWNLOADS)
async def test_an_image_that_the_server_cannot_download_is_a_download_error(server, status, words, code):
    server.fail(Fault(status=status, body={"error": {"message": words, "code": code}}))
    with pytest.raises(
        errors.ImageDownloadError, match=r"URL is correct and public, or pass inline_urls=True"
    ) as caught:
        await ask(connect(server), FORMS[0])
    assert isinstance(caught.value, errors.RequestRejectedError) and caught.value.status_code == status
    assert "secret-token" not in str(caught.value) and words[:20] in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("form", FORMS)
async def test_the_category_of_the_content_filter_is_named(server, form):
    result = {"hate": {"filtered": False}, "violence": {"filtered": True, "severity": "high"}}
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": result}
    server.fail(Fault(status=400, body={"error": {"message": "x", "code": "content_filter", "innererror": inner}}))
    with pytest.raises(errors.ContentFilterError, match="Filtered: violence"):
        await ask(connect(server, max_retries=0), form)


@pytest.mark.parametrize("form", FORMS[:2])
async def test_a_connection_lost_in_the_middle_of_an_answer_is_not_called_unreachable(server, form):
    server.fail(Fault(cut_after=20))
    with pytest.raises(errors.ProviderConnectionError, match="in the middle of the answer"):
        await ask(connect(server, max_retries=0), form)


INVALID_HEADERS = [{"Content-Length": "-5"}, {"Content-Length": "5, 7"}, {"Transfer-Encoding": "zip"}]


@pytest.mark.parametrize("headers", INVALID_HEADERS, ids=str)
@pytest.mark.parametrize("form", FORMS)
async def test_an_invalid_http_response_is_not_called_unreachable_and_not_asked_for_again(server, form, headers):
    """The server has received the question, and may bill it."""
    server.fail(Fault(headers=headers, content_length="Content-Length" in headers), times=5)
    with pytest.raises(errors.MalformedResponseError, match="sent an invalid HTTP response") as caught:
        await ask(connect(server, max_retries=3), form)
    assert len(server.requests) == 1 and caught.value.may_be_billed and len(str(caught.value)) <= 300
    assert [entry.is_estimate for entry in vn.ledger.entries] == [True]


@pytest.mark.parametrize("form", FORMS)
async def test_status_408_is_a_timeout(server, form):
    server.fail(Fault(status=408, body={"error": {"message": "too slow"}}))
    with pytest.raises(errors.ProviderTimeoutError, match="too slow"):
        await ask(connect(server, max_retries=0), form)
