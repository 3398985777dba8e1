"""The demo server: a real HTTP server on loopback that measures pixels, without an API key or a network."""

from vision_nb.demo.faults import BatchFault, Fault
from vision_nb.demo.quota import Quota
from vision_nb.demo.sample_urls import reachable_or_sample, sample_url
from vision_nb.demo.server import DemoServer, shared_server

__all__ = ["BatchFault", "DemoServer", "Fault", "Quota", "reachable_or_sample", "sample_url", "shared_server"]


def __dir__() -> list[str]:
    return list(__all__)
