"""How many tokens a conversation with a model may hold, where that is known."""

from __future__ import annotations

from vision_nb.cost.llava import is_llava_1_5

LLAVA_1_5 = 4096
"""LLaVA 1.5 configuration, max_position_embeddings; read 2026-11. So is the context_size of LocalAI's example.

Later LLaVAs have several base models, with 4,096 to 32,768 tokens.
"""


def context_length(model: str) -> int | None:
    """The tokens that a conversation with a model may hold, its answer included; None where that is not known.

    >>> context_length("llava-v1.5-13b")
    4096
    >>> context_length("gpt-4o") is None
    True
    """
    return LLAVA_1_5 if is_llava_1_5(model) else None
