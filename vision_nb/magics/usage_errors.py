"""Usage errors that suggest the closest valid name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from IPython.core.error import UsageError

_MAX_LISTED = 8  # names in an error message
_MAX_SHOWN = 80  # characters of the user's input in an error message

__all__ = ["UsageError", "closest", "truncate", "unknown"]


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word whose spelling is closest, or None if none is similar.

    >>> closest("sytem", ["stream", "system"])
    'system'
    """
    originals = {one.casefold(): one for one in known}
    matches = get_close_matches(word.casefold(), originals, n=1, cutoff=0.6)
    return originals[matches[0]] if matches else None


def truncate(text: str, length: int = _MAX_SHOWN) -> str:
    """Return the beginning of a text, for an error message."""
    return text if len(text) <= length else f"{text[:length]}..."


def unknown(kind: str, word: str, known: Iterable[str]) -> UsageError:
    """Return the error for an unknown name, with a suggestion.

    Args:
        kind: The kind of name that was expected, such as "option".
        word: The word.
        known: The known names.
    """
    known = list(known)
    guess = closest(word, known)
    listed = ", ".join(known[:_MAX_LISTED]) + (" ..." if len(known) > _MAX_LISTED else "")
    hint = f"did you mean {guess}?" if guess else f"use {listed}." if known else "none is defined yet."
    return UsageError(f"There is no {kind} {truncate(word)!r}: {hint}")
