"""How many tokens a text is."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tiktoken

CHARACTERS_A_TOKEN = 4
"""A token of English text is about four characters (OpenAI, What are tokens, read 2026-11): an estimate."""

MESSAGE_TOKENS = 8
"""Tokens that the form of a message adds, about."""

_VOCABULARIES = {
    "o200k_base": "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken",
    "cl100k_base": "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken",
}


@dataclass(frozen=True)
class TextTokens:
    """The tokens of a text.

    Attributes:
        tokens: How many, with the form of a message around them.
        is_estimate: Whether they were estimated from the text's length, not counted.
    """

    tokens: int
    is_estimate: bool


def text_tokens(text: str, model: str = "gpt-4o") -> TextTokens:
    """Count the tokens of a text, or estimate them.

    They are counted by tiktoken where it is installed and its vocabulary is already on this machine; nothing
    is downloaded for it. Otherwise four characters count as a token, and each character beyond the Latin
    scripts as one.
    """
    encoding = _encoding(model)
    if encoding is not None:
        return TextTokens(MESSAGE_TOKENS + len(encoding.encode(text, disallowed_special=())), False)
    latin = sum(ord(character) < 0x250 for character in text)
    return TextTokens(MESSAGE_TOKENS + math.ceil(latin / CHARACTERS_A_TOKEN) + len(text) - latin, True)


@cache
def _encoding(model: str) -> tiktoken.Encoding | None:
    try:
        import tiktoken
        from tiktoken.model import encoding_name_for_model
    except ImportError:
        return None
    try:
        name = encoding_name_for_model(model)
    except KeyError:
        return None
    return tiktoken.get_encoding(name) if name in _VOCABULARIES and _is_at_hand(_VOCABULARIES[name]) else None


def _is_at_hand(url: str) -> bool:
    """Whether tiktoken has a vocabulary in its cache, so that asking for it sends nothing."""
    chosen = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    folder = Path(tempfile.gettempdir()) / "data-gym-cache" if chosen is None else Path(chosen)
    return (folder / hashlib.sha1(url.encode()).hexdigest()).is_file()
