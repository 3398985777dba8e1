"""Whatever a server or a caller sends, the result is an answer or one of our own errors."""

import asyncio
import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vision_nb as vn
from tests.forms import FORMS, ask
from vision_nb import errors
from vision_nb.demo import DemoServer, Fault

pytestmark = pytest.mark.slow

PROPERTY = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def rubbish_server():
    with DemoServer(tokens_per_second=100_000) as server:
        yield server


@pytest.fixture
def llm(rubbish_server):
    return vn.OpenAIMultiModal("gpt-4o", "a-key-of-a-test", rubbish_server.openai_base, max_retries=0, timeout=60)


def check(error_or_response):
    """Check that a response or an error can be shown."""
    if isinstance(error_or_response, errors.VisionError):
        message = str(error_or_response)
        assert 0 < len(message) <= 300
        message.encode()
        return
    assert isinstance(error_or_response, vn.CompletionResponse)
    for text in (error_or_response._repr_markdown_(), error_or_response.text, str(error_or_response.finish_reason)):
        text.encode()


def outcome(llm, form, *args, **overrides):
    """Return the response or our error; any other exception is a failure."""
    with suppress(asyncio.CancelledError):
        try:
            return asyncio.run(ask(llm, form, *args, **overrides))
        except errors.VisionError as error:
            return error


TEXTS = st.text(st.characters(codec=None), max_size=12) | st.sampled_from(["\ud800", "error", "stop", "\x00\x1b[2J"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
NAMES = st.sampled_from(["choices", "error", "message", "content", "delta", "usage", "model", "detail", "text", "id"])
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
FIELDS = st.dictionaries(NAMES | st.sampled_from(["finish_reason", "reasoning", "refusal", "index"]), JSON, max_size=4)
FAULTS = st.one_of(
    st.builds(lambda body, status: Fault(body=body, status=status), JSON, st.sampled_from([200, 400, 404, 500])),
    st.builds(lambda events: Fault(events=events), st.lists(JSON, max_size=3)),
    st.builds(lambda fields: Fault(message=fields), FIELDS),
    st.builds(lambda fields: Fault(choice=fields), FIELDS),
    st.builds(lambda fields: Fault(answer=fields), FIELDS),
    st.builds(lambda body: Fault(body=body, status=200), st.binary(max_size=40)),
    st.builds(lambda body: Fault(events=[body, b"\n\n"]), st.binary(max_size=40)),
)


@PROPERTY
@given(fault=FAULTS, form=st.sampled_from(FORMS))
def test_any_answer_of_a_server_is_a_response_or_our_error(rubbish_server, llm, fault, form):
    rubbish_server.fail(fault)
    check(outcome(llm, form))


ANSWER = '{"id": "x", "model": "m", "choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "x": %s}'
EXTREME = {
    "deeply nested": ANSWER % ("[" * 50_000 + "]" * 50_000),
    "a number of 6,000 digits": ANSWER % ("9" * 6000),
    "a nested error": '{"error": ' * 3000 + '"x"' + "}" * 3000,
    "a lone surrogate": ANSWER.replace('"m"', r'"\ud800"').replace('"stop"', r'"\udfff"') % "1",
    "choices of a wrong type": '{"choices": [[["x"]]]}',
}


@pytest.mark.parametrize("body", EXTREME.values(), ids=EXTREME)
@pytest.mark.parametrize("form", FORMS)
def test_an_extreme_answer_is_a_response_or_our_error(rubbish_server, llm, form, body):
    rubbish_server.fail(Fault(body=body.encode(), content_type="application/json", status=200))
    check(outcome(llm, form))
    rubbish_server.fail(Fault(events=[f"data: {body.replace('message', 'delta')}\n\n"]))
    check(outcome(llm, form))


ARGUMENTS = st.one_of(TEXTS, st.none(), st.integers(), st.floats(), st.binary(max_size=8), JSON, st.just(object()))
PARAMETERS = st.sampled_from(["max_new_tokens", "temperature", "stop", "image_detail", "user", "made_up", "model"])


@PROPERTY
@given(
    prompt=TEXTS | ARGUMENTS, overrides=st.dictionaries(PARAMETERS, ARGUMENTS, max_size=2), form=st.sampled_from(FORMS)
)
def test_any_prompt_and_parameter_is_answered_or_our_error(llm, prompt, overrides, form):
    check(outcome(llm, form, prompt, **overrides))


@PROPERTY
@given(image=ARGUMENTS, form=st.sampled_from(FORMS))
def test_any_image_is_answered_or_our_error(llm, image, form):
    check(outcome(llm, form, "What?", [image]))


LONG = {
    "base64 as a path": "iVBORw0KGgo" * 200_000,
    "a long name": "name" * 10_000 + ".png",
    "a long URL": "http://127.0.0.1:9/" + "x" * 100_000,
    "surrogates": "/tmp/\udce9" + "\ud800" * 5000 + ".png",
    "control characters": "\x1b[2J" * 500 + ".png",
    "a long host label": f"http://{'a' * 64}.example/x.png",
}
ENTRIES = {
    "complete": lambda text: vn.connect("demo").complete("What?", [text]),
    "chat": lambda text: vn.connect("demo").chat([{"role": text, "content": "x"}]),
    "part": lambda text: vn.connect("demo").chat([{"role": "user", "content": [{"type": text}]}]),
    "detail": lambda text: vn.connect("demo").complete("What?", image_detail=text),
    "connect": vn.connect,
    "connect with an option": lambda text: vn.connect("openai:gpt-4o", api_key="k", **{text: 1}),
    "base URL": lambda text: vn.OpenAIMultiModal("m", "k", text, max_retries=0, timeout=1).complete("What?"),
    "model": lambda text: vn.OpenAIMultiModal(text, "k", "http://127.0.0.1:9/v1", max_retries=0).complete("What?"),
    "load_images": vn.load_images,
    "load_image_urls": lambda text: vn.load_image_urls([text]),
    "ImageDocument": lambda text: vn.ImageDocument(image_path=text).read(),
    "compare": lambda text: vn.compare(text, "What?", ["x.png"], store=":no:"),
    "estimate_cost": lambda text: vn.estimate_cost("What?", [text]),
    "image_tokens": lambda text: vn.image_tokens(text, "gpt-4o"),
    "cheapest_fit": lambda text: vn.cheapest_fit(text, "gpt-4o"),
    "set_price": lambda text: vn.set_price("m", text, text),
    "serve_llava": lambda text: vn.serve_llava(text, text),
    "Chat": lambda text: vn.Chat(text),
    "Chat.load": lambda text: vn.Chat.load(text),
    "Chat.export": lambda text: vn.Chat("demo").export(text),
    "show_tiles": lambda text: vn.show_tiles(text, "gpt-4o"),
    "store": lambda text: vn.compare("demo", "What?", ["x.png"], store=text, progress=False),
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_no_message_is_long_and_no_foreign_exception_leaves_an_entry_point(tmp_path, monkeypatch, entry, text):
    monkeypatch.chdir(tmp_path)
    try:
        entry(text)
    except errors.VisionError as error:
        check(error)


@given(st.text(st.characters(codec=None), max_size=2000))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_every_error_limits_its_message(text):
    for kind in (errors.VisionError, errors.ImageNotFoundError, errors.SettingsError, errors.ProviderError):
        message = str(kind(text))
        assert len(message) <= 300
        message.encode()
    assert str(errors.SettingsError("x" * 999 + ": do this.")).endswith(": do this.")


def test_a_pydantic_class_as_a_parameter_is_a_settings_error(llm):
    from pydantic import BaseModel

    class Receipt(BaseModel):
        total: float

    with pytest.raises(errors.SettingsError, match="BaseModel"):
        llm.complete("What?", response_format=Receipt)
    with pytest.raises(errors.SettingsError, match="made_up"):
        vn.connect("openai:gpt-4o", api_key="k", made_up=1)


def test_texts_with_lone_surrogates_are_sent_and_stored(rubbish_server, llm, tmp_path):
    from vision_nb.storage.annotations import Label
    from vision_nb.store import Store

    assert llm.complete("caf\udce9", user="\ud800").text
    json.dumps(rubbish_server.requests[-1].body, ensure_ascii=False).encode()
    result = vn.compare(llm, "caf\udce9", [vn.samples.path("chart")], store=tmp_path / "a.sqlite3", progress=False)
    assert result.rows[0].error is None
    with Store(tmp_path / "a.sqlite3") as store:
        store.put_label(result.rows[0].key, Label(4, comment="\ud800", annotator="\udce9"))
        assert store.labels([result.rows[0].key])
