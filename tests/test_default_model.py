"""The model that answers when none is named: the configured one, a local one, or the demo."""

import os
import socket
import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest

import vision_nb as vn
from tests.conftest import closed_port
from tests.kernels import LOAD, error_of, in_process_shell, run_cells, text_of
from tests.local_fakes import SERVERS, listing, running
from vision_nb import errors
from vision_nb.cost.small_models import SMALL_MODELS
from vision_nb.magics.session import Session
from vision_nb.providers import default_model as module
from vision_nb.providers.catalog import key_variables
from vision_nb.providers.default_model import default_model
from vision_nb.providers.llamacpp.models import repo_folder

pytestmark = pytest.mark.usefixtures("new_kernel")


@pytest.fixture
def new_kernel(monkeypatch, tmp_path):
    """Forget what was found and said before, as in a new kernel, in a folder without settings."""
    monkeypatch.setattr(module, "_found", None)
    monkeypatch.setattr(module, "_announced", set())
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def use_ports(monkeypatch):
    return lambda *ports: monkeypatch.setenv("VISION_NB_LOCAL_PORTS", ",".join(map(str, ports)))


@pytest.fixture
def paid_server(server, monkeypatch):
    """Set the keys of all providers, and a server in place of OpenAI, Azure and Replicate."""
    for variable in filter(None, key_variables().values()):
        monkeypatch.setenv(variable, "sk-a-key-of-the-user-1234")
    monkeypatch.setenv("OPENAI_BASE_URL", server.openai_base)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url)
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    monkeypatch.setenv("REPLICATE_BASE_URL", server.replicate_base)
    return server


@pytest.fixture
def shell(tmp_path):
    with in_process_shell(tmp_path) as running_shell:
        running_shell.magics.api_base = ""
        yield running_shell


def project(folder, settings):
    (folder / "pyproject.toml").write_text(f"[tool.vision_nb]\n{settings}\n")


def test_without_anything_the_demo_answers_and_the_note_says_how_to_change_that():
    found = default_model()
    assert (found.name, found.options) == ("demo", {})
    assert found.note.startswith("demo answers: no model was named, and no local model was found.")
    assert "%vision use MODEL" in found.note and "smolvlm-256m" in found.note
    assert isinstance(vn.connect(), vn.DemoMultiModal)


@pytest.mark.parametrize("kind", ["LocalAI", "Ollama", "LM Studio", "LM Studio, newer", "llama.cpp"])
def test_a_model_that_accepts_images_on_a_local_server_comes_before_the_demo(kind, use_ports):
    with running(SERVERS[kind]) as port:
        use_ports(port)
        found, llm = default_model(), vn.connect()
    assert isinstance(llm, vn.LocalMultiModal) and llm.api_base == f"http://127.0.0.1:{port}/v1"
    assert found.name == str(llm) and f"{kind.partition(',')[0]} at http://127.0.0.1:{port}/v1" in found.reason


def test_the_local_model_keeps_the_servers_context_length(use_ports):
    with running(SERVERS["LM Studio"]) as port:
        use_ports(port)
        llm: Any = vn.connect(max_new_tokens=7)
    assert (llm.context_length, llm.max_new_tokens) == (8192, 7)


def test_the_model_of_the_project_comes_before_a_local_one(tmp_path, use_ports, monkeypatch):
    monkeypatch.setenv("OUR_KEY", "sk-the-key-of-the-team")
    project(
        tmp_path,
        'model = "ours"\naliases = {ours = "openai:gpt-4o-mini"}\n'
        'api_base = "http://127.0.0.1:9/v1"\napi_key_env = "OUR_KEY"',
    )
    with running(SERVERS["Ollama"]) as port:
        use_ports(port)
        for ask in (vn.connect, vn.ChatPanel):
            with pytest.raises(errors.SettingsError, match="sets api_key_env, which is not applied"):
                ask()
        monkeypatch.setenv("VISION_NB_TRUSTED_PROJECTS", str(tmp_path))
        llm: Any = vn.connect()
    assert (str(llm), llm.api_base) == ("openai:gpt-4o-mini", "http://127.0.0.1:9/v1")
    assert (
        default_model().note
        == "openai:gpt-4o-mini answers: [tool.vision_nb] in pyproject.toml sets it as the default model."
    )


@pytest.mark.kernel
def test_config_comes_before_the_project_and_use_before_config(tmp_path):
    project(tmp_path, 'model = "demo:of-the-project"')
    show = "print(vn.connect(), vn.ChatPanel().chat.llm, vn.ChatPanel()._composer.note)"
    first, _, configured, _, used, _, emptied = run_cells(
        show,
        '%config VisionMagics.model = "demo:of-config"',
        show,
        "%vision use demo:of-use",
        show,
        '%config VisionMagics.model = ""',
        show,
        folder=tmp_path,
    )
    assert "demo:of-the-project demo:of-the-project" in text_of(first) and "pyproject.toml" in text_of(first)
    assert "demo:of-config demo:of-config" in text_of(configured) and "%config VisionMagics" in text_of(configured)
    assert "demo:of-use demo:of-use" in text_of(used)
    assert "demo demo" in text_of(emptied) and "no model was named" in text_of(emptied)


async def test_a_key_in_the_environment_is_never_used_unless_its_model_was_named(paid_server, shell):
    chart = vn.samples.path("chart")
    for cell in (f"%%vision -i {chart}\nWhat is this?", "%%vision\nWhat?", "%%vision --dry-run\nWhat is this?"):
        shell.run_cell(cell).raise_error()
    shell.run_line_magic("vision", "list")
    await vn.ChatPanel().ask("What is this?")
    vn.connect().complete("What is this?", [chart])
    assert paid_server.requests == []
    assert "OPENAI_API_KEY is set: %vision use openai:gpt-4o makes that model the default." in default_model().note
    shell.run_line_magic("vision", "use openai:gpt-4o")
    shell.run_cell("%%vision\nWhat is this?").raise_error()
    assert len(paid_server.requests) == 1


@pytest.mark.parametrize(
    "server_routes",
    [
        SERVERS["LiteLLM"],  # forwards to any provider, with the keys that it was given
        SERVERS["another"],
        SERVERS["closed"],
        SERVERS["vLLM"],  # does not report whether its model accepts images
        {
            **SERVERS["Ollama"],
            "GET /api/tags": {
                "models": [{"name": "llava:7b", "remote_model": "llava:7b", "remote_host": "https://ollama.com:443"}]
            },
        },
        {"GET /v1/models": listing("text-only", owner="llamacpp"), "GET /props": {"modalities": {"vision": False}}},
    ],
    ids=["LiteLLM", "unknown type", "requires a key", "vLLM", "a model in Ollama's cloud", "no images"],
)
def test_a_server_that_may_cost_money_or_cannot_see_is_not_chosen(server_routes, use_ports):
    with running(server_routes) as port:
        use_ports(port)
        assert default_model().name == "demo"


def test_the_choice_stays_until_the_kernel_restarts(use_ports, monkeypatch):
    assert default_model().name == "demo"
    with running(SERVERS["Ollama"]) as port:
        use_ports(port)
        assert default_model().name == "demo"
        monkeypatch.setattr(module, "_found", None)  # a restart
        assert default_model().name == "local:llava:7b"
    assert default_model().name == "local:llava:7b"  # the search is not repeated


def test_servers_that_hang_do_not_delay_the_answer_for_long(use_ports):
    def slow_details(body):
        time.sleep(0.4)
        return {"capabilities": ["completion"]}

    many = {"models": [{"name": f"text-{number}"} for number in range(50)]}
    slow = {**SERVERS["Ollama"], "GET /api/tags": many, "POST /api/show": slow_details}
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(5)]
        use_ports(stack.enter_context(running(slow)), *(one.getsockname()[1] for one in silent))
        started = time.monotonic()
        assert default_model().name == "demo"
        assert time.monotonic() - started < 8  # 20 without a limit for everything


def test_several_threads_search_once(use_ports):
    seen: list[Any] = []
    with running(SERVERS["Ollama"], seen) as port:
        use_ports(port)
        threads = [threading.Thread(target=default_model) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        once = len(seen)
        default_model()
    assert 0 < len(seen) == once < 10


@pytest.mark.parametrize("ports", ["http", "80,x", "0", "70000", "8080 9000"])
def test_a_wrong_list_of_ports_is_an_error(ports, monkeypatch):
    monkeypatch.setenv("VISION_NB_LOCAL_PORTS", ports)
    with pytest.raises(errors.SettingsError, match=r"VISION_NB_LOCAL_PORTS=.* is not a list of ports"):
        vn.connect()


@pytest.mark.parametrize(
    "model, message", [("openai:", "no model 'openai:'"), ("opnai:gpt-4o", "did you mean"), ("nonsense", "nonsense")]
)
def test_a_configured_name_that_is_not_a_model_is_an_error(model, message, tmp_path):
    project(tmp_path, f'model = "{model}"')
    for ask in (vn.connect, vn.ChatPanel):
        with pytest.raises(errors.SettingsError, match=message):
            ask()


def test_a_configured_model_without_its_key_is_an_error(tmp_path):
    project(tmp_path, 'model = "openai:gpt-4o"')
    for ask in (vn.connect, vn.ChatPanel):
        with pytest.raises(errors.MissingKeyError, match="OPENAI_API_KEY"):
            ask()


def test_a_configured_model_that_does_not_respond_is_an_error(shell, use_ports):
    with closed_port() as port, running(SERVERS["Ollama"]) as other:
        use_ports(other)
        shell.run_line_magic("config", f'VisionMagics.api_base = "http://127.0.0.1:{port}/v1"')
        shell.run_line_magic("vision", "use local:llava")
        result = shell.run_cell("%%vision --no-cache\nWhat is this?")
    assert isinstance(result.error_in_exec, errors.ProviderConnectionError)


def test_a_name_from_a_server_cannot_change_the_terminal():
    found = module.DefaultModel("local:\x1b[31mred" + "x" * 200, "why")
    assert "\x1b" not in found.note and len(found.note) < 120


@pytest.mark.kernel
def test_the_note_appears_once_in_a_notebook(photo):
    _, first, second, connected, panel, misspelled, used, third = run_cells(
        LOAD,
        "%%vision\nQuiet?;",
        f"%%vision -i {photo} -f text\nWhat are the main colors?",
        "vn.connect()",
        "vn.ChatPanel()._composer.note",
        "%vision use openai:gpt-4oo",
        "%vision use demo:other",
        "%%vision\nAnd now?",
        load=False,
    )
    assert first.outputs == []
    note, answer = second.outputs
    assert note.data["text/plain"].startswith("demo answers: no model was named")
    assert "demo answers" in note.data["text/html"] and "demo answers" not in answer.data["text/plain"]
    assert len(connected.outputs) == 1 and "demo answers" not in connected.outputs[0].data["text/plain"]
    assert "demo answers" in panel.outputs[0].data["text/plain"]
    assert text_of(used) == "%%vision now asks demo:other by default.\n"
    remark = "The price of openai:gpt-4oo is not known: it may be a misspelling of openai:gpt-4o."
    assert text_of(misspelled) == f"%%vision now asks openai:gpt-4oo by default. {remark}\n"
    assert "answers:" not in str(third.outputs[0]) and error_of(third) is None


@pytest.mark.kernel
def test_a_notebook_says_that_the_project_sets_the_model(tmp_path):
    project(tmp_path, 'model = "demo:of-the-project"')
    (first, second) = run_cells("%%vision\nWhat?", "%%vision\nWhat else?", folder=tmp_path)
    assert first.outputs[0].data["text/plain"] == (
        "demo:of-the-project answers: [tool.vision_nb] in pyproject.toml sets it as the default model."
    )
    assert len(second.outputs) == 1


def test_no_search_is_made_for_a_model_that_was_named(use_ports, shell):
    seen: list[Any] = []
    with running(SERVERS["Ollama"], seen) as port:
        use_ports(port)
        shell.run_cell("%%vision demo\nWhat?")
        vn.connect("demo")
        vn.ChatPanel("demo")
    assert seen == []
    assert isinstance(shell.magics.session, Session) and os.environ["VISION_NB_LOCAL_PORTS"] == str(port)


@pytest.fixture
def download(monkeypatch, tmp_path):
    """Put the files of small models into the hub's cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(*names):
        for model in (SMALL_MODELS[name] for name in names):
            for file in model.files:
                path = repo_folder(model.repo_id) / "snapshots" / "main" / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"GGUF")

    return put


def test_a_downloaded_model_comes_before_a_local_server(download, use_ports):
    download("smolvlm-256m")
    seen: list[Any] = []
    with running(SERVERS["Ollama"], seen) as port:
        use_ports(port)
        found = default_model()
    assert found.name == "local:smolvlm-256m" and seen == []
    assert found.note.startswith(
        "local:smolvlm-256m answers: no model was named, and it is downloaded to this machine."
    )
    assert found.advice.startswith("%vision use MODEL") and "smolvlm" not in found.advice


def test_of_several_downloaded_models_the_largest_that_fits_into_memory_answers(download, monkeypatch):
    download("smolvlm-256m", "smolvlm-500m", "llava-1.5-7b")
    monkeypatch.setattr(module, "available_memory", lambda: 2_000_000_000)
    assert default_model().name == "local:smolvlm-500m"


def test_a_downloaded_model_that_cannot_run_leaves_the_demo_which_says_why(download, monkeypatch):
    download("smolvlm-256m")
    monkeypatch.setattr(module, "available_memory", lambda: 100_000_000)
    assert "smolvlm-256m is downloaded, but there is not enough free memory" in default_model().note
    monkeypatch.setattr(module, "_found", None)
    monkeypatch.setattr(module, "available_memory", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    assert default_model().note.startswith("demo answers") and "vision-nb[local]" in default_model().note
