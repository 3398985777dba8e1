"""Differences of local servers, as observed, through the real openai client."""

import base64
import html
import json
import warnings

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.test_openai_provider import all_eight, last
from vision_nb import errors
from vision_nb.cost.text_tokens import context_length
from vision_nb.demo import Fault


@pytest.fixture
def llm(server):
    server.answer_with("\nA llama in glasses.</s>")
    return vn.LocalMultiModal(api_base=server.openai_base, max_new_tokens=30, max_retries=0)


def completion(**changes):
    """Return the walkthrough's response with some fields changed."""
    message = {"content": "\n眼鏡をかけたラマです。</s>", "role": "assistant"}
    return {
        "id": "087bf613",
        "choices": [{"finish_reason": "stop", "index": 0, "message": message}],
        "created": 1721389775,
        "model": "llava",
        "object": "chat.completion",
        "system_fingerprint": None,
        "usage": {"completion_tokens": 138, "prompt_tokens": 1, "total_tokens": 139},
        **changes,
    }


def events(*chunks):
    """Return a stream of events as it is sent."""
    envelope = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "llava"}
    lines = [f"data: {json.dumps({**envelope, **chunk})}\n\n" for chunk in chunks]
    return Fault(body="".join([*lines, "data: [DONE]\n\n"]), content_type="text/event-stream")


def delta(reason=None, **fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


def test_the_walkthroughs_answer_is_trimmed_in_text_and_unchanged_in_raw(server, llm):
    server.fail(Fault(body=completion()))
    response = llm.complete("どんな画像ですか？", [picture()])
    assert response.text == str(response) == "眼鏡をかけたラマです。"
    assert response.raw.choices[0].message.content == "\n眼鏡をかけたラマです。</s>"


def test_implausible_usage_is_marked_and_never_billed(server, llm):
    server.fail(Fault(body=completion()), times=2)
    response = llm.complete("どんな画像ですか？", [picture()])
    assert response.usage == vn.Usage(1, 138) and response.usage_is_implausible
    assert "1 token in (as reported; at least 577 were sent), 138 out" in html.unescape(response._repr_markdown_())
    assert vn.ledger.entries[0].is_estimate and vn.ledger.entries[0].usage.input_tokens == 593
    assert response.cost == 0  # on this machine, whatever was counted
    vn.set_price("llava", input=1, output=1)
    assert llm.complete("どんな画像ですか？", [picture()]).cost is None
    assert vn.ledger.entries[1].usd > 0.0005  # by the estimate


def test_plausible_usage_is_not_marked(server, llm):
    response = llm.complete("What?", [picture()])
    assert not response.usage_is_implausible and "reported" not in response._repr_markdown_()
    assert "reported" not in llm.complete("What?")._repr_markdown_()


def test_an_image_at_a_url_counts_when_usage_is_checked(server, llm):
    server.fail(Fault(body=completion()))
    response = llm.complete("x", [vn.ImageDocument(image_url="https://example.org/a.png")])
    assert response.usage_is_implausible and response.sent_tokens == 1 + 576


def test_usage_below_the_texts_tokens_is_implausible_even_if_the_images_are_unknown(server):
    llm = vn.LocalMultiModal("qwen2.5-vl", server.openai_base)
    server.fail(Fault(body=completion()))
    response = llm.complete("Describe each person in this picture, please.", [picture()])
    assert response.usage_is_implausible and response.sent_tokens == 8


async def test_usage_below_what_was_certainly_sent_is_implausible_in_all_eight_methods(server, llm):
    """A proxy that counts a streamed request itself takes 85 tokens per image, where LLaVA takes 576."""
    usage = {"prompt_tokens": 93, "completion_tokens": 5, "total_tokens": 98}
    chunks = events(delta(content="Blue sky."), delta("stop"), {"choices": [], "usage": usage})
    question = [vn.ChatMessage("user", ["What?", picture()])]
    for method in ("complete", "chat", "acomplete", "achat"):
        given = ("What?", [picture()]) if "complete" in method else (question,)
        server.fail(Fault(body=completion(usage=usage)))
        answer = getattr(llm, method)(*given)
        whole = await answer if method.startswith("a") else answer
        server.fail(chunks)
        name = method.replace("complete", "stream_complete").replace("chat", "stream_chat")
        stream = getattr(llm, name)(*given)
        last_piece = [piece async for piece in await stream][-1] if method.startswith("a") else list(stream)[-1]
        for response in (whole, last_piece):
            assert response.usage.input_tokens == 93 and response.sent_tokens == 577
            assert response.usage_is_implausible
    assert [entry.is_estimate for entry in vn.ledger.entries] == [True] * 8
    assert {entry.usage.input_tokens for entry in vn.ledger.entries} == {8 + 2 + 576}


def test_a_correct_count_that_is_small_for_the_text_is_plausible(server):
    llm = vn.LocalMultiModal("qwen2.5-vl", server.openai_base)
    usage = {"prompt_tokens": 60, "completion_tokens": 5, "total_tokens": 65}
    for prompt in ("-" * 5000, " " * 5000 + "What?", "word " * 50, "眼鏡をかけたラマです。" * 50):
        server.fail(Fault(body=completion(usage=usage)))
        assert not llm.complete(prompt, [picture()]).usage_is_implausible, prompt[:20]


def test_at_detail_auto_the_server_may_have_counted_the_lowest_level(server):
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105}
    llm = vn.OpenAIMultiModal("gpt-4o", "sk-x", api_base=server.openai_base)
    found = {}
    for detail in (None, "auto", "low", "high"):
        server.fail(Fault(body=completion(usage=usage)))
        found[detail] = llm.complete("What?", [picture(1024, 1024)], image_detail=detail).usage_is_implausible
    assert found == {None: False, "auto": False, "low": False, "high": True}


async def test_chunks_without_content_choices_or_usage_are_accepted(server, llm):
    stream = events(
        delta(role="assistant", content=None),
        {"choices": []},
        delta(content="\n"),
        delta(content="Blue"),
        delta(content=None),
        delta(content=" sky.</"),
        delta(content="s>"),
        delta("stop"),
        {"choices": [], "usage": None},
    )
    server.fail(stream, times=2)
    pieces = list(llm.stream_complete("What?"))
    assert "".join(one.delta for one in pieces) == pieces[-1].text == "Blue sky."
    assert pieces[-1].usage is None and pieces[-1].finish_reason == "stop"
    assert [one.text async for one in await llm.astream_complete("What?")][-1] == "Blue sky."


def test_a_stream_without_text_or_finish_reason_is_an_error(server, llm):
    server.fail(events(delta(role="assistant", content=None), {"choices": []}))
    with pytest.raises(errors.MalformedResponseError, match="without an answer"):
        list(llm.stream_complete("What?"))


@pytest.mark.parametrize("silent", [events(), events(delta("stop"))], ids=["nothing", "only a reason"])
async def test_an_empty_stream_is_repeated_once_unstreamed_for_the_error(server, silent):
    failure = Fault(status=500, body={"error": {"message": "Prompt exceeds n_ctx: 63209 > 4096"}})
    llm = vn.LocalMultiModal(api_base=server.openai_base, max_retries=3)
    for times in (1, 2):
        server.fail(silent)
        server.fail(failure)
        with pytest.raises(errors.ContextLengthError, match="63209 > 4096"):
            if times == 1:
                list(llm.stream_complete("What?", max_tokens=9, stream_options={"include_usage": True}))
            else:
                [_ async for _ in await llm.astream_complete("What?", max_completion_tokens=9)]
        assert len(server.requests) == 2 * times and "stream_options" not in last(server)
        assert not last(server).get("stream") and 1 in last(server).values() and 9 not in last(server).values()


def test_an_empty_answer_is_allowed_and_a_remote_server_gets_no_second_request(server, llm, monkeypatch):
    server.fail(events(delta("stop")))
    assert list(llm.stream_complete("What?"))[-1].text == ""
    monkeypatch.setattr(vn.LocalMultiModal, "is_free", False)
    server.fail(events(delta("stop")))
    assert list(llm.stream_complete("What?"))[-1].text == ""
    assert [bool(request.body.get("stream")) for request in server.requests] == [True, False, True]


async def test_a_model_with_a_price_gets_no_second_request(server, llm):
    vn.set_price("llava", input=1, output=1)
    server.fail(events(delta("stop")), times=2)
    assert list(llm.stream_complete("What?"))[-1].text == ""
    assert [one.text async for one in await llm.astream_complete("What?")][-1] == ""
    assert [bool(request.body.get("stream")) for request in server.requests] == [True, True]


def test_the_default_timeout_is_ten_minutes(llm):
    assert llm.timeout == llm.client.timeout == 600
    assert vn.LocalMultiModal(timeout=5).timeout == 5


async def test_each_stream_from_this_machine_uses_its_own_connection(server):
    def connection():
        sent = {name.lower(): value for name, value in server.requests[-1].headers.items()}
        return sent.get("connection"), sent.get("x-team")

    llm = vn.LocalMultiModal(api_base=server.openai_base, default_headers={"X-Team": "a"})
    list(llm.stream_complete("What?"))
    assert connection() == ("close", "a")
    [response async for response in await llm.astream_complete("What?")]
    assert connection() == ("close", "a")
    assert llm.complete("What?").text and connection() == ("keep-alive", "a")


def test_an_answer_without_usage_is_estimated(server, llm):
    server.fail(Fault(no_usage=True))
    response = llm.complete("What?", [picture()])
    assert response.usage is None and not response.usage_is_implausible
    assert vn.ledger.entries[0].is_estimate and vn.ledger.entries[0].usage.input_tokens == 586


UNKNOWN_MODELS = {
    "LiteLLM": (
        400,
        {
            "error": {
                "message": "{'error': '/chat/completions: Invalid model name passed in model=llava. Call `/v1/models` "
                "to view available models for your key.'}",
                "type": "None",
                "param": "None",
                "code": "400",
            }
        },
    ),
    "FastAPI": (400, {"detail": "Model llava-v1.5 not found"}),
    "FastAPI, quoted": (422, {"detail": "Model 'llava' was not found. Available: a, b"}),
    "FastAPI, not found": (404, {"detail": "Model llava not found"}),
    "vLLM": (400, {"object": "error", "message": "The model `llava` does not exist.", "code": 400}),
}


@pytest.mark.parametrize("status, body", UNKNOWN_MODELS.values(), ids=UNKNOWN_MODELS)
async def test_an_unknown_model_is_an_unknown_model_error_whatever_the_server_calls_it(server, llm, status, body):
    server.fail(Fault(status=status, body=body), times=4)
    for stream in (False, True):
        with pytest.raises(errors.UnknownModelError, match="'llava'"):
            list(llm.stream_complete("What?")) if stream else llm.complete("What?")
        with pytest.raises(errors.UnknownModelError):
            [_ async for _ in await llm.astream_complete("What?")] if stream else await llm.acomplete("What?")


@pytest.mark.parametrize(
    "message", ["This model does not support images.", "Your model got a URL that was not found.", "No file not found"]
)
def test_other_refusals_that_mention_the_model_are_not_unknown_models(server, llm, message):
    server.fail(Fault(status=400, body={"error": {"message": message}}))
    with pytest.raises(errors.RequestRejectedError):
        llm.complete("What?")


REFUSALS = {
    "FastAPI": (
        422,
        {"detail": [{"loc": ["body", "messages", 0, "content", 1, "image_url", "detail"], "msg": "extra"}]},
    ),
    "in words": (400, {"error": {"message": "Unknown field image_url.detail", "type": "invalid_request_error"}}),
    "llama-cpp-python": (
        500,
        {"error": {"message": "2 validation errors: {'loc': ('body', 'image_url', 'detail')}", "type": "internal"}},
    ),
}


@pytest.mark.parametrize("status, body", REFUSALS.values(), ids=REFUSALS)
async def test_if_a_detail_level_is_rejected_requests_are_sent_without_from_then_on(server, llm, status, body):
    server.fail(Fault(status=status, body=body))
    with pytest.warns(UserWarning, match="does not support the detail level"):
        assert llm.complete("What?", [picture()], image_detail="high").text
    assert (await llm.acomplete("What?", [picture()], image_detail="high")).text
    sent = [request.body["messages"][0]["content"][1]["image_url"] for request in server.requests]
    assert ["detail" in image for image in sent] == [True, False, False]


def test_an_error_in_a_field_named_detail_is_not_a_rejected_detail_level(server, llm):
    server.fail(Fault(status=422, body={"detail": [{"loc": ["body", "model"], "msg": "no such model"}]}), times=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(errors.RequestRejectedError):
            llm.complete("What?", [picture()], image_detail="high")
    assert len(server.requests) == 1


def test_a_detail_level_and_stream_options_may_both_be_rejected(server, llm):
    server.fail(Fault(status=422, body={"detail": [{"loc": ["body", "image_url", "detail"]}]}))
    server.fail(Fault(status=422, body={"detail": [{"loc": ["body", "stream_options"]}]}))
    with pytest.warns(UserWarning, match="detail level"):
        assert list(llm.stream_complete("What?", [picture()], image_detail="low"))[-1].text == "A llama in glasses."
    assert len(server.requests) == 3 and "stream_options" not in last(server)


def test_unset_parameters_are_not_sent(server, llm):
    llm.complete("What?", [picture()])
    assert set(last(server)) == {"model", "messages", "max_tokens"}
    assert set(last(server)["messages"][0]["content"][1]["image_url"]) == {"url"}


def test_with_inline_urls_images_are_downloaded_here(server, photo, monkeypatch):
    monkeypatch.setattr("vision_nb.images.content.download", lambda url, **_: photo.read_bytes())
    document = vn.ImageDocument(image_url="https://example.org/photo.jpg")
    url = document.image_url
    vn.LocalMultiModal(api_base=server.openai_base, inline_urls=True).complete("What?", [document])
    sent = last(server)["messages"][0]["content"][1]["image_url"]["url"]
    assert sent.startswith("data:image/jpeg;base64,") and base64.b64decode(sent.partition(",")[2])[:2] == b"\xff\xd8"
    plain = vn.LocalMultiModal(api_base=server.openai_base)
    assert plain.outgoing(vn.ImageDocument(image_url=url)).prepared is None


async def test_a_conversation_that_is_too_long_is_rejected_before_it_is_sent(server, llm):
    words = r"about 4,617 tokens, but local:llava holds 4,096.* 8 images \(4,608 tokens\).*context_length="
    with pytest.raises(errors.ContextLengthError, match=words):
        llm.complete("x", [picture()] * 8)
    with pytest.raises(errors.ContextLengthError):
        await llm.achat([vn.ChatMessage("user", "a" * 17_000)])
    with pytest.raises(errors.ContextLengthError):
        llm.stream_complete("x", [picture()] * 8)
    assert server.requests == []
    assert llm.complete("x", [picture()] * 7).text  # 4,032 and a few fit
    with pytest.raises(errors.ContextLengthError):  # the chat template takes some as well
        llm.complete("x" * 100, [picture()] * 7)
    longer = vn.LocalMultiModal(api_base=server.openai_base, context_length=8192)
    assert longer.complete("x", [picture()] * 8).text


def test_a_model_with_unknown_context_length_is_not_limited(server):
    assert context_length("llava") == context_length("llava-v1.5-7b") == 4096
    assert context_length("llava-v1.6-34b") is context_length("qwen2-vl") is None
    assert vn.LocalMultiModal("qwen2-vl", server.openai_base).complete("x" * 40_000).text
    assert vn.LocalMultiModal("llava", server.openai_base, context_length=0).complete("x" * 40_000).text


def test_a_servers_own_context_error_is_a_context_length_error(server, llm):
    server.fail(Fault(status=500, body={"error": {"message": "Prompt exceeds n_ctx: 4220 > 4096"}}))
    with pytest.raises(errors.ContextLengthError, match="fewer or smaller images"):
        llm.complete("x")


STREAMED_ERRORS = {
    "vLLM": {
        "message": "This model's maximum context length is 4096 tokens. However, you asked for 9000.",
        "code": 400,
    },
    "as text": "the request exceeds the available context size: maximum context length is 4096 tokens",
}


@pytest.mark.parametrize("error", STREAMED_ERRORS.values(), ids=STREAMED_ERRORS)
def test_a_context_error_inside_a_stream_is_a_context_length_error(server, llm, error):
    server.fail(Fault(body=f"data: {json.dumps({'error': error})}\n\n", content_type="text/event-stream"))
    with pytest.raises(errors.ContextLengthError, match="maximum context length is 4096"):
        list(llm.stream_complete("What?"))


async def test_all_eight_methods_trim_the_answer(server, llm):
    texts = await all_eight(llm, "What?", picture(), [vn.ChatMessage("user", "x")])
    assert set(texts.values()) == {"A llama in glasses."}
