"""The transcript of a conversation on the page; only what changed travels to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

_HERE = Path(__file__).parent

TurnView = Mapping[str, Any]
"""A turn as the page shows it: ``id``, ``prompt``, ``pictures``, ``note``, ``state``, ``model``, ``html``, ``remark``,
``error`` and ``facts``. All is text, but ``html``, which has been made safe."""


class TranscriptView(anywidget.AnyWidget):
    """Shows turns, and tells which button of which turn was pressed; it decides nothing itself.

    Args:
        height: The most room that the turns take, as a length of CSS.
        act: Called with the message of a button, such as ``{"do": "delete", "id": ...}``.
    """

    # As text: anywidget keeps every widget alive whose class names the files by their paths.
    _esm = (_HERE / "transcript_view.js").read_text(encoding="utf-8")
    _css = (_HERE / "transcript_view.css").read_text(encoding="utf-8")
    height = traitlets.Unicode().tag(sync=True)
    plain = traitlets.Unicode().tag(sync=True)
    """The class of the plain transcript below the panel, which is hidden while the panel is there."""
    status = traitlets.Dict().tag(sync=True)
    """``totals``, ``problem``, and ``removed``: how many turns can be put back."""

    def __init__(self, *, height: str, plain: str, act: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(height=height, plain=plain, status={})
        self._act = act
        self._shown: list[TurnView] = []
        self.on_msg(self._receive)

    def _receive(self, _: Any, message: Any, __: Any) -> None:
        if not isinstance(message, dict):
            return
        if message.get("do") == "hello":  # a page has come, or come back: it knows nothing yet
            self.send({"op": "all", "entries": self._shown})
        else:
            self._act(message)

    def show(self, entries: list[TurnView]) -> None:
        """Bring the page up to these turns."""
        for at, entry in enumerate(entries):
            shown = self._shown[at] if at < len(self._shown) else {}
            if entry is not shown and (changes := _changes(shown, entry)):
                self.send({"op": "change", "at": at, **changes})
        if len(entries) < len(self._shown):
            self.send({"op": "cut", "at": len(entries)})
        self._shown = list(entries)


def _changes(before: TurnView, after: TurnView) -> dict[str, Any]:
    """What a page that shows one entry needs to show another: fields, and the end of a grown answer."""
    changes: dict[str, Any] = {}
    fields = {name: value for name, value in after.items() if name != "html" and before.get(name) != value}
    if fields:
        changes["fields"] = fields
    old, new = before.get("html", ""), after["html"]
    if old != new:
        same = _shared_length(old, new)
        changes["keep"] = len(new[:same].encode("utf-16-le")) // 2  # as JavaScript counts
        changes["html"] = new[same:]
    return changes


def _shared_length(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning; found by halves, as most is shared."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
