"""Parts for tests with the real engine: llama.cpp's server, random weights and the LiteLLM proxy."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN = f"TEST_RUN_OF_ENGINES={os.getpid()}"
os.environ["TEST_RUN_OF_ENGINES"] = str(
    os.getpid()
)  # marks the processes of this run: others may run on the same machine
LITELLM = Path(os.environ.get("LITELLM_BINARY", ROOT / ".venv-litellm" / "bin" / "litellm"))


def require_litellm():
    """Skip a test if the proxy is not installed, or fail it if VISION_NB_TEST_LITELLM is set.

    It needs its own environment, because it pins another version of openai.
    """
    if shutil.which(LITELLM) is None:
        (pytest.fail if os.environ.get("VISION_NB_TEST_LITELLM") else pytest.skip)(
            "LiteLLM is not installed: python -m venv .venv-litellm && .venv-litellm/bin/pip install 'litellm[proxy]'"
        )


def free_port():
    """Return a port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_alive(pid):
    """Return whether a process is running; a zombie counts as ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def ends(pid, within=5.0):
    """Return whether a process ends within some seconds."""
    deadline = time.monotonic() + within
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def engines():
    """Return the process IDs of all running engines that this test run has started."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            arguments = (folder / "cmdline").read_bytes().split(b"\0") if folder.name.isdigit() else []
            is_engine = any(argument.endswith(b"llamacpp/child.py") for argument in arguments)
            if (
                is_engine
                and b"watch" not in arguments
                and RUN.encode() in (folder / "environ").read_bytes().split(b"\0")
            ):
                found.append(int(folder.name))
    return [pid for pid in found if is_alive(pid)]


@contextlib.contextmanager
def running_litellm(config, folder):
    """Run the LiteLLM proxy with a configuration; yield its base URL once it responds."""
    from vision_nb.providers.local.probe import Probe

    port = free_port()
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
    environment = {name: value for name, value in os.environ.items() if name.upper() not in proxies}
    environment["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
    environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"  # it would be downloaded otherwise
    command = [str(LITELLM), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "litellm.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        probe = Probe(port, timeout=2.0)
        for _ in range(600):
            if probe.get("/v1/models").status == 200:
                break
            if process.poll() is not None:
                pytest.fail("LiteLLM ended: " + (folder / "litellm.log").read_text()[-2000:])
            time.sleep(0.2)
        else:
            pytest.fail("LiteLLM did not respond: " + (folder / "litellm.log").read_text()[-2000:])
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
