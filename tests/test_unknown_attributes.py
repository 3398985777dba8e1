"""Assigning to an attribute that does not exist or cannot be set raises an error that says so."""

import copy
import dataclasses
import pickle

import pytest

import vision_nb as vn
from tests.test_tab_completion import OBJECTS, SCHEMA


def failure(target, name):
    with pytest.raises(vn.errors.UnknownAttributeError) as caught:
        setattr(target, name, 3)
    assert isinstance(caught.value, AttributeError)
    assert not hasattr(target, name)
    return str(caught.value)


def read_only(target, name):
    with pytest.raises(vn.errors.ReadOnlyAttributeError) as caught:
        setattr(target, name, 3)
    assert isinstance(caught.value, AttributeError)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "advice"),
    [("budget", "vn.ledger.budget"), ("model", "vn.connect(NAME)"), ("ledgr", "did you mean ledger?")],
)
def test_the_package(name, advice):
    assert advice in failure(vn, name)
    with pytest.raises(AttributeError):
        getattr(vn, name)


def test_the_ledger():
    assert "did you mean budget?" in failure(vn.ledger, "limit")
    vn.ledger.budget = 3


@pytest.mark.parametrize(
    "llm",
    [
        vn.connect("demo"),
        vn.connect("openai:gpt-4o", api_key="key"),
        vn.connect("groq:llama", api_key="key"),
        vn.connect("replicate:llava-13b", api_token="key"),
        vn.LocalMultiModal("llava"),
        vn.AzureOpenAIMultiModal("ours", "gpt-4o", "https://ours.openai.azure.com/openai/v1", api_key="key"),
    ],
    ids=str,
)
def test_models(llm):
    assert "did you mean temperature?" in failure(llm, "temprature")
    assert "did you mean max_new_tokens?" in failure(llm, "max_tokens")
    llm.temperature, llm.timeout, llm.max_side, llm.image_detail = 0.5, 5.0, 100, None
    assert copy.copy(llm).temperature == 0.5


def test_a_parameter_of_the_api():
    assert "additional_kwargs['seed']" in failure(vn.connect("demo"), "seed")


def test_a_pickled_model_can_be_restored():
    assert pickle.loads(pickle.dumps(vn.connect("demo", temperature=1))).temperature == 1


def test_a_chat():
    chat = vn.Chat("demo")
    assert "did you mean llm?" in failure(chat, "model")
    assert "did you mean system?" in failure(chat, "system_prompt")


def test_a_panel():
    panel = vn.ChatPanel("demo", store=False)
    assert "panel.chat.llm" in failure(panel, "model")
    assert "panel.add(images)" in failure(panel, "images")
    panel.layout.width = "50%"
    panel.close()


@pytest.mark.parametrize("kind", [kind for kind in OBJECTS if kind not in ("ledger", "stream")])
def test_every_public_object(kind, photo):
    assert "has no attribute 'no_such'" in failure(OBJECTS[kind](photo), "no_such")


def test_other_panels_and_results(photo):
    result = vn.extract(photo, SCHEMA, model="demo", progress=False)
    panel = result.review()
    assert "pass it to a new panel" in failure(panel, "order")
    assert "did you mean reviewer?" in failure(panel, "reviewr")
    assert read_only(result, "pending") == "Extraction.pending cannot be set."


def test_values_that_cannot_be_changed(photo):
    document = vn.ImageDocument.of(photo)
    assert read_only(document, "detail") == (
        "ImageDocument.detail cannot be set: use document.with_detail(LEVEL), which returns another document."
    )
    assert read_only(document, "size") == "ImageDocument.size cannot be set."
    assert "did you mean detail?" in failure(document, "detial")
    box = vn.Box(0, 0, 1, 1)
    assert read_only(box, "label") == (
        "Box.label cannot be set: dataclasses.replace(VALUE, label=...) returns a changed copy."
    )
    response = vn.connect("demo").complete("How large is it?", photo)
    assert "dataclasses.replace(VALUE, text=...)" in read_only(response, "text")
    assert dataclasses.replace(box, label="a").label == dataclasses.replace(response, text="a").text == "a"


def test_a_class_of_the_user_may_have_any_attributes():
    class Mine(vn.OpenAIMultiModal):
        def __init__(self):
            super().__init__("gpt-4o", "key")
            self.calls = 3

    assert Mine().calls == 3
