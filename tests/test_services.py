"""Every service of the table is asked through the true openai client; the demo server refuses what its row refuses."""

import pickle
import traceback
import warnings
from dataclasses import replace
from decimal import Decimal

import httpx2
import pytest
from pydantic import BaseModel

import vision_nb as vn
from tests.conftest import encoded, picture
from tests.forms import EIGHT_FORMS, FORMS, ask, ask_all
from tests.kernels import in_process_shell
from tests.secret_search import CANARY, CORE, appears_in, is_of_tests, leaks
from vision_nb import errors
from vision_nb.cost.ledger import ledger
from vision_nb.demo.openai.dialects import PRICE, service_path
from vision_nb.services import registry
from vision_nb.services.registry import all_services
from vision_nb.services.table import SERVICES

pytestmark = pytest.mark.slow

NAMES = [
    "openai", "anthropic", "gemini", "openrouter", "mistral", "groq", "together", "xai", "fireworks", "deepinfra",
    "huggingface", "moonshot", "zai",
]  # fmt: skip
MODELS = {name: (row.examples or ("some-model",))[0] for name, row in SERVICES.items()}


class Size(BaseModel):
    width: int
    height: int


def connect(server, name, **options):
    """Return a model of a service, which the demo server plays."""
    row = server.service = SERVICES[name]
    return vn.connect(f"{name}:{MODELS[name]}", api_base=server.url + service_path(row), **options)


def last(server):
    return server.requests[-1]


@pytest.fixture(autouse=True)
def no_services_of_other_tests(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture(params=NAMES)
def name(request, monkeypatch):
    """The name of a service, whose key is set."""
    variable = SERVICES[request.param].key_variable
    monkeypatch.setenv(variable, f"key-of-{request.param}")
    return request.param


def test_every_row_is_tested_and_states_its_source():
    assert list(SERVICES) == NAMES
    assert all("read 2026-11" in row.source for row in SERVICES.values())


@pytest.mark.parametrize("form", EIGHT_FORMS)
async def test_all_eight_methods_answer_with_every_service(server, name, form):
    detail = {} if SERVICES[name].takes_detail is False else {"image_detail": "low"}
    llm = connect(server, name, max_new_tokens=200, **detail)
    server.require_key = f"key-of-{name}"
    responses = await ask_all(llm, form, "How large is it?", [encoded(picture(), "WEBP")])
    answer, request = responses[-1], last(server)
    assert "64 x 48" in answer.text and answer.finish_reason == "stop" and answer.usage.input_tokens > 0
    assert request.path == f"{service_path(SERVICES[name])}/chat/completions"
    assert request.headers["authorization"] == f"Bearer key-of-{name}"
    assert request.body["model"] == MODELS[name]
    assert str(llm) == f"{name}:{MODELS[name]}" and ledger.entries[-1].model == llm.label
    assert answer.cost == (Decimal(str(PRICE)) if SERVICES[name].cost_field else llm.price(answer.usage))


@pytest.mark.parametrize("form", FORMS)
async def test_a_wrong_key_and_an_error_are_reported_in_the_services_own_words(server, name, form):
    llm = connect(server, name, max_retries=0)
    server.require_key = "another key"
    with pytest.raises(errors.AuthenticationError, match=rf"{SERVICES[name].title} .*401.*Invalid API key"):
        await ask(llm, form, "x")
    server.require_key = None
    server.models = ["none of these"]
    with pytest.raises(errors.UnknownModelError, match="does not exist"):
        await ask(llm, form, "x")


def test_the_demo_server_words_errors_prices_and_streams_as_the_service_does(server, name):
    row = server.service = SERVICES[name]
    url = f"{server.url}{service_path(row)}/chat/completions"
    question = {"model": MODELS[name], "messages": [{"role": "user", "content": "x"}]}
    refused = httpx2.post(url, json=question)
    assert refused.status_code == 401 and isinstance(refused.json(), list if row.errors_are_lists else dict)
    headers = {"Authorization": "Bearer k"}
    answer = httpx2.post(url, json=question, headers=headers).json()
    assert ("cost" in answer["usage"]) == (row.cost_field == "usage.cost")
    streamed = httpx2.post(url, json={**question, "stream": True}, headers=headers).text
    assert streamed.startswith(": " if row.sends_comments else "data: ") and streamed.endswith("data: [DONE]\n\n")


def test_schemas_are_answered_with_every_service(server, name):
    answer = connect(server, name).complete("How large?", [encoded(picture())], schema=Size)
    assert answer.parsed == Size(width=64, height=48) and answer.attempts == 1
    (request,) = server.requests
    assert ("response_format" in request.body) == (SERVICES[name].takes_schema is not False)


def test_images_behind_urls_are_sent_as_data_unless_the_service_takes_urls(server, name, monkeypatch):
    monkeypatch.setenv("VISION_NB_ALLOW_PRIVATE_URLS", "1")
    llm = connect(server, name)
    url = f"{server.url}/samples/chart.png"
    if not vn.ImageDocument.of(url).is_remote:
        pytest.fail("the sample is not remote")
    llm.complete("How large is it?", [url])
    sent = last(server).body["messages"][-1]["content"][-1]["image_url"]["url"]
    assert (sent == url) == bool(SERVICES[name].takes_urls) and sent.startswith(("data:image/", url))


def test_a_missing_key_names_the_services_variable(name, monkeypatch):
    variable = SERVICES[name].key_variable
    monkeypatch.delenv(variable)
    with pytest.raises(errors.MissingKeyError, match=f"{SERVICES[name].title} is missing: set {variable}"):
        vn.connect(f"{name}:model")
    assert vn.connect(f"{name}:model", api_key="given").model == "model"


@pytest.mark.parametrize("name", [name for name in NAMES if SERVICES[name].max_images], indirect=True)
def test_too_many_images_are_an_error_before_anything_is_sent(server, name):
    limit = SERVICES[name].max_images
    with pytest.raises(errors.SettingsError, match=f"accepts {limit:,} images per request and got {limit + 1:,}"):
        connect(server, name).complete("x", [encoded(picture(8, 8))] * (limit + 1))
    assert not server.requests


@pytest.mark.parametrize("name", ["groq", "fireworks", "anthropic"], indirect=True)
def test_images_that_are_too_large_together_are_an_error_with_the_figures(server, name):
    llm = connect(server, name)
    llm.max_request_bytes = 5_000  # as if the images were large
    with pytest.raises(errors.ImageTooLargeError, match=r"accepts 0\.0 MB of images per request.*as base64"):
        llm.complete("x", [encoded(picture(200, 200))])
    assert not server.requests


@pytest.mark.parametrize(
    "model, is_priced",
    [
        ("huggingface:Qwen/Qwen3-VL-8B-Instruct:novita", True),
        ("huggingface:Qwen/Qwen3-VL-8B-Instruct", False),  # the router chooses the partner
        ("huggingface:Qwen/Qwen3-VL-8B-Instruct:fastest", False),
        ("moonshot:kimi-k2.6", True),
        ("zai:glm-4.6v", True),
    ],
)
def test_the_price_is_that_of_whoever_sells_the_model(model, is_priced):
    llm = vn.connect(model, api_key="k")
    price = llm.price(vn.Usage(1_000_000, 1_000_000))
    assert (price is not None and price > 0) == is_priced and str(llm) == model


@pytest.mark.parametrize("name", ["anthropic"], indirect=True)
def test_images_are_scaled_to_the_longest_side_that_the_service_takes(server, name):
    llm = connect(server, name, max_side=9000)
    without_rule = vn.connect(f"{name}:a-model-of-tomorrow", api_base=llm.server, max_side=9000)
    assert "8,000 x " in without_rule.complete("How large is it?", [picture(8500, 20)]).text
    assert "2,500 x " in llm.complete("How large is it?", [picture(2500, 900)]).text  # a side of 2,576 is allowed
    many = llm.complete("How large is each?", [picture(2500, 900, seed=number) for number in range(21)])
    assert "2,000 x 720" in many.text and "2,500" not in many.text


@pytest.mark.parametrize("name", ["anthropic"], indirect=True)
def test_a_detail_level_is_dropped_with_a_warning_where_there_is_none(server, name):
    with pytest.warns(UserWarning, match="anthropic:.* has no detail levels"):
        connect(server, name).complete("x", [encoded(picture())], image_detail="high")
    assert "detail" not in last(server).body["messages"][-1]["content"][-1]["image_url"]


@pytest.mark.parametrize("form", FORMS)
async def test_parameters_of_unknown_support_are_dropped_once_they_are_refused(server, form, monkeypatch):
    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    llm = connect(server, "together")
    server.service = replace(SERVICES["together"], takes_stream_options=False, takes_detail=False)
    with pytest.warns(UserWarning, match="does not support the detail level"):
        await ask(llm, form, "x", [encoded(picture())], image_detail="low")
    sent = len(server.requests)
    await ask(llm, form, "x", [encoded(picture())])
    assert len(server.requests) == sent + 1 and last(server).body.keys() >= {"model", "messages"}


def test_the_variables_for_openai_do_not_change_requests_to_other_services(server, monkeypatch):
    for variable in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(variable, "of-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("MISTRAL_API_KEY", "of-mistral")
    connect(server, "mistral").complete("x")
    assert "of-openai" not in str(last(server).headers)
    llm = vn.ServiceMultiModal("mistral", "pixtral-large-latest")
    assert str(llm.client.base_url) == "https://api.mistral.ai/v1/" and llm.server is None


def test_prices_and_estimates_know_the_services_models():
    usage = vn.Usage(1_000_000, 0)
    for full in ("anthropic:claude-haiku-4-5", "gemini:gemini-2.5-flash", "openrouter:qwen/qwen2.5-vl-72b-instruct",
                 "mistral:pixtral-large-latest", "groq:meta-llama/llama-4-scout-17b-16e-instruct", "xai:grok-4"):  # fmt: skip
        assert vn.connect(full, api_key="k").price(usage) > 0, full
    assert vn.connect("openrouter:unknown/model", api_key="k").price(usage) is None
    assert vn.connect("deepinfra:any", api_key="k").price(usage) is None


def test_a_model_of_a_service_can_be_sent_to_another_process_without_its_key(server, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-of-anthropic")
    llm = connect(server, "anthropic")
    data = pickle.dumps(llm)
    assert b"key-of-anthropic" not in data
    assert pickle.loads(data).complete("How large?", [encoded(picture())]).text
    assert last(server).headers["authorization"] == "Bearer key-of-anthropic"


def test_a_registered_service_follows_its_settings(server, monkeypatch):
    vn.register_service(
        "ours", base_url=server.openai_base, key_variable="OUR_KEY", title="Our gateway", max_images=2, takes_schema=False,
        length_limit="max_completion_tokens", image_types=["image/webp"],
    )  # fmt: skip
    with pytest.raises(errors.MissingKeyError, match="Our gateway is missing: set OUR_KEY"):
        vn.connect("ours:m")
    monkeypatch.setenv("OUR_KEY", "k-1")
    llm = vn.connect("ours:m", max_new_tokens=9)
    with pytest.raises(errors.SettingsError, match="accepts 2 images"):
        llm.complete("x", [encoded(picture())] * 3)
    llm.complete("x", [encoded(picture())])
    assert last(server).body["max_completion_tokens"] == 9 and last(server).headers["authorization"] == "Bearer k-1"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "openai", "base_url": "http://x/v1"}, "choose another name"),
        ({"name": "azure", "base_url": "http://x/v1"}, "choose another name"),
        ({"name": "My Own", "base_url": "http://x/v1"}, "is not a valid name"),
        ({"name": "ours", "base_url": "x"}, "must start with http"),
        ({"name": "ours", "base_url": "http://x/v1", "max_image": 3}, "'max_image' is not a setting"),
        ({"name": "ours", "base_url": "http://x/v1", "max_images": "3"}, "max_images='3' is not valid"),
        ({"name": "ours", "base_url": "http://x/v1", "image_types": ["image/bmp"]}, "image_types"),
        ({"name": "ours", "base_url": "http://x/v1", "length_limit": "max"}, "length_limit"),
        ({"name": "ours", "base_url": "http://x/v1", "takes_urls": 1}, "takes_urls=1 is not valid"),
    ],
)
def test_a_service_with_invalid_settings_is_refused(given, said):
    before = all_services()
    with pytest.raises(errors.SettingsError, match=said):
        vn.register_service(**given)
    assert all_services() == before


def verbose_traceback(error):
    """Return an error with the local variables of the package's frames."""
    frames = [pair for pair in traceback.walk_tb(error.__traceback__) if not is_of_tests(pair[0])]
    return "".join(traceback.StackSummary.extract(iter(frames), capture_locals=True).format()) + repr(error)


@pytest.mark.parametrize("key", [CANARY, f"r8_{CORE}AbCdEfGhIjKlMnOpQr"])
def test_a_key_in_place_of_its_variables_name_is_refused_and_not_shown(key):
    for settings in ({"key_variable": key}, {"key_variable": [key]}, {"api_key": key}):
        with pytest.raises(errors.SettingsError, match=r"never the key|is not a setting") as caught:
            vn.register_service("ours", base_url="http://127.0.0.1:9/v1", **settings)
        assert not appears_in(verbose_traceback(caught.value))


def test_the_password_in_a_services_address_is_not_shown():
    vn.register_service("ours", base_url=f"http://me:{CORE}@127.0.0.1:9/v1")
    assert not appears_in(repr(all_services()))
    assert leaks(vn.connect("ours:m")) == []


@pytest.mark.parametrize("rest", ["[::1/v1", "127.0.0.1:9/v1?a=b"])
def test_the_password_in_a_services_invalid_address_is_not_shown(rest):
    vn.register_service("ours", base_url=f"http://me:{CORE}@{rest}")
    with pytest.raises(errors.SettingsError, match="base_url") as caught:
        vn.connect("ours:m")
    assert not appears_in(verbose_traceback(caught.value))


def test_a_project_can_have_services_of_its_own(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = f'[tool.vision_nb.services.team]\nbase_url = "{server.openai_base}"\nmax_images = 1\n'
    (tmp_path / "pyproject.toml").write_text(table)
    assert vn.connect("team:m").complete("How large?", [encoded(picture())]).text
    (tmp_path / "pyproject.toml").write_text(
        f"{table}colour = 3\n[tool.vision_nb.services.openai]\nbase_url = 'http://x'\n"
    )
    with pytest.warns(UserWarning) as warned, pytest.raises(errors.SettingsError, match="Unknown provider 'team'"):
        vn.connect("team:m")
    assert "'colour' is not a setting" in str(warned[0].message) and "choose another name" in str(warned[1].message)
    assert vn.connect("openai:gpt-4o", api_key="k").server is None


def test_cells_ask_services_by_full_and_bare_names_and_the_list_shows_what_is_ready(tmp_path, monkeypatch, capsys):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.vision_nb]\ndetail = "low"\n[tool.vision_nb.services.team]\nbase_url = "http://127.0.0.1:1/v1"\n'
        'examples = ["team-vl"]\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEMINI_API_KEY", "of-gemini")
    with in_process_shell(tmp_path) as shell:
        assert shell.magics.detail == "low"
        listed = shell.run_line_magic("vision", "list")
        rows = [row[0] for row in listed.rows]
        assert rows[0] == "gemini:gemini-2.5-flash" and "team:team-vl" in rows and "demo" in rows
        assert not any(row.startswith(("openai:", "anthropic:")) for row in rows)
        assert "0.3 / 2.5" in listed.rows[0]
        assert "anthropic (ANTHROPIC_API_KEY)" in listed.remarks[-1] and "gemini" not in listed.remarks[-1]
        for name, model in (("gemini-2.5-flash", "gemini-2.5-flash"), ("team:other", "other")):
            shell.run_cell_magic("vision", name, "What?")
            assert shell.server.requests[-1].body["model"] == model
        assert shell.server.requests[0].headers["authorization"] == "Bearer of-gemini"
        monkeypatch.setenv("GEMINI_API_KEY", "a-new-key")  # a cell connects again when its key changes
        shell.run_cell_magic("vision", "gemini-2.5-flash", "Again?")
        assert shell.server.requests[-1].headers["authorization"] == "Bearer a-new-key"


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "GITHUB_TOKEN", None])
@pytest.mark.parametrize("trusted", [None, ".", "parent", "elsewhere"])
def test_a_project_from_elsewhere_cannot_take_a_key_or_an_image_to_its_server(
    server, tmp_path, monkeypatch, variable, trusted
):
    (tmp_path / "cloned").mkdir()
    monkeypatch.chdir(tmp_path / "cloned")
    base = server.openai_base if variable else "https://llm.evil.example/v1"
    key = f'key_variable = "{variable}"\n' if variable else ""
    (tmp_path / "cloned" / "pyproject.toml").write_text(
        f'[tool.vision_nb.services.team]\nbase_url = "{base}"\nexamples = ["gpt-4o-team"]\n{key}'
    )
    if variable:
        monkeypatch.setenv(variable, CANARY)
    if trusted:
        folders = {"parent": str(tmp_path), "elsewhere": f"{tmp_path / 'other'}:{tmp_path / 'cloned2'}"}
        monkeypatch.setenv("VISION_NB_TRUSTED_PROJECTS", folders.get(trusted, trusted))
    for use in (
        lambda: vn.connect("team:m"),
        lambda: vn.ServiceMultiModal("team", "m"),
        lambda: vn.compare("team:m", "What?", [picture()], progress=False),
        lambda: vn.estimate_cost("What?", models=["team:m"]) and vn.connect("team:gpt-4o-team").complete("What?"),
    ):
        with pytest.raises(errors.SettingsError, match=r"nothing was sent there.*VISION_NB_TRUSTED_PROJECTS") as caught:
            use()
        assert base in str(caught.value)
        assert str(tmp_path / "cloned")[-40:] in str(caught.value)  # of a long path, its end
        assert len(str(caught.value)) <= 300 and not leaks(caught.value)
    assert server.requests == []


def test_a_trusted_project_can_name_a_key_for_its_server(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.vision_nb.services.team]\nbase_url = "{server.openai_base}"\nkey_variable = "TEAM_KEY"\n'
    )
    monkeypatch.setenv("TEAM_KEY", "of-the-team")
    monkeypatch.setenv("VISION_NB_TRUSTED_PROJECTS", f"/elsewhere:{tmp_path}/")
    vn.connect("team:m").complete("How large?")
    assert server.requests[-1].headers["authorization"] == "Bearer of-the-team"


def test_a_service_that_code_registers_needs_no_trust(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "of-openai")  # such as a gateway that takes the same key
    vn.register_service("ours", base_url=server.openai_base, key_variable="OPENAI_API_KEY")
    vn.connect("ours:m").complete("How large?")
    assert server.requests[-1].headers["authorization"] == "Bearer of-openai"


@pytest.mark.parametrize(
    "setting, value, is_silent",
    [
        ("api_base", "https://llm.evil.example/v1", False),
        ("api_base", "http://[::1/v1", False),
        ("api_key_env", "GITHUB_TOKEN", False),
        ("store", "/elsewhere/answers.sqlite3", True),
        ("model", "replicate:evil/model", True),
        ("aliases", {"gpt-4o": "replicate:evil/model"}, True),
    ],
)
def test_cells_do_not_follow_a_project_from_elsewhere(tmp_path, monkeypatch, capsys, setting, value, is_silent):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    monkeypatch.setenv("GITHUB_TOKEN", CANARY)
    text = f'{{ "gpt-4o" = "{value["gpt-4o"]}" }}' if isinstance(value, dict) else f'"{value}"'
    (tmp_path / "pyproject.toml").write_text(f'[tool.vision_nb]\n{setting} = {text}\ndetail = "low"\n')
    with warnings.catch_warnings(record=True, action="always") as warned, in_process_shell(tmp_path) as shell:
        assert shell.magics.detail == "low" and shell.magics.model == "" and not shell.magics.aliases
        assert shell.magics.api_key_env == "" and "elsewhere" not in shell.magics.store
        told = any("VISION_NB_TRUSTED_PROJECTS" in str(one.message) for one in warned)
        assert told == is_silent
        if not is_silent:
            base, shell.magics.api_base = shell.magics.api_base, ""
            shell.run_cell("%%vision openai:gpt-4o\nWhat?")
            assert "VISION_NB_TRUSTED_PROJECTS" in capsys.readouterr().err and shell.server.requests == []
            shell.run_cell(f"%%vision openai:gpt-4o --api-base {base} --api-key-env OPENAI_API_KEY\nWhat?")
            assert shell.server.requests[-1].headers["authorization"] == f"Bearer {CANARY}"


def test_cells_follow_a_trusted_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEAM_KEY", "of-the-team")
    monkeypatch.setenv("VISION_NB_TRUSTED_PROJECTS", str(tmp_path))
    (tmp_path / "pyproject.toml").write_text(
        '[tool.vision_nb]\napi_key_env = "TEAM_KEY"\napi_base = "https://llm.example.org/v1"\nmodel = "replicate:a/b"\n'
    )
    with in_process_shell(tmp_path) as shell:  # which sets the server
        assert shell.magics.model == "replicate:a/b"
        shell.run_cell_magic("vision", "openai:gpt-4o", "What?")
        assert shell.server.requests[-1].headers["authorization"] == "Bearer of-the-team"
