"""Download of images from URLs, with limits on size and time."""

from __future__ import annotations

import functools
import ipaddress
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vision_nb.errors import ImageDownloadError
from vision_nb.images.formats import is_web_page
from vision_nb.privacy.urls import redact_url

if TYPE_CHECKING:
    import httpx2

HEADER_BYTES = 65_536
"""How many bytes of a remote image are downloaded to read its header."""

MAX_DOWNLOAD = 100_000_000
"""The largest file that is downloaded, in bytes."""

TOTAL_SECONDS = 60.0
"""The longest time of a download."""

_CONNECT_SECONDS = 10.0
_MAX_REDIRECTS = 5
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052


def download(url: str, *, first_bytes: int | None = None) -> bytes:
    """Download a URL.

    Args:
        url: An http or https URL.
        first_bytes: How many bytes to download; None for the whole file.

    Raises:
        ImageDownloadError: The host is unreachable or slow, returns an error status, redirects too often, or sends
            a web page or more than 100 MB; or it is in a private network, and VISION_NB_ALLOW_PRIVATE_URLS is not 1.
    """
    name = redact_url(url)
    deadline = time.monotonic() + TOTAL_SECONDS
    headers = {} if first_bytes is None else {"Range": f"bytes=0-{first_bytes - 1}"}
    limit = MAX_DOWNLOAD if first_bytes is None else first_bytes
    received = bytearray()
    stream = _client().stream("GET", url, headers=headers, extensions={"vision_nb_url": url})
    with _client_errors(name), stream as response:
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
                    f"{name} took more than {TOTAL_SECONDS:.0f} seconds: try again, or download the file first."
                )
    if first_bytes is None and len(received) >= MAX_DOWNLOAD:
        raise ImageDownloadError(
            f"{name} is larger than {MAX_DOWNLOAD // 10**6} MB: download the file and scale it down first."
        )
    if is_web_page(received):
        raise ImageDownloadError(f"{name} is an HTML page, not an image: use the URL of the image itself.")
    return bytes(received[:limit])


@contextmanager
def _client_errors(name: str) -> Iterator[None]:
    """Convert what the HTTP client raises in the ``with`` block to an `ImageDownloadError`."""
    import httpx2

    try:
        yield
    except httpx2.TimeoutException as error:
        raise ImageDownloadError(f"{name} timed out: try again, or download the file first.") from error
    except httpx2.TooManyRedirects as error:
        raise ImageDownloadError(f"{name} redirects too often: use the URL of the image itself.") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:  # UnicodeError: a name that is too long
        raise ImageDownloadError(f"{name} cannot be reached ({error}): check the URL and the network.") from error


@functools.cache
def _client() -> httpx2.Client:
    """Return the HTTP client, which is shared so that connections are reused."""
    import httpx2

    return httpx2.Client(
        follow_redirects=True,
        max_redirects=_MAX_REDIRECTS,
        timeout=httpx2.Timeout(_CONNECT_SECONDS, read=20.0),
        event_hooks={"request": [_check_host], "response": [_check_peer]},  # called after each redirect too
        headers={"User-Agent": "vision_nb (Python notebook toolkit)", "Accept": "image/*,*/*;q=0.5"},
    )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_client.cache_clear)  # a fork must not read its parent's images


def _check_host(request: httpx2.Request) -> None:
    """Refuse a URL whose host is in a private network.

    A URL can come from somebody else, and must not read what only this machine can reach, such as a cloud's metadata
    service. A loopback address may be read if the URL itself names it, but not after a redirect or by another name.
    """
    host = request.url.host
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return  # a proxy may know the host; otherwise the request fails
    _check_addresses(request, addresses)


def _check_peer(response: httpx2.Response) -> None:
    """Check the address that answered: a name can have another address in each look-up."""
    from urllib.request import getproxies

    stream = response.extensions.get("network_stream")
    peer = None if stream is None else stream.get_extra_info("server_addr")
    if peer and not getproxies():
        _check_addresses(response.request, {str(peer[0])})


def _check_addresses(request: httpx2.Request, addresses: set[str]) -> None:
    if os.environ.get("VISION_NB_ALLOW_PRIVATE_URLS") == "1":
        return
    first_host = urlsplit(request.extensions.get("vision_nb_url", "")).hostname or ""
    names_loopback = _is_loopback(request.url.host) and _is_loopback(first_host)
    for text in addresses:
        address = _without_translation(ipaddress.ip_address(text.partition("%")[0]))
        if (address.is_loopback and names_loopback) or (address.is_global and not address.is_multicast):
            continue
        raise ImageDownloadError(
            f"{redact_url(str(request.url))} is in a private network ({address}): set VISION_NB_ALLOW_PRIVATE_URLS=1 "
            "if you trust the URL, or download the file first."
        )


def _without_translation(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address that a gateway reaches for an IPv6 address, or else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def _is_loopback(host: str) -> bool:
    """Return whether a host is written as ``localhost`` or as a loopback address."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
