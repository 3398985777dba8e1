"""What the tests with the true engine need: llama.cpp's server, its random weights, and the LiteLLM proxy."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LITELLM = Path(os.environ.get("LITELLM_BINARY", ROOT / ".venv-litellm" / "bin" / "litellm"))
_missing = [name for name in ("llama_cpp", "gguf", "huggingface_hub") if importlib.util.find_spec(name) is None]


def require_engine():
    """Skip where the engine is not installed; where `.ci/run` asks for it, that is a failure."""
    if _missing:
        absent(f'there is no {", ".join(_missing)}: pip install -e ".[test,llama-test]"')


def require_litellm():
    """Skip where the proxy is not installed; it has a venv of its own, as it pins another version of openai."""
    require_engine()
    if shutil.which(LITELLM) is None:
        absent("there is no LiteLLM: python -m venv .venv-litellm && .venv-litellm/bin/pip install 'litellm[proxy]'")


def absent(reason):
    (pytest.fail if os.environ.get("VISION_NB_TEST_ENGINE") else pytest.skip)(reason)


def write_weights(folder):
    """The pair of random weights: model and image encoder."""
    require_engine()
    from tiny_llava import write_pair

    return write_pair(folder)


def is_alive(pid):
    """Whether a process runs; one that has ended and was not yet asked for counts as ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def ends(pid, within=5.0):
    """Whether a process ends within some seconds."""
    deadline = time.monotonic() + within
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def engines():
    """The ids of all running engines of llama.cpp's server that tests of this machine's user have started."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and b"llama_cpp.server" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return [pid for pid in found if is_alive(pid)]


@contextlib.contextmanager
def running_litellm(config, folder):
    """The LiteLLM proxy with a configuration; gives its base URL once it answers."""
    from vision_nb.providers.llamacpp.process import free_port
    from vision_nb.providers.local.probe import Probe

    port = free_port(None)
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
    environment = {name: value for name, value in os.environ.items() if name.upper() not in proxies}
    environment["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
    environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"  # it would be downloaded otherwise
    command = [str(LITELLM), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "litellm.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
    try:
        with Probe(2.0) as probe:
            for _ in range(600):
                answer = probe.get(port, "/v1/models")
                if answer is not None and answer.status == 200:
                    break
                if process.poll() is not None:
                    pytest.fail("LiteLLM ended: " + (folder / "litellm.log").read_text()[-2000:])
                time.sleep(0.2)
            else:
                pytest.fail("LiteLLM did not answer: " + (folder / "litellm.log").read_text()[-2000:])
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
