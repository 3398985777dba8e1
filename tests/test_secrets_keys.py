"""API keys: checked before they are sent, and removed from errors in every form."""

import base64
import gc
import json
import logging
import multiprocessing
import os
import pickle
import traceback
from copy import copy, deepcopy

import httpx2
import pytest

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.forms import FORMS, ask
from tests.secret_search import CANARY, CORE, appears_in, encodings_of, leaks, serving
from vision_nb import errors
from vision_nb.demo import Fault
from vision_nb.privacy.redaction import redact

pytestmark = pytest.mark.slow

VARIABLES = {
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "azure": "AZURE_OPENAI_API_KEY",
    "replicate": "REPLICATE_API_TOKEN",
}
AZURE = {"azure_endpoint": "http://127.0.0.1:1", "api_version": "2024-10-21"}


def connect(provider, key, base=None, **options):
    """Return a model of a provider; a key of None is in the environment."""
    if provider == "replicate":
        options |= ({"api_base": base} if base else {}) | ({} if key is None else {"api_token": key})
        return vn.connect("replicate:llava-13b", max_retries=0, **options)
    options |= {} if key is None else {"api_key": key}
    if provider in ("azure", "azure v1"):
        v1 = {"azure_endpoint": f"{base}/openai/v1/"} if provider == "azure v1" else {"azure_endpoint": base}
        return vn.connect("azure:deployed", max_retries=0, **{**AZURE, **(v1 if base else {}), **options})
    options |= {"api_base": f"{base}/v1"} if base else {}
    return vn.connect(f"{provider}:gpt-4o", max_retries=0, **options)


PROVIDERS = ["openai", "azure", "azure v1", "replicate", "local", "anthropic"]


def sent_key(headers):
    lowered = {name.lower(): value for name, value in headers.items()}
    return lowered.get("api-key") or lowered["authorization"].partition(" ")[2]


AROUND = {
    "newline": "{}\n",
    "Windows newline": "{}\r\n",
    "spaces": "  {}\t ",
    "NUL": "{}\0",
    "zero-width space": "\u200b{}\u200b",
    "byte-order mark": "\ufeff{}",
    "no-break space": "{}\u00a0",
    "double quotes": '"{}"',
    "single quotes and newline": "'{}'\n",
    "line separator": "{}\u2028",
}
INSIDE = ["\n", "\r\n", "\0", "\u200b", "é", "ж", "\u2028", "\x7f", "\x1b", "\ud800", "“", "\u00a0", "\t"]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("written", AROUND.values(), ids=AROUND)
async def test_what_surrounds_a_key_is_not_sent(server, provider, written, monkeypatch):
    key = "sk-0123456789abcdef"
    for source in ("argument", "environment"):
        if source == "environment":
            if provider == "local" or "\0" in written:
                continue  # no variable, or not possible
            monkeypatch.setenv(VARIABLES[provider.partition(" ")[0]], written.format(key))
        llm = connect(provider, written.format(key) if source == "argument" else None, server.url)
        llm.complete("What?", [picture()])
        await llm.acomplete("What?", [picture()])
        assert {sent_key(request.headers) for request in server.requests} == {key}
        await llm.aclose()


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("wrong", INSIDE, ids=ascii)
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(provider, wrong, monkeypatch):
    key = f"{CANARY}{wrong}{CORE}"
    with pytest.raises(errors.SettingsError, match="not printable ASCII") as caught:
        connect(provider, key)
    assert not leaks(caught.value)
    if provider in VARIABLES and wrong not in ("\0", "\ud800"):
        monkeypatch.setenv(VARIABLES[provider], key)
        with pytest.raises(errors.SettingsError, match=f"{VARIABLES[provider]}.*not printable ASCII") as caught:
            connect(provider, None)
        assert not leaks(caught.value)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("key", [CANARY.encode(), [CANARY], {"key": CANARY}], ids=["bytes", "list", "dict"])
def test_a_key_of_another_type_is_refused_and_not_shown(provider, key):
    with pytest.raises(errors.SettingsError, match="must be a string") as caught:
        connect(provider, key)
    assert not leaks(caught.value)


@pytest.mark.parametrize("blank", ["", " ", "\n", "\u200b", '""', "\0"], ids=ascii)
def test_a_key_of_white_space_is_missing(blank):
    for make in (lambda: vn.OpenAIMultiModal(api_key=blank), lambda: vn.ReplicateMultiModal(api_token=blank)):
        with pytest.raises(errors.MissingKeyError):
            make()


BODIES = {
    "OpenAI's error": lambda echo: json.dumps({"error": {"message": f"bad key: {echo}", "code": echo}}),
    "detail": lambda echo: json.dumps({"detail": echo, "title": echo}),
    "list": lambda echo: json.dumps([{"error": echo}]),
    "HTML": lambda echo: f"<html><title>{echo}</title>",
    "text": lambda echo: echo,
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [401, 200])
async def test_an_echoed_key_is_removed_from_the_whole_chain_of_errors(provider, form, status):
    current = {}
    with serving(lambda *request: (status, current["headers"], current["body"])) as (base, _):
        llm = connect(provider, CANARY, base)
        for number, (name, echo) in enumerate(encodings_of(CANARY).items()):
            body = list(BODIES.values())[number % len(BODIES)]
            current["headers"] = {"X-Echo": echo.replace("\n", " "), "Content-Type": "application/json"}
            current["body"] = body(echo)
            with pytest.raises(errors.ProviderError) as caught:
                await ask(llm, form, "What?", [picture(8, 8)])
            assert not leaks(caught.value), (name, current["body"])
        await llm.aclose()


@pytest.mark.parametrize("provider", ["openai", "azure", "local"])
@pytest.mark.parametrize("form", ["complete", "acomplete"])
async def test_an_echoed_key_is_removed_from_an_answer(server, provider, form):
    llm = connect(provider, CANARY, server.url)
    server.answer_with(f"You sent {CANARY}, or {CANARY}.")
    answer = await ask(llm, form, "What?", [picture(8, 8)])
    assert answer.text == "You sent ***, or ***." and not leaks(answer)
    await llm.aclose()


def test_a_key_in_a_predictions_log_and_error_is_removed(server):
    server.fail(Fault(prediction_error=f"no {CANARY}", prediction_logs=f"{'x' * 60}{CANARY}\n{CANARY}"))
    with pytest.raises(errors.PredictionFailedError) as caught:
        connect("replicate", CANARY, server.url).complete("What?", [picture()])
    assert not leaks(caught.value) and "***" in caught.value.logs


HEADERS = {"X-Api-Key": f"{CORE}-header", "Authorization": f"Custom {CORE}-own", "Cookie": f"session={CORE}"}


@pytest.mark.parametrize("place", ["default_headers", "additional_kwargs", "call"])
@pytest.mark.parametrize("form", FORMS)
async def test_secrets_in_http_headers_are_sent_and_removed_from_errors(place, form):
    options = {"default_headers": {"default_headers": HEADERS}, "call": {}}.get(
        place, {"additional_kwargs": {"extra_headers": HEADERS}}
    )
    echo = lambda *request: (400, dict(HEADERS), json.dumps({"error": {"message": str(request[2])}}))  # noqa: E731
    with serving(echo) as (base, received):
        llm = connect("openai", "sk-0123456789", base, **options)
        with pytest.raises(errors.ProviderError) as caught:
            await ask(llm, form, **({"extra_headers": HEADERS} if place == "call" else {}))
        assert not leaks(caught.value) and not leaks(llm)
        sent = {name.lower(): value for name, value in received[0][1].items()}
        assert {name.lower(): value for name, value in HEADERS.items()}.items() <= sent.items()
        await llm.aclose()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("provider", ["azure", "azure v1"])
async def test_an_azure_token_is_sent_and_removed_from_errors(provider, form, monkeypatch):
    async def aprovider():
        return CANARY

    providers = [lambda: CANARY] + ([aprovider] if form.startswith("a") else [])
    with serving(lambda *request: (400, {}, json.dumps({"error": {"message": str(request[2])}}))) as (base, received):
        for token_provider in [*providers, None]:
            if token_provider is None:
                monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", CANARY)
            llm = connect(provider, None, base, azure_ad_token_provider=token_provider)
            with pytest.raises(errors.ProviderError) as caught:
                await ask(llm, form)
            assert sent_key(received[-1][1]) == CANARY
            assert not leaks(caught.value) and not leaks(llm) and not leaks(llm.client)
            await llm.aclose()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("wrong", [lambda: 1 / 0, lambda: None, lambda: "", lambda: f"{CANARY}\u200b{CORE}"])
async def test_a_token_provider_that_fails_raises_an_error_that_says_so(server, form, wrong):
    llm = connect("azure", None, server.url, azure_ad_token_provider=wrong)
    with pytest.raises((errors.AuthenticationError, errors.SettingsError), match="azure_ad_token_provider=") as caught:
        await ask(llm, form)
    assert not leaks(caught.value) and server.requests == []
    await llm.aclose()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_model_and_its_clients_do_not_show_the_key(server, provider):
    llm = connect(provider, CANARY, server.url)
    llm.complete("What?", [picture()]), await llm.acomplete("What?", [picture()])
    with pytest.raises(errors.ProviderError):
        server.fail(Fault(status=401, body={"error": {"message": CANARY}}))
        llm.complete("What?", [picture()])
    assert CANARY in {sent_key(request.headers) for request in server.requests}
    assert not leaks(llm) and not leaks(vars(llm)) and not leaks(llm.client) and not leaks(llm.async_client)
    assert not leaks(llm.identity) and not leaks(llm.settings())
    await llm.aclose()


def test_the_vendors_client_of_a_model_can_be_used_without_the_model(server):
    client = vn.OpenAIMultiModal("gpt-4o", CANARY, server.openai_base).client
    client.with_options(timeout=9).chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "x"}])
    assert server.requests[-1].headers["authorization"] == f"Bearer {CANARY}" and not leaks(client)


@pytest.mark.parametrize("options", [{"max_side": 0}, {"api_base": "ftp://me:PW@x"}, {"image_detail": "?"}, {"no": 1}])
def test_arguments_with_a_key_do_not_appear_in_tracebacks_with_local_variables(options):
    makers = [
        lambda: vn.connect("openai:gpt-4o", api_key=CANARY, default_headers={"X": CANARY}, **options),
        lambda: vn.OpenAIMultiModal("gpt-4o", api_key=CANARY, default_headers={"X": CANARY}, **options),
        lambda: vn.LocalMultiModal("m", api_key=CANARY, **{"api_base": f"http://a:{CANARY[:9]}@h/v1", **options}),
        lambda: vn.AzureOpenAIMultiModal("d", api_key=CANARY, default_headers={"X": CANARY}, **{**AZURE, **options}),
        lambda: vn.connect("replicate:llava-13b", api_token=CANARY, **options),
        lambda: vn.DemoMultiModal(default_headers={"X": CANARY}, **options),
    ]
    for make in makers:
        with pytest.raises((errors.SettingsError, TypeError)) as caught:
            make()
            raise errors.SettingsError("Replicate ignores it")
        assert not leaks(caught.value)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("form", FORMS)
async def test_tracebacks_of_errors_have_no_frames_of_other_packages(provider, form):
    cases = {
        "refused": lambda *request: (401, {}, "{}"),
        "rubbish": lambda *request: (200, {"Content-Type": "application/json"}, "[" * 9),
        "broken": lambda *request: (200, {"Content-Length": "99"}, "x"),
    }
    for answer in cases.values():
        with serving(answer) as (base, _):
            llm = connect(provider, CANARY, base, timeout=0.5)
            with pytest.raises(errors.ProviderError) as caught:
                await ask(llm, form, "What?", [picture()])
            await llm.aclose()
        error: BaseException | None = caught.value
        files: list[str] = []
        while error is not None:
            files += [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
            error = error.__cause__ or error.__context__
        assert not [
            file
            for file in files
            if any(f"/{name}/" in file for name in ("openai", "httpx2", "httpx", "replicate", "httpcore"))
            and "vision_nb" not in file
        ]


def test_a_users_own_frames_stay_in_the_traceback(server):
    def failing_provider():
        raise ValueError("the vault is closed")

    llm = connect("azure", None, server.url, azure_ad_token_provider=failing_provider)
    with pytest.raises(errors.AuthenticationError, match="the vault is closed") as caught:
        llm.complete("What?")
    cause = caught.value.__cause__
    assert "failing_provider" in "".join(traceback.format_exception(cause))


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_users_http_client_gets_the_key_and_does_not_leak_it(server, provider):
    if provider == "replicate":
        pytest.skip("it takes no HTTP client")
    seen = []
    with httpx2.Client(
        headers={"X-Team": "vision"}, event_hooks={"response": [lambda r: seen.append(r.read())]}
    ) as own:
        llm = connect(provider, CANARY, server.url, http_client=own)
        assert llm.complete("What?").text and "".join(r.delta for r in llm.stream_complete("What?"))
        request = server.requests[-1]
        assert sent_key(request.headers) == CANARY and request.headers["x-team"] == "vision" and len(seen) == 2
        server.fail(Fault(status=401, body={"error": {"message": CANARY}}))
        with pytest.raises(errors.AuthenticationError) as caught:
            llm.complete("What?")
        assert not leaks(caught.value) and not leaks(llm) and not own.is_closed
        llm.close()
        assert not own.is_closed


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_copy_keeps_the_key_and_a_pickle_reads_it_from_the_environment(server, provider, monkeypatch):
    llm = connect(provider, CANARY, server.url, max_new_tokens=9)
    llm.complete("What?", [picture()])
    for copied in (copy(llm), deepcopy(llm)):
        assert copied.complete("What?", [picture()]).text and sent_key(server.requests[-1].headers) == CANARY
        assert copied.max_new_tokens == 9 and str(copied) == str(llm) and not leaks(copied)
    data = pickle.dumps(llm)
    assert not appears_in(data.decode("latin-1"))
    restored = pickle.loads(data)
    assert restored.max_new_tokens == 9 and str(restored) == str(llm) and restored.identity == llm.identity
    with pytest.raises(errors.MissingKeyError, match="not sent to other processes") as caught:
        restored.complete("What?", [picture()])
    assert not leaks(caught.value)
    if provider != "local":
        monkeypatch.setenv(VARIABLES[provider.partition(" ")[0]], "sk-of-the-worker")
        assert restored.complete("What?", [picture()]).text
        assert sent_key(server.requests[-1].headers) == "sk-of-the-worker"


def test_a_model_whose_headers_or_clients_cannot_be_pickled_says_what_to_do():
    with httpx2.Client() as own:
        for options in ({"default_headers": {"X": CANARY}}, {"http_client": own}):
            llm = vn.OpenAIMultiModal("gpt-4o", CANARY, **options)
            with pytest.raises(errors.SettingsError, match="create the model in that process") as caught:
                pickle.dumps(llm)
            assert not leaks(caught.value)
            assert copy(llm) is not llm and deepcopy(llm).model == "gpt-4o"


def ask_in_worker(llm):
    return llm.complete("What?").text, os.environ.get("OPENAI_API_KEY")


@pytest.mark.slow
def test_a_model_works_in_worker_processes(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    llm = vn.OpenAIMultiModal("gpt-4o", api_base=server.openai_base)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        text, _ = pool.apply(ask_in_worker, (llm,))
    assert text and sent_key(server.requests[-1].headers) == CANARY


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("form", FORMS)
async def test_debug_logs_do_not_show_a_key(provider, form, caplog):
    echo = lambda *request: (  # noqa: E731
        500,
        {"X-Echo": str(request[2]).replace("\n", "")},
        json.dumps({"error": {"message": str(request[2])}}),
    )
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "replicate"):
        caplog.set_level(logging.DEBUG, logger=name)
    with serving(echo) as (base, _):
        base = base.replace("http://", f"http://user:{CORE}-password@")
        llm = connect(provider, CANARY, base, **({} if provider == "replicate" else {"default_headers": HEADERS}))
        with pytest.raises(errors.ProviderError) as caught:
            await ask(llm, form, "What?", [picture()])
        logging.getLogger("openai").exception("failed", exc_info=caught.value)
        await llm.aclose()
    assert len(caplog.records) > 3
    formatter = logging.Formatter("%(message)s")
    assert not [text for record in caplog.records if appears_in(text := formatter.format(record) + str(vars(record)))]


def test_a_key_in_place_of_the_models_name_is_refused_and_not_shown():
    key = f"sk-proj-{CORE}-{CORE}"
    makers = [
        lambda: vn.OpenAIMultiModal(key, "gpt-4o"),
        lambda: vn.LocalMultiModal(key),
        lambda: vn.connect(f"openai:{key}", api_key="sk-0123456789"),
    ]
    for make in makers:
        with pytest.raises(errors.SettingsError, match="looks like an API key") as caught:
            make()
        assert not appears_in(f"{caught.value} {caught.value!r}")


@pytest.mark.parametrize("wrong", [[("X", CANARY)], CANARY, {CANARY}], ids=["list", "text", "set"])
def test_headers_that_are_not_a_dict_are_refused_and_not_shown(server, wrong):
    llm = connect("openai", "sk-0123456789", server.url)
    asks = [
        lambda: vn.OpenAIMultiModal("gpt-4o", "sk-0123456789", default_headers=wrong),
        lambda: vn.OpenAIMultiModal("gpt-4o", "sk-0123456789", additional_kwargs={"extra_headers": wrong}),
        lambda: llm.complete("What?", extra_headers=wrong),
    ]
    for ask_it in asks:
        with pytest.raises(errors.SettingsError, match="must be a dict") as caught:
            ask_it()
        assert not leaks(caught.value)
    assert server.requests == []


def test_a_token_in_place_of_a_token_provider_is_refused_and_not_shown():
    with pytest.raises(errors.SettingsError, match="must be a function") as caught:
        vn.AzureOpenAIMultiModal("d", azure_ad_token_provider=CANARY, **AZURE)  # type: ignore[arg-type]
    assert not leaks(caught.value)


@pytest.mark.parametrize("name", ["api_keyy", "apikey", "azure_ad_token", "openai_api_key", "secret", "password"])
def test_a_misspelled_argument_for_a_key_does_not_show_it(name):
    for model in ("openai:gpt-4o", "azure:d", "replicate:llava-13b", "demo"):
        with pytest.raises((errors.SettingsError, TypeError)) as caught:
            vn.connect(model, **({**AZURE, name: CANARY} if model == "azure:d" else {name: CANARY}))
        assert not leaks(caught.value)
    with pytest.raises((errors.SettingsError, TypeError)) as caught:
        vn.AzureOpenAIMultiModal("d", **{**AZURE, "api_key": "sk-0123456789", name: CANARY})  # type: ignore[arg-type]
    assert not leaks(caught.value)


def test_a_key_that_begins_like_another_is_removed_whole():
    short, long = (vn.OpenAIMultiModal("gpt-4o", key) for key in (CANARY, f"{CANARY}-and-more"))
    assert redact(f"Not {CANARY}-and-more, or {CANARY}.") == "Not ***, or ***."
    assert short.model == long.model


def test_keys_around_the_data_of_an_image_are_removed_and_the_image_stays():
    image = encoded(picture(400, 300))
    data = base64.b64encode(image).decode()
    assert len(data) > 8000
    shown = redact(f"sk-abcdef123456 data:image/png;base64,{data}, Bearer abcdefgh12345678")
    assert shown == f"*** data:image/png;base64,{data}, Bearer ***"


def test_a_redacted_key_stays_in_no_cache():
    key = "sk-" + "kept-nowhere/" * 2
    llm = connect("openai", key)
    assert key not in llm.redacted(f"The key {key} is wrong.")
    del llm
    names = (name for one in gc.get_objects() if isinstance(one, dict) for name in list(one))
    parts = (part for name in names for part in (name if isinstance(name, tuple) else (name,)))
    assert not [part for part in parts if isinstance(part, str) and "kept-nowhere" in part]
