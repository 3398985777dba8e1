"""Model names: base models, longest-prefix matches, and the names of LLaVA 1.5."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FOLDERS = r"(?:[\w.-]+/)*"  # such as liuhaotian/llava-v1.5-7b; without a colon, which separates provider and model
_VERSION = r"v?1[.-]5(?:[-:_.].*)?"
LLAVA_1_5 = rf"{_FOLDERS}llava(?:[-_:]{_VERSION}|[-_:]\d+b[-_]{_VERSION}|[-_](?:7|13)b(?::.*)?)?"
"""A regular expression for the names of LLaVA 1.5.

Ollama's tags name the version after the size (llava:7b-v1.5-q4_0); without a version they are LLaVA 1.6.
"""


def base_name(model: str) -> str:
    """Return the base model's name of a fine-tune, and any other name unchanged.

    >>> base_name("ft:gpt-4o-2024-08-06:my-team::abc123")
    'gpt-4o-2024-08-06'
    """
    return model.split(":")[1] if model.startswith("ft:") and ":" in model[3:] else model.removeprefix("ft:")


def match_prefix(model: str, names: Iterable[str]) -> str | None:
    """Return the longest of ``names`` that equals ``model`` or precedes a dash or colon in it.

    >>> match_prefix("gpt-4o-mini-2024-07-18", ("gpt-4o", "gpt-4o-mini"))
    'gpt-4o-mini'
    >>> match_prefix("gpt-4omega", ("gpt-4o",)) is None
    True
    """
    name = base_name(model)
    matching = [known for known in names if name == known or name.startswith((known + "-", known + ":"))]
    return max(matching, key=len, default=None)


def is_llava_1_5(model: str) -> bool:
    """Return whether a model's name is one of LLaVA 1.5's.

    Many models named after LLaVA have other encoders and longer contexts.

    >>> is_llava_1_5("liuhaotian/llava-v1.5-7b")
    True
    >>> is_llava_1_5("llava:34b")  # Ollama's tag for LLaVA 1.6
    False
    """
    return re.fullmatch(LLAVA_1_5, model, re.IGNORECASE) is not None
