"""Separate a model's reasoning from its answer."""

from __future__ import annotations


class ReasoningSplitter:
    """Separate the reasoning that some servers leave in ``<think>`` tags before the answer.

    Attributes:
        held_back: Text whose meaning depends on the next piece, such as the beginning of a tag.
    """

    def __init__(self) -> None:
        self.held_back = ""
        self._state = "start"

    def split(self, text: str, last: bool) -> tuple[str, str]:
        """Return the parts of a piece of text that belong to the answer and to the reasoning.

        Args:
            text: The piece.
            last: Whether no other piece follows.
        """
        if self._state == "answer":
            return text, ""
        text, self.held_back = self.held_back + text, ""
        if self._state == "start":
            start = text.lstrip()
            if start.startswith("<think>"):
                text, self._state = start.removeprefix("<think>"), "reasoning"
            elif not last and "<think>".startswith(start):
                self.held_back = text
                return "", ""
            else:
                self._state = "answer"
                return text, ""
        reasoning = ""
        if self._state == "reasoning":
            reasoning, end, text = text.partition("</think>")
            if not end:
                length = 0 if last else _overlap(reasoning, "</think>")
                self.held_back = reasoning[len(reasoning) - length :]
                return "", reasoning[: len(reasoning) - length]
            self._state = "blank lines"
        text = text.lstrip()
        if text:
            self._state = "answer"
        return text, reasoning


def _overlap(text: str, ending: str) -> int:
    """Return how many characters at the end of a text may be the beginning of an ending."""
    return next((length for length in range(len(ending) - 1, 0, -1) if text.endswith(ending[:length])), 0)
