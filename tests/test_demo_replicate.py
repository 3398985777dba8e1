"""The demo server's Replicate protocol, as the replicate client sees it."""

import base64
import io
import threading

import httpx
import openai
import pytest
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

from tests.conftest import encoded, picture
from vision_nb.demo import Fault
from vision_nb.demo.replicate.catalog import MODELS, openapi_schema

LLAVA, FUYU = "yorickvp/llava-13b", "lucataco/fuyu-8b"  # the first streams, the second does not
REFERENCE = {name: f"{name}:{model.version}" for name, model in MODELS.items()}
TEXT = "The sky is blue, and the sea below it is darker."
URI = f"data:image/png;base64,{base64.b64encode(encoded(picture())).decode()}"
QUESTION = {"image": URI, "prompt": "What?"}


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setenv("REPLICATE_POLL_INTERVAL", "0.02")
    server.answer_with(TEXT)
    return Client(api_token="r8_test", base_url=server.replicate_base)


@pytest.fixture
def held(server):
    """Hold answers back until the event is set."""
    released = threading.Event()
    server.answer_with(lambda _: TEXT if released.wait(20) else "nobody released the answer")
    yield released
    released.set()


def create(client, name=LLAVA, **inputs):
    return client.predictions.create(version=MODELS[name].version, input={**QUESTION, **inputs})


def problem(function, *arguments, **options):
    with pytest.raises(ReplicateError) as caught:
        function(*arguments, **options)
    return caught.value


def test_a_streaming_model_returns_a_list_and_another_a_text(client):
    pieces = list(client.run(REFERENCE[LLAVA], QUESTION))
    assert len(pieces) > 5 and "".join(pieces) == TEXT
    assert client.run(REFERENCE[FUYU], QUESTION) == TEXT


def test_events_carry_texts_of_several_lines(server, client):
    server.answer_with("one\ntwo\n\nthree ")
    events = list(client.stream(REFERENCE[LLAVA], input=QUESTION))
    assert "".join(event.data for event in events if event.event.value == "output") == "one\ntwo\n\nthree "
    assert events[-1].event.value == "done" and events[-1].data == "{}"


def test_a_prediction_starts_processes_and_succeeds(server, client, held):
    prediction = create(client)
    assert (prediction.status, prediction.output, prediction.metrics) == ("starting", None, {})
    server.tokens_per_second = 20
    held.set()
    while not prediction.output:
        prediction.reload()
    assert prediction.status == "processing" and TEXT.startswith("".join(prediction.output))
    prediction.wait()
    assert prediction.status == "succeeded" and "".join(prediction.output) == TEXT
    assert prediction.metrics["predict_time"] > 0 and prediction.completed_at


@pytest.mark.slow
def test_the_prefer_header_waits_for_the_end(server, client, held):
    early = client.predictions.create(version=MODELS[FUYU].version, input=QUESTION, wait=1)
    assert early.status == "starting" and server.requests[-1].headers["prefer"] == "wait=1"
    held.set()
    assert client.predictions.create(version=MODELS[FUYU].version, input=QUESTION, wait=True).output == TEXT


def test_a_prediction_is_canceled_once_and_its_stream_ends(server, client):
    server.tokens_per_second = 20
    server.answer_with("word " * 500)
    prediction = create(client)
    events = prediction.stream()
    assert next(events).data == "word"
    prediction.cancel()
    prediction.cancel()
    assert prediction.status == "canceled" and server.cancellations == 1
    assert list(events)[-1].data == '{"reason": "canceled"}'


def test_a_failed_prediction_has_an_error_and_logs(server, client):
    server.fail(Fault(prediction_error="CUDA out of memory", prediction_logs="loading\nrunning\n"))
    with pytest.raises(ModelError, match="CUDA") as caught:
        client.run(REFERENCE[FUYU], QUESTION)
    assert caught.value.prediction.logs == "loading\nrunning\n"
    prediction = create(client, FUYU, image="data:image/png;base64,AAAA")
    prediction.wait()
    assert prediction.status == "failed" and "image" in prediction.error and "Traceback" in prediction.logs


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        (FUYU, {"temperature": 0.1}, "Additional property temperature is not allowed"),
        (FUYU, {"max_new_tokens": 5000}, "max_new_tokens: Must be less than or equal to 2048"),
        (LLAVA, {"max_tokens": 1.5}, "max_tokens: Invalid type. Expected: integer"),
        (LLAVA, {"image": "photo.jpg"}, "image: Does not match format 'uri'"),
    ],
)
def test_inputs_are_validated_by_the_schema(client, name, inputs, words):
    error = problem(create, client, name, **inputs)
    assert (error.status, error.title) == (422, "Input validation failed") and words in error.detail


def test_only_official_models_run_by_name(server, client):
    assert problem(client.models.predictions.create, model=FUYU, input=QUESTION).status == 404
    assert "".join(client.models.predictions.create(model="demo/anything", input=QUESTION, wait=5).output) == TEXT
    server.replicate_models["acme/seer"] = openapi_schema({"prompt": {"type": "string"}})
    seer = client.models.get("acme/seer").latest_version
    assert client.predictions.create(version=seer, input={"prompt": "What?"}, wait=5).output == TEXT


def test_an_uploaded_file_can_be_an_input(server, client):
    server.answer_with(None)
    data = encoded(picture(90, 60), "JPEG")
    file = client.files.create(io.BytesIO(data), filename="photo.jpg")
    assert (file.name, file.content_type, file.size) == ("photo.jpg", "image/jpeg", len(data))
    download = file.urls["get"] + "/download"
    assert httpx.get(download).content == data
    for image in (file.urls["get"], io.BytesIO(data), download.replace("127.0.0.1", "localhost")):
        assert "90 x 60" in client.run(REFERENCE[FUYU], {"image": image, "prompt": "How large is it?"})


async def test_files_models_predictions_and_the_account_are_listed(server, client):
    files = [client.files.create(io.BytesIO(b"x"), filename=name) for name in ("a.txt", "b.txt")]
    assert [file.id for file in client.files.list()] == [files[1].id, files[0].id]
    assert await client.files.async_get(files[0].id) == files[0]
    assert client.files.delete(files[0].id) is True
    assert problem(client.files.get, files[0].id).status == 404
    server.replicate_models["acme/seer"] = openapi_schema({"prompt": {"type": "string"}})
    assert [f"{model.owner}/{model.name}" for model in client.models.list()] == [*MODELS, "acme/seer"]
    assert client.accounts.current().username == "demo"
    made = [create(client) for _ in range(103)]
    page = client.predictions.list()
    assert [one.id for one in page] == [one.id for one in reversed(made)][:100] and page.previous is None
    rest = await client.predictions.async_list(page.next)
    assert [one.id for one in rest] == [one.id for one in made[2::-1]] and rest.next is None


def test_openais_files_and_models_are_not_replicates(server, client):
    client.files.create(io.BytesIO(b"x"), filename="theirs")
    with openai.OpenAI(base_url=server.openai_base, api_key="k", max_retries=0) as other:
        file = other.files.create(file=("ours", b"y"), purpose="vision")
        assert [one.filename for one in other.files.list()] == ["ours"]
        assert "demo" in [model.id for model in other.models.list()]
        assert other.models.retrieve("yorickvp/llava-13b").object == "model"
        with pytest.raises(openai.NotFoundError, match="No such File object: x"):
            other.files.retrieve("x")
    assert [one.name for one in client.files.list()] == ["theirs"]
    assert httpx.get(f"{server.url}/v1/files/{file.id}").json()["object"] == "file"
    assert client.models.get("yorickvp/llava-13b").name == "llava-13b"
