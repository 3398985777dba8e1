"""Binder's image, as far as it can be built without Docker: the same files, steps and limits.

The image starts from repo2docker's base environment (JupyterLab 4 and its kernel). Then pip installs
requirements.txt, and postBuild runs in the repository's folder. At each launch, `start` runs the command.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import tomllib
import urllib.parse
import urllib.request
from pathlib import Path

import nbformat
import psutil
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.environments import (
    ROOT,
    clean_environment,
    copy_project,
    install,
    interpreter,
    new_environment,
    run,
    size_of,
)
from tests.project_address import parse_remote
from tests.save_notebooks import KEYS, NO_SERVERS, NO_WEB
from vision_nb.cost.small_models import SMALL_MODELS

BINDER = ROOT / "binder"
BASE = ("jupyterlab==4.*", "notebook==7.*", "ipywidgets==8.*")  # repo2docker's environment.py-3.12.yml, read 2026-11
START = "notebooks/00_start_here.ipynb"
MEMORY_LIMIT = 2 * 1024**3


def test_every_dependency_is_pinned_to_a_version_that_the_project_accepts():
    lines = (BINDER / "requirements.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {pin.name.lower().replace("_", "-"): str(pin.specifier).removeprefix("==") for pin in pins}
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        needed = Requirement(text)
        assert needed.name in versions, f"{needed.name} is not pinned: run python -m tests.pin_binder"
        assert Version(versions[needed.name]) in needed.specifier, f"{needed} and {versions[needed.name]}"


@pytest.mark.parametrize(
    "remote, place",
    [
        ("git@github.com:mona/vision_nb.git", "gh/mona/vision_nb"),
        ("https://gitlab.com/group/vision_nb.git", "gl/group%2Fvision_nb"),
    ],
)
def test_the_launch_link_opens_the_first_notebook(remote, place):
    link = urllib.parse.urlsplit(parse_remote(remote).binder)
    assert (link.hostname, link.path) == ("mybinder.org", f"/v2/{place}/HEAD")
    assert urllib.parse.parse_qs(link.query) == {"labpath": [START]}


class Memory(threading.Thread):
    """Measure the peak memory of a process and its children, in bytes.

    Pages that the processes share are counted once for each, so a container needs less.
    """

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.process, self.peak, self.done = psutil.Process(pid), 0, threading.Event()

    def run(self):
        while not self.done.wait(0.05):
            used = 0
            with contextlib.suppress(psutil.Error):
                for process in [self.process, *self.process.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        used += process.memory_info().rss
            self.peak = max(self.peak, used)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Build the image's repository and environment, without a hub for the small model.

    Return them with the build's seconds, bytes and output.
    """
    version = (BINDER / "runtime.txt").read_text().strip().removeprefix("python-")
    python = interpreter(version) or interpreter("3.11") or interpreter("3.13")
    assert python, "no Python to build with"
    home = tmp_path_factory.mktemp("jovyan")
    repository = copy_project(home / "repository")
    binaries = new_environment(home / "venv", python).parent
    install(binaries / "python", *BASE)
    base_size = size_of(home / "venv")
    began = time.monotonic()
    install(binaries / "python", "-r", repository / "binder" / "requirements.txt", with_byte_code=True)
    variables = {"HOME": str(home), "PATH": f"{binaries}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(home / ".cache")}
    log = run(repository / "binder" / "postBuild", folder=repository, **variables, HF_ENDPOINT="http://127.0.0.1:9")
    took = time.monotonic() - began
    return repository, variables, took, size_of(home / "venv") - base_size, log


@pytest.mark.slow
def test_pages_of_the_guide_open_as_they_are_meant_to_look(image):
    _, variables, *_ = image
    binaries = Path(variables["PATH"].partition(":")[0])
    settings = json.loads((binaries.parent / "share/jupyter/lab/settings/overrides.json").read_text())
    assert settings["@jupyterlab/docmanager-extension:plugin"] == {"defaultViewers": {"markdown": "Markdown Preview"}}


@pytest.mark.slow
def test_the_build_is_fast_and_small(image):
    repository, variables, took, added, _ = image
    assert took < 300
    model = SMALL_MODELS["smolvlm-256m"].size
    assert added + model < 700_000_000  # repo2docker's base image takes about 800 MB of the 1.5 GB
    run("python", "-m", "pip", "check", folder=repository, **variables)


@pytest.mark.slow
def test_without_a_network_the_build_continues_with_the_demo(image):
    *_, log = image
    assert "SmolVLM-256M was not downloaded: the demo model will answer." in log


@pytest.mark.slow
def test_a_downloaded_model_is_the_default(image):
    """The model is put into the cache instead of downloaded, because its files are verified."""
    repository, variables, *_ = image
    cache = Path(variables["HOME"]) / "with-model"
    model = SMALL_MODELS["smolvlm-256m"]
    for file in model.files:
        path = cache / "hub" / f"models--{model.repo_id.replace('/', '--')}" / "snapshots" / "main" / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"GGUF")
    more = {"HF_HOME": str(cache), "VISION_NB_LOCAL_PORTS": ""}
    log = run(repository / "binder" / "postBuild", folder=repository, **variables, **more)
    assert "SmolVLM-256M-Instruct-Q8_0.gguf" in log and "was not downloaded" not in log
    code = "from vision_nb.providers.default_model import default_model; import vision_nb; print(default_model().name)"
    assert run("python", "-c", code, folder=repository, **variables, **more) == "local:smolvlm-256m\n"


@pytest.mark.kernel
def test_the_start_notebook_runs_within_binders_limits(image, tmp_path):
    """Run JupyterLab and the notebook on one core, and measure the memory of both."""
    repository, variables, *_ = image
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = clean_environment(**variables, **NO_WEB, **NO_SERVERS)
    environment = {name: value for name, value in environment.items() if not name.startswith(KEYS)}
    (tmp_path / "session.sh").write_text(
        "binder/start jupyter lab --ip=127.0.0.1 --no-browser --allow-root --IdentityProvider.token= "
        f"--port={port} &\nread -r _\n"  # continues once JupyterLab is up
        f"binder/start jupyter execute --output={tmp_path / 'done.ipynb'} {START}\nstatus=$?\nread -r _\nexit $status\n"
    )
    one_core = ["taskset", "-c", str(min(os.sched_getaffinity(0)))] if shutil.which("taskset") else []
    with (tmp_path / "log").open("w") as log:
        session = subprocess.Popen(
            [*one_core, "bash", tmp_path / "session.sh"],
            cwd=repository, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, text=True,
        )  # fmt: skip
    memory = Memory(session.pid)
    memory.start()
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: fetch(f"{address}/api"), session, tmp_path / "log", seconds=180)
        # The bare address leads to the first notebook, which the server has.
        with urllib.request.urlopen(address, timeout=20) as page:
            assert page.url == f"{address}/lab/tree/{START}"
        assert json.loads(fetch(f"{address}/api/contents/{START}?content=0"))["type"] == "notebook"
        session.stdin.write("continue\n")
        session.stdin.flush()
        wait_for(lambda: (tmp_path / "done.ipynb").exists(), session, tmp_path / "log", seconds=300)
        assert fetch(f"{address}/api")
        session.communicate("end\n", timeout=120)
        assert session.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        memory.done.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(session.pid, signal.SIGTERM)
    done = nbformat.read(tmp_path / "done.ipynb", as_version=4)
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs and not [output for output in outputs if output.output_type == "error"]
    assert 100_000_000 < memory.peak < MEMORY_LIMIT, f"{memory.peak / 1e6:.0f} MB"


def fetch(address):
    """Return an address's content, or None if nothing answers."""
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=20) as page:
        return page.read()
    return None


def wait_for(condition, session, log, *, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert session.poll() is None and time.monotonic() < end, Path(log).read_text()[-3000:]
        time.sleep(0.2)
