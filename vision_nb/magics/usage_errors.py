"""Usage errors that suggest the closest valid name."""

from __future__ import annotations

from collections.abc import Iterable

from IPython.core.error import UsageError as IPythonUsageError

from vision_nb.checks.spelling import closest
from vision_nb.errors import shortened
from vision_nb.privacy.redaction import redact

_MAX_LISTED = 8  # names in an error message
_MAX_SHOWN = 80  # characters of the user's input in an error message


class UsageError(IPythonUsageError):
    """A mistake in a cell or its options, which is shown without a traceback.

    A message is at most 300 characters long and contains no API key, like those of `VisionError`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(redact(message)))


def truncate(text: str, length: int = _MAX_SHOWN) -> str:
    """Return the beginning of a text, for an error message."""
    return text if len(text) <= length else f"{text[:length]}..."


def describe(error: BaseException) -> str:
    """Return an exception's type and the beginning of its message, which can be of any class."""
    try:
        return f"{type(error).__name__}: {truncate(str(error))}"
    except Exception:  # its own __str__ fails
        return type(error).__name__


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
