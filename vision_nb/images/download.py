"""Pictures fetched from URLs: within limits, and no further than is needed."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vision_nb.errors import ImageDownloadError

if TYPE_CHECKING:
    import httpx2

HEADER_BYTES = 65_536
"""So many first bytes of a URL are read when only its header is wanted."""

MAX_DOWNLOAD = 100_000_000
_CONNECT_SECONDS = 10.0
_TOTAL_SECONDS = 60.0
_MAX_REDIRECTS = 5


def redact_url(url: str) -> str:
    """A URL as it may be shown: without user name, password and query, which can hold secrets.

    >>> redact_url("https://me:secret@example.org/a.png?sig=abc")
    'https://example.org/a.png'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("?")[0][:120]
    host = parts.netloc.rpartition("@")[2]
    shown = f"{parts.scheme}://{host}{parts.path}"
    return shown if len(shown) <= 120 else shown[:117] + "..."


def download(url: str, *, first_bytes: int | None = None) -> bytes:
    """Fetch a URL.

    Args:
        url: An http or https URL.
        first_bytes: Stop after so many bytes; None for all of it.

    Raises:
        ImageDownloadError: The host is unreachable or slow, refuses, redirects in a loop, or sends more than
            100 MB.
    """
    import httpx2

    shown = redact_url(url)
    deadline = time.monotonic() + _TOTAL_SECONDS
    headers = {} if first_bytes is None else {"Range": f"bytes=0-{first_bytes - 1}"}
    limit = MAX_DOWNLOAD if first_bytes is None else first_bytes
    received = bytearray()
    try:
        with _client().stream("GET", url, headers=headers) as response:
            if response.status_code >= 400:
                raise ImageDownloadError(
                    f"{shown} answers {response.status_code} {response.reason_phrase}: "
                    "check that the address is right and public."
                )
            for chunk in response.iter_bytes():
                received += chunk
                if len(received) >= limit:
                    break
                if time.monotonic() > deadline:
                    raise ImageDownloadError(
                        f"{shown} took more than {_TOTAL_SECONDS:.0f} seconds: download it first, or try again."
                    )
    except httpx2.TimeoutException as error:
        raise ImageDownloadError(f"{shown} does not answer in time: try again, or download it first.") from error
    except httpx2.TooManyRedirects as error:
        raise ImageDownloadError(f"{shown} redirects without end: use the address of the picture itself.") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ImageDownloadError(f"{shown} cannot be reached ({error}): check the address and the network.") from error
    if first_bytes is None and len(received) >= MAX_DOWNLOAD:
        raise ImageDownloadError(
            f"{shown} sends more than {MAX_DOWNLOAD // 10**6} MB: that is no picture to ask about."
        )
    return bytes(received[:limit])


@functools.cache
def _client() -> httpx2.Client:
    """One client for all downloads: it keeps connections open and loads the certificates once."""
    import httpx2

    return httpx2.Client(
        follow_redirects=True,
        max_redirects=_MAX_REDIRECTS,
        timeout=httpx2.Timeout(_CONNECT_SECONDS, read=20.0),
        headers={"User-Agent": "vision_nb (Python notebook toolkit)", "Accept": "image/*,*/*;q=0.5"},
    )
