"""The widget that displays the turns of a conversation; only changes are sent to the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, cast

import traitlets

from vision_nb.rendering.code_blocks import CODE_CSS
from vision_nb.rendering.math import MATH_FONTS
from vision_nb.widgets.assets import read_assets
from vision_nb.widgets.messages import PageWidget

_HTML = ("html", "reasoning")  # growing fields: only their changed end is sent


_FORMULAS = f".vnb-markdown math {{ font-family: {MATH_FONTS}; }}"


class TurnView(TypedDict):
    """A turn as the page displays it. Everything is plain text except ``html`` and ``reasoning``: sanitized HTML."""

    id: str
    prompt: str
    images: list[dict[str, str]]
    """The ``name`` and ``thumbnail`` of each image; the thumbnail is a data URI, or empty."""
    note: str
    state: str
    """"waiting", "thinking", "answering", "done", "stopped" or "failed"."""
    wait: str
    """Why the question is not sent yet, and for how long; "" if it is."""
    model: str
    reasoning_summary: str
    reasoning: str
    html: str
    text: str
    """The answer's Markdown, for copying; "" until it is complete."""
    remark: str
    error: str
    details: str


class TranscriptView(PageWidget):
    """Displays turns, and reports which button of which turn was pressed.

    Args:
        height: The maximum height of the transcript, as a CSS length.
        static_class: The CSS class of the static transcript, which is hidden while the panel is live.
        on_action: Called with the message of a button, such as ``{"do": "delete", "id": ...}``.
    """

    _esm = read_assets(
        "dom.js",
        "answer_blocks.js",
        "turn.js",
        "earlier_menu.js",
        "image_viewer.js",
        "image_dialog.js",
        "transcript_view.js",
    )
    _css = "\n".join(
        [
            read_assets("panel.css", "transcript_view.css", "answer.css", "earlier_menu.css"),
            read_assets("image_viewer.css", "image_dialog.css", "touch.css"),
            CODE_CSS,
            _FORMULAS,
        ]
    )
    turns: list[TurnView]
    height = traitlets.Unicode().tag(sync=True)
    static_class = traitlets.Unicode().tag(sync=True)
    static_version = traitlets.Int(0).tag(sync=True)
    """How often the static transcript was updated; 0 if there is none in the notebook."""
    status = traitlets.Dict().tag(sync=True)
    """``totals``, ``badge``, ``error``, and ``removed``: how many turns can be restored."""

    def __init__(self, *, height: str, static_class: str, on_action: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(height=height, static_class=static_class, status={})
        self.turns = []
        self._on_action = on_action
        self._state: tuple[str, str] | None = None
        self._state_since = 0.0  # time.monotonic() when the last turn got its state

    def show(self, turns: Sequence[TurnView]) -> None:
        """Display these turns, and send only what has changed since the last call."""
        for index, turn in enumerate(turns):
            previous = self.turns[index] if index < len(self.turns) else None
            if turn is not previous and (changes := _changes(previous, turn)):
                self.send({"op": "update", "index": index, **changes})
        if len(turns) < len(self.turns):
            self.send({"op": "truncate", "length": len(turns)})
        self.turns = list(turns)
        state = (self.turns[-1]["id"], self.turns[-1]["state"]) if self.turns else None
        if state != self._state:
            self._state, self._state_since = state, time.monotonic()

    def _receive(self, message: dict[str, Any], buffers: list[Any]) -> None:
        """Send all turns to a page that was opened, and report any other message."""
        if message.get("do") == "hello":  # a page was opened or reloaded
            self.send({"op": "reset", "turns": self.turns, "waited": time.monotonic() - self._state_since})
        else:
            self._on_action(message)


def _changes(before: TurnView | None, after: TurnView) -> dict[str, Any]:
    """Return the changed fields of a turn, and the end of its changed HTML with the number of characters before it."""
    old = cast(dict[str, Any], before or {})
    changes: dict[str, Any] = {}
    fields = {name: value for name, value in after.items() if name not in _HTML and old.get(name) != value}
    if fields:
        changes["fields"] = fields
    for name in _HTML:
        old_html, html = old.get(name, ""), cast(dict[str, Any], after)[name]
        if old_html != html:
            kept = _common_prefix_length(old_html, html)
            units = len(html[:kept].encode("utf-16-le")) // 2  # JavaScript counts UTF-16 code units
            changes[name] = {"keep": units, "end": html[kept:]}
    return changes


def _common_prefix_length(one: str, other: str) -> int:
    """Return the length of the common prefix of two strings, by binary search, which compares whole slices."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
