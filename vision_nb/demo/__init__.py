"""The embedded stand-in: a real server on loopback that answers from pixels, with no key and no network."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vision_nb.demo.faults import Fault
    from vision_nb.demo.sample_urls import reachable_or_sample, sample_url
    from vision_nb.demo.server import DemoServer, shared_server

__all__ = ["DemoServer", "Fault", "reachable_or_sample", "sample_url", "shared_server"]

_HOMES = {
    "DemoServer": "server",
    "Fault": "faults",
    "reachable_or_sample": "sample_urls",
    "sample_url": "sample_urls",
    "shared_server": "server",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
