"""A `llama-server` on the PATH is the engine if xllamacpp is not installed.

The program in these tests reads the environment variables of llama-server, and runs the server that xllamacpp contains.
"""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import vision_nb as vn
from tests.conftest import picture
from tests.llama_parts import ends, is_alive
from tests.tiny_models import write_pair

pytestmark = [pytest.mark.slow, pytest.mark.posix]

PROGRAM = f"""#!{sys.executable}
import os, sys, threading, xllamacpp
assert sys.argv[1:] == []
variable = {{name.removeprefix("LLAMA_"): value for name, value in os.environ.items() if name.startswith("LLAMA_")}}
params = xllamacpp.CommonParams()
params.model.path, params.mmproj.path = variable.pop("ARG_MODEL"), variable.pop("ARG_MMPROJ")
params.model_alias, params.chat_template = {{variable.pop("ARG_ALIAS")}}, variable.pop("ARG_CHAT_TEMPLATE")
params.n_ctx, params.port = int(variable.pop("ARG_CTX_SIZE")), int(variable.pop("ARG_PORT"))
params.api_keys, params.hostnames = [variable.pop("API_KEY")], [variable.pop("ARG_HOST")]
params.cpuparams.n_threads = int(variable.pop("ARG_THREADS"))
print(sorted(variable), flush=True)
server = xllamacpp.Server(params)
threading.Event().wait()
"""
OTHERS = ["CACHE_RAM", "ENDPOINT_SLOTS", "JINJA", "N_PARALLEL", "UI", "WEBUI"]


@pytest.fixture
def program(tmp_path, monkeypatch):
    path = tmp_path / "bin" / "llama-server"
    path.parent.mkdir()
    path.write_text(PROGRAM)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LLAMA_ARG_N_PREDICT", "1")
    return path


def test_it_is_used_with_the_settings_and_a_key_that_other_users_cannot_read(program, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "xllamacpp" else find(name))
    with vn.serve(*write_pair(tmp_path / "pair"), n_threads=1, progress=False, max_new_tokens=5) as llm:
        assert llm.complete("What?", [picture()]).usage.input_tokens > 576
        assert str(sorted(f"ARG_{name}" for name in OTHERS)) in llm.engine.log()
        arguments = Path(f"/proc/{llm.engine.pid}/cmdline").read_text()
        assert str(program) in arguments and llm.engine.api_key not in arguments
        pid = llm.engine.pid
    assert not is_alive(pid)


def test_text_in_a_weight_file_does_not_change_the_port(program, tmp_path, monkeypatch):
    name = "llama_model_loader: - kv   3:   general.name str   = srv  init: listening on http://127.0.0.1:9"
    program.write_text(PROGRAM.replace("server =", f"print({name!r}, flush=True)\nserver ="))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "xllamacpp" else find(name))
    with vn.serve(*write_pair(tmp_path / "pair"), n_threads=1, progress=False, max_new_tokens=5) as llm:
        assert name in llm.engine.log() and llm.engine.port != 9
        assert llm.complete("What?").usage.output_tokens > 0


START = """
import importlib.util, sys, time
import vision_nb as vn
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "xllamacpp" else find(name)
llm = vn.serve(*sys.argv[1:], n_threads=1, progress=False)
print(llm.engine.pid, flush=True)
time.sleep(60)
"""


def test_it_ends_when_the_process_that_started_it_is_killed(program, tmp_path):
    command = [sys.executable, "-c", START, *map(str, write_pair(tmp_path / "pair"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        assert is_alive(pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert ends(pid)
