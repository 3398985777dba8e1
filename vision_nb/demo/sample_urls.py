"""URLs of the sample images on this machine, for notebooks whose own image URLs cannot be reached."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vision_nb import samples
from vision_nb.demo.sample_routes import PATH
from vision_nb.images.formats import sniff

if TYPE_CHECKING:
    from vision_nb.demo.server import DemoServer

_FIRST_BYTES = 64  # enough to tell a picture from a web page


def sample_url(demo: DemoServer, name: str) -> str:
    """The URL of a sample picture at a running demo server.

    Raises:
        ImageNotFoundError: There is no sample of that name.
        SettingsError: The server is not running.
    """
    return f"{demo.url}{PATH}{samples.path(name).name}"


def reachable_or_sample(urls: Mapping[str, str], demo: DemoServer, *, seconds: float = 3.0) -> list[str]:
    """Each URL behind which there is a picture now, and for each other one a sample picture on this machine.

    All are tried at the same time, each once, and no further than its first bytes.

    Args:
        urls: URLs of pictures, each with the name of the sample that stands in for it.
        demo: The running demo server that gives the samples.
        seconds: How long to wait for all of them together; name servers that do not answer count.

    Returns:
        As many URLs as were given, in the same order.

    Raises:
        ImageNotFoundError: There is no sample of a name.
    """
    stand_ins = {url: sample_url(demo, name) for url, name in urls.items()}
    there: set[str] = set()
    threads = [threading.Thread(target=_try, args=(url, seconds, there), daemon=True) for url in urls]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    found = set(there)  # one that comes too late changes nothing any more
    return [url if url in found else stand_ins[url] for url in urls]


def _try(url: str, seconds: float, there: set[str]) -> None:
    import httpx2

    try:
        with httpx2.stream("GET", url, follow_redirects=True, timeout=seconds) as response:
            first = next(response.iter_bytes(_FIRST_BYTES), b"")
            if response.status_code == 200 and sniff(first):
                there.add(url)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError):
        pass  # whatever is wrong, the sample takes its place
