"""`Watchers`: functions that are called after a change."""

from __future__ import annotations

from collections.abc import Callable


class Watchers:
    """Functions without arguments that are called after a change."""

    def __init__(self) -> None:
        self._functions: list[Callable[[], None]] = []

    def add(self, function: Callable[[], None]) -> Callable[[], None]:
        """Add a function, and return one that removes it."""
        self._functions.append(function)
        return lambda: self._functions.remove(function) if function in self._functions else None

    def call(self) -> None:
        """Call the functions, in the order in which they were added."""
        for function in list(self._functions):
            function()
