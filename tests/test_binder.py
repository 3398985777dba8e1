"""Binder's image, as far as it can be built without Docker: the same files, steps and limits.

The image begins with repo2docker's base environment (JupyterLab 4 and its kernel). Then pip installs
requirements.txt, postBuild runs in the repository's folder, and at each launch start runs the command.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import tomllib
import urllib.request
from pathlib import Path

import nbformat
import psutil
import pytest
from environments import ROOT, clean, copy_project, install, new_environment, run, size_of
from packaging.requirements import Requirement
from packaging.version import Version
from save_notebooks import KEYS, NO_WEB
from test_pythons import interpreter

BINDER = ROOT / "binder"
BASE = ("jupyterlab==4.*", "notebook==7.*", "ipywidgets==8.*")  # repo2docker's environment.py-3.12.yml, read 2026-11
START = "notebooks/00_start_here.ipynb"
MEMORY = 2 * 1024**3
LAUNCH = re.compile(
    r"\[!\[[^\]]+\]\(https://mybinder\.org/badge_logo\.svg\)\]"
    r"\(https://mybinder\.org/v2/gh/([\w.-]+)/([\w.-]+)/([\w./-]+?)\?(labpath|urlpath)=([\w%./-]+)\)"
)


def pins():
    lines = (BINDER / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_only_files_that_repo2docker_reads_are_there():
    assert {path.name for path in BINDER.iterdir()} == {"requirements.txt", "runtime.txt", "postBuild", "start"}


def test_the_runtime_is_a_python_that_the_project_runs_on():
    runtime = re.fullmatch(r"python-(3\.\d+)\n", (BINDER / "runtime.txt").read_text())
    assert runtime
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: {runtime[1]}" in project["classifiers"]


def test_every_requirement_is_pinned_and_what_the_project_asks_for():
    pinned = {}
    for line in pins():
        found = re.fullmatch(r"([\w.-]+)==([\w.!+]+)", line)
        assert found, line
        pinned[found[1].lower().replace("_", "-")] = Version(found[2])
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        needed = Requirement(text)
        assert needed.name in pinned, f"{needed.name} is not pinned: python tests/pin_binder.py"
        assert pinned[needed.name] in needed.specifier, f"{needed} and {pinned[needed.name]}"
    assert not {"torch", "tensorflow", "transformers", "scipy", "scikit-learn", "opencv-python"} & set(pinned)


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_a_script_stops_at_errors_and_may_be_run(name):
    path = BINDER / name
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in path.read_text()
    assert os.access(path, os.X_OK)
    run("bash", "-n", path)


def test_start_hands_over_to_its_command_with_every_argument(tmp_path):
    out = run(BINDER / "start", "printf", "%s|", "a b", "", "$HOME", HOME=str(tmp_path))
    assert out == "a b||$HOME|"


def launch_links(text):
    return LAUNCH.findall(text)


def test_the_launch_link_has_binders_form_and_opens_the_first_notebook():
    readme = (ROOT / "README.md").read_text()
    (link,) = launch_links(readme)
    owner, repository, ref, kind, path = link
    assert kind == "labpath" and urllib.request.unquote(path) == START
    assert (ROOT / START).is_file()
    assert owner and repository and ref
    # The one line to change is explained below it.
    section = readme[readme.index("## On Binder") :].partition("\n## ")[0]
    assert "`OWNER/REPOSITORY`" in section and len(launch_links(section)) == 1


@pytest.mark.parametrize(
    "broken",
    [
        "[![Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/OWNER/HEAD?labpath=a.ipynb)",
        "[![Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/gh/a/b/HEAD?labpath=a.ipynb)",
        "[![Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/a/b/HEAD)",
    ],
)
def test_a_link_of_another_form_is_not_taken_for_one(broken):
    assert launch_links(broken) == []


class Memory(threading.Thread):
    """The most memory that a process and its children have held together, in bytes.

    Pages that they share are counted for each, so the container would hold less.
    """

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.process, self.most, self.done = psutil.Process(pid), 0, threading.Event()

    def run(self):
        while not self.done.wait(0.05):
            held = 0
            with contextlib.suppress(psutil.Error):
                for process in [self.process, *self.process.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        held += process.memory_info().rss
            self.most = max(self.most, held)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The repository's folder, its home and its environment, as the image would hold them, with what they took."""
    version = (BINDER / "runtime.txt").read_text().strip().removeprefix("python-")
    python = interpreter(version) or interpreter("3.11") or interpreter("3.13")
    assert python, "there is no Python to build with"
    home = tmp_path_factory.mktemp("jovyan")
    repository = copy_project(home / "repository")
    binaries = new_environment(home / "venv", python).parent
    install(binaries / "python", *BASE)
    base_size = size_of(home / "venv")
    began = time.monotonic()
    install(binaries / "python", "-r", repository / "binder" / "requirements.txt")
    variables = {"HOME": str(home), "PATH": f"{binaries}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(home / ".cache")}
    run(repository / "binder" / "postBuild", folder=repository, **variables)
    took = time.monotonic() - began
    return repository, variables, took, size_of(home / "venv") - base_size


@pytest.mark.kernel
def test_the_build_is_quick_and_adds_little(image):
    repository, variables, took, added = image
    assert took < 300
    assert added < 600_000_000  # repo2docker's base image takes about 800 MB of the 1.5 GB
    run("python", "-m", "pip", "check", folder=repository, **variables)


@pytest.mark.kernel
def test_the_start_notebook_runs_in_binders_limits(image, tmp_path):
    """JupyterLab is up, the notebook runs beside it, on one core, and both together stay below 2 GB."""
    repository, variables, *_ = image
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in clean(**variables, **NO_WEB).items() if not name.startswith(KEYS)}
    (tmp_path / "session.sh").write_text(
        "binder/start jupyter lab --ip=127.0.0.1 --no-browser --allow-root --IdentityProvider.token= "
        f"--port={port} &\nread -r _\n"  # a word on stdin: JupyterLab is up
        f"binder/start jupyter execute --output={tmp_path / 'done.ipynb'} {START}\nstatus=$?\nread -r _\nexit $status\n"
    )
    one_core = ["taskset", "-c", str(min(os.sched_getaffinity(0)))] if shutil.which("taskset") else []
    with (tmp_path / "log").open("w") as log:
        session = subprocess.Popen(
            [*one_core, "bash", tmp_path / "session.sh"],
            cwd=repository, env=kept, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, text=True,
        )  # fmt: skip
    memory = Memory(session.pid)
    memory.start()
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: answer(f"{address}/api"), session, tmp_path / "log", seconds=60)
        # Whoever comes without a path is led to the first notebook, and the server has it.
        with urllib.request.urlopen(address, timeout=20) as page:
            assert page.url == f"{address}/lab/tree/{START}"
        assert json.loads(answer(f"{address}/api/contents/{START}?content=0"))["type"] == "notebook"
        session.stdin.write("go on\n")
        session.stdin.flush()
        wait_for(lambda: (tmp_path / "done.ipynb").exists(), session, tmp_path / "log", seconds=120)
        assert answer(f"{address}/api")
        session.communicate("end\n", timeout=30)
        assert session.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        memory.done.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(session.pid, signal.SIGTERM)
    done = nbformat.read(tmp_path / "done.ipynb", as_version=4)
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs and not [output for output in outputs if output.output_type == "error"]
    assert 100_000_000 < memory.most < MEMORY, f"{memory.most / 1e6:.0f} MB"
    print(f"{memory.most / 1e6:.0f} MB")


def answer(address):
    """What an address gives, or None where nobody answers."""
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=20) as page:
        return page.read()
    return None


def wait_for(there, session, log, *, seconds):
    end = time.monotonic() + seconds
    while not there():
        assert session.poll() is None and time.monotonic() < end, Path(log).read_text()[-3000:]
        time.sleep(0.2)
