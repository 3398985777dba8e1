"""`Engine`: llama.cpp's server as a child process."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
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
from vision_nb.privacy.api_keys import Secret

HOST = "127.0.0.1"

CLIENT_OPTIONS: Mapping[str, Any] = {"inline_urls": True, "max_retries": 0}
"""Options for the client of an engine: it would download any URL itself, and a failed request fails again."""

_MAX_LOG_LINES = 12  # in an error
_MAX_REASON_LENGTH = 160  # in an error message, which also has a sentence of its own
_POLL_INTERVAL = 0.02  # seconds, while the model loads
_CHILD = Path(__file__).with_name("child.py")
_SECRET_NAME = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL")  # of environment variables
_TIME = re.compile(r"^[\d.]+ (?=[A-Z] )")  # at the beginning of a line of the log
_LISTENING = re.compile(
    r"^(?:[\d.]+ [A-Z] )?(?:srv|main)[\w :]*: (?:server is )?listening on http://[\d.]+:(\d+)", re.M
)
"""What the server logs once the model is loaded. Other lines contain text of the weight file, such as its name."""

_MEMORY = r"bad_alloc|out of memory|insufficient memory|failed to allocate|cannot allocate|unable to allocate"
_FAILURES: Sequence[tuple[str, type[EngineError], str]] = (
    (
        _MEMORY,
        EngineMemoryError,
        "There is not enough memory for the model: close other programs, lower n_ctx, or use smaller weights.",
    ),
    (
        r"mismatch between text model|clip_init: failed to load|failed to load multimodal model",
        ProjectorMismatchError,
        "The engine rejects the image encoder: use the mmproj file published with the model.",
    ),
    (
        r"error loading model: |failed to load model",
        ModelFileError,
        "The engine cannot load the model: see its log. If the file is incomplete, download it again.",
    ),
    (
        r"address already in use|couldn't bind|failed to bind",
        EngineError,
        "Another program took the port: call vn.serve again.",
    ),
)
"""Patterns in the log, with the exception and message for each; the first match counts."""

_CRASH = rf"GGML_ASSERT|terminate called|what\(\): |{_MEMORY}"
"""What the log says about the end of an engine that had been ready; it also has errors of requests."""

_SIGNALS_OF_OTHERS = frozenset(
    -getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
)
"""Exit codes of an engine that another program has ended; its log says nothing about it."""

_running: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """A child process that serves a model on loopback, and ends when this process ends.

    Args:
        model: GGUF file of the text model.
        mmproj: GGUF file of the image encoder.
        name: Name under which the model is served.
        context_length: Tokens per conversation.
        chat_template: Jinja template for conversations.
        port: The port; None for a free one.
        api_key: API key that requests must have; None for a random one.
        n_threads: Number of CPU threads; None for the engine's default.
        n_gpu_layers: Number of layers on the graphics card; None for the engine's default.

    Raises:
        EngineMissingError: Neither xllamacpp nor llama-server is installed.
        SettingsError: The port is in use.
    """

    def __init__(
        self,
        model: Path,
        mmproj: Path,
        *,
        name: str,
        context_length: int,
        chat_template: str,
        port: int | None = None,
        api_key: Secret | None = None,
        n_threads: int | None = None,
        n_gpu_layers: int | None = None,
    ) -> None:
        program = find_program()
        check_port(port)
        self.model, self.context_length = name, context_length
        self._api_key = api_key or Secret(secrets.token_urlsafe(32), name="The engine's API key")
        self._port = port or 0
        self._is_loaded = False
        # Opened twice: on Windows, reading through the child's own handle would move its write position.
        handle, log_name = tempfile.mkstemp(prefix="vision-nb-engine-", suffix=".log")
        log = Path(log_name)
        with os.fdopen(handle, "wb") as written:
            self._log = log.open("rb")
            _remove(log)  # it stays readable while it is open, and a crash leaves no file behind
            self._log_lock = threading.Lock()
            # In its own process group, so that interrupting a cell does not reach it. It reads weights and images of
            # others, so it must find no API key.
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_CHILD)],
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=written,
                env={name: value for name, value in os.environ.items() if not _SECRET_NAME.search(name.upper())},
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        # Also called at the end of this process, and when the engine is garbage collected.
        self.stop = weakref.finalize(self, keep_interrupts(_stop), self._process, self._log, log)
        _running.add(self)
        settings = {
            "program": program,
            "model": str(model),
            "mmproj": str(mmproj),
            "name": name,
            "n_ctx": context_length,
            "chat_template": chat_template,
            "port": self._port,
            "n_threads": n_threads,
            "n_gpu_layers": n_gpu_layers,
        }
        self._send_settings({**settings, "api_key": self._api_key.reveal()})

    def _send_settings(self, settings: Mapping[str, Any]) -> None:
        """Write the settings to the child's input: other users can read the arguments of a process."""
        assert self._process.stdin is not None
        with suppress(OSError):  # the child has ended; `wait` reports it
            self._process.stdin.write(json.dumps(settings).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def api_key(self) -> str:
        """Return the API key that requests must have; it changes with each start unless you pass one."""
        return self._api_key.reveal()

    @property
    def port(self) -> int:
        """Return the port; 0 while the model loads on a port that is not known yet."""
        return self._port

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

    @property
    def is_running(self) -> bool:
        """Return whether the engine was neither stopped nor has ended."""
        return self.stop.alive and self.exit_code is None

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
            on_progress: Called repeatedly with None: the engine does not report how much it has loaded.

        Raises:
            EngineError: The engine ended or did not respond in time; the class shows why.
        """
        deadline = time.monotonic() + seconds
        while not self._is_ready():
            if self.exit_code is not None:
                raise self.failure()
            if time.monotonic() > deadline:
                raise EngineError(
                    f"The engine did not respond within {seconds:g} second{'' if seconds == 1 else 's'}: raise "
                    "load_timeout, or use smaller weights.",
                    log=relevant_lines(self.log()),
                )
            on_progress(None)
            time.sleep(_POLL_INTERVAL)

    def failure(self) -> EngineError:
        """Return the error that explains why the engine ended."""
        code = self.exit_code
        if code == -9:
            return EngineMemoryError(
                "The engine was killed by signal 9, usually for lack of memory: close other programs, or use smaller "
                "weights."
            )
        if code is not None and code in _SIGNALS_OF_OTHERS:
            return EngineError(f"The engine was killed by signal {-code}, which another program sent.")
        log = self.log()
        kind, message, reason = EngineError, f"The engine exited with code {code}: see its log.", ""
        if code is not None and code < 0:
            message = f"The engine was killed by signal {-code}."
        if self._is_loaded:
            reason = _first_line_with(_CRASH, log)
        else:
            for pattern, pattern_kind, pattern_message in _FAILURES:
                if reason := _first_line_with(pattern, log):
                    kind, message = pattern_kind, pattern_message
                    break
        return kind(f"{message}\n{reason}".rstrip(), log=relevant_lines(log))

    def _is_ready(self) -> bool:
        """Return whether the engine has loaded the model and opened its port."""
        listening = _LISTENING.search(self.log())
        if listening:
            self._port, self._is_loaded = int(listening[1]), True
        return listening is not None and self.exit_code is None


def running_engines() -> list[Engine]:
    """Return the engines that this process has started and not stopped."""
    return sorted((engine for engine in _running if engine.is_running), key=lambda engine: engine.port)


def find_program() -> str | None:
    """Return the path of llama-server, or None if xllamacpp, which is preferred, is installed.

    Raises:
        EngineMissingError: Neither is installed.
    """
    if importlib.util.find_spec("xllamacpp") is not None:
        return None
    program = shutil.which("llama-server") if os.name == "posix" else None
    if program is None:
        raise EngineMissingError(
            'No engine for local models is installed: pip install "vision-nb[local]" (34 MB, no compiler).'
        )
    return program


def is_engine_installed() -> bool:
    """Return whether an engine for local models is installed."""
    try:
        find_program()
    except EngineMissingError:
        return False
    return True


def check_port(port: int | None) -> None:
    """Check that a port is free.

    Raises:
        SettingsError: The port is in use or invalid.
    """
    if port is None:
        return
    if type(port) is not int:
        raise SettingsError(f"port must be an integer, not {port!r:.80}. Omit it to use a free port.")
    with socket.socket() as probe:
        if os.name == "posix":  # a port that was in use until a moment ago can be used again
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise SettingsError(f"Port {port} cannot be opened ({error}). Omit port= to use a free port.") from error


def relevant_lines(log: str) -> str:
    """Return the lines of a log that report errors, and its end, without times and tracebacks."""
    lines = [_TIME.sub("", line) for line in log.splitlines()]
    problems = [line for line in lines[:-3] if re.search(r"^E |error|fail|mismatch|unable", line)]
    kept = [line for line in (*problems, *lines[-3:]) if not line.startswith((" ", "\t", "Traceback"))]
    return "\n".join(line[:300] for line in kept[-_MAX_LOG_LINES:])


def _first_line_with(pattern: str, log: str) -> str:
    """Return the first line of a log that matches, without its time and level; empty if there is none."""
    lines = (line for line in log.splitlines() if re.search(pattern, line, re.IGNORECASE))
    return _TIME.sub("", next(lines, "")).removeprefix("E ")[:_MAX_REASON_LENGTH]


def _remove(path: Path) -> None:
    """Delete a file if possible: Windows does not delete open files."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _stop(process: subprocess.Popen[bytes], log: IO[bytes], path: Path) -> None:
    """End the child and wait until it has ended. In a fork of this process, this does not affect the child."""
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    process.kill()  # it has nothing to save; in a fork, it is not a child, and Popen does not send a signal
    process.wait()
    log.close()
    _remove(path)
