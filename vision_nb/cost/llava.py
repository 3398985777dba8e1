"""Which names mean LLaVA 1.5: many models are called after it, and have other encoders and longer contexts."""

from __future__ import annotations

import re

_FOLDERS = r"(?:[\w.-]+/)*"  # as in liuhaotian/llava-v1.5-7b; with no colon, which parts a provider from a model
_VERSION = r"v?1[.-]5(?:[-:_.].*)?"
_LLAVA_1_5 = re.compile(
    # Ollama's own tags name the version after the size (llava:7b-v1.5-q4_0), and are LLaVA 1.6 where they do not.
    rf"{_FOLDERS}llava(?:[-_:]{_VERSION}|[-_:]\d+b[-_]{_VERSION}|[-_](?:7|13)b(?::.*)?)?",
    re.IGNORECASE,
)


def is_llava_1_5(model: str) -> bool:
    """Whether a model's name is one of LLaVA 1.5's.

    >>> is_llava_1_5("liuhaotian/llava-v1.5-7b")
    True
    >>> is_llava_1_5("llava:34b")  # Ollama's tag for LLaVA 1.6
    False
    """
    return _LLAVA_1_5.fullmatch(model) is not None
