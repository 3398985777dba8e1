"""`Engine`: llama.cpp's server as a child process."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import signal
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
from vision_nb.notebook.interrupts import keep_interrupts

HOST = "127.0.0.1"

CLIENT_OPTIONS: Mapping[str, Any] = {"inline_urls": True, "max_retries": 0}
"""Options for the client of an engine: it would download any URL itself, and a failed request fails again."""

_MODULE = "llama_cpp.server"
_MAX_LOG_LINES = 12  # in an error
_REQUIRED = ("llama_cpp", "uvicorn", "fastapi", "sse_starlette", "starlette_context", "pydantic_settings")
_POLL_INTERVAL = 0.05  # seconds, while the model loads
_STOP_TIMEOUT = 5.0  # seconds for the child to end on its own
_CHILD = Path(__file__).with_name("child.py")
_FAILURES: Sequence[tuple[str, type[EngineError], str]] = (
    (
        r"bad_alloc|out of memory|failed to allocate|cannot allocate|unable to allocate|Failed to create llama_context",
        EngineMemoryError,
        "There is not enough memory for the model: close other programs, lower n_ctx, or use smaller weights.",
    ),
    (
        r"mtmd context|mismatch between text model",
        ProjectorMismatchError,
        "The engine rejects the image encoder: use the mmproj file published with the model.",
    ),
    (
        r"error loading model|Failed to load model",
        ModelFileError,
        "The engine cannot load the model: see its log. If the file is incomplete, download it again.",
    ),
    (
        r"address already in use|Errno 98|Errno 48|WinError 10048",
        EngineError,
        "Another program took the port: call serve_llava again.",
    ),
)
"""Patterns in the log, with the exception and message for each; the first match counts."""

_ANSWERED = r'"[A-Z]+ /\S* HTTP/[\d.]+" \d{3}.*\n'
"""A line of the log for a request that was answered, from the method on."""

_SIGNALS_OF_OTHERS = frozenset(
    -getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
)
"""Exit codes of an engine that another program has ended; its log says nothing about it."""

_running: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """A child process that serves a model on loopback, and ends when this process ends.

    Args:
        arguments: Options of ``python -m llama_cpp.server``, except host and port.
        model: Name under which the model is served.
        context_length: Tokens per conversation.
        port: The port; None for a free one.

    Raises:
        EngineMissingError: llama-cpp-python is not installed with its server.
        SettingsError: The port is in use.
    """

    def __init__(self, arguments: Sequence[str], *, model: str, context_length: int, port: int | None = None) -> None:
        missing = [name for name in _REQUIRED if importlib.util.find_spec(name) is None]
        if missing:
            raise EngineMissingError(
                f"llama.cpp's server is not installed (missing: {', '.join(missing)}): "
                'pip install "vision-nb[llama]", which takes a few minutes to compile.'
            )
        self.model, self.context_length, self.port = model, context_length, free_port(port)
        command = [sys.executable, "-P", str(_CHILD), _MODULE, *arguments]
        # With "=", because a name may start with a dash.
        command += [f"--model_alias={model}", f"--n_ctx={context_length}", f"--host={HOST}", f"--port={self.port}"]
        # Opened twice: on Windows, reading through the child's own handle would move its write position.
        handle, log_name = tempfile.mkstemp(prefix="vision-nb-engine-", suffix=".log")
        log = Path(log_name)
        with os.fdopen(handle, "wb") as written:
            self._log = log.open("rb")
            _remove(log)  # it stays readable while it is open, and a crash leaves no file behind
            self._log_lock = threading.Lock()
            # In its own process group, so that interrupting a cell does not reach it.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=written,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        # Also called at the end of this process, and when the engine is garbage collected.
        self.stop = weakref.finalize(self, keep_interrupts(_stop), self._process, self._log, log)
        _running.add(self)

    @property
    def api_base(self) -> str:
        """Return the base URL for an OpenAI client."""
        return f"http://{HOST}:{self.port}/v1"

    @property
    def pid(self) -> int:
        """Return the child's process ID."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Return the child's exit code; None while it runs."""
        return self._process.poll()

    def has_ended(self, within: float = 0.0) -> bool:
        """Return whether the child has ended or ends within a few seconds: its connections close slightly earlier."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(within)
        return self.exit_code is not None

    def log(self) -> str:
        """Return the engine's log so far; empty after it was stopped."""
        with self._log_lock:
            if self._log.closed:
                return ""
            self._log.seek(0)
            return self._log.read().decode("utf-8", "replace")

    def wait(self, seconds: float, on_progress: Callable[[float | None], None]) -> None:
        """Wait until the engine responds.

        Args:
            seconds: Maximum time to wait.
            on_progress: Called with the loaded part of the model, from 0 to 1, or None if unknown.

        Raises:
            EngineError: The engine ended or did not respond in time; the class shows why.
        """
        deadline = time.monotonic() + seconds
        while not self._is_ready():
            if self.exit_code is not None:
                raise self.failure()
            log = self.log()
            if time.monotonic() > deadline:
                last_lines = "\n".join(log.splitlines()[-_MAX_LOG_LINES:])
                raise EngineError(
                    f"The engine did not respond within {seconds:g} second{'' if seconds == 1 else 's'}: raise "
                    f"load_timeout, or use smaller weights.\n{reason(last_lines)}",
                    log=last_lines,
                )
            on_progress(loaded_part(log))
            time.sleep(_POLL_INTERVAL)

    def failure(self) -> EngineError:
        """Return the error that explains why the engine ended."""
        code = self.exit_code
        if code == -9:
            return EngineMemoryError("The engine was killed by signal 9, usually for lack of memory.")
        if code is not None and code in _SIGNALS_OF_OTHERS:
            return EngineError(f"The engine was killed by signal {-code}, which another program sent.")
        # Errors logged before its last answer did not end it.
        log = re.split(_ANSWERED, self.log())[-1]
        kind, message = EngineError, f"The engine exited with code {code}: see its log."
        if code is not None and code < 0:
            message = f"The engine was killed by signal {-code}."
        for pattern, pattern_kind, pattern_message in _FAILURES:
            if re.search(pattern, log, re.IGNORECASE):
                kind, message = pattern_kind, pattern_message
                break
        lines = relevant_lines(log)
        return kind(f"{message}\n{reason(lines)}".rstrip(), log=lines)

    def _is_ready(self) -> bool:
        """Return whether this engine serves its model: another program may have taken the port in the meantime."""
        if f"running on http://{HOST}:{self.port}" not in self.log():  # logged once the port is open
            return False
        with suppress(OSError, ValueError, http.client.HTTPException):
            with closing(http.client.HTTPConnection(HOST, self.port, timeout=2)) as connection:
                connection.request("GET", "/v1/models")
                served = json.loads(connection.getresponse().read(1 << 16))
            return self.exit_code is None and [entry["id"] for entry in served["data"]] == [self.model]
        return False


def running_engines() -> list[Engine]:
    """Return the engines that this process has started and not stopped."""
    running = [engine for engine in _running if engine.stop.alive and engine.exit_code is None]
    return sorted(running, key=lambda engine: engine.port)


def free_port(port: int | None) -> int:
    """Return the given port if it is free, or any free port for None.

    Raises:
        SettingsError: The port is in use or invalid.
    """
    if port is not None and (isinstance(port, bool) or not isinstance(port, int)):
        raise SettingsError(f"port must be an integer, not {port!r:.80}. Omit it to use a free port.")
    with socket.socket() as probe:
        if os.name == "posix":  # a port that was in use until a moment ago can be used again
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port or 0))
        except (OSError, OverflowError) as error:
            raise SettingsError(f"Port {port} cannot be opened ({error}). Omit port= to use a free port.") from error
        return int(probe.getsockname()[1])


def loaded_part(log: str) -> float | None:
    """Return the loaded part of the model: llama.cpp logs a hundred dots in all."""
    dots = [len(found) for found in re.findall(r"^\.+", log, re.MULTILINE)]
    return min(max(dots) / 100, 1.0) if dots else None


def relevant_lines(log: str) -> str:
    """Return the lines of a log that explain a failure, and its end, without tracebacks."""
    lines = log.splitlines()
    problems = [line for line in lines[:-3] if re.search(r"error|fail|mismatch|unable", line, re.IGNORECASE)]
    kept = [line for line in problems if not line.startswith((" ", "Traceback"))]
    kept += [line for line in lines[-3:] if not line.startswith((" ", "\t"))]
    # pydantic names an invalid option and what is wrong with it in the two lines after the first.
    for number, line in enumerate(lines):
        if re.match(r"\d+ validation errors? for ", line):
            kept += lines[number + 1 : number + 3]
    return "\n".join(line[:300] for line in kept[-_MAX_LOG_LINES:])


def reason(lines: str) -> str:
    """Return the first line that reports an error, or else the last one: an error message has no room for more."""
    found = lines.splitlines()
    if any(re.match(r"\d+ validation error", line) for line in found):
        return " ".join(line.strip() for line in found[-2:])  # the option and what is wrong with it
    return next((line for line in found if re.search(r"\berror\b", line, re.IGNORECASE)), found[-1] if found else "")


def _remove(path: Path) -> None:
    """Delete a file if possible: Windows does not delete open files."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _stop(process: subprocess.Popen[bytes], log: IO[bytes], path: Path) -> None:
    """End the child and wait until it has ended. In a fork of this process, this does not affect the child."""
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()  # the child ends on its own when its pipe closes
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()
    _remove(path)
