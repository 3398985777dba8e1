"""Server addresses: check that they are valid, and whether they are on this machine."""

from __future__ import annotations

from urllib.parse import urlsplit

from vision_nb.errors import SettingsError


def check_address(address: str | None, argument: str) -> str | None:
    """Return an address unchanged, or raise an error if it is not an HTTP address.

    Args:
        address: The address, or None.
        argument: Its name in error messages, such as "api_base".

    Raises:
        SettingsError: The address does not start with http:// or https://.
    """
    if address and not address.lower().startswith(("http://", "https://")):
        raise SettingsError(f"{argument} must start with http:// or https://: got {address!r:.80}.")
    return address


def is_on_this_machine(address: str | None) -> bool:
    """Return whether a server's address is on this machine."""
    return urlsplit(address or "").hostname in ("localhost", "127.0.0.1", "::1", "host.docker.internal")
