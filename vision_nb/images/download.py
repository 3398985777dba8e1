"""Download of images from URLs, with limits on size and time."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vision_nb.errors import ImageDownloadError

if TYPE_CHECKING:
    import httpx2

HEADER_BYTES = 65_536
"""How many bytes of a remote image are downloaded to read its header."""

MAX_DOWNLOAD = 100_000_000
_CONNECT_SECONDS = 10.0
_TOTAL_SECONDS = 60.0
_MAX_REDIRECTS = 5


def redact_url(url: str) -> str:
    """Return a URL without user name, password and query, which may contain secrets.

    >>> redact_url("https://me:secret@example.org/a.png?sig=abc")
    'https://example.org/a.png'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("?")[0][:120]
    host = parts.netloc.rpartition("@")[2]
    redacted = f"{parts.scheme}://{host}{parts.path}"
    return redacted if len(redacted) <= 120 else redacted[:117] + "..."


def download(url: str, *, first_bytes: int | None = None) -> bytes:
    """Download a URL.

    Args:
        url: An http or https URL.
        first_bytes: How many bytes to download; None for the whole file.

    Raises:
        ImageDownloadError: The host is unreachable or slow, returns an error status, redirects too often, or sends
            more than 100 MB.
    """
    import httpx2

    name = redact_url(url)
    deadline = time.monotonic() + _TOTAL_SECONDS
    headers = {} if first_bytes is None else {"Range": f"bytes=0-{first_bytes - 1}"}
    limit = MAX_DOWNLOAD if first_bytes is None else first_bytes
    received = bytearray()
    try:
        with _client().stream("GET", url, headers=headers) as response:
            if response.status_code >= 400:
                raise ImageDownloadError(
                    f"{name} returned {response.status_code} {response.reason_phrase}: "
                    "check that the URL is correct and public."
                )
            for chunk in response.iter_bytes():
                received += chunk
                if len(received) >= limit:
                    break
                if time.monotonic() > deadline:
                    raise ImageDownloadError(
                        f"{name} took more than {_TOTAL_SECONDS:.0f} seconds: try again, or download the file first."
                    )
    except httpx2.TimeoutException as error:
        raise ImageDownloadError(f"{name} timed out: try again, or download the file first.") from error
    except httpx2.TooManyRedirects as error:
        raise ImageDownloadError(f"{name} redirects too often: use the URL of the image itself.") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:  # UnicodeError: a name that is too long
        raise ImageDownloadError(f"{name} cannot be reached ({error}): check the URL and the network.") from error
    if first_bytes is None and len(received) >= MAX_DOWNLOAD:
        raise ImageDownloadError(
            f"{name} is larger than {MAX_DOWNLOAD // 10**6} MB: download the file and scale it down first."
        )
    return bytes(received[:limit])


@functools.cache
def _client() -> httpx2.Client:
    """Return the HTTP client, which is shared so that connections are reused."""
    import httpx2

    return httpx2.Client(
        follow_redirects=True,
        max_redirects=_MAX_REDIRECTS,
        timeout=httpx2.Timeout(_CONNECT_SECONDS, read=20.0),
        headers={"User-Agent": "vision_nb (Python notebook toolkit)", "Accept": "image/*,*/*;q=0.5"},
    )
