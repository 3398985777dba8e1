"""URLs of the sample images, for notebooks with unreachable image URLs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from vision_nb import samples
from vision_nb.demo.sample_routes import PATH
from vision_nb.demo.server import DemoServer
from vision_nb.images.formats import sniff

_FIRST_BYTES = 64  # enough to tell an image from a web page


def sample_url(demo: DemoServer, name: str) -> str:
    """Return the URL of a sample image at a running demo server.

    Raises:
        ImageNotFoundError: The sample does not exist.
        SettingsError: The server is not running.
    """
    return f"{demo.url}{PATH}{samples.path(name).name}"


def reachable_or_sample(urls: Mapping[str, str], demo: DemoServer, *, seconds: float = 3.0) -> list[str]:
    """Replace each URL that does not lead to an image with the URL of a sample image.

    All URLs are tried at the same time, and only their first bytes are read.

    Args:
        urls: Maps the URL of an image to the name of the sample that replaces it.
        demo: The running demo server that serves the samples.
        seconds: The total time to wait, including for name servers that do not answer.

    Returns:
        As many URLs as were given, in the same order.

    Raises:
        ImageNotFoundError: A sample does not exist.
        SettingsError: The server is not running.
    """
    replacements = {url: sample_url(demo, name) for url, name in urls.items()}
    reachable: set[str] = set()
    threads = [threading.Thread(target=_try, args=(url, seconds, reachable), daemon=True) for url in urls]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    in_time = set(reachable)  # threads that are still running may add to the original
    return [url if url in in_time else replacements[url] for url in urls]


def _try(url: str, seconds: float, reachable: set[str]) -> None:
    import httpx2

    try:
        with httpx2.stream("GET", url, follow_redirects=True, timeout=seconds) as response:
            first = next(response.iter_bytes(_FIRST_BYTES), b"")
            if response.status_code == 200 and sniff(first):
                reachable.add(url)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError):
        pass  # whatever the reason, the sample replaces it
