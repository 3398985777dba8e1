"""Errors for indices that do not exist, which say how many items there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from vision_nb.checks.arguments import checks_arguments
from vision_nb.errors import ArgumentError, MissingItemError

T = TypeVar("T")


class Items(Sequence[T]):
    """A base of public sequences, whose `index` says what is missing."""

    __slots__ = ()

    @checks_arguments
    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Return the index of the first item that equals a value.

        Args:
            value: The value.
            start: The index of the first item to look at.
            stop: The index before which to stop; None for the end.

        Raises:
            MissingItemError: No item equals the value.
        """
        try:
            return super().index(value, start, len(self) if stop is None else stop)
        except ValueError:
            raise MissingItemError(f"{type(self).__name__} has no item that equals {value!r:.80}.") from None


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
