"""OpenAI and Azure models: what the real openai clients send to the demo server, and what comes back."""

import asyncio
import base64
import io
import itertools
import json
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.forms import APIS, FORMS, ask, each_api
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.providers.structured import Question

SECRET = "sk-test-0123456789abcdef"


@pytest.fixture
def llm(server, request):
    server.answer_with("The sky is blue, and the sea below it is darker.")
    api = getattr(request, "param", None)
    return vn.OpenAIMultiModal(model="gpt-4o", api_key=SECRET, api_base=server.openai_base, api=api)


def last(server):
    return server.requests[-1].body


async def all_eight(llm, question, image, messages):
    """Return the answer of each of the eight methods."""
    texts = {
        "complete": llm.complete(question, [image]).text,
        "chat": llm.chat(messages).text,
        "acomplete": (await llm.acomplete(question, [image])).text,
        "achat": (await llm.achat(messages)).text,
        "stream_complete": "".join(r.delta for r in llm.stream_complete(question, [image])),
        "stream_chat": "".join(r.delta for r in llm.stream_chat(messages)),
    }
    for name, awaited in (
        ("astream_complete", llm.astream_complete(question, [image])),
        ("astream_chat", llm.astream_chat(messages)),
    ):
        texts[name] = "".join([r.delta async for r in await awaited])
    return texts


@each_api
async def test_all_eight_methods_send_and_answer_the_same(server, llm):
    image = picture()
    message = vn.generate_openai_multi_modal_chat_message("What?", "user", [image])
    texts = await all_eight(llm, "What?", image, [message])
    assert set(texts.values()) == {"The sky is blue, and the sea below it is darker."}
    bodies = [dict(request.body) for request in server.requests]
    for body in bodies:
        body.pop("stream", None), body.pop("stream_options", None)
    assert len(bodies) == 8 and all(body == bodies[0] for body in bodies)


@each_api
def test_the_last_response_of_a_stream_equals_the_response_without_streaming(llm):
    whole, parts = llm.complete("What?"), list(llm.stream_complete("What?"))
    assert parts[-1].text == whole.text
    assert parts[-1].usage == whole.usage and whole.usage.total_tokens > 0
    assert parts[-1].finish_reason == whole.finish_reason == "stop"
    assert [one.text for one in parts] == sorted((one.text for one in parts), key=len)
    assert str(whole) == whole.text and str(llm.chat([vn.ChatMessage("user", "x")])).startswith("assistant: ")


def test_parameters_that_are_not_set_are_not_sent(server, llm):
    llm.complete("What?")
    assert last(server) == {"model": "gpt-4o", "messages": [{"role": "user", "content": "What?"}]}


def test_a_calls_parameters_override_additional_kwargs_which_override_the_models(server):
    server.strict = False  # top_k is a parameter of other servers
    llm = vn.OpenAIMultiModal(
        "gpt-4o",
        "k",
        server.openai_base,
        max_new_tokens=300,
        temperature=0.5,
        additional_kwargs={"seed": 7, "temperature": 0.2, "top_k": 40},
    )
    llm.complete("What?", temperature=0.9, max_tokens=5)
    assert last(server) | {"messages": None} == {
        "model": "gpt-4o",
        "messages": None,
        "temperature": 0.9,
        "max_tokens": 5,
        "seed": 7,
        "top_k": 40,
    }
    llm.complete("What?")
    assert (last(server)["max_tokens"], last(server)["temperature"]) == (300, 0.2)


@pytest.mark.parametrize(
    "model, name",
    [
        ("gpt-4o", "max_tokens"),
        ("gpt-4-vision-preview", "max_tokens"),
        ("gpt-5.4-mini", "max_completion_tokens"),
        ("o3", "max_completion_tokens"),
        ("ft:gpt-5:team::1", "max_completion_tokens"),
        ("a-model-of-tomorrow", "max_tokens"),
    ],
)
def test_the_length_limit_is_sent_under_the_name_that_the_model_accepts(server, model, name):
    vn.OpenAIMultiModal(model, "k", server.openai_base, max_new_tokens=9).complete("What?")
    assert last(server)[name] == 9


def request_image(llm, document, **overrides):
    """Return what a call would send of an image."""
    messages = [vn.ChatMessage("user", [document])]
    call = llm._prepare(Question(vn.ChatResponse, lambda: messages, overrides), stream=False)
    (part,) = call.request["messages"][0]["content"]
    return part["image_url"]


def test_an_image_url_is_sent_as_it_is_with_its_detail_level(server, llm):
    url = f"{server.url}/photo.jpg"
    assert request_image(llm, vn.ImageDocument(image_url=url, detail="low")) == {"url": url, "detail": "low"}
    assert request_image(llm, vn.ImageDocument(image_url=url)) == {"url": url}
    assert request_image(llm, vn.ImageDocument(image_url=url), image_detail="high") == {"url": url, "detail": "high"}


def test_images_are_resized_and_stripped_of_metadata(server, llm):
    exif = picture().getexif()
    exif[0x010F] = "SecretCamera"
    llm.complete("What?", [encoded(picture(3000, 2000), "JPEG", exif=exif)], image_detail="high")
    url = last(server)["messages"][0]["content"][1]["image_url"]["url"]
    head, _, body = url.partition(",")
    sent = base64.b64decode(body)
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(sent)).size == (1152, 768)
    assert b"SecretCamera" not in sent


def test_text_and_images_keep_their_order(server, llm):
    llm.chat([{"role": "user", "content": ["first", vn.ImageDocument.of(picture()), "second"]}])
    assert [part["type"] for part in last(server)["messages"][0]["content"]] == ["text", "image_url", "text"]


def test_a_single_image_does_not_need_a_list(server, llm, photo):
    llm.complete("What?", photo)
    llm.complete("What?", str(photo))
    assert all(len(request.body["messages"][0]["content"]) == 2 for request in server.requests)


def test_a_failing_request_is_repeated_max_retries_times(server):
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, max_retries=3)
    server.fail(Fault(status=500, retry_after=0.01), times=10)
    with pytest.raises(errors.ServerError, match=r"Sorry about that! Try again in a moment\.$"):
        llm.complete("What?")
    assert len(server.requests) == 4


def test_stream_options_are_dropped_for_good_when_the_server_rejects_them(server, llm):
    refusal = {"error": {"message": "Unrecognized field: stream_options", "type": "invalid_request_error"}}
    server.fail(Fault(status=422, body=refusal))
    assert list(llm.stream_complete("What?"))[-1].text
    assert list(llm.stream_complete("What?"))[-1].text
    assert ["stream_options" in request.body for request in server.requests] == [True, False, False]


FAULTS = {
    "wrong key": (Fault(status=401), errors.AuthenticationError, "key is correct"),
    "forbidden": (Fault(status=403), errors.AuthenticationError, "may use"),
    "unknown model": (
        Fault(status=404, body={"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}),
        errors.UnknownModelError,
        "'gpt-4o'",
    ),
    "wrong path": (Fault(status=404, body={"detail": "Not Found"}), errors.RequestRejectedError, "404"),
    "too many": (Fault(status=429, retry_after=0.01), errors.RateLimitError, "Wait a moment"),
    "no quota": (
        Fault(status=429, retry_after=0.01, body={"error": {"message": "quota", "code": "insufficient_quota"}}),
        errors.RateLimitError,
        "quota",
    ),
    "too long": (
        Fault(status=400, body={"error": {"message": "maximum context length", "code": "context_length_exceeded"}}),
        errors.ContextLengthError,
        "smaller images",
    ),
    "filtered": (
        Fault(status=400, body={"error": {"message": "filtered", "code": "content_filter"}}),
        errors.ContentFilterError,
        "Change the question",
    ),
    "bad request": (Fault(status=400), errors.RequestRejectedError, "400"),
    "server failed": (Fault(status=503, retry_after=0.01), errors.ServerError, "Try again"),
    "garbage": (Fault(garbage=True), errors.MalformedResponseError, "is not valid"),
    "HTML": (
        Fault(status=200, content_type="text/html", body="<html>proxy</html>"),
        errors.MalformedResponseError,
        "/v1",
    ),
    "no choices": (Fault(empty_choices=True), errors.MalformedResponseError, "choices|output"),
    "hung up": (Fault(cut_after=0), errors.ProviderConnectionError, "cannot be reached"),
    "too slow": (Fault(delay=5), errors.ProviderTimeoutError, "raise timeout="),
}


@pytest.mark.parametrize("fault, kind, words", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("api", APIS)
async def test_each_fault_raises_its_own_error_in_sync_and_async_calls(server, api, fault, kind, words):
    llm = vn.OpenAIMultiModal("gpt-4o", SECRET, server.openai_base, max_retries=1, timeout=0.5, api=api)
    server.fail(fault, times=4)
    with pytest.raises(kind, match=words) as caught:
        llm.complete("What?")
    with pytest.raises(kind, match=words):
        await llm.acomplete("What?")
    assert caught.value.__cause__ is not None or kind is errors.MalformedResponseError
    assert len(str(caught.value)) < 300


ODD = {
    "text is a list": {"choices": [{"message": {"role": "assistant", "content": [1]}, "finish_reason": "stop"}]},
    "text is a number": {"choices": [{"message": {"role": "assistant", "content": 7}, "finish_reason": "stop"}]},
    "message is a word": {"choices": [{"message": "hello", "finish_reason": "stop"}]},
    "choices is a mapping": {"choices": {"message": "hello"}},
    "choices is a word": {"choices": "hello"},
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_a_malformed_response_raises_an_error(server, llm, body):
    server.fail(Fault(body={"id": "x", "object": "chat.completion", "created": 1, "model": "m", **body}))
    with pytest.raises(errors.MalformedResponseError):
        llm.complete("What?")


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": "12", "completion_tokens": 3},
        {"prompt_tokens": -5, "completion_tokens": 3},
        {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 99}},
        "many",
    ],
)
def test_malformed_usage_does_not_lose_the_answer(server, llm, usage):
    choices = [{"message": {"role": "assistant", "content": "Blue."}, "finish_reason": ["x"]}]
    server.fail(Fault(body={"id": "x", "model": ["m"], "choices": choices, "usage": usage}))
    response = llm.complete("What?")
    assert response.text == "Blue." and response._repr_markdown_() and (response.cost is None or response.cost > 0)


def test_a_server_on_this_machine_is_reached_without_a_proxy(server, llm, monkeypatch):
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert llm.complete("What?").text
    assert asyncio.run(vn.LocalMultiModal(api_base=server.openai_base).acomplete("What?")).text


@each_api
def test_an_abandoned_stream_is_recorded_when_it_is_collected(server, llm):
    import gc

    for _ in llm.stream_complete("What?"):
        break
    gc.collect()
    assert len(vn.ledger.entries) == 1


def test_an_unreachable_server_raises_a_connection_error():
    llm = vn.OpenAIMultiModal("gpt-4o", "k", "http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(errors.ProviderConnectionError, match="cannot be reached"):
        llm.complete("What?")


@each_api
async def test_a_broken_stream_keeps_the_text_so_far(server, llm):
    server.fail(Fault(cut_after=8), times=2)
    stream = llm.stream_complete("What?")
    with pytest.raises(errors.ProviderConnectionError, match="in the middle of the answer") as caught:
        list(stream)
    assert "The sky is blue, and the sea".startswith(stream.text.strip()) and stream.text
    assert caught.value.partial_text == stream.text == stream.response.text
    astream = await llm.astream_complete("What?")
    with pytest.raises(errors.ProviderConnectionError):
        [r async for r in astream]
    assert astream.text == stream.text


@each_api
def test_an_invalid_chunk_raises_a_malformed_response_error(server, llm):
    server.fail(Fault(garbage=True))
    with pytest.raises(errors.MalformedResponseError):
        list(llm.stream_complete("What?"))


async def wait_for(condition):
    for _ in range(100):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


@each_api
async def test_an_interrupted_stream_closes_its_connection(server, llm):
    server.answer_with("word " * 5000)
    stream = llm.stream_complete("What?")
    next(stream)

    def interrupt(chunk):
        raise KeyboardInterrupt

    stream._parse = interrupt
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    assert stream.text.startswith("word")
    assert await wait_for(lambda: server.disconnects == 1)


@each_api
async def test_closing_a_stream_or_cancelling_its_task_closes_the_connection(server, llm):
    server.answer_with("word " * 100_000)  # it lasts until it is canceled, however slow the machine is
    with llm.stream_complete("What?") as stream:
        next(stream)
    assert await wait_for(lambda: server.disconnects == 1)

    astream = await llm.astream_complete("What?")

    async def read():
        async for _ in astream:
            pass

    task = asyncio.create_task(read())
    assert await wait_for(lambda: len(astream.text) > 50)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert astream.text.startswith("word")
    assert await wait_for(lambda: server.disconnects == 2)


@each_api
def test_one_model_works_in_several_event_loops(server, llm):
    for _ in range(3):
        assert asyncio.run(llm.acomplete("What?")).text
    results = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(llm.acomplete("x")).text)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3


SHORT_LOOPS = """
import asyncio, gc, sys
import vision_nb as vn
llm = vn.OpenAIMultiModal("gpt-4o", "k", sys.argv[1])
async def ask():
    await llm.acomplete("What?")
    return llm.async_client
clients = [asyncio.run(ask()) for _ in range(3)]
print([client.is_closed() for client in clients])
del clients
gc.collect()
asyncio.run(ask())
"""


@pytest.mark.slow
def test_the_end_of_an_event_loop_closes_its_client_silently(server):
    """Runs in a new process, because other tests patch asyncio."""
    run = subprocess.run([sys.executable, "-c", SHORT_LOOPS, server.openai_base], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("[True, True, True]\n", "")


async def longest_gap(work):
    """Await some work; return its duration and the longest time in which the event loop ran nothing else."""
    ticks = []

    async def tick():
        while True:
            ticks.append(time.perf_counter())
            await asyncio.sleep(0.005)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.02)
    started = time.perf_counter()
    await work
    ticks.append(time.perf_counter())
    ticking.cancel()
    return ticks[-1] - started, max(later - earlier for earlier, later in itertools.pairwise(ticks))


@pytest.mark.parametrize("method", ["acomplete", "achat", "astream_complete", "astream_chat"])
@pytest.mark.slow
async def test_encoding_an_array_does_not_block_the_event_loop(server, llm, method):
    await llm.acomplete("What?", [picture()])  # loads what is only loaded once
    noise = np.random.default_rng(0).integers(0, 256, (1800, 2400, 3), dtype=np.uint8)
    started = time.perf_counter()
    vn.ImageDocument.of(noise).prepare()
    encoding = time.perf_counter() - started
    arguments = ("What?", [noise]) if "complete" in method else ([{"role": "user", "content": ["What?", noise]}],)
    _, gap = await longest_gap(getattr(llm, method)(*arguments))
    assert gap < encoding / 2


def test_cut_off_and_filtered_answers_are_marked(server, llm):
    assert llm.complete("What?", max_tokens=3).finish_reason == "length"
    assert "cut off" in llm.complete("What?", max_tokens=3)._repr_markdown_()
    server.fail(Fault(finish_reason="content_filter"))
    assert "content filter" in llm.complete("What?")._repr_markdown_()


def test_the_error_for_a_missing_key_names_the_variable_and_the_demo_model():
    with pytest.raises(errors.MissingKeyError, match=r"OPENAI_API_KEY.*\"demo\""):
        vn.OpenAIMultiModal()


async def test_the_key_does_not_appear_in_reprs_errors_or_their_causes(server):
    server.require_key = "another"
    llm = vn.OpenAIMultiModal("gpt-4o", SECRET, server.openai_base, max_retries=0)
    server.fail(Fault(status=400, body={"error": {"message": f"bad key {SECRET} and sk-other-123456789"}}))
    asks: list[Any] = [llm.complete, llm.stream_complete]
    for asked in asks:
        with pytest.raises(errors.ProviderError) as caught:
            list(asked("What?"))
        shown = [repr(llm), str(llm), str(caught.value), repr(caught.value), str(caught.value.__cause__)]
        shown.append(repr(caught.value.__cause__))
        assert not any(SECRET in text or "sk-other" in text for text in shown)


@pytest.mark.parametrize(
    "messages, words",
    [
        ([], "list of messages is empty"),
        ("What?", "list of messages"),
        ([3], "not a message: pass ChatMessage"),
        ([{"role": "king", "content": "x"}], "role .king."),
        ([{"role": "user", "content": [{"type": "audio"}]}], "'audio'"),
    ],
)
def test_invalid_messages_are_rejected(llm, messages, words):
    with pytest.raises(errors.SettingsError, match=words):
        llm.chat(messages)


def test_invalid_arguments_are_rejected(llm):
    with pytest.raises(errors.SettingsError, match="part of the messages"):
        llm.chat([vn.ChatMessage("user", "x")], image_documents=[picture()])
    with pytest.raises(errors.SettingsError, match="prompt must be a string"):
        llm.complete(None)
    with pytest.raises(errors.SettingsError, match="accepts 1,500 images"):
        llm.complete("What?", [vn.ImageDocument(image_url=f"https://example.org/{n}.png") for n in range(1501)])
    with pytest.raises(errors.SettingsError, match="auto, low, high"):
        llm.complete("What?", image_detail="enormous")
    with pytest.raises(errors.SettingsError):
        vn.OpenAIMultiModal("gpt-4o", "k", image_detail="enormous")  # type: ignore[arg-type]


def test_nothing_is_sent_if_an_image_cannot_be_read(server, llm, tmp_path):
    with pytest.raises(errors.ImageNotFoundError):
        llm.complete("What?", [picture(), tmp_path / "missing.png"])
    assert server.requests == []


def azure(server, **options):
    chosen = {"engine": "my-vision", "model": "gpt-4o", "azure_endpoint": server.url, "api_version": "2024-06-01"}
    return vn.AzureOpenAIMultiModal(**{**chosen, "api_key": SECRET, **options})


async def test_azure_calls_its_deployment_with_all_eight_methods(server):
    server.answer_with("An answer.")
    llm = azure(server)
    message = vn.generate_openai_multi_modal_chat_message("What?", "user", [picture()])
    assert set((await all_eight(llm, "What?", picture(), [message])).values()) == {"An answer."}
    for request in server.requests:
        assert request.path.startswith("/openai/deployments/my-vision/chat/completions")
        assert request.headers["api-key"] == SECRET
    assert SECRET not in repr(llm)


def test_azure_reads_settings_from_the_environment_and_from_aliases(server, monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url)
    monkeypatch.setenv("OPENAI_API_VERSION", "2023-12-01-preview")
    for alias in ("engine", "azure_deployment", "deployment_name", "deployment_id"):
        options: dict[str, Any] = {alias: "d"}
        assert vn.AzureOpenAIMultiModal(**options).complete("What?").text
    assert vn.connect("azure:d", model="gpt-5").counted_model == "gpt-5"


def test_the_azure_error_names_every_missing_setting():
    with pytest.raises(errors.SettingsError, match=r"engine=.*AZURE_OPENAI_ENDPOINT.*OPENAI_API_VERSION"):
        vn.AzureOpenAIMultiModal(api_key="k")
    with pytest.raises(errors.MissingKeyError, match="AZURE_OPENAI_API_KEY"):
        vn.AzureOpenAIMultiModal("d", azure_endpoint="https://x.openai.azure.com", api_version="2024-06-01")


def test_azure_accepts_a_token_provider_instead_of_a_key(server):
    llm = azure(server, api_key=None, azure_ad_token_provider=lambda: "token-123")
    assert llm.complete("What?").text
    assert server.requests[-1].headers["authorization"] == "Bearer token-123"


def test_an_unknown_deployment_raises_an_unknown_model_error(server):
    server.models = ["other"]
    with pytest.raises(errors.UnknownModelError):
        azure(server, max_retries=0).complete("What?")


async def test_the_newline_and_end_marker_around_a_local_answer_are_trimmed(server):
    server.answer_with("\nA llama in glasses.</s>")
    llm = vn.LocalMultiModal(api_base=server.openai_base, max_new_tokens=9)
    texts = await all_eight(llm, "どんな画像ですか？", picture(), [vn.ChatMessage("user", "x")])
    assert set(texts.values()) == {"A llama in glasses."}
    assert llm.complete("x").raw.choices[0].message.content == "\nA llama in glasses.</s>"
    assert "max_tokens" in last(server)
    server.answer_with("a < b </s or </x>")
    assert "".join(r.delta for r in llm.stream_complete("x")) == "a < b </s or </x>"


def test_responses_know_their_price(server, llm):
    assert llm.complete("What?").cost > 0
    assert vn.OpenAIMultiModal("a-model-of-tomorrow", "k", server.openai_base).complete("What?").cost is None
    assert vn.LocalMultiModal(api_base=server.openai_base).complete("What?").cost == 0
    assert vn.LocalMultiModal(api_base="https://paid.example.org/v1").price(vn.Usage(1, 1)) is None
    assert vn.connect("demo", api_base=server.openai_base).complete("What?").cost == 0


def test_connect_returns_the_model_that_its_name_describes(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert vn.connect("openai").model == "gpt-4o"
    assert vn.connect("openai:ft:gpt-4o:team::1").model == "ft:gpt-4o:team::1"
    local: Any = vn.connect("local:llava", api_base="http://localhost:1/v1")
    assert local.api_base == "http://localhost:1/v1"
    assert str(vn.connect("demo")) == "demo"
    with pytest.raises(errors.SettingsError, match="Unknown provider 'opnai': did you mean 'openai:gpt-4o'"):
        vn.connect("opnai:gpt-4o")
    with pytest.raises(errors.SettingsError, match="azure:NAME"):
        vn.connect("azure")


def test_a_model_survives_json_and_usage_adds_up():
    one = vn.Usage(10, 5)
    assert sum([one, one]) == vn.Usage(20, 10)
    assert (one + vn.Usage(None, 1)).input_tokens is None
    assert json.dumps(one.total_tokens) == "15"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "gpt-4"}, "model="), ({"extra_body": {"model": "gpt-4"}}, "model="), ({"messages": []}, "messages="),
        ({"timeout": -1}, "timeout"), ({"timeout": float("nan")}, "timeout"), ({"timeout": 0}, "timeout"),
        ({"seed": float("nan")}, "finite"), ({"extra_body": {"a": [float("inf")]}}, "finite"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", FORMS)
async def test_a_parameter_that_cannot_be_sent_or_would_be_priced_wrongly_is_refused(server, form, settings, words):
    llm = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base)
    with pytest.raises(errors.SettingsError, match=words):
        await ask(llm, form, **settings)
    own = vn.OpenAIMultiModal("gpt-4o", "k", server.openai_base, additional_kwargs=settings)
    with pytest.raises(errors.SettingsError, match=words):
        await ask(own, form)
    assert not server.requests and (await ask(llm, form, timeout=30, seed=1)).text
