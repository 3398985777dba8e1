"""Passwords and signatures in URLs are used, and neither shown nor saved."""

import base64
import json
from typing import Any

import pytest

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.forms import FORMS, ask
from tests.secret_search import CORE, appears_in, leaks, serving
from tests.test_secrets_keys import PROVIDERS, connect
from vision_nb import errors
from vision_nb.privacy.urls import public_url, redact_url
from vision_nb.store import Store

pytestmark = pytest.mark.slow

LOGIN = f"me:{CORE}"
BROKEN = [
    "http://{}@[::1/v1",
    "http://{}@[::1]:99999/v1",
    "http://{}@host:port/v1",
    "http://{}@/v1",
    "http://{}/x@host/v1",
    "http://{}#x@host/v1",
    "http://{}?x@host/v1",
    "ftp://{}@host/v1",
    "{}@host/v1",
    "http://[{}@]/v1",
    "http://{}@ho\u2100st/v1",
]
VARIABLES = {
    "openai": "OPENAI_BASE_URL",
    "azure": "AZURE_OPENAI_ENDPOINT",
    "replicate": "REPLICATE_BASE_URL",
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("address", BROKEN)
def test_a_broken_address_raises_an_error_without_its_password(provider, address, monkeypatch):
    address = address.format(LOGIN)
    arguments = {"azure": "azure_endpoint", "azure v1": "azure_endpoint"}
    with pytest.raises(errors.SettingsError, match=r"must start with|not a valid address") as caught:
        connect(provider, "sk-0123456789", **{arguments.get(provider, "api_base"): address})
    assert not leaks(caught.value)
    if provider in VARIABLES:
        monkeypatch.setenv(VARIABLES[provider], address)
        options = {"azure_endpoint": None} if provider == "azure" else {}
        with pytest.raises(errors.SettingsError, match=VARIABLES[provider]) as caught:
            connect(provider, "sk-0123456789", **options).complete("What?", [picture(8, 8)])
        assert not leaks(caught.value)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("form", FORMS)
async def test_a_password_in_the_address_is_sent_and_not_shown(provider, form):
    error = lambda *request: (400, {}, json.dumps({"error": {"message": str(request[2])}}))  # noqa: E731
    with serving(error) as (base, received):
        llm = connect(provider, "sk-0123456789", base.replace("//", f"//{LOGIN}@"))
        with pytest.raises(errors.ProviderError) as caught:
            await ask(llm, form, "What?", [picture(8, 8)])
        sent = {name.lower(): value for name, value in received[0][1].items()}
        assert sent["authorization"] == f"Basic {base64.b64encode(LOGIN.encode()).decode()}"
        assert not leaks(caught.value) and not leaks(llm) and not leaks(llm.identity)
        assert base in str(llm.server)
        await llm.aclose()


SIGNED = [
    f"https://{LOGIN}@example.org/a.png",
    f"https://example.org/a.png?X-Amz-Algorithm=A&X-Amz-Credential={CORE}&X-Amz-Signature={CORE}&width=300",
    f"https://example.org/a.png?AWSAccessKeyId={CORE}&Signature={CORE}&Expires=1&width=300",
    f"https://example.org/a.png?sv=2024&se=2026&sr=b&sp=r&sig={CORE}&width=300",
    f"https://example.org/a.png?GoogleAccessId={CORE}&X-Goog-Signature={CORE}&width=300",
    f"https://example.org/a.png?Policy={CORE}&Key-Pair-Id={CORE}&Signature={CORE}&width=300",
    f"https://example.org/a.png?token={CORE}&access_token={CORE}&width=300",
    f"https://example.org/a.png?key={CORE}&api_key={CORE}&apikey={CORE}&api-key={CORE}&width=300",
    f"https://example.org/a.png?password={CORE}&auth={CORE}&secret={CORE}&client_secret={CORE}&code={CORE}&width=300",
    f"https://example.org/a.png?width=300#access_token={CORE}",
    f"https://example.org/a.png?width=300&%74oken={CORE}",
]


@pytest.mark.parametrize("url", SIGNED)
def test_saved_conversations_and_keys_of_answers_have_no_secrets_of_urls(url, tmp_path, server):
    chat = vn.Chat(vn.DemoMultiModal(api_base=server.openai_base))
    server.answer_with("Yes.")
    server.strict = False
    document = vn.ImageDocument(image_url=url)
    answer = vn.ChatResponse("Yes.", model="demo", finish_reason="stop")
    chat._turns.append(chat_turn(document, answer))
    for suffix in (".json", ".md", ".html", ".ipynb"):
        text = chat.export(tmp_path / f"talk{suffix}").read_text()
        assert (not appears_in(text) and "example.org/a.png" in text) or suffix != ".json"
        assert not appears_in(text)
    public = json.loads((tmp_path / "talk.json").read_text())["turns"][0]["question"]["parts"]
    assert {"url": public_url(url), "detail": None} in public and ("width=300" in str(public)) == ("width" in url)
    assert not appears_in(repr(document)) and not appears_in(document.name)
    with Store(tmp_path / "answers.sqlite3") as store:
        assert store.digest(document) == store.digest(vn.ImageDocument(image_url=public_url(url)))


def chat_turn(document, answer):
    from vision_nb.conversation.turn import Turn

    return Turn(vn.ChatMessage("user", ["What?", document]), answer)


@pytest.mark.parametrize("url", ["https://h/a?key=dir/cat.png", "https://h/a?id=7&page=2", "https://h/@me/a.png"])
def test_parameters_that_select_an_image_are_kept(url):
    assert public_url(url) == url


def test_a_url_in_a_message_has_no_password_however_it_is_written():
    for url in [one.format(LOGIN) for one in BROKEN if "://" in one] + SIGNED:
        assert not appears_in(redact_url(url)) and not appears_in(public_url(url)), url


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("url", [*SIGNED[:4], f"http://{LOGIN}@127.0.0.1:1/a.png?sig={CORE}", f"http://{LOGIN}@[::1/a"])
async def test_the_demo_servers_error_about_an_image_has_no_secret_of_its_url(server, form, url):
    server.strict = False
    llm = vn.OpenAIMultiModal("gpt-4o", "sk-0123456789", server.openai_base, max_retries=0)
    with pytest.raises(errors.VisionError) as caught:
        await ask(llm, form, "What?", [url])
    assert not appears_in(f"{caught.value} {caught.value!r} {caught.value.__cause__!r}")
    assert not appears_in(json.dumps([str(vars(caught.value.__cause__ or caught.value))]))
    await llm.aclose()


def test_the_error_for_a_download_has_no_secret_of_its_url():
    with serving(lambda *request: (403, {}, "no")) as (base, _):
        url = f"{base}/a.png?X-Amz-Signature={CORE}".replace("//", f"//{LOGIN}@")
        for wrong in (url, url.replace(base.rpartition(":")[2], "1")):
            with pytest.raises(errors.ImageDownloadError) as caught:
                vn.ImageDocument(image_url=wrong).size  # noqa: B018 - reading it downloads the image
            assert not appears_in(f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}")


def test_the_key_of_an_answer_is_that_of_the_same_image_with_another_signature(tmp_path):
    with Store(tmp_path / "answers.sqlite3") as store:
        one, two, three = (
            store.digest(vn.ImageDocument(image_url=f"https://h/a.png?{query}"))
            for query in ("width=1&Signature=aaa&Expires=1", "width=1&Signature=bbb&Expires=2", "width=2&Signature=aaa")
        )
    assert one == two != three


def test_a_gallery_shows_no_key_that_a_server_echoes(server, tmp_path):
    from tests.secret_search import CANARY, encodings_of
    from vision_nb.demo import Fault

    llm = vn.OpenAIMultiModal("gpt-4o", CANARY, server.openai_base, max_retries=0)
    for echo in encodings_of(CANARY).values():
        server.fail(Fault(status=400, body={"error": {"message": f"Authorization: Bearer {echo}"}}))
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture()))
    prompts = [f"What? {number}" for number in range(len(encodings_of(CANARY)))]
    comparison: Any = vn.compare([llm], prompts, [path], store=str(tmp_path / "answers.sqlite3"), concurrency=1)
    table = comparison.to_dataframe()
    assert "***" in table["error"][0] and len(table["error"].dropna()) == len(prompts)
    assert not leaks(comparison) and not leaks(table.to_json())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_address_with_a_query_raises_an_error_without_it(provider):
    argument = "azure_endpoint" if provider.startswith("azure") else "api_base"
    for query in (f"?code={CORE}", f"?api-version=2024-10-21&key={CORE}", f"#{CORE}"):
        with pytest.raises(errors.SettingsError, match="extra_query") as caught:
            connect(provider, "sk-0123456789", **{argument: f"http://{LOGIN}@127.0.0.1:1/v1{query}"})
        assert not leaks(caught.value)
