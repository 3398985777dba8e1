"""URLs without the secrets in them."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

SECRET_PARAMETERS = (
    r"x-(?:amz|goog|oss|cos|ms)-(?:signature|credential|security-token|token|date|expires|algorithm|signedheaders)"
    r"|\w*(?:signature|token|secret|passw(?:or)?d|credential|api[-_]?key|access[-_]?key(?:[-_]?id)?|sas)"
    r"|googleaccessid|key-pair-id|policy|expires|auth(?:orization)?|sig|pwd|jwt|key|code|session(?:[-_]?id)?|hmac"
)
"""The names of query parameters that grant access, and of those that belong to a signature, as a regular expression.

From the presigned URLs of AWS, Google Cloud, Azure, Alibaba and Tencent, and from CloudFront (read 2026-11).
"""
_AZURE_SAS = "s[evprt]|spr|sip|sk(?:oid|tid|t|e|s|v)"  # beside sig, which follows from them
_FILE_NAME = r"(?i)[\w ./-]*\.(?:avif|bmp|gif|heic|jpe?g|png|svg|tiff?|webp|pdf)"
_MAX_LENGTH = 120


def redact_url(url: str) -> str:
    """Return a URL without user name, password and query, which may contain secrets, for a message.

    >>> redact_url("https://me:secret@example.org/a.png?sig=abc"), redact_url("http://me:pw@[::1/v1")
    ('https://example.org/a.png', 'http://[::1/v1')
    """
    redacted = re.split(r"[?#]", without_login(url), maxsplit=1)[0]
    redacted = "".join(char for char in redacted if char.isprintable())
    return redacted if len(redacted) <= _MAX_LENGTH else redacted[: _MAX_LENGTH - 3] + "..."


def public_url(url: str) -> str:
    """Return a URL without user name, password and signature, to be saved and shared.

    Parameters that may select the image are kept.

    >>> public_url("https://me:secret@example.org/a?page=2&X-Amz-Signature=abc&key=dir/a.png#top")
    'https://example.org/a?page=2&key=dir/a.png'
    """
    if url.startswith("data:"):
        return url
    address, _, rest = without_login(url).partition("?")
    query = rest.partition("#")[0]
    parts = [part for part in query.split("&") if part]
    is_azure = any(part.startswith("sig=") for part in parts)
    kept = [
        part
        for part in parts
        if not _is_secret(part) and not (is_azure and re.fullmatch(_AZURE_SAS, part.partition("=")[0]))
    ]
    return address.partition("#")[0] + (f"?{'&'.join(kept)}" if kept else "")


def _is_secret(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    if not re.fullmatch(SECRET_PARAMETERS, unquote_plus(name), re.IGNORECASE):
        return False
    return not (unquote_plus(name).lower() == "key" and re.fullmatch(_FILE_NAME, unquote_plus(value)))


def without_login(url: str) -> str:
    """Return a URL without user name and password, even if it is not valid."""
    scheme, slashes, rest = url.partition("://")
    if not slashes:
        return url.rpartition("@")[2]
    host = re.match(r"[^/?#\\]*", rest)
    host_and_login = host[0] if host else ""
    # A password that is not percent-encoded can contain "/", "?" or "#": then the "port" is not a number.
    is_broken = "@" in rest and not re.fullmatch(r"(\[[^\]]*\]|[^:@]*)(:\d*)?", host_and_login.rpartition("@")[2])
    end = len(host_and_login) if not is_broken else len(rest)
    login, at, _ = rest[:end].rpartition("@")
    return f"{scheme}://{rest[len(login) + len(at) :]}"
