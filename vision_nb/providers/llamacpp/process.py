"""llama.cpp's server as a child process: started, waited for, watched and stopped."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any

from vision_nb.errors import (
    EngineError,
    EngineMemoryError,
    EngineMissingError,
    ModelFileError,
    ProjectorMismatchError,
    SettingsError,
)

HOST = "127.0.0.1"
MODULE = "llama_cpp.server"
LAST_LINES = 12
"""How many of the engine's last lines an error shows."""

ASKED_WITH: Mapping[str, Any] = {"inline_urls": True, "max_retries": 0}
"""How an engine is asked: it would download any address itself, and a question that it fails at fails again."""

_NEEDED = ("llama_cpp", "uvicorn", "fastapi", "sse_starlette", "starlette_context", "pydantic_settings")
_LOOK_EVERY = 0.05  # seconds between two looks at a loading engine
_PATIENCE = 5.0  # seconds for it to end by itself
_CHILD = Path(__file__).with_name("child.py")
_FAILURES: Sequence[tuple[str, type[EngineError], str]] = (
    (
        r"bad_alloc|out of memory|failed to allocate|cannot allocate|unable to allocate|Failed to create llama_context",
        EngineMemoryError,
        "There is not enough memory for the model: close other programs, lower n_ctx, or take smaller weights.",
    ),
    (
        r"mtmd context|mismatch between text model",
        ProjectorMismatchError,
        "The engine refuses the image encoder: take the mmproj file from where the model comes from.",
    ),
    (
        r"error loading model|Failed to load model",
        ModelFileError,
        "The engine cannot load the model: its lines say why. A file that broke off has to be downloaded again.",
    ),
    (
        r"address already in use|Errno 98|Errno 48|WinError 10048",
        EngineError,
        "The port was taken by another program meanwhile: call serve_llava again.",
    ),
)
"""What the engine's lines mean: a pattern, the error, and what to tell; the first that fits counts."""

_running: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """A child process that serves a model on loopback, and ends when this process ends.

    Args:
        arguments: Options of ``python -m llama_cpp.server``, without host and port.
        model: The name under which it is to serve the model.
        context_length: Tokens that a conversation may take.
        port: The port; None takes a free one.

    Raises:
        EngineMissingError: llama-cpp-python is not installed with its server.
        SettingsError: The port is taken.
    """

    def __init__(self, arguments: Sequence[str], *, model: str, context_length: int, port: int | None = None) -> None:
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise EngineMissingError(
                f"llama.cpp's server is not installed (no {', '.join(missing)}): "
                'pip install "vision-nb[llama]", which builds it in some minutes.'
            )
        self.model, self.context_length, self.port = model, context_length, free_port(port)
        command = [sys.executable, "-P", str(_CHILD), MODULE, *arguments]
        # With "=", as a name may begin with a dash.
        command += [f"--model_alias={model}", f"--n_ctx={context_length}", f"--host={HOST}", f"--port={self.port}"]
        # Opened twice: reading through the child's own handle would move where it writes, on Windows.
        handle, name = tempfile.mkstemp(prefix="vision-nb-engine-", suffix=".log")
        log = Path(name)
        with os.fdopen(handle, "wb") as written:
            self._log = log.open("rb")
            _remove(log)  # it lives on while it is open, and no crash leaves it behind
            self._log_lock = threading.Lock()
            # In a group of its own, so that the interrupt of a cell does not reach it.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=written,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        # Also at the end of this process, and when nobody refers to the engine any more.
        self.stop = weakref.finalize(self, _stop, self._process, self._log, log)
        _running.add(self)

    @property
    def api_base(self) -> str:
        """What an OpenAI client takes as its ``base_url``."""
        return f"http://{HOST}:{self.port}/v1"

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the child ended, or None while it runs."""
        return self._process.poll()

    def has_ended(self, within: float = 0.0) -> bool:
        """Whether the child has ended, or does so within some seconds: its connections close a moment before."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(within)
        return self.exit_code is not None

    def log(self) -> str:
        """Everything that the engine has written so far; empty once it was stopped."""
        with self._log_lock:
            if self._log.closed:
                return ""
            self._log.seek(0)
            return self._log.read().decode("utf-8", "replace")

    def last_lines(self) -> str:
        """The last lines that the engine wrote."""
        return "\n".join(line for line in self.log().splitlines()[-LAST_LINES:])

    def wait(self, seconds: float, tell: Callable[[float | None], None]) -> None:
        """Wait until the engine answers.

        Args:
            seconds: How long at most.
            tell: Is told the part of the model that is loaded, from 0 to 1, or None where that is not known.

        Raises:
            EngineError: It ended, or did not answer in time; the class says why.
        """
        deadline = time.monotonic() + seconds
        while not self._answers():
            if self.exit_code is not None:
                raise self.failure()
            if time.monotonic() > deadline:
                raise EngineError(
                    f"The engine did not answer within {seconds:.0f} seconds: raise load_timeout, or take smaller "
                    f"weights.\n{self.last_lines()}",
                    log=self.last_lines(),
                )
            tell(loaded_part(self.log()))
            time.sleep(_LOOK_EVERY)

    def failure(self) -> EngineError:
        """The error that says why the engine ended, with its own last lines."""
        log, code = self.log(), self.exit_code
        kind, meaning = EngineError, f"The engine ended with code {code}: its last lines say why."
        if code is not None and code < 0:
            kind, meaning = EngineError, f"The engine was ended by signal {-code}."
            if code == -9:
                kind, meaning = EngineMemoryError, f"{meaning[:-1]}, as an operating system does when memory runs out."
        for pattern, of_pattern, means in _FAILURES:
            if re.search(pattern, log, re.IGNORECASE):
                kind, meaning = of_pattern, means
                break
        lines = telling_lines(log)
        return kind(f"{meaning}\n{lines}", log=lines)

    def _answers(self) -> bool:
        """Whether it serves: not only whether something does, as its port could have been taken meanwhile."""
        if f"running on http://{HOST}:{self.port}" not in self.log():  # Uvicorn says so once the port is its own
            return False
        with suppress(OSError, ValueError, http.client.HTTPException):
            with closing(http.client.HTTPConnection(HOST, self.port, timeout=2)) as connection:
                connection.request("GET", "/v1/models")
                served = json.loads(connection.getresponse().read(1 << 16))
            return self.exit_code is None and [one["id"] for one in served["data"]] == [self.model]
        return False


def running() -> list[Engine]:
    """The engines that this process has started and not stopped."""
    alive = [engine for engine in _running if engine.stop.alive and engine.exit_code is None]
    return sorted(alive, key=lambda engine: engine.port)


def free_port(port: int | None) -> int:
    """The port asked for, or any free one.

    Raises:
        SettingsError: The port is taken, or no port.
    """
    if port is not None and (isinstance(port, bool) or not isinstance(port, int)):
        raise SettingsError(f"port is a whole number, and not {port!r}: leave it out for a free one.")
    with socket.socket() as probe:
        if os.name == "posix":  # one that was in use a moment ago may be taken again
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port or 0))
        except (OSError, OverflowError) as error:
            raise SettingsError(
                f"Port {port} cannot be listened on ({error}): leave port= out for a free one."
            ) from error
        return int(probe.getsockname()[1])


def loaded_part(log: str) -> float | None:
    """How much of the model is loaded, by the dots that llama.cpp prints: a hundred for the whole."""
    dots = [len(found) for found in re.findall(r"^\.+", log, re.MULTILINE)]
    return min(max(dots) / 100, 1.0) if dots else None


def telling_lines(log: str) -> str:
    """The lines of a log that say what went wrong, and its end, without the calls in between."""
    lines = log.splitlines()
    telling = [line for line in lines[:-3] if re.search(r"error|fail|mismatch|unable", line, re.IGNORECASE)]
    # pydantic names the option and what is wrong with it in the two lines after its first.
    places = [place for place, line in enumerate(lines) if re.match(r"\d+ validation errors? for ", line)]
    told = [line for place in places for line in lines[place + 1 : place + 3]]
    kept = [line for line in telling if not line.startswith((" ", "Traceback"))] + [
        line for line in lines[-3:] if not line.startswith((" ", "\t"))
    ]
    return "\n".join(line[:300] for line in [*kept, *told][-LAST_LINES:])


def _remove(path: Path) -> None:
    """Delete a file where that can be done; on Windows, it cannot while it is open."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _stop(process: subprocess.Popen[bytes], log: IO[bytes], path: Path) -> None:
    """Have the child end, and wait until it has. In a fork, whose child it is not, this does nothing to it."""
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()  # the child ends by itself when its pipe closes
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()
    _remove(path)
