"""The demo server's Replicate protocol, asked by the true replicate client as Replicate is asked."""

import base64
import io
import threading

import httpx
import pytest
from conftest import encoded, picture
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

from vision_nb.demo import Fault
from vision_nb.demo.replicate.catalog import MODELS, openapi_schema

LLAVA, FUYU = "yorickvp/llava-13b", "lucataco/fuyu-8b"
REFERENCE = {name: f"{name}:{model.version}" for name, model in MODELS.items()}
TEXT = "The sky is blue, and the sea below it is darker."


def uri(image=None):
    return f"data:image/png;base64,{base64.b64encode(encoded(image or picture())).decode()}"


@pytest.fixture
def client(server, monkeypatch):
    monkeypatch.setenv("REPLICATE_POLL_INTERVAL", "0.02")
    server.answer_with(TEXT)
    return Client(api_token="r8_test", base_url=server.replicate_base)


@pytest.fixture
def held(server):
    """Answers are held back until the event is set."""
    released = threading.Event()
    server.answer_with(lambda _: TEXT if released.wait(20) else "nobody released the answer")
    yield released
    released.set()


def create(client, name=LLAVA, **inputs):
    return client.predictions.create(version=MODELS[name].version, input={"image": uri(), "prompt": "What?", **inputs})


def problem(function, *arguments, **options):
    with pytest.raises(ReplicateError) as caught:
        function(*arguments, **options)
    return caught.value


def test_a_streaming_model_gives_pieces_and_another_one_text(client):
    question = {"image": uri(), "prompt": "What?"}
    pieces = list(client.run(REFERENCE[LLAVA], question))
    assert len(pieces) > 5 and "".join(pieces) == TEXT
    assert client.run(REFERENCE[FUYU], question) == TEXT


async def test_the_async_client_gets_the_same(client):
    question = {"image": uri(), "prompt": "What?"}
    assert "".join([piece async for piece in await client.async_run(REFERENCE[LLAVA], question)]) == TEXT
    assert await client.async_run(REFERENCE[FUYU], question) == TEXT


def test_the_answer_comes_from_the_pixels(server, client):
    server.answer_with(None)
    assert "64 x 48" in client.run(REFERENCE[FUYU], {"image": uri(picture(64, 48)), "prompt": "How large is it?"})


def test_events_carry_the_text_in_order_with_its_lines(server, client):
    server.answer_with("one\ntwo\n\nthree ")
    events = list(client.stream(REFERENCE[LLAVA], input={"image": uri(), "prompt": "What?"}))
    assert "".join(event.data for event in events if event.event.value == "output") == "one\ntwo\n\nthree "
    assert [event.event.value for event in events][-1] == "done" and events[-1].data == "{}"


def test_the_lines_on_the_wire_are_as_documented(server, client):
    server.answer_with("a\nb")
    prediction = create(client)
    lines = httpx.get(prediction.urls["stream"]).text.splitlines()
    assert lines[0] == "event: output" and lines[1].startswith("id: ") and lines[2] == "data: a"
    assert lines[-3:] == ["event: done", "data: {}", ""]
    assert lines[6:8] == ["data: ", "data: b"]


def test_a_model_that_does_not_stream_has_no_stream_url(client):
    prediction = create(client, FUYU)
    assert set(prediction.urls) == {"get", "cancel"}
    assert problem(lambda: next(prediction.stream())).type == "Model does not support streaming"


def until(prediction, condition):
    for _ in range(2000):
        if condition():
            return
        prediction.reload()
    raise AssertionError(f"it stays {prediction.status}")


def test_a_prediction_goes_from_starting_over_processing_to_its_end(server, client, held):
    prediction = create(client)
    assert (prediction.status, prediction.output, prediction.metrics) == ("starting", None, {})
    server.tokens_per_second = 20
    held.set()
    until(prediction, lambda: prediction.output)
    assert prediction.status == "processing" and TEXT.startswith("".join(prediction.output))
    prediction.wait()
    assert prediction.status == "succeeded" and "".join(prediction.output) == TEXT
    assert prediction.metrics["predict_time"] > 0 and prediction.completed_at


def test_waiting_returns_the_finished_prediction_or_the_one_that_still_starts(server, client, held):
    question = {"image": uri(), "prompt": "What?"}
    early = client.predictions.create(version=MODELS[FUYU].version, input=question, wait=1)
    assert early.status == "starting"
    assert server.requests[-1].headers["prefer"] == "wait=1"
    held.set()
    assert client.predictions.create(version=MODELS[FUYU].version, input=question, wait=True).output == TEXT


def test_cancelling_ends_a_prediction_once(server, client, held):
    prediction = create(client)
    prediction.cancel()
    assert prediction.status == "canceled" and server.cancellations == 1
    held.set()
    prediction.cancel()
    assert prediction.status == "canceled" and server.cancellations == 1
    finished = create(client)
    finished.wait()
    finished.cancel()
    assert finished.status == "succeeded" and server.cancellations == 1


def test_a_canceled_prediction_ends_its_stream(server, client):
    server.tokens_per_second = 20
    server.answer_with("word " * 500)
    prediction = create(client)
    events = prediction.stream()
    assert next(events).data == "word"
    prediction.cancel()
    assert list(events)[-1].data == '{"reason": "canceled"}'


def test_a_failing_prediction_has_an_error_and_a_log(server, client):
    server.fail(Fault(prediction_error="CUDA out of memory", prediction_logs="loading\nrunning\n"))
    with pytest.raises(ModelError, match="CUDA") as caught:
        client.run(REFERENCE[FUYU], {"image": uri(), "prompt": "What?"})
    assert caught.value.prediction.logs == "loading\nrunning\n"
    server.fail(Fault(prediction_error="CUDA out of memory"))
    events = create(client).stream()
    heard = ""
    with pytest.raises(RuntimeError, match='"detail": "CUDA out of memory"'):
        for event in events:
            heard += event.data
    assert heard and TEXT.startswith(heard) and heard != TEXT


def test_a_broken_picture_makes_the_prediction_fail_and_not_the_request(client):
    prediction = create(client, FUYU, image="data:image/png;base64,AAAA")
    prediction.wait()
    assert prediction.status == "failed" and "image" in prediction.error and "Traceback" in prediction.logs


@pytest.mark.parametrize(
    "name, inputs, words",
    [
        (FUYU, {"temperature": 0.1}, "Additional property temperature is not allowed"),
        (FUYU, {"max_new_tokens": 5000}, "max_new_tokens: Must be less than or equal to 2048"),
        (LLAVA, {"temperature": -1}, "temperature: Must be greater than or equal to 0"),
        (LLAVA, {"max_tokens": 1.5}, "max_tokens: Invalid type. Expected: integer"),
        (LLAVA, {"top_p": "much"}, "top_p: Invalid type. Expected: number"),
        (LLAVA, {"image": "photo.jpg"}, "image: Does not match format 'uri'"),
    ],
)
def test_inputs_are_checked_against_the_schema(client, name, inputs, words):
    error = problem(create, client, name, **inputs)
    assert (error.status, error.title) == (422, "Input validation failed") and words in error.detail


def test_a_missing_input_is_named(client):
    error = problem(client.predictions.create, version=MODELS[LLAVA].version, input={"prompt": "What?"})
    assert "image is required" in error.detail
    assert problem(client.predictions.create, version=MODELS[LLAVA].version, input=None).status == 422


def test_the_length_limit_is_kept(client):
    prediction = create(client, max_tokens=3)
    prediction.wait()
    assert len(prediction.output) == 3


def test_unknown_models_versions_and_predictions(client):
    assert problem(client.models.get, "nobody/nothing").status == 404
    assert problem(client.models.predictions.create, model="nobody/nothing", input={}).status == 404
    assert problem(client.predictions.get, "nothing").status == 404
    assert problem(client.models.get(LLAVA).versions.get, "0" * 64).status == 404
    error = problem(client.predictions.create, version="0" * 64, input={})
    assert (error.status, error.title) == (422, "Invalid version or not permitted")


def test_only_official_models_run_by_name_alone(client):
    question = {"image": uri(), "prompt": "What?"}
    assert problem(client.models.predictions.create, model=FUYU, input=question).status == 404
    prediction = client.models.predictions.create(model="demo/anything", input=question, wait=5)
    assert "".join(prediction.output) == TEXT
    version = client.models.get("demo/anything").latest_version
    assert client.predictions.create(version=version, input=question).model == "demo/anything"


def test_models_show_their_schemas(server, client):
    server.replicate_models["acme/seer"] = openapi_schema({"prompt": {"type": "string"}, "photo": {"type": "string"}})
    schema = client.models.get(LLAVA).latest_version.openapi_schema["components"]["schemas"]
    assert schema["Output"]["x-cog-array-type"] == "iterator"
    assert schema["Input"]["properties"]["max_tokens"]["default"] == 1024
    assert client.models.get(LLAVA).versions.list().results[0].id == MODELS[LLAVA].version
    seer = client.models.get("acme/seer").latest_version
    assert list(seer.openapi_schema["components"]["schemas"]["Input"]["properties"]) == ["prompt", "photo"]
    prediction = client.predictions.create(version=seer, input={"prompt": "What?"}, wait=5)
    assert prediction.output == TEXT


def test_an_uploaded_file_is_a_picture_like_any_other(server, client):
    server.answer_with(None)
    data = encoded(picture(90, 60), "JPEG")
    file = client.files.create(io.BytesIO(data), filename="photo.jpg")
    assert (file.name, file.content_type, file.size) == ("photo.jpg", "image/jpeg", len(data))
    assert httpx.get(file.urls["get"] + "/download").content == data
    assert "90 x 60" in client.run(REFERENCE[FUYU], {"image": file.urls["get"], "prompt": "How large is it?"})
    assert "90 x 60" in client.run(REFERENCE[FUYU], {"image": io.BytesIO(data), "prompt": "How large is it?"})
    by_web_address = {"image": file.urls["get"].replace("127.0.0.1", "localhost") + "/download", "prompt": "What size?"}
    assert "90 x 60" in client.run(REFERENCE[FUYU], by_web_address)


def test_a_wrong_token_is_refused(server, client):
    server.require_key = "r8_right"
    error = problem(create, client)
    assert (error.status, error.title) == (401, "Unauthenticated")
    create(Client(api_token="r8_right", base_url=server.replicate_base))


@pytest.mark.parametrize(
    "status, title", [(402, "Insufficient credit"), (429, "Request was throttled"), (500, "server")]
)
def test_faults_have_replicates_shape(server, client, status, title):
    server.fail(Fault(status=status, retry_after=7))
    response = httpx.post(f"{server.url}/v1/predictions", json={})
    assert response.status_code == response.json()["status"] == status
    assert title in response.json()["title"] and response.headers["Retry-After"] == "7"
    assert ("resets in ~7s" in response.json()["detail"]) is (status == 429)


def test_a_stream_can_be_cut_and_spoiled(server, client):
    prediction = create(client)
    prediction.wait()
    server.fail(Fault(cut_after=2))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(prediction.urls["stream"])
    server.fail(Fault(garbage=True))
    assert b"<html>" in httpx.get(prediction.urls["stream"]).content
