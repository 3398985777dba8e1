"""What is said and asked before a small model is downloaded, and the command that downloads one."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pexpect
import pytest
from IPython.core.error import UsageError
from jupyter_client.manager import start_new_kernel

import vision_nb as vn
from tests.kernels import error_of, in_process_shell, run_cells, text_of
from tests.small_model_hub import Hub, fill_cache, offer, running_hub
from vision_nb.cost.small_models import SMALL_MODELS
from vision_nb.providers.llamacpp import consent, memory
from vision_nb.providers.llamacpp.consent import approve_download, check_memory, describe

MODEL = SMALL_MODELS["smolvlm-500m"]
ROOT = Path(vn.__file__).parent.parent
GEMMA = SMALL_MODELS["gemma-3-4b"]


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))


def answer(monkeypatch, words):
    """Answer the question as a person at a terminal would."""
    asked = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: asked.append(prompt) or words)
    return asked


def test_the_question_states_files_sizes_license_memory_and_place(monkeypatch, capsys, tmp_path):
    asked = answer(monkeypatch, "y")
    approve_download(MODEL, None)
    said = capsys.readouterr().out
    assert asked == ["Download it? [y/N] "]
    for words in (
        "SmolVLM-500M is not on this machine yet. Files to download (545.6 MB):",
        "SmolVLM-500M-Instruct-Q8_0.gguf (436.8 MB)",
        "From: https://huggingface.co/ggml-org/SmolVLM-500M-Instruct-GGUF",
        f"To: {tmp_path}/hub (",
        "License: Apache 2.0",
        "Memory for one image: about 1.3 GB (",
        "Tokens of an image of 1024 x 768 pixels: ",
        "Languages: English",
    ):
        assert words in said
    assert "License: Gemma Terms of Use, https://ai.google.dev/gemma/terms" in describe(GEMMA)


def test_the_question_shows_the_hubs_address_without_its_password(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://me:s3cret@hub.example")
    assert "From: https://hub.example/ggml-org/" in describe(MODEL) and "s3cret" not in describe(MODEL)


@pytest.mark.parametrize("words", ["", "n", "no", "what?"])
def test_any_answer_but_yes_downloads_nothing(monkeypatch, words):
    answer(monkeypatch, words)
    with pytest.raises(
        vn.errors.ModelNotDownloadedError,
        match=r"Pass download=True to vn\.connect, or run %vision download smolvlm-500m",
    ):
        approve_download(MODEL, None)


def test_download_true_asks_nothing_and_false_never_downloads(monkeypatch, capsys):
    asked = answer(monkeypatch, "y")
    approve_download(MODEL, True)
    assert "545.6 MB" in capsys.readouterr().out
    with pytest.raises(vn.errors.ModelNotDownloadedError):
        approve_download(MODEL, False)
    with pytest.raises(vn.errors.SettingsError, match="download must be True, False or None, not 'yes'"):
        approve_download(MODEL, "yes")  # type: ignore[arg-type]
    assert asked == []


def test_a_downloaded_model_is_not_asked_about(monkeypatch, capsys, tmp_path):
    asked = answer(monkeypatch, "n")
    fill_cache(tmp_path / "hub", MODEL.repo_id, {file.name: b"GGUF" for file in MODEL.files})
    for download in (None, True, False):
        approve_download(MODEL, download)
    assert asked == [] and capsys.readouterr().out == ""


def test_what_was_downloaded_earlier_is_deducted(tmp_path):
    blobs = tmp_path / "hub" / "models--ggml-org--SmolVLM-500M-Instruct-GGUF" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{MODEL.text.sha256}.vision-nb.incomplete").write_bytes(b"\0" * 10**7)
    assert "Files to download (535.6 MB):" in describe(MODEL) and "earlier attempt: 10.0 MB" in describe(MODEL)
    fill_cache(tmp_path / "hub", MODEL.repo_id, {MODEL.projector.name: b"GGUF"})
    assert "Files to download (426.8 MB):" in describe(MODEL) and MODEL.projector.name not in describe(MODEL)


def test_too_little_disk_space_is_an_error_before_the_question(monkeypatch):
    asked = answer(monkeypatch, "y")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**8}))
    with pytest.raises(
        vn.errors.ModelFileError, match=r"545.6 MB to download, but the disk of .* has only 100.0 MB free"
    ):
        approve_download(MODEL, None)
    assert asked == []


def test_too_little_memory_is_an_error_that_names_a_smaller_model(monkeypatch):
    monkeypatch.setattr(consent, "available_memory", lambda: 1_400_000_000)
    check_memory(MODEL)
    with pytest.raises(vn.errors.EngineMemoryError, match=r"about 4.5 GB of memory, but only 1.4 GB .*Use smolvlm"):
        check_memory(GEMMA)
    monkeypatch.setattr(consent, "available_memory", lambda: None)
    check_memory(GEMMA)


def test_a_containers_limit_counts(tmp_path):
    assert memory._of_container(tmp_path) is None
    (tmp_path / "memory.current").write_text("1500000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 400000000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._of_container(tmp_path) is None
    (tmp_path / "memory.max").write_text("2000000000\n")
    assert memory._of_container(tmp_path) == 900_000_000
    assert 0 < memory.available_memory() < 10**15


def run(*arguments, hub=None, code=""):
    """Run the command, after some code."""
    script = f"{code}\nimport sys\nfrom vision_nb.__main__ import main\nsys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({"HF_ENDPOINT": hub.address} if hub else {})}
    return subprocess.run(
        [sys.executable, "-c", script, "download", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        cwd=ROOT,
    )


@pytest.fixture
def hub():
    with running_hub() as hub:
        yield hub


@pytest.mark.slow
def test_the_command_reports_a_failure_in_one_sentence(hub: Hub):
    for arguments, words in [
        (["smolvlm-256"], "There is no small model 'smolvlm-256': did you mean 'smolvlm-256m'?\n"),
        (["smolvlm-256m"], "'SmolVLM-256M-Instruct-Q8_0.gguf' was not found in"),
    ]:
        done = run(*arguments, hub=hub)
        assert done.returncode == 1 and done.stderr.startswith(words) and done.stderr.count("\n") == 1, done.stderr
    assert run().returncode == 2


@pytest.mark.slow
def test_the_command_downloads_a_model_once(hub: Hub):
    code = offer(hub, "smolvlm-256m", b"GGUF" * 1000, b"GGUF")
    done = run("smolvlm-256m", hub=hub, code=code)
    paths = done.stdout.splitlines()[-2:]
    assert done.returncode == 0, done.stderr
    assert [Path(path).read_bytes() for path in paths] == [b"GGUF" * 1000, b"GGUF"]
    assert "Files to download (4.0 kB):" in done.stdout and "License: Apache 2.0" in done.stdout
    assert "100%" in done.stderr
    hub.requests.clear()
    assert run("smolvlm-256m", hub=hub, code=code).stdout.splitlines() == paths and hub.requests == []


@pytest.mark.kernel
def test_a_notebook_run_by_a_program_gets_an_error_instead_of_a_question():
    cells = run_cells(
        "from vision_nb.cost.small_models import SMALL_MODELS\n"
        "from vision_nb.providers.llamacpp.consent import approve_download\n"
        "approve_download(SMALL_MODELS['smolvlm-256m'], None)",
        allow_errors=True,
    )
    assert "SmolVLM-256M (278.8 MB) is not downloaded, and you cannot be asked for confirmation here." in error_of(
        cells[0]
    )
    assert "License: Apache 2.0" in text_of(cells[0])


@pytest.mark.posix
@pytest.mark.slow
def test_a_person_at_a_terminal_is_asked():
    code = (
        "from vision_nb.cost.small_models import SMALL_MODELS\n"
        "from vision_nb.providers.llamacpp.consent import approve_download\n"
        "approve_download(SMALL_MODELS['smolvlm-256m'], None)\nprint('go on')"
    )
    for words, result in [("y", "go on"), ("n", "ModelNotDownloadedError: SmolVLM-256M")]:
        terminal = pexpect.spawn(sys.executable, ["-c", code], encoding="utf-8", timeout=60)
        terminal.expect_exact("Download it? [y/N] ")
        terminal.sendline(words)
        terminal.expect_exact(result)
        terminal.close()


@pytest.mark.posix
@pytest.mark.slow
@pytest.mark.parametrize("words", ["y", "n"])
def test_the_tutorials_offer_a_model_once_and_open_either_way(hub: Hub, words, tmp_path):
    code = offer(hub, "smolvlm-256m", b"GGUF" * 1000, b"GGUF") + (
        "\nimport sys, vision_nb.__main__ as main\n"
        "main.start_jupyterlab = lambda *arguments, **options: print('opened') or 0\n"
        "from vision_nb.providers.default_model import default_model, search_again\n"
        f"main.main(['tutorials', {str(tmp_path / 'copies')!r}])\n"
        "search_again()\nprint('now', default_model().name)\n"
        f"main.main(['tutorials', {str(tmp_path / 'copies')!r}])"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "VISION_NB_LOCAL_PORTS": ""}
    terminal = pexpect.spawn(sys.executable, ["-c", code], encoding="utf-8", timeout=60, env=environment, cwd=ROOT)
    terminal.expect_exact("Download it? [y/N] ")
    terminal.sendline(words)
    if words == "n":
        terminal.expect_exact("The demo answers in the notebooks until then.")
        terminal.expect_exact("opened")
        terminal.expect_exact("now demo")
        terminal.expect_exact("Download it? [y/N] ")
        terminal.close()
        return
    terminal.expect_exact("opened")
    terminal.expect_exact("now local:smolvlm-256m")
    terminal.expect_exact("opened")
    terminal.expect(pexpect.EOF)
    assert "Download it?" not in terminal.before


def test_the_list_shows_what_is_downloaded_and_what_can_be(tmp_path):
    fill_cache(tmp_path / "hub", MODEL.repo_id, {file.name: b"GGUF" for file in MODEL.files})
    with in_process_shell(tmp_path) as shell:
        table = shell.run_line_magic("vision", "list")
        shown = repr(table)
        with pytest.raises(UsageError, match="did you mean 'smolvlm-500m'"):
            shell.magics.vision("download smolvlm-500")
    assert "local:smolvlm-500m" in [row[0] for row in table.rows] and "local:smolvlm-256m" not in shown
    assert ("local:smolvlm-500m", "not needed", "free") in table.rows
    assert f"Downloaded to `{tmp_path}/hub`: smolvlm-500m (545.6 MB)." in shown
    assert "that you can download: smolvlm-256m (278.8 MB), smolvlm2-256m (278.8 MB), qwen2.5-vl-3b (2.8 GB)" in shown


def test_nobody_is_asked_from_a_thread_or_through_a_pipe(monkeypatch):
    asked, errors = answer(monkeypatch, "y"), []

    def approve():
        try:
            approve_download(MODEL, None)
        except vn.errors.ModelNotDownloadedError as error:
            errors.append(error)

    thread = threading.Thread(target=approve)
    thread.start()
    thread.join()
    assert len(errors) == 1
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    approve()
    assert len(errors) == 2 and asked == []


@pytest.mark.kernel
def test_the_callback_of_a_widget_asks_nothing():
    code = (
        "from ipykernel.comm import Comm\nfrom vision_nb.cost.small_models import SMALL_MODELS\n"
        "from vision_nb.providers.llamacpp.consent import approve_download\n"
        "def opened(comm, message):\n    try:\n        approve_download(SMALL_MODELS['smolvlm-256m'], None)\n"
        "    except Exception as error:\n        comm.send({'error': type(error).__name__})\n"
        "get_ipython().kernel.comm_manager.register_target('ask', opened)"
    )
    manager, client = start_new_kernel()
    try:
        client.execute_interactive(code, allow_stdin=True, timeout=60, stdin_hook=lambda message: None)
        client.shell_channel.send(client.session.msg("comm_open", {"comm_id": "1", "target_name": "ask", "data": {}}))
        messages = iter(lambda: client.get_iopub_msg(timeout=30), None)
        reply = next(message for message in messages if message["msg_type"] == "comm_msg")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert reply["content"]["data"] == {"error": "ModelNotDownloadedError"}
