"""Small models by name, from a hub on this machine to the answers of the real engine; the weights are random."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.manager import start_new_kernel

import vision_nb as vn
from tests.kernels import in_process_shell, run_cells, text_of
from tests.llama_parts import ends, is_alive
from tests.small_model_hub import offer, running_hub
from tests.tiny_models import write_pair
from vision_nb.cost.small_models import SMALL_MODELS
from vision_nb.providers.catalog import ready_models
from vision_nb.providers.connect import connect_to_count
from vision_nb.providers.llamacpp import consent, shared

pytestmark = pytest.mark.slow

ROOT = Path(vn.__file__).parent.parent
CHART = vn.samples.path("chart")
NAME, OTHER = "smolvlm-256m", "smolvlm2-256m"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return [path.read_bytes() for path in write_pair(tmp_path_factory.mktemp("weights"), "smolvlm")]


@pytest.fixture(autouse=True)
def hub(monkeypatch, tmp_path, weights):
    """Offer both names on a hub, with an empty cache; stop the engines at the end."""
    rows = {name: vars(SMALL_MODELS[name]).copy() for name in (NAME, OTHER)}
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(shared, "_engines", {})
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        hub.code = "".join(offer(hub, name, *weights) for name in rows)
        exec(hub.code)
        yield hub
    for engine in shared._engines.values():
        engine.stop()
    for name, row in rows.items():
        vars(SMALL_MODELS[name]).update(row)
    assert engines_of(os.getpid()) == []


def engines_of(pid):
    """Return the process IDs of the engines of a process."""
    children = psutil.Process(pid).children(recursive=True)
    return [child.pid for child in children if is_alive(child.pid) and "llamacpp/child.py" in " ".join(child.cmdline())]


def connect(name=NAME, **options):
    return vn.connect(name, **{"download": True, "progress": False, "max_new_tokens": 4, **options})


def test_a_name_is_downloaded_served_and_answers_and_later_without_a_hub(hub, monkeypatch):
    with vn.serve(NAME, download=True, progress=False, max_new_tokens=4) as llm:
        assert str(llm) == f"local:{NAME}" and llm.is_free and llm.context_length == 8192
        assert llm.complete("What is it?", [CHART]).usage.output_tokens > 0
        pid = llm.engine.pid
    assert ends(pid)
    hub.requests.clear()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with vn.serve(NAME, progress=False, n_ctx=2048) as llm:
        assert llm.context_length == 2048
    assert hub.requests == []


def test_connections_share_one_engine_which_outlives_them():
    with connect() as first:
        second = connect(f"local:{NAME}", max_new_tokens=1)
        assert second.engine is first.engine and second.max_new_tokens == 1
    assert second.complete("What is it?", [CHART]).usage.output_tokens == 1
    asyncio.run(second.aclose())
    assert first.complete("What is it?").usage.output_tokens > 0


def test_a_stopped_or_killed_engine_is_started_again_by_the_next_connection():
    first = connect()
    first.stop()
    with pytest.raises(vn.errors.ProviderConnectionError, match="was stopped: connect to it again to start it"):
        first.complete("What is it?")
    second = connect()
    assert second.engine.pid != first.engine.pid
    os.kill(second.engine.pid, 9)
    assert second.engine.has_ended(within=10)
    assert connect().complete("What is it?").usage.output_tokens > 0


def test_threads_that_connect_at_once_start_one_engine():
    found = []
    threads = [threading.Thread(target=lambda: found.append(connect().engine.pid)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1


def test_two_models_answer_side_by_side_in_a_comparison():
    connect(OTHER)
    comparison = vn.compare([connect(), OTHER], ["What is it?"], [CHART], progress=False, store=None)
    assert comparison.to_dataframe()["error"].isna().all()
    assert sorted(comparison.to_dataframe()["model"]) == [f"local:{NAME}", f"local:{OTHER}"]
    assert len(shared._engines) == 2


def test_without_consent_nothing_is_downloaded_or_started(hub, monkeypatch):
    for call in (lambda: vn.connect(NAME), lambda: vn.serve(NAME), lambda: vn.connect(NAME, download=False)):
        with pytest.raises(vn.errors.ModelNotDownloadedError, match="Pass download=True"):
            call()
    with pytest.raises(vn.errors.EngineMemoryError, match=r"needs about 1\.0 GB of memory, but only"):
        monkeypatch.setattr(consent, "available_memory", lambda: 10**8)
        connect()
    assert hub.requests == [] and shared._engines == {}


def test_invalid_arguments_are_found_before_anything_is_downloaded(hub):
    for call, words in [
        (lambda: connect(max_new_tokns=3), "did you mean max_new_tokens"),
        (lambda: vn.serve("smolvlm-256", download=True), "did you mean 'smolvlm-256m'"),
        (lambda: vn.connect("smolvlm-256"), "did you mean 'smolvlm-256m'"),
        (lambda: vn.serve("model.gguf"), "mmproj= is missing"),
        (lambda: vn.serve("model.gguf", "mmproj.gguf", download=True), "download= is for small models"),
        (lambda: vn.serve(NAME, download=True, n_ctx=0), "n_ctx must be"),
    ]:
        with pytest.raises(vn.errors.SettingsError, match=words):
            call()
    assert hub.requests == []


def test_counting_tokens_and_prices_needs_no_engine(hub):
    llm: Any = connect_to_count(NAME)
    assert llm.context_length == 8192 and llm.is_free
    assert vn.estimate_cost("What is it?", [CHART], models=[NAME])[0].tokens > 64
    assert vn.image_tokens(CHART, NAME).tokens % 64 == 0
    plan = vn.compare([NAME], ["What is it?"], [CHART], dry_run=True)
    assert NAME in repr(plan)
    assert hub.requests == [] and shared._engines == {}


async def test_a_panel_offers_downloaded_models_and_asks_them():
    assert f"local:{NAME}" not in ready_models()
    connect().stop()
    panel: Any = vn.ChatPanel(NAME)
    assert f"local:{NAME}" in ready_models() and panel.chat.llm.engine.exit_code is None
    await panel.ask("What is it?", [CHART])
    assert len(panel.chat) == 1 and panel.chat.turns[0].answer.usage.output_tokens


async def test_choosing_a_model_in_a_panel_starts_its_engine(hub):
    connect().stop()
    panel: Any = vn.ChatPanel("demo")
    assert shared._engines[NAME].exit_code is not None
    panel._composer._handle_custom_msg({"do": "model", "name": f"local:{NAME}"}, [])
    assert panel._composer.error == "" and panel.chat.llm.engine.exit_code is None


def test_a_cell_asks_a_downloaded_model_by_its_name_again_after_its_engine_was_stopped(tmp_path):
    connect().close()
    with in_process_shell(tmp_path) as shell:
        shell.magics.api_base = ""
        for _ in range(2):
            shell.run_cell_magic("vision", f"{NAME} answer << --max-tokens 3 --no-cache", "What is it?")
            assert shell.user_ns.pop("answer").usage.output_tokens > 0
            shared._engines[NAME].stop()


def run_in_kernel(code, answer):
    """Run code in a new kernel, and answer its question; return its output and the engines that it left running."""
    manager, client = start_new_kernel(cwd=str(ROOT))
    said = []

    def output(message):
        content = message["content"]
        said.append(content.get("text") or "\n".join(content.get("traceback", [])) or str(content.get("data", "")))

    try:
        client.execute_interactive(
            code,
            allow_stdin=True,
            timeout=120,
            output_hook=output,
            stdin_hook=lambda message: client.input(answer) if said.append(message["content"]["prompt"]) is None else 0,
        )
        provisioner: Any = manager.provisioner
        running = engines_of(provisioner.pid)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return "".join(said), running


@pytest.mark.kernel
@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_notebook_asks_before_the_download_and_the_engine_ends_with_the_kernel(hub, answer):
    code = f"{hub.code}%load_ext vision_nb\nget_ipython().run_cell_magic('vision', '{NAME} --max-tokens 3', 'Hm?')"
    said, running = run_in_kernel(code, answer)
    assert "Download it? [y/N] " in said and "License: Apache 2.0" in said
    assert bool(hub.gets()) == (answer == "y")
    assert ("ModelNotDownloadedError" in said) == (answer == "n")
    assert bool(running) == (answer == "y") and all(ends(pid) for pid in running)


@pytest.mark.kernel
def test_the_subcommand_downloads_without_a_question(hub):
    default = "from vision_nb.providers.default_model import default_model\nprint(default_model().name)"
    ask = f"%%vision {NAME} --max-tokens 3\nWhat is it?"
    before, *cells, after = run_cells(default, hub.code, f"%vision download {NAME}", ask, default, folder=ROOT)
    assert [text_of(cell).strip() for cell in (before, after)] == ["demo", f"local:{NAME}"]
    assert f"SmolVLM-256M is on this machine: ask it with %%vision {NAME}." in text_of(cells[1])
    assert len(hub.gets()) == 2


@pytest.mark.posix
def test_the_engine_ends_when_its_process_is_killed(hub):
    connect().stop()
    code = f"{hub.code}import vision_nb as vn\nprint(vn.connect('{NAME}').engine.pid, flush=True)\ninput()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with process:
        pid = int(process.stdout.readline().split()[-1])
        assert is_alive(pid)
        process.kill()
    assert ends(pid)
