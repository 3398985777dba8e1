"""The known name that a user probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_SAME_MEANING = tuple(
    frozenset(words.split())
    for words in (
        "image_documents images image imgs img pictures picture files file documents",
        "image_path path filename file_name filepath",
        "models model llm llms",
        "prompts prompt question questions query",
        "max_new_tokens max_tokens max_output_tokens max_completion_tokens",
        "api_key api_token key token",
        "api_base azure_endpoint base_url api_url endpoint url host",
        "image_detail detail",
        "schema response_model response_format response_schema output_schema fields",
        "concurrency max_concurrency workers max_workers n_jobs threads",
        "budget limit max_cost max_usd",
        "rate_limit rate_limits requests_per_minute rpm",
        "max_retries retries",
        "temperature temp",
        "store cache cache_dir",
        "system system_prompt system_message",
    )
)
"""Names by which other libraries, or other functions of this one, call the same thing."""


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that means the same or whose spelling is closest, or None if none is similar.

    >>> closest("sytem", ["stream", "system"]), closest("images", ["prompt", "image_documents"])
    ('system', 'image_documents')
    """
    originals = {one.casefold(): one for one in known}
    meaning = next((words for words in _SAME_MEANING if word.casefold() in words), frozenset())
    same = sorted(meaning & originals.keys(), key=lambda one: one != word.casefold())  # the word itself first
    return originals[same[0]] if same else similar(word, known)


def similar(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known word whose spelling is closest, or None if none is similar.

    Args:
        word: The word.
        known: The known words.
        cutoff: How similar the spelling must be, from 0 to 1.
    """
    originals = {one.casefold(): one for one in known}
    matches = get_close_matches(word.casefold(), originals, n=1, cutoff=cutoff)
    return originals[matches[0]] if matches else None
