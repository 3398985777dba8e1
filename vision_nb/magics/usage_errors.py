"""A user's slips, and errors, in two lines: what is wrong, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from IPython.core.error import UsageError

from vision_nb.errors import VisionError

_LISTED = 20  # names of what there is, in an error

__all__ = ["UsageError", "nearest", "short_traceback", "unknown"]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is spelled most like another, or None where none is near."""
    by_small = {one.casefold(): one for one in known}
    found = get_close_matches(word.casefold(), by_small, n=1, cutoff=0.6)
    return by_small[found[0]] if found else None


def unknown(what: str, word: str, known: Iterable[str]) -> UsageError:
    """The error for a word that does not exist, with the nearest one that does, or all of them."""
    known = list(known)
    guess = nearest(word, known)
    listed = ", ".join(known[:_LISTED]) + (" ..." if len(known) > _LISTED else "")
    hint = f"did you mean {guess}?" if guess else f"there are {listed}." if known else "there is none yet."
    return UsageError(f"There is no {what} {word!r}: {hint}")


@contextmanager
def short_traceback(shell: Any) -> Iterator[None]:
    """Let IPython show an error of ours, or an interrupt, without its traceback."""
    try:
        yield
    except VisionError as error:
        _shorten(error, shell, f"{type(error).__name__}: {error}", "%tb shows where; %vision fix explains it.")
        raise
    except KeyboardInterrupt as interrupt:
        _shorten(interrupt, shell, "KeyboardInterrupt: stopped.", "What had arrived is in _vision; run the cell again.")
        raise


def _shorten(error: BaseException, shell: Any, *lines: str) -> None:
    """Give an error the two lines that IPython shows when it is raised.

    ``%tb`` asks the error in the same way, only in a later cell: from then on it shows itself whole.
    """
    raised_in = shell.execution_count

    def render() -> list[str]:
        if shell.execution_count == raised_in:
            return list(lines)
        whole: list[str] = shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
        return whole

    error._render_traceback_ = render  # type: ignore[attr-defined]  # IPython looks for it
