"""Token counts of texts, and the context lengths of models."""

from __future__ import annotations

import hashlib
import math
import os
import re
import tempfile
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from vision_nb.cost.model_names import is_llava_1_5

if TYPE_CHECKING:
    import tiktoken

CHARACTERS_PER_TOKEN = 4
"""Characters per token of English text, estimated (OpenAI, What are tokens, read 2026-11)."""

MESSAGE_TOKENS = 8
"""Tokens that the format of a message adds, estimated."""

LONGEST_TOKEN = 50
"""Characters of a vocabulary's longest token, except runs of one character: cl100k_base has one of 42."""

LLAVA_1_5_CONTEXT = 4096
"""LLaVA 1.5 configuration, max_position_embeddings; read 2026-11. LocalAI's example sets the same context_size.

Later LLaVA models have other base models, with contexts of 4,096 to 32,768 tokens.
"""

_VOCABULARIES = {
    "o200k_base": "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken",
    "cl100k_base": "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken",
}


@dataclass(frozen=True)
class TextTokens:
    """The tokens of a text.

    Attributes:
        tokens: The count, including the format of the message around the text.
        is_estimate: Whether the count was estimated from the text's length.
    """

    tokens: int
    is_estimate: bool


@lru_cache(maxsize=100)  # a run asks the same questions about many images
def text_tokens(text: str, model: str = "gpt-4o") -> TextTokens:
    """Count or estimate the tokens of a text.

    tiktoken counts them if it is installed and the model's vocabulary is already in its cache; nothing is
    downloaded. Otherwise, the estimate is one token per four Latin characters, and one per other character.
    """
    encoding = _encoding(model)
    if encoding is not None:
        return TextTokens(MESSAGE_TOKENS + len(encoding.encode(text, disallowed_special=())), False)
    latin = sum(ord(character) < 0x250 for character in text)
    return TextTokens(MESSAGE_TOKENS + math.ceil(latin / CHARACTERS_PER_TOKEN) + len(text) - latin, True)


@lru_cache(maxsize=100)
def fewest_text_tokens(text: str) -> int:
    """Return a lower bound on the tokens of a text, for any vocabulary.

    A token does not span words, but it may contain a long word or a long run of one character.

    >>> fewest_text_tokens("How large is it? ----------------")
    5
    """
    words = re.sub(r"(.)\1+", r"\1", text).split()
    return sum(math.ceil(len(word) / LONGEST_TOKEN) for word in words)


def context_length(model: str) -> int | None:
    """Return a model's context length in tokens, including the answer; None if unknown.

    >>> context_length("llava-v1.5-13b")
    4096
    >>> context_length("gpt-4o") is None
    True
    """
    return LLAVA_1_5_CONTEXT if is_llava_1_5(model) else None


@cache
def _encoding(model: str) -> tiktoken.Encoding | None:
    if not any(map(_is_cached, _VOCABULARIES.values())):  # before the import, which takes some milliseconds
        return None
    try:
        import tiktoken
        from tiktoken.model import encoding_name_for_model
    except ImportError:
        return None
    try:
        name = encoding_name_for_model(model)
    except KeyError:
        return None
    return tiktoken.get_encoding(name) if name in _VOCABULARIES and _is_cached(_VOCABULARIES[name]) else None


def _is_cached(url: str) -> bool:
    """Return whether a vocabulary is in tiktoken's cache, so that loading it sends no request."""
    chosen = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    folder = Path(tempfile.gettempdir()) / "data-gym-cache" if chosen is None else Path(chosen)
    return (folder / hashlib.sha1(url.encode()).hexdigest()).is_file()
