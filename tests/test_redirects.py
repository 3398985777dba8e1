"""Requests, keys and images stay with the server that they are for."""

import json

import httpx
import httpx2
import pytest

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.forms import FORMS, ask
from tests.replicate_calls import noise
from tests.secret_search import CANARY, leaks, serving
from tests.test_secrets_keys import PROVIDERS, connect, sent_key
from vision_nb import errors
from vision_nb.providers.replicate.transport import Server
from vision_nb.services.table import SERVICES

pytestmark = pytest.mark.slow

STATUSES = [301, 302, 303, 307, 308]
PREDICTION = {
    "id": "p1",
    "model": "yorickvp/llava-13b",
    "version": "e272157381e2a3bf12df3a8edd1f38d1dbd736bbb7437277c8b34175f8fce358",
    "status": "succeeded",
    "input": {},
    "output": ["A ", "cat."],
    "logs": "",
    "error": None,
    "metrics": {},
    "created_at": "2026-11-01T00:00:00Z",
    "started_at": None,
    "completed_at": None,
}


def nothing(*request):
    return 404, {}, "{}"


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("form", FORMS)
async def test_a_question_is_not_redirected_to_another_server(provider, form):
    with serving(nothing) as (other, received):
        location = other.replace("//", "//user:hidden-password@") + "/v1/chat/completions?sig=hidden-signature"
        for status in STATUSES:
            for host in (location, location.replace("127.0.0.1", "localhost"), "//[::1/broken", "http://a:hidden@[/x"):
                with serving(lambda *request, s=status, h=host: (s, {"Location": h}, "")) as (base, asked):
                    llm = connect(provider, CANARY, base)
                    with pytest.raises(errors.RedirectError, match="redirected the request to another") as caught:
                        await ask(llm, form, "What?", [picture(8, 8)])
                    assert "hidden" not in str(caught.value) and not leaks(caught.value)
                    if host == location:
                        assert other in str(caught.value) and caught.value.status_code == status
                    assert len(asked) == 1
                    await llm.aclose()
        assert received == []


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("form", ["complete", "acomplete"])
@pytest.mark.parametrize("name", [*SERVICES, "the Responses API", "an upload", "an upload to Replicate"])
async def test_the_services_the_responses_api_and_uploads_are_not_redirected(name, form, status):
    with (
        serving(nothing) as (other, received),
        serving(lambda *request: (status, {"Location": f"{other}/v1/x"}, "")) as (base, asked),
    ):
        options = {"api": "responses"} if name == "the Responses API" else {}
        if name == "an upload to Replicate":
            llm = connect("replicate", CANARY, base)
        elif name in SERVICES:
            llm = vn.connect(f"{name}:some-model", api_key=CANARY, api_base=f"{base}/v1", max_retries=0)
        else:
            llm = connect("openai", CANARY, base, **options)
        image = noise(800, 800) if name == "an upload to Replicate" else picture(8, 8)  # or it is sent as a data URI
        with pytest.raises(errors.RedirectError, match="redirected the request to another") as caught:
            if name == "an upload":
                document = vn.ImageDocument.of(image)
                await document.aupload(llm) if form == "acomplete" else document.upload(llm)
            else:
                await ask(llm, form, "What?", [image])
        await llm.aclose()
        assert other in str(caught.value) and caught.value.status_code == status and not leaks(caught.value)
        paths = {"the Responses API": "/responses", "an upload": "/files", "an upload to Replicate": "/files"}
        assert len(asked) == 1 and asked[0][0].endswith(paths.get(name, "/chat/completions")) and received == []


@pytest.mark.parametrize("form", FORMS)
async def test_a_users_http_client_does_not_redirect_a_question(form):
    with (
        serving(nothing) as (other, received),
        serving(lambda *request: (307, {"Location": f"{other}/v1/chat/completions"}, "")) as (base, _),
        httpx2.Client(follow_redirects=True) as own,
    ):
        async with httpx2.AsyncClient(follow_redirects=True) as async_own:
            llm = connect("openai", CANARY, base, http_client=own, async_http_client=async_own)
            with pytest.raises(errors.RedirectError):
                await ask(llm, form)
            await llm.aclose()
        assert received == []


@pytest.mark.parametrize("form", ["complete", "acomplete"])
async def test_a_redirect_on_the_same_server_is_followed(server, form):
    def answer(method, path, headers, body):
        if path.startswith("/v1/chat"):
            return 307, {"Location": "/v2/chat/completions"}, ""
        choice = {"message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop", "index": 0}
        return 200, {"Content-Type": "application/json"}, json.dumps({"choices": [choice], "model": "m"})

    with serving(answer) as (base, received):
        llm = connect("openai", CANARY, base)
        assert (await ask(llm, form, "What?", [picture(8, 8)])).text == "Yes."
        assert [sent_key(headers) for _, headers, _ in received] == [CANARY, CANARY]
        await llm.aclose()


@pytest.mark.parametrize(
    "url, is_trusted",
    [
        ("https://api.replicate.com/v1/predictions", True),
        ("https://stream.replicate.com/v1/streams/x", False),
        ("http://api.replicate.com/v1/predictions", False),
        ("https://api.replicate.com:444/", False),
        ("https://replicate.delivery/x.png", False),
        ("https://api.replicate.com.evil.example/", False),
        ("https://evil.example/api.replicate.com", False),
        ("https://api.replicate.com@evil.example/", False),
    ],
)
def test_replicates_token_is_only_for_its_own_host(url, is_trusted):
    assert Server(None, ()).may_receive_token(httpx.URL(url)) is is_trusted
    assert not Server("https://gateway.example", ()).may_receive_token(httpx.URL(url))
    assert Server(None, ()).may_stream("https://stream-b.svc.c.replicate.net/v1/streams/x")
    assert not Server(None, ()).may_stream(url) or ".replicate.com" in url or is_trusted


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["stream", "get", "cancel", "web"])
async def test_replicates_token_is_not_sent_to_the_urls_of_a_prediction(form, name):
    with serving(nothing) as (other, received):

        def answer(method, path, headers, body):
            urls = {"get": f"{base}/v1/predictions/p1", "cancel": f"{base}/v1/predictions/p1/cancel"}
            status = "starting" if method == "POST" else "succeeded"
            prediction = {**PREDICTION, "status": status, "urls": {**urls, name: f"{other}/x"}}
            return 201, {"Content-Type": "application/json"}, json.dumps(prediction)

        with serving(answer) as (base, asked):
            llm = connect("replicate", CANARY, base)
            assert (await ask(llm, form, "What?", [picture(8, 8)])).text == "A cat."
            assert {sent_key(headers) for _, headers, _ in asked} == {CANARY}
            await llm.aclose()
        assert [path for path, _, _ in received] == []


@pytest.mark.parametrize("form", FORMS)
async def test_replicates_token_is_not_sent_to_the_url_of_an_uploaded_file(form):
    with serving(nothing) as (other, received):

        def answer(method, path, headers, body):
            if path.endswith("/files"):
                file = {"id": "f", "name": "n", "content_type": "image/png", "size": 1, "etag": "e", "checksums": {}}
                times = {"metadata": {}, "created_at": "2026", "expires_at": None}
                return 201, {}, json.dumps({**file, **times, "urls": {"get": f"{other}/file"}})
            return 201, {}, json.dumps({**PREDICTION, "urls": {}})

        with serving(answer) as (base, asked):
            llm = connect("replicate", CANARY, base)
            assert (await ask(llm, form, "What?", [noise(800, 800)])).text == "A cat."
            assert f"{other}/file" in asked[-1][2].decode()
            await llm.aclose()
        assert received == []


@pytest.mark.parametrize("status", STATUSES)
def test_the_download_of_an_image_does_not_carry_a_password_to_another_server(status):
    image = encoded(picture())
    with (
        serving(lambda *request: (200, {"Content-Type": "image/png"}, image)) as (other, received),
        serving(lambda *request: (status, {"Location": f"{other}/a.png"}, "")) as (first, asked),
    ):
        document = vn.ImageDocument(image_url=first.replace("//", f"//me:{CANARY[:8]}@") + "/b.png")
        assert document.size == (64, 48)
        assert "Authorization" in asked[0][1] or "authorization" in asked[0][1]
        assert not [name for _, headers, _ in received for name in headers if name.lower() == "authorization"]


@pytest.mark.parametrize("provider", ["openai", "azure", "local", "replicate"])
def test_a_vendors_client_sends_the_key_to_the_models_server_only(server, provider):
    with serving(nothing) as (other, received):
        llm = connect(provider, CANARY, server.url)
        if provider == "replicate":
            llm._connection.http.get(f"{other}/x")
        else:
            with pytest.raises(Exception, match="404"):
                llm.client.with_options(base_url=f"{other}/v1", max_retries=0).models.list()
        assert [
            name for _, headers, _ in received for name in headers if name.lower() in ("authorization", "api-key")
        ] == []
        assert len(received) == 1
