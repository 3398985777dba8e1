"""Identifiers of processes that are written to the store, and whether these processes are still running."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path


def this_process() -> str:
    """Return an identifier of this process: its machine, its PID and its start time."""
    return _describe(os.getpid())


@cache
def _describe(own: int) -> str:
    return json.dumps([_machine(), own, _start(own)])


def is_running(process: str) -> bool:
    """Return whether a process may be running; on another machine, it is assumed to be.

    Args:
        process: The process, as `this_process` returned it.
    """
    machine, number, start = json.loads(process)
    if machine != _machine() or os.name != "posix":  # elsewhere, signal 0 would end the process
        return True
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return start is None or _start(number) == start


def _start(number: int) -> str | None:
    """Return a process's start time; None if it is unknown, or if the process is a zombie."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


@cache
def _machine() -> str:
    """Return an identifier of the machine's current boot and of the container."""
    parts = [platform.node()]
    with suppress(OSError):
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return " ".join(parts)
