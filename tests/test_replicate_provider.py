"""Replicate models through the real replicate client: requests and responses."""

import base64
import io
import warnings

import pytest
from PIL import Image

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.replicate_calls import SECRET, TEXT, created, maker, noise, question
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.demo.replicate.catalog import MODELS as PUBLISHED
from vision_nb.demo.replicate.catalog import openapi_schema, version_of
from vision_nb.providers.replicate import model as replicate_module
from vision_nb.providers.replicate.catalog import MODELS, from_schema
from vision_nb.providers.structured import Question


@pytest.fixture
def make(server, monkeypatch):
    return maker(server, monkeypatch)


def sent_image(server):
    uri = created(server)[-1]["input"]["image"]
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


async def all_eight(llm, image, messages):
    texts = {
        "complete": llm.complete("What?", [image]).text,
        "chat": llm.chat(messages).text,
        "acomplete": (await llm.acomplete("What?", [image])).text,
        "achat": (await llm.achat(messages)).text,
        "stream_complete": "".join(r.delta for r in llm.stream_complete("What?", [image])),
        "stream_chat": "".join(r.delta for r in llm.stream_chat(messages)),
    }
    for name, awaited in (
        ("astream_complete", llm.astream_complete("What?", [image])),
        ("astream_chat", llm.astream_chat(messages)),
    ):
        texts[name] = "".join([r.delta async for r in await awaited])
    return texts


@pytest.mark.parametrize("model", ["llava-13b", "fuyu-8b", "minigpt-4", "cogvlm", "demo/anything"])
async def test_all_eight_methods_send_the_same_and_answer_the_same(server, make, model):
    image = picture()
    texts = await all_eight(make(model), image, [question("What?", image)])
    assert set(texts.values()) == {TEXT} and len(texts) == 8
    bodies = [{name: value for name, value in body.items() if name != "stream"} for body in created(server)]
    assert len(bodies) == 8 and all(body == bodies[0] for body in bodies)


def test_a_streaming_model_sends_many_deltas_and_another_one(make):
    parts = list(make("llava-13b").stream_complete("What?", picture()))
    assert len([part for part in parts if part.delta]) > 5
    assert [part.text for part in parts] == sorted((part.text for part in parts), key=len)
    assert parts[-1].text == TEXT and parts[-1].finish_reason == "stop"
    assert [part.delta for part in make("fuyu-8b").stream_complete("What?", picture())] == [TEXT]


def test_a_response_has_its_prediction_but_no_usage_or_cost(make):
    for response in (make().complete("What?", picture()), list(make().stream_complete("What?", picture()))[-1]):
        assert (response.usage, response.cost) == (None, None)
        assert response.raw.status == "succeeded" and response.raw.metrics["predict_time"] >= 0
        assert response.model == "yorickvp/llava-13b" and response.finish_reason == "stop"
    assert str(make().chat([question()])) == f"assistant: {TEXT}"


@pytest.mark.parametrize(
    "text", ["https://example.org is a link", "data: 1, 2, 3", "a\u2028b\x0bc\x85d", "\n\nx\n", "é " * 99]
)
async def test_text_that_looks_like_a_url_or_event_stays_text(server, make, text):
    server.answer_with(text)
    assert set((await all_eight(make(), picture(), [question()])).values()) == {text}


def test_an_empty_answer_is_an_answer(server, make):
    server.answer_with("")
    for model in ("llava-13b", "fuyu-8b"):
        assert make(model).complete("What?", picture()).text == ""
        assert [part.text for part in make(model).stream_complete("What?", picture())] == [""]


@pytest.mark.parametrize(
    "model, inputs",
    [
        ("llava-13b", {"max_tokens": 100, "temperature": 0.1, "top_p": 0.9}),
        ("fuyu-8b", {"max_new_tokens": 100}),
        (
            "minigpt-4",
            {"max_new_tokens": 100, "temperature": 0.1, "top_p": 0.9, "num_beams": 1, "repetition_penalty": 1},
        ),
    ],
)
def test_each_model_gets_the_parameters_it_accepts_under_its_own_names(server, make, model, inputs):
    llm = make(
        model,
        max_new_tokens=100,
        temperature=0.1,
        num_input_files=1,
        top_p=0.9,
        num_beams=1,
        repetition_penalty=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        llm.complete("What?", picture())
    sent = created(server)[-1]["input"]
    assert {name: value for name, value in sent.items() if name not in ("image", "prompt")} == inputs
    assert sent["prompt"] == "What?"


def test_unset_parameters_are_not_sent(server, make):
    make().complete("What?", picture())
    assert set(created(server)[-1]["input"]) == {"image", "prompt"}


def test_call_overrides_beat_additional_kwargs_and_those_beat_the_models_settings(server, make):
    llm = make(max_new_tokens=300, temperature=0.5, top_p=0.1, additional_kwargs={"top_p": 0.2, "temperature": 0.3})
    llm.complete("What?", picture(), temperature=0.9, max_tokens=5, num_input_files=1)
    sent = created(server)[-1]["input"]
    assert (sent["temperature"], sent["max_tokens"], sent["top_p"]) == (0.9, 5, 0.2)
    llm.complete("What?", picture(), top_p=0.7)
    sent = created(server)[-1]["input"]
    assert (sent["temperature"], sent["max_tokens"], sent["top_p"]) == (0.3, 300, 0.7)


def test_a_parameter_the_model_does_not_accept_is_ignored_with_one_warning(server, make):
    llm = make("fuyu-8b", temperature=0.1, top_p=0.9, image_detail="high")
    with pytest.warns(
        UserWarning, match=r"replicate:fuyu-8b does not accept .*temperature.*image_detail: ignored"
    ) as caught:
        for _ in range(3):
            llm.complete("What?", picture())
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="does not accept num_beams: ignored") as caught:
        llm.complete("What?", picture(), num_beams=2)
        llm.complete("What?", picture(), num_beams=2)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="temperature"):
        make("fuyu-8b", temperature=0.1).complete("What?", picture())
    assert all(set(body["input"]) == {"image", "prompt"} for body in created(server))


def test_cogvlm_is_sent_every_parameter_because_its_schema_is_unknown(server, make):
    server.replicate_models["naklecha/cogvlm"] = PUBLISHED["naklecha/cogvlm"].schema
    llm = make("cogvlm", temperature=0.5, max_new_tokens=9)
    call = llm._prepare(Question(vn.ChatResponse, lambda: [vn.ChatMessage("user", ["x", picture()])], {}), stream=False)
    assert call.request["request"].inputs == {
        "max_new_tokens": 9,
        "temperature": 0.5,
        "prompt": "x",
    }


@pytest.mark.parametrize(
    "model, setting, words",
    [
        ("fuyu-8b", {"max_new_tokens": 5000}, "max_new_tokens must be between 0 and 2048 for fuyu-8b, not 5000"),
        ("minigpt-4", {"temperature": 3}, "temperature must be between 0.01 and 2"),
        ("llava-13b", {"temperature": -1}, "temperature must be at least 0"),
        ("llava-13b", {"max_new_tokens": 1.5}, "max_new_tokens must be an integer"),
        ("llava-13b", {"top_p": "much"}, "top_p must be a number"),
        ("llava-13b", {"top_p": True}, "top_p must be a number"),
        ("demo/anything", {"temperature": 2.5}, "temperature must be between 0 and 2 for demo/anything"),
    ],
)
def test_an_invalid_value_is_rejected_before_anything_is_sent(server, make, model, setting, words):
    with pytest.raises(errors.SettingsError, match=words):
        make(model, **setting).complete("What?", picture())
    assert created(server) == []


def test_a_model_is_found_by_short_name_and_by_reference():
    assert list(vn.REPLICATE_MULTI_MODAL_LLM_MODELS) == ["llava-13b", "fuyu-8b", "minigpt-4"]
    for key, reference in vn.REPLICATE_MULTI_MODAL_LLM_MODELS.items():
        for name in (key, reference, reference.partition(":")[0]):
            llm = vn.ReplicateMultiModal(name, api_token="t")
            assert (llm.model, str(llm), llm.identity["reference"]) == (key, f"replicate:{key}", reference)
    assert vn.ReplicateMultiModal("cogvlm", api_token="t").model == "cogvlm"


@pytest.mark.parametrize("model", [model for model in MODELS if model.parameters is not None], ids=lambda m: m.key)
def test_the_catalog_agrees_with_the_published_schemas(model):
    name, _, version = model.reference.partition(":")
    published = from_schema(name, version, PUBLISHED[name].schema)
    assert PUBLISHED[name].version == version
    for fact in ("parameters", "length_limit", "streams", "image", "image_required", "prompt"):
        assert getattr(model, fact) == getattr(published, fact), fact


@pytest.mark.parametrize("name", ["llava-14b", "", "a/b/c", "owner/name:", "owner/na me"])
def test_an_invalid_model_name_is_rejected(name):
    with pytest.raises(errors.SettingsError, match=r"llava-13b, fuyu-8b, minigpt-4, cogvlm"):
        vn.ReplicateMultiModal(name, api_token="t")
    with pytest.raises(errors.SettingsError, match="Did you mean 'llava-13b'"):
        vn.connect("replicate:llava-14b", api_token="t")


SEER = openapi_schema(
    {
        "photo": {"type": "string", "format": "uri"},
        "question": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 64},
        "style": {"allOf": [{"$ref": "#/components/schemas/style"}]},
    },
    required=("photo",),
    streams=True,
)


async def test_the_inputs_of_a_model_outside_the_catalog_are_read_once(server, make):
    server.replicate_models["acme/seer"] = SEER
    llm = make("acme/seer", max_new_tokens=50, additional_kwargs={"style": "terse"})
    assert await llm.acomplete("What?", picture()) and llm.complete("What?", picture())
    assert make("acme/seer").complete("What?", picture()).text == TEXT
    schemas = [one.path for one in server.requests if one.method == "GET" and "/models/" in one.path]
    assert schemas == ["/v1/models/acme/seer"]
    sent = created(server)[-2]["input"]
    assert (sent["question"], sent["max_tokens"], sent["style"]) == ("What?", 50, "terse") and "photo" in sent
    with pytest.raises(errors.SettingsError, match="between 1 and 64"):
        llm.complete("What?", picture(), max_new_tokens=65)


async def test_a_named_version_outside_the_catalog_is_used(server, make):
    server.replicate_models["acme/seer"] = SEER
    version = version_of("acme/seer")
    reference = f"acme/seer:{version}"
    assert make(reference).complete("What?", picture()).text == TEXT
    replicate_module._schemas.clear()
    assert (await make(reference).acomplete("What?", picture())).text == TEXT
    assert [one.path for one in server.requests].count(f"/v1/models/acme/seer/versions/{version}") == 2
    assert all(body["version"] == version for body in created(server))


async def test_without_a_version_official_models_run_by_name_and_others_by_their_latest_version(server, make):
    server.replicate_models["acme/seer"] = SEER
    paths = []
    for model in ("demo/anything", "acme/seer"):
        llm = make(model)
        for _ in range(2):
            assert llm.complete("What?", picture()).text == (await llm.acomplete("What?", picture())).text == TEXT
    paths = [one.path for one in server.requests if one.method == "POST"]
    assert paths == [
        *["/v1/models/demo/anything/predictions"] * 4,
        "/v1/models/acme/seer/predictions",
        *["/v1/predictions"] * 4,
    ]


def test_models_that_accept_a_list_of_images_or_none(server, make):
    text = {"type": "string"}
    many = {"type": "array", "items": {"type": "string", "format": "uri"}}
    server.replicate_models["acme/many"] = openapi_schema({"prompt": text, "images": many})
    server.replicate_models["acme/blind"] = openapi_schema({"prompt": text})
    server.replicate_models["acme/mute"] = openapi_schema({"images": many}, required=())
    assert make("acme/many").complete("What?", picture()).text == TEXT
    assert len(created(server)[-1]["input"]["images"]) == 1
    assert make("acme/many").complete("What?").text == TEXT
    assert make("acme/blind").complete("What?").text == TEXT
    with pytest.raises(errors.SettingsError, match="does not accept images"):
        make("acme/blind").complete("What?", picture())
    with pytest.raises(errors.SettingsError, match="has no text input"):
        make("acme/mute").complete("What?", picture())


async def test_a_model_that_does_not_exist_is_an_unknown_model_error(make):
    for name in ("acme/nothing", "acme/nothing:123", "yorickvp/llava-13b:" + "0" * 64):
        llm = make(name)
        with pytest.raises(errors.UnknownModelError, match=name.partition(":")[0]):
            llm.complete("What?", picture())
        with pytest.raises(errors.UnknownModelError, match="spelling"):
            await llm.acomplete("What?", picture())


def test_a_deleted_version_is_an_unknown_model_error(server, make):
    server.fail(Fault(status=422, body={"title": "Invalid version or not permitted", "detail": "gone", "status": 422}))
    with pytest.raises(errors.UnknownModelError, match="gone"):
        make().complete("What?", picture())


async def test_a_small_image_is_sent_inline_and_a_large_one_is_uploaded(server, make):
    make().complete("What?", picture())
    assert created(server)[-1]["input"]["image"].startswith("data:image/png;base64,")
    server.answer_with(None)
    large = noise(1200, 900)
    llm = make("fuyu-8b")
    for response in (llm.complete("How large is it?", large), await llm.acomplete("How large is it?", large)):
        assert created(server)[-1]["input"]["image"].startswith(f"{server.url}/v1/files/")
        assert "1,200 x 900" in response.text


def test_an_image_is_resized_and_its_metadata_removed(server, make):
    exif = picture().getexif()
    exif[0x010F] = "SecretCamera"
    make().complete("What?", [encoded(Image.new("RGB", (3000, 1500), "teal"), "JPEG", exif=exif)])
    assert sent_image(server).size == (2048, 1024)
    assert b"SecretCamera" not in base64.b64decode(created(server)[-1]["input"]["image"].partition(",")[2])


def test_a_url_is_sent_as_a_url_unless_inline_urls_is_set(server, make):
    url = f"{server.url}/v1/files/{upload(server, encoded(picture()))}/download"
    document = vn.ImageDocument(image_url=url)
    make().complete("What?", document)
    assert created(server)[-1]["input"]["image"] == url
    make(inline_urls=True).complete("What?", document)
    assert sent_image(server).size == (64, 48)


def upload(server, data):
    import httpx

    headers = {"Authorization": "Bearer r8_test"}
    files = {"content": ("a.png", data, "image/png")}
    return httpx.post(f"{server.url}/v1/files", files=files, headers=headers).json()["id"]


def test_more_than_one_image_is_rejected(make):
    with pytest.raises(errors.SettingsError, match="accepts 1 image per request and got 2"):
        make().complete("What?", [picture(), picture()])
    with pytest.raises(errors.SettingsError, match="accepts 1 image per request and got 2"):
        make().chat([question("What?", picture(), picture())])
    with pytest.raises(errors.SettingsError, match="needs an image"):
        make().complete("What?")
    with pytest.raises(errors.SettingsError, match="num_input_files must be 1, not 2"):
        make(num_input_files=2)
    with pytest.raises(errors.SettingsError, match="num_input_files must be 1, not 3"):
        make().complete("What?", picture(), num_input_files=3)


async def test_a_chat_becomes_a_prompt_with_the_newest_image(server, make):
    messages = [
        vn.ChatMessage("system", "Be brief."),
        question("What is this?", picture(64, 48)),
        vn.ChatMessage("assistant", "A sea."),
        question("And this?", picture(90, 60)),
        vn.ChatMessage("assistant", "A lake."),
        vn.ChatMessage("user", "Which colour?"),
    ]
    with pytest.warns(UserWarning, match="newest image"):
        make().chat(messages)
    assert created(server)[-1]["input"]["prompt"] == (
        "Be brief.\n\nWhat is this? ASSISTANT: A sea.</s>USER: And this? ASSISTANT: A lake.</s>USER: Which colour?"
    )
    assert sent_image(server).size == (90, 60)
    with pytest.warns(UserWarning, match="newest image"):
        await make("minigpt-4").achat(messages[1:4])
    assert created(server)[-1]["input"]["prompt"] == "What is this?###Assistant: A sea.###Human: And this?"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        make("fuyu-8b").chat([messages[1], messages[2], messages[5]])
    assert created(server)[-1]["input"]["prompt"] == (
        "User: What is this?\nAssistant: A sea.\nUser: Which colour?\nAssistant:"
    )
    make().chat([messages[0], messages[1]])
    assert created(server)[-1]["input"]["prompt"] == "Be brief.\n\nWhat is this?"


def test_an_images_detail_level_is_ignored_with_a_warning(make):
    with pytest.warns(UserWarning, match="does not accept image_detail"):
        make().complete("What?", vn.ImageDocument(image=encoded(picture()), detail="low"))


def test_a_missing_token_names_the_variable_and_the_demo(monkeypatch):
    with pytest.raises(errors.MissingKeyError, match=r"REPLICATE_API_TOKEN.*\"demo\""):
        vn.ReplicateMultiModal()
    with pytest.raises(errors.MissingKeyError):
        vn.connect("replicate:llava-13b")
    monkeypatch.setenv("REPLICATE_API_TOKEN", SECRET)
    assert str(vn.connect("replicate:yorickvp/llava-13b")) == "replicate:llava-13b"
    assert vn.connect("replicate:owner/name:1f").model == "owner/name:1f"


def test_token_and_base_url_are_read_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("REPLICATE_API_TOKEN", SECRET)
    monkeypatch.setenv("REPLICATE_BASE_URL", f"{server.url}/v1/")
    server.require_key = SECRET
    llm = vn.ReplicateMultiModal()
    assert llm.complete("What?", picture()).text and llm.server == server.url
    assert server.requests[-1].headers["authorization"] == f"Bearer {SECRET}"


def test_a_closed_model_can_be_used_again(make):
    llm = make()
    llm.close()
    assert llm.complete("What?", picture()).text == TEXT
    llm.close()
    assert llm.complete("What?", picture()).text == TEXT


def test_an_invalid_call_sends_nothing(server, make, tmp_path):
    with pytest.raises(errors.ImageNotFoundError):
        make().complete("What?", tmp_path / "missing.png")
    with pytest.raises(errors.SettingsError, match="prompt must be a string"):
        make().complete(None, picture())
    with pytest.raises(errors.SettingsError, match="auto, low, high"):
        make().complete("What?", picture(), image_detail="enormous")
    with pytest.raises(errors.SettingsError, match="list of messages is empty"):
        make().chat([])
    assert server.requests == []
