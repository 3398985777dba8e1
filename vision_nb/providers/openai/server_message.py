"""The server's own sentence, found in an error of any shape."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import unescape

_FIELDS = ("error", "message", "detail", "msg", "error_message", "error_description", "errors", "reason", "title")
_MAX_LENGTH = 160
_MAX_DEPTH = 8
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_HTML = re.compile(r"<(?:!doctype|html|head|body|title)\b", re.IGNORECASE)


def server_message(body: object) -> str:
    """Return a server's error message, or "" if there is none.

    Args:
        body: The answer: JSON values, or text or bytes of JSON, HTML or plain text. Of an HTML page, only the title
            is used.

    >>> server_message({"error": {"message": "Bad image", "code": 7}}), server_message('{"detail": "Not Found"}')
    ('Bad image', 'Not Found')
    >>> server_message("<html><title>502 Bad Gateway</title><body>...")
    '502 Bad Gateway'
    """
    return clean(_find(body, 0))


def clean(text: str) -> str:
    """Return a text on one line, shortened, without control characters and lone surrogates."""
    text = "".join(char if char.isprintable() else " " for char in text[: _MAX_LENGTH * 20])
    text = " ".join(text.split())
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 3].rstrip()}..."


def _find(value: object, depth: int) -> str:
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return _from_text(value.strip(), depth)
    if isinstance(value, Mapping):
        return _from_mapping(value, depth)
    if isinstance(value, list):
        return "; ".join(found for item in value[:3] if (found := _find(item, depth + 1)))
    return ""


def _from_text(text: str, depth: int) -> str:
    if text[:1] in ("{", "["):
        try:
            return _find(json.loads(text), depth + 1)
        except (ValueError, RecursionError):
            return text
    if _HTML.search(text[:1000]):
        title = _TITLE.search(text[:10_000])
        return unescape(title[1]) if title else ""
    return text


def _from_mapping(value: Mapping[object, object], depth: int) -> str:
    choices = value.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) and choices[0].get("error"):
        return _find(choices[0]["error"], depth + 1)
    for name in _FIELDS:
        found = _find(value.get(name), depth + 1)
        if not found:
            continue
        place = value.get("loc")  # FastAPI: where in the request the error is
        if isinstance(place, list) and place:
            return f"{'.'.join(str(part) for part in place)}: {found}"
        metadata = value.get("metadata")  # OpenRouter: what the provider behind it said
        raw = _find(metadata.get("raw"), depth + 1) if isinstance(metadata, Mapping) else ""
        return f"{found}: {raw}" if raw else found
    return ""
