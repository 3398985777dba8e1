"""Errors for indices that do not exist, which say how many items there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vision_nb.errors import ArgumentError, MissingItemError


def item_at(items: Sequence[Any], index: Any, name: str, advice: str = "") -> Any:
    """Return an item of a sequence, or a part of it.

    Args:
        items: The sequence.
        index: An index or a slice.
        name: What an item is called, such as "row".
        advice: The words before an index that is a name, such as "choose by row.image instead of".

    Raises:
        MissingItemError: There is no such item.
        ArgumentError: The index is neither a number nor a slice.
    """
    try:
        return items[index]
    except IndexError:
        count = len(items)
        known = f"there are {count:,} {name}s, 0 to {count - 1:,}" if count > 1 else f"there is only {name} 0"
        raise MissingItemError(f"There is no {name} {index}: {known if count else f'there are no {name}s'}.") from None
    except TypeError:
        words = advice if advice and isinstance(index, str) else "got"
        raise ArgumentError(f"{name.capitalize()}s have numbers, such as {name}s[0]: {words} {index!r:.80}.") from None
