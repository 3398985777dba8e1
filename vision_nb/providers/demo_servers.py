"""How the demo is recognized: the mark in the IDs of its answers, and the addresses of its servers."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

_SUFFIX = "_vision_nb_demo"
_servers: dict[str, Callable[[], bool]] = {}  # by "host:port"


def new_answer_id(*, by_demo: bool) -> str:
    """Return a random ID for an answer of a demo server, with the mark if the demo model answers, and no script."""
    return uuid.uuid4().hex[:26] + (_SUFFIX if by_demo else "")


def is_demo_id(id: object) -> bool:
    """Return whether the ID of an answer has the mark."""
    return isinstance(id, str) and id.endswith(_SUFFIX)


def register_server(url: str, measures: Callable[[], bool]) -> None:
    """Register a demo server of this process.

    Args:
        url: Its address.
        measures: Returns whether the demo model answers there, rather than a script.
    """
    _servers[urlsplit(url).netloc] = measures


def unregister_server(url: str) -> None:
    """Remove a demo server that has stopped."""
    _servers.pop(urlsplit(url).netloc, None)


def is_demo_server(url: str | None) -> bool:
    """Return whether the demo model answers at an address; only servers of this process are known."""
    measures = _servers.get(urlsplit(url or "").netloc.rpartition("@")[2])
    return measures is not None and measures()
