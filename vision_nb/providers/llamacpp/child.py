"""Script of the child process: run llama.cpp's server until the parent process ends.

It is run as a script and imports nothing from vision_nb. Its standard input is a pipe: the first line has the settings
as JSON, API key included, and nothing follows. The pipe closes when the parent ends for any reason, including SIGKILL.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from typing import Any, NoReturn

_POLL_INTERVAL = 1.0  # seconds


def watch(engine: int, parent: int) -> None:
    """Kill an engine when the standard input closes or the engine's parent has ended; return when the engine ends.

    This is a process of its own, because xllamacpp blocks all threads while it loads a model, and llama-server does
    not watch its input.
    """
    if sys.platform == "win32":  # select does not support pipes there; read returns when the pipe closes
        os.read(0, 1)
        os.kill(engine, signal.SIGTERM)  # terminates it at once
        return
    while os.getppid() == engine:
        closed = select.select([0], [], [], _POLL_INTERVAL)[0] and not os.read(0, 1)
        if (closed or not _exists(parent)) and os.getppid() == engine:
            os.kill(engine, signal.SIGKILL)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def run_module(settings: dict[str, Any]) -> None:
    """Run the server that xllamacpp contains."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.mmproj.path = settings["model"], settings["mmproj"]
    params.model_alias, params.chat_template = {settings["name"]}, settings["chat_template"]
    params.n_ctx, params.port, params.api_keys = settings["n_ctx"], settings["port"], [settings["api_key"]]
    params.cors_origins = ""  # no web page may read an answer
    params.ui = params.endpoint_slots = False
    params.cache_ram_mib = 0  # by default, it keeps up to 8 GB of earlier conversations
    if settings["n_gpu_layers"] is not None:
        params.n_gpu_layers = settings["n_gpu_layers"]
    if settings["n_threads"] is not None:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["n_threads"]
    server = xllamacpp.Server(params)  # returns when the model is loaded
    threading.Event().wait()
    del server


def run_program(settings: dict[str, Any]) -> NoReturn:
    """Run llama-server, with its settings in environment variables, which other users cannot read."""
    variables = {
        "LLAMA_ARG_MODEL": settings["model"],
        "LLAMA_ARG_MMPROJ": settings["mmproj"],
        "LLAMA_ARG_ALIAS": settings["name"],
        "LLAMA_ARG_CHAT_TEMPLATE": settings["chat_template"],
        "LLAMA_ARG_CTX_SIZE": settings["n_ctx"],
        "LLAMA_ARG_HOST": "127.0.0.1",
        "LLAMA_ARG_PORT": settings["port"],
        "LLAMA_API_KEY": settings["api_key"],
        "LLAMA_ARG_N_GPU_LAYERS": settings["n_gpu_layers"],
        "LLAMA_ARG_THREADS": settings["n_threads"],
        "LLAMA_ARG_N_PARALLEL": 1,
        "LLAMA_ARG_CACHE_RAM": 0,
        "LLAMA_ARG_JINJA": 1,
        "LLAMA_ARG_WEBUI": 0,
        "LLAMA_ARG_UI": 0,
        "LLAMA_ARG_ENDPOINT_SLOTS": 0,
    }
    own = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMA_ARG_", "LLAMA_API_"))}
    environment = {**own, **{name: str(value) for name, value in variables.items() if value is not None}}
    os.execve(settings["program"], [settings["program"]], environment)


def main() -> None:
    """Read the settings, start the process that watches this one, and run the server in this process."""
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        return  # the parent has ended
    os.environ["GGML_NO_BACKTRACE"] = "1"  # or a crash starts a debugger, if there is one
    watcher = [sys.executable, "-I", "-S", __file__, "watch", str(os.getpid()), str(os.getppid())]
    subprocess.Popen(watcher, stdin=sys.stdin)
    settings = json.loads(line)
    if settings["program"] is None:
        run_module(settings)
    else:
        run_program(settings)


if __name__ == "__main__":
    if sys.argv[1:2] == ["watch"]:
        watch(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
