"""How many tokens a conversation with a model may hold, where that is known."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vision_nb.cost.rules import match_prefix

CONTEXT_LENGTHS: Mapping[str, int | None] = MappingProxyType(
    {
        # LLaVA 1.5 configuration, max_position_embeddings; read 2026-11. So is the context_size of LocalAI's example.
        "llava": 4096,
        # Of several base models, with a context of 4,096 to 32,768 tokens.
        "llava-next": None,
        "llava-1.6": None,
        "llava-v1.6": None,
    }
)
"""Tokens of the question, its pictures and the answer together; None where it depends on the server.

Snapshots and sizes follow the longest row that their name begins with, as for the image rules.
"""


def context_length(model: str) -> int | None:
    """The tokens that a conversation with a model may hold, its answer included; None where that is not known.

    >>> context_length("llava:13b")
    4096
    >>> context_length("gpt-4o") is None
    True
    """
    known = match_prefix(model, CONTEXT_LENGTHS)
    return None if known is None else CONTEXT_LENGTHS[known]
