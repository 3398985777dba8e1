"""Redirects: a request with content, or with a key, is not sent to another server."""

from __future__ import annotations

from typing import Any

from vision_nb.errors import RedirectError
from vision_nb.privacy.urls import redact_url


def check_redirect(response: Any, url: Any, service: str, argument: str = "api_base") -> None:
    """Raise an error if a response redirects to another server.

    Args:
        response: The response, of httpx or httpx2.
        url: The URL that it answers.
        service: The server's name in the message.
        argument: The argument for the server's address.

    Raises:
        RedirectError: The new address has another host or port, or is not encrypted where the first one was.
    """
    if not response.has_redirect_location:
        return
    location = response.headers["location"]
    try:
        is_same = is_same_server(url.join(location), url)
    except Exception:  # not a valid URL
        is_same = False
    if not is_same:
        raise RedirectError(
            f"{service} redirected the request to another server, {redact_url(location)}, and nothing was sent there. "
            f"If you trust that address, pass it as {argument}=.",
            status_code=response.status_code,
        )


def is_same_server(url: Any, other: Any) -> bool:
    """Return whether a URL has the scheme, host and port of another one, or is its encrypted version.

    Args:
        url: A URL object of httpx or httpx2.
        other: The URL to compare it to.
    """
    if url.host != other.host:
        return False
    if url.scheme == other.scheme:
        return bool(url.port == other.port)
    return url.scheme == "https" and other.scheme == "http" and url.port is None and other.port is None
