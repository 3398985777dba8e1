"""Misspelled, foreign, missing and superfluous arguments raise an error that names the right ones."""

import asyncio
import inspect
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest

import vision_nb as vn
from tests.test_docstrings import METHODS
from vision_nb.checks.public_object import INTERNAL_NAMES
from vision_nb.checks.spelling import closest

CHART = vn.samples.path("chart")
DATA = {"type": "object", "properties": {"height": {"type": "integer"}}}
_VALUES = {"MessageRole"} | {
    name
    for name, kind in ((name, getattr(vn, name)) for name in vn.__all__)
    if not callable(kind)
    or name in ("Comparison", "Extraction", "Plan", "Score", "CompletionResponse", "ChatResponse", "Usage")
}
REQUIRED = {  # the arguments that are checked before unknown ones are passed on
    "connect": (["demo"], {}),
    "serve": (["smolvlm-500m"], {}),
    "serve_llava": (["smolvlm-500m"], {}),
    "ServiceMultiModal": (["groq", "llama"], {}),
    "AzureOpenAIMultiModal": (["ours", "gpt-4o", "https://ours.openai.azure.com/openai/v1"], {}),
    "register_service": (["ours"], {"base_url": "http://127.0.0.1/v1"}),
}
CALLABLES = sorted(set(vn.__all__) - _VALUES)


def failure(call, *args, **kwargs):
    with pytest.raises(vn.errors.ArgumentError) as caught:
        result = call(*args, **kwargs)
        if inspect.iscoroutine(result):
            asyncio.run(result)
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, ValueError)
    assert len(str(caught.value)) < 300
    return str(caught.value)


@pytest.mark.parametrize("name", CALLABLES)
def test_every_public_function_and_class_refuses_an_unknown_argument(name):
    args, kwargs = REQUIRED.get(name, ((), {}))
    with pytest.raises(vn.errors.SettingsError, match="no_such_argument"):
        result = getattr(vn, name)(*args, **kwargs, no_such_argument=1)
        if inspect.iscoroutine(result):
            asyncio.run(result)


def test_every_public_method_refuses_an_unknown_argument():
    internal = " ".join(INTERNAL_NAMES.values()).split()
    for qualified, method in METHODS.items():
        rest = [one.kind for one in inspect.signature(method).parameters.values()][-1] is inspect.Parameter.VAR_KEYWORD
        if (name := qualified.partition(".")[2]) not in internal and not rest:
            assert f"{name}() " in failure(method, None, no_such_argument=1)


def test_missing_and_misspelled_arguments_of_methods(photo):
    llm = vn.connect("demo")
    assert failure(llm.complete) == "complete() needs prompt: write complete(prompt)."
    assert failure(llm.achat) == "achat() needs messages: write achat(messages)."
    result = vn.extract(photo, DATA, model=llm, progress=False)
    assert failure(result.to_dataframe, colums="all") == (
        "to_dataframe() has no argument colums=: did you mean columns=?"
    )
    assert failure(result.to_csv) == "to_csv() needs path: write to_csv(path)."
    assert failure(vn.Chat.load) == "load() needs path: write load(path)."
    assert failure(vn.ChatPanel("demo", store=False).add, images=photo) == (
        "add() takes its arguments without names: omit images=."
    )
    assert failure(vn.ledger.reset, 1) == "reset() takes no positional arguments: write reset()."


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("temprature", "temperature"),
        ("apikey", "api_key"),
        ("base_url", "api_base"),
        ("detail", "image_detail"),
        ("max_tokens", "max_new_tokens"),
        ("ratelimit", "rate_limit"),
        ("retries", "max_retries"),
    ],
)
@pytest.mark.parametrize("model", ["demo", "openai:gpt-4o", "groq:llama"])
def test_an_option_of_a_model_that_does_not_exist_suggests_the_right_one(model, given, meant):
    assert f"no argument {given}=: did you mean {meant}=?" in failure(vn.connect, model, **{given: 1})


def test_an_option_of_a_local_model_may_be_one_of_its_base_class():
    message = failure(vn.LocalMultiModal, "llava", context_lenght=10)
    assert message == "LocalMultiModal has no argument context_lenght=: did you mean context_length=?"
    assert "did you mean timeout=?" in failure(vn.LocalMultiModal, "llava", timeuot=10)


def test_a_misspelled_address_of_a_local_model_is_no_search_for_servers():
    assert "did you mean api_base=?" in failure(vn.connect, "local:llava", api_bsae="http://127.0.0.1:9/v1")
    assert "did you mean api_base=?" in failure(vn.connect, "ollama:llava", base_url="http://127.0.0.1:9/v1")


def test_a_parameter_of_the_api_is_passed_in_additional_kwargs():
    assert "additional_kwargs={'top_p': ...}" in failure(vn.connect, "demo", top_p=0.5)


@pytest.mark.parametrize("method", ["complete", "stream_complete", "acomplete", "astream_complete"])
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("images", "image_documents"),
        ("image", "image_documents"),
        ("temprature", "temperature"),
        ("max_new_token", "max_new_tokens"),
        ("shema", "schema"),
        ("detail", "image_detail"),
        ("reasoning_efort", "reasoning_effort"),
    ],
)
def test_a_misspelled_argument_of_a_call_is_not_sent(server, method, given, meant):
    llm = vn.connect("demo", api_base=server.openai_base)
    assert failure(getattr(llm, method), "hi", **{given: CHART}).endswith(
        f"no argument {given}=: did you mean {meant}=?"
    )
    assert server.requests == []


@pytest.mark.parametrize("method", ["chat", "stream_chat", "achat", "astream_chat"])
def test_a_misspelled_argument_of_a_chat_call_is_not_sent(server, method):
    llm = vn.connect("demo", api_base=server.openai_base)
    messages = [vn.ChatMessage("user", "hi")]
    assert "did you mean temperature=?" in failure(getattr(llm, method), messages, temprature=1)
    assert "system=...)" in failure(getattr(llm, method), messages, system="Be brief.")
    assert server.requests == []


def test_a_chat_takes_images_in_its_messages():
    with pytest.raises(vn.errors.SettingsError, match="as part of the messages"):
        vn.connect("demo").chat([vn.ChatMessage("user", "hi")], images=CHART)


def test_parameters_that_only_resemble_an_argument_are_sent(server):
    llm = vn.OpenAIMultiModal("gpt-4o", "key", server.openai_base)
    extra = {"top_k": 5, "min_p": 0.1, "top_a": 1, "num_ctx": 4096, "keep_alive": "5m", "format": "json", "options": {}}
    with pytest.raises(vn.errors.RequestRejectedError):  # by the server
        llm.complete("hi", extra_body=extra)
    from vision_nb.checks.arguments import check_request_parameters

    others = (  # of Groq, llama.cpp, Mistral, OpenRouter, Replicate and vLLM
        "reasoning_format parse_tool_calls repeat_penalty repeat_last_n n_predict min_keep cache_prompt safe_prompt "
        "random_seed document_image_limit models provider transforms min_new_tokens do_sample penalty_alpha "
        "stop_sequences guided_json guided_choice stop_token_ids prompt_logprobs typical_p mm_processor_kwargs"
    )
    check_request_parameters([*extra, *others.split()], ("prompt", "image_documents", "schema", "max_repairs"))


def test_a_question_of_a_chat_suggests_its_own_arguments():
    chat = vn.Chat("demo")
    assert "did you mean images=?" in failure(chat.ask, "hi", image_documents=CHART)
    assert "did you mean images=?" in failure(chat.aask, "hi", image=CHART)
    assert "did you mean temperature=?" in failure(lambda: list(chat.stream("hi", temprature=1)))
    assert len(chat) == 0


def test_options_of_a_run_are_suggested_or_belong_to_the_model():
    run = ("demo", "How large is it?", CHART)
    assert "did you mean models=?" in failure(vn.compare, model="demo", prompts="hi", images=CHART)
    assert "did you mean concurrency=?" in failure(vn.compare, *run, max_workers=3)
    assert "did you mean budget=?" in failure(vn.acompare, *run, budgte=3)
    assert "vn.connect(NAME, temperature=...)" in failure(vn.extract, CHART, DATA, model="demo", temprature=0)
    assert "vn.connect(NAME, temperature=...)" in failure(vn.ChatPanel, "demo", temperature=0)


@pytest.mark.parametrize(
    ("model", "prompt", "image"),
    [("demo", "What is it?", CHART), (["demo", "demo:b"], ["What is it?", "How?"], [str(CHART)])],
)
def test_models_prompts_and_images_in_another_order(model, prompt, image):
    for order in list(permutations((model, prompt, image)))[1:]:
        with pytest.raises(vn.errors.SettingsError, match=r"write compare\(models, prompts, images\)"):
            vn.compare(*order)
    for name in ("GPT 4o", "opnai:"):
        with pytest.raises(vn.errors.SettingsError, match=f"Unknown .*'{name.rstrip(':')}'"):
            vn.compare(name, prompt, image)
    with pytest.raises(vn.errors.SettingsError, match="the prompt comes first"):
        vn.estimate_cost([image], prompt, "gpt-4o")  # type: ignore[call-overload] # on purpose


@pytest.mark.parametrize(
    "value", [np.array([1, 2]), pd.Series([1, 2]), pd.NA, object()], ids=lambda one: type(one).__name__
)
def test_an_argument_of_a_wrong_type_is_named(tmp_path, value):
    table = vn.extract(CHART, DATA, model="demo", store=tmp_path / "a.sqlite3", progress=False)
    calls: dict[str, Callable[[], object]] = {
        "total_timeout": lambda: vn.connect("openai:gpt-4o", api_key="k", total_timeout=value),
        "seed": lambda: vn.LabelPanel(table.comparison, seed=value),
        "service": lambda: vn.ServiceMultiModal(value, "llama"),
        "title": lambda: table.to_html(title=value),
        "comparison": lambda: vn.Extraction(value),
        "detail": lambda: vn.image_tokens(CHART, "gpt-4o", detail=value),
    }
    if type(value) is not object:  # its truth is ambiguous
        calls |= {
            "engine": lambda: vn.AzureOpenAIMultiModal(value, "gpt-4o", "https://ours.openai.azure.com/openai/v1"),
            "dry_run": lambda: vn.extract(CHART, DATA, model="demo", dry_run=value),
            "reviewed": lambda: table.to_dataframe(reviewed=value),
        }
    for name, call in calls.items():
        with pytest.raises(vn.errors.SettingsError, match=name):
            call()


def test_a_wrong_type_is_said_in_words():
    assert failure(vn.extract, CHART, DATA, model="demo", progress=np.array([1, 2])) == (
        "progress must be True or False, not an ndarray."
    )
    assert failure(vn.ImageDocument.of, CHART, detail=np.array([1, 2])) == (
        "detail must be 'auto' or 'low' or 'high' or 'original' or None, not an ndarray."
    )


def test_a_missing_argument_is_named():
    assert failure(vn.compare, "demo") == (
        "compare() needs prompts and images: write compare(models, prompts, images)."
    )


def test_arguments_that_must_be_named_or_are_given_twice():
    assert failure(vn.RateLimit, 10) == (
        "RateLimit takes no positional arguments: write RateLimit(requests_per_minute=...)."
    )
    message = failure(vn.extract, CHART, DATA, "demo")
    assert (
        message
        == "extract() takes only images and schema as positional arguments: write extract(images, schema, model=...)."
    )
    assert failure(vn.connect("demo").stream_chat, "What?", [CHART]) == (
        "stream_chat() takes only messages as positional arguments: for a prompt with images, use stream_complete()."
    )
    assert failure(vn.connect, "openai:gpt-4o", model="gpt-4o") == "OpenAIMultiModal got model twice: omit model=."
    for name in ("model", "llm"):
        assert failure(vn.connect, **{name: "openai:gpt-4o"}) == (
            "connect() takes the model's name first, as in vn.connect('openai:gpt-4o')."
        )
    assert failure(vn.extract, CHART, DATA, pages="1-2") == (
        "extract() has no argument pages=: pass vn.load_images(..., pages=...)."
    )


def test_a_value_of_another_type_is_named(photo):
    llm: Any = vn.connect("demo")
    result: Any = vn.extract(photo, DATA, model=llm, progress=False)
    text: Any = "x"
    document = vn.ImageDocument.of(photo)
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: result["photo"], "row.image"),
        (lambda: result.comparison.rows[text], "row.image"),
        (lambda: vn.load_images(photo)[text], "Images have numbers"),
        (lambda: result[1.5], "Rows have numbers, such as rows\\[0\\]: got 1.5"),
        (lambda: result.document("x"), "Rows have numbers, such as rows\\[0\\]: got 'x'"),
        (lambda: result.wait(timeout=text), "timeout must be a number"),
        (lambda: document.to_pil(text), "longest side"),
        (lambda: document.thumbnail(0), "longest side"),
        (lambda: vn.draw_boxes(photo, llm), "list of boxes"),
        (lambda: vn.draw_boxes(photo, [(1, 2, 3, 4)], labels=["car"]), "each box has its own label"),  # type: ignore[arg-type] # on purpose
        (lambda: vn.LabelPanel(result), "result of compare"),
        (lambda: result.comparison.set_label(text, correctness=5), "Rows have numbers"),
        (lambda: result.get_review(text), "Rows have numbers"),
        (lambda: vn.load_images(photo).filter(text), "keep must be a function"),
        (lambda: vn.load_images(photo).sorted_by(text), "key must be a function"),
        (lambda: vn.load_image_urls(document), "takes a list of URLs"),  # type: ignore[arg-type] # on purpose
        (lambda: vn.display_image_uris([photo], image_matrix=3), "image_matrix must be"),  # type: ignore[arg-type] # on purpose
        (lambda: vn.show_tiles(photo, detail=[]), "must be a level or a list"),
        (lambda: vn.calibrate("gpt-4o"), "takes a model object"),
        (lambda: vn.set_price(["gpt-4o"], 1, 2), "A list is not a model's name"),  # type: ignore[arg-type] # on purpose
        (lambda: vn.OpenAIMultiModal(["gpt-4o"], "k"), "A list is not a model's name"),  # type: ignore[arg-type] # on purpose
        (lambda: vn.ReplicateMultiModal(["llava-13b"]), "A list is not a model's name"),  # type: ignore[arg-type] # on purpose
        (lambda: vn.connect("demo", timeout=text), "timeout must be a number of seconds"),
        (lambda: vn.connect("demo", additional_kwargs=text), "must be a dict of request parameters, not a str"),
        (lambda: vn.Chat(llm).undo(text), "Cannot undo"),
        (lambda: vn.estimate_cost("hi", photo, "gpt-4o", max_new_tokens=text), "integer"),
        (lambda: vn.display_stream(llm.complete("hi")), "not a CompletionResponse"),
        (lambda: asyncio.run(vn.adisplay_stream(llm.stream_complete("hi"))), "await llm.astream_complete"),
    ]
    for call, words in calls:
        with pytest.raises(vn.errors.SettingsError, match=words):
            call()
    pixels: Any = np.zeros((4, 4, 3), np.uint8)
    assert vn.generate_openai_multi_modal_chat_message("What?", image_documents=pixels).image_documents[0].size == (
        4,
        4,
    )


def test_an_index_that_does_not_exist_says_how_many_items_there_are(photo):
    images = vn.load_images([photo, CHART])
    result = vn.compare("demo", "What?", images, progress=False)
    estimates: Any = vn.estimate_cost("What?", photo, models=["gpt-4o"])
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: result[99], "There is no row 99: there are 2 rows, 0 to 1."),
        (lambda: result[-3], "There is no row -3: there are 2 rows, 0 to 1."),
        (lambda: result.document(2), "There is no row 2: there are 2 rows, 0 to 1."),
        (lambda: images[2], "There is no image 2: there are 2 images, 0 to 1."),
        (lambda: images[:0][0], "There is no image 0: there are no images."),
        (lambda: estimates[1], "There is no estimate 1: there is only estimate 0."),
        (lambda: result.index("it"), "Comparison has no item that equals 'it'."),
    ]
    for call, message in calls:
        with pytest.raises(IndexError) as caught:
            call()
        assert str(caught.value) == message and isinstance(caught.value, vn.errors.MissingItemError)
    assert result.index(result[1]) == 1
    assert result[-1] == result[1] and result.document(-1) is images[1] and len(result[1:99]) == 1


@pytest.mark.parametrize(("whole", "part"), [(int, float), (np.int64, np.float32)])
def test_a_number_of_numpy_is_a_number(photo, server, tmp_path, whole, part):
    llm = vn.OpenAIMultiModal("gpt-4o", "key", server.openai_base, max_side=whole(100), max_retries=whole(0))
    llm.max_new_tokens = whole(50)
    assert repr(llm.identity["max_side"]) == "100" and repr(llm.settings()) == "{'max_new_tokens': 50}"
    llm.complete("Which?", photo, schema=DATA, max_repairs=whole(0), seed=whole(3), top_p=part(0.5))
    assert (server.requests[-1].body["seed"], server.requests[-1].body["top_p"]) == (3, 0.5)
    limit = vn.RateLimit(requests_per_minute=whole(5))
    assert str(limit) == "5 requests a minute"
    vn.compare(llm, "Which?", photo, concurrency=whole(2), max_wait=whole(9), rate_limits=limit, dry_run=True)
    estimated = vn.estimate_cost("Which?", (whole(512), whole(512)), "gpt-4o", max_new_tokens=whole(5))
    assert repr(estimated) == "Estimate(gpt-4o: 265 tokens in, 1 to 5 out, 0.000672 to 0.000712 USD)"
    assert vn.cheapest_fit((whole(512), whole(512)), "gpt-4o").size == (512, 512)
    document = vn.ImageDocument.of(photo)
    assert document.crop((whole(0), part(0.5), whole(10), whole(20))).size == (10, 20)
    assert len(document.split(whole(2), whole(1))) == 2 and document.to_pil(whole(50)).size == (50, 37)
    assert vn.draw_boxes(photo, [], max_side=whole(50)).size == (50, 37)
    assert len(vn.load_images(photo, frames=whole(1), dpi=part(72))) == 1
    chat = vn.Chat(llm, keep_images=whole(2))
    assert repr(chat.keep_images) == "2"
    answered = vn.compare("demo", "Which?", photo, store=tmp_path / "a.sqlite3", progress=False)
    assert vn.LabelPanel(answered, seed=whole(1), annotator="\ud800").row == 0
    pixels = np.zeros((9, 9, 3), np.uint8)
    for message in (vn.ChatMessage("user", pixels), vn.ChatMessage.of({"role": "user", "content": pixels})):
        assert message.image_documents[0].size == (9, 9)
    vn.show(photo, columns=whole(2))


def test_true_is_not_a_number(photo):
    llm: Any = vn.connect("demo")
    calls: list[Callable[[], Any]] = [
        lambda: vn.connect("demo", max_side=True),
        lambda: vn.estimate_cost("Which?", photo, "gpt-4o", max_new_tokens=True),
        lambda: vn.compare(llm, "Which?", photo, concurrency=True),
        lambda: vn.draw_boxes(photo, [], max_side=True),
        lambda: vn.ImageDocument.of(photo).split(True, 2),
        lambda: vn.ImageDocument.of(photo).to_pil(True),
        lambda: vn.show(photo, columns=True),
    ]
    for call in calls:
        with pytest.raises(vn.errors.SettingsError, match=r"(not|got) True"):
            call()


def test_an_error_inside_a_function_stays_what_it_is():
    with pytest.raises(TypeError) as caught:
        vn.load_images(CHART).filter(lambda image: image.title + 1)  # type: ignore[operator] # on purpose
    assert not isinstance(caught.value, vn.errors.ArgumentError)


def test_the_arguments_are_not_in_the_local_variables_of_the_check():
    with pytest.raises(vn.errors.ArgumentError) as caught:
        vn.OpenAIMultiModal("gpt-4o", "sk-a-key-that-is-long-enough", no_such=1)  # type: ignore[call-arg] # on purpose
    frame = caught.tb.tb_next
    while frame is not None:
        assert "long-enough" not in repr(frame.tb_frame.f_locals)
        frame = frame.tb_next


def test_a_word_of_the_same_meaning_goes_before_a_similar_one():
    assert closest("model", ["mode", "models"]) == "models"
    assert closest("models", ["model", "models"]) == "models"
    assert closest("unlike_any", ["models"]) is None
