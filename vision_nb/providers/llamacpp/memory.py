"""The memory that is available to this process."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_GROUPS = (  # limit, use, statistics and the name in them of cached files, for versions 2 and 1 of Linux's groups
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


def available_memory() -> int | None:
    """Return the available memory in bytes, within the limit of a container; None if it cannot be determined."""
    found = [amount for amount in (_of_system(), _of_container(Path("/sys/fs/cgroup"))) if amount is not None]
    return min(found, default=None)


def _of_system() -> int | None:
    try:
        import psutil  # every Jupyter kernel has it
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def _of_container(folder: Path) -> int | None:
    """Return what is left of a container's limit, as on Binder; None if there is no limit."""
    for limit, used, statistics, name in _GROUPS:
        with suppress(OSError, ValueError, KeyError):
            numbers = dict(line.split() for line in (folder / statistics).read_text().splitlines())
            left = int((folder / limit).read_text()) - int((folder / used).read_text()) + int(numbers[name])
            return max(left, 0)  # cached files give way to a program that needs the memory
    return None
