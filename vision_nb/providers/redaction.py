"""Removal of API keys from texts that users or logs may see."""

from __future__ import annotations

import re
from collections.abc import Iterable

_KEY = re.compile(r"\b(?:sk|r8)[-_][\w*-]{6,}|(?<=Bearer )\S+")


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return a text with secrets and whatever looks like an API key replaced.

    >>> redact("Incorrect API key provided: sk-abcdef123456", [])
    'Incorrect API key provided: ***'
    """
    for secret in secrets:
        text = text.replace(secret, "***")
    return _KEY.sub("***", text)
