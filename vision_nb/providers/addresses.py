"""Server addresses: check that they are valid, and whether they are on this machine."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from vision_nb.errors import SettingsError
from vision_nb.privacy.api_keys import Secret, basic_login, unhide
from vision_nb.privacy.urls import redact_url, without_login


class Address(str):
    """A server's address without its user name and password.

    Attributes:
        login: The user name and password, as the value of an Authorization header; None if there is none.
    """

    login: Secret | None = None


def check_address(address: Any, argument: str) -> Address | None:
    """Return an address without user name and password, or raise an error if it is not an HTTP address.

    Args:
        address: The address, or None.
        argument: Its name in error messages, such as "api_base".

    Raises:
        SettingsError: The address does not start with http:// or https://, or is not valid.
    """
    address = unhide(address)
    if not address or isinstance(address, Address):
        return address or None
    text, address = str(address).strip(), None  # None: a traceback may show local variables
    checked = Address(without_login(text))
    if not text.lower().startswith(("http://", "https://")):
        shown, text = redact_url(text), ""
        raise SettingsError(f"{argument} must start with http:// or https://: got {shown!r:.80}.")
    if not _is_valid(text):
        text = ""
        raise SettingsError(
            f"{argument} is not a valid address: got {str(checked)!r:.80}. Write http://HOST:PORT/v1, and "
            "percent-encode special characters in a password."
        )
    parts = urlsplit(text)
    if parts.query or parts.fragment:
        shown, text, parts, checked = redact_url(text), "", urlsplit(""), Address()
        raise SettingsError(
            f"{argument} must not have a query: pass {shown!r:.80}, and its parameters as "
            'additional_kwargs={"extra_query": {...}}.'
        )
    if parts.username or parts.password:
        checked.login = basic_login(unquote(parts.username or ""), unquote(parts.password or ""))
    return checked


def _is_valid(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def is_on_this_machine(address: str | None) -> bool:
    """Return whether a server's address is on this machine."""
    try:
        return urlsplit(address or "").hostname in ("localhost", "127.0.0.1", "::1", "host.docker.internal")
    except ValueError:
        return False


def is_out_of_reach(url: str | None, server: str | None) -> bool:
    """Return whether a URL names this machine, and a server is on another one, where the URL leads elsewhere.

    >>> is_out_of_reach("http://127.0.0.1:8000/a.png", None), is_out_of_reach("https://example.org/a.png", None)
    (True, False)
    """
    return is_on_this_machine(url) and not is_on_this_machine(server)
