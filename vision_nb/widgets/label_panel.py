"""A panel in which a person scores answers: blind, shuffled, and by keyboard."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import anywidget

from vision_nb.comparison.labels import ASPECTS
from vision_nb.comparison.result import RUBRIC, Comparison, default_annotator
from vision_nb.errors import ImageError, SettingsError, VisionError
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.store import Label

_HERE = Path(__file__).parent
_PICTURE_SIDE = 480


class LabelPanel(anywidget.AnyWidget):
    """Shows one answer at a time with its picture and question, and takes scores for it.

    Keys: 1 to 5 score the marked aspect and go on, up and down change the aspect, left and right turn the
    page, U takes the last score back, S skips, C goes to the comment. Every score is saved at once.

    Args:
        comparison: What to label; rows without an answer are left out.
        annotator: Who labels; None takes the user's name on this machine.
        blind: Hide which model answered, also from the page's source.
        shuffle: Mix the answers, so that no model or picture comes in a block.
        seed: For the same order again; None takes one from the annotator, so that a reload keeps the order.

    Raises:
        SettingsError: There is no answer to label.

    >>> comparison = vn.compare(["demo"], ["How large is it?"], [vn.samples.path("chart")], progress=False)
    >>> panel = vn.LabelPanel(comparison, annotator="you")  # as a cell's last line, it shows itself
    >>> panel.score(5)  # as the key 5 does: correctness first,
    >>> panel.score(4)  # then relevance
    >>> panel.labelled
    1
    """

    # As text: anywidget keeps every widget alive whose class names the files by their paths.
    _esm = (_HERE / "label_panel.js").read_text(encoding="utf-8")
    _css = (_HERE / "label_panel.css").read_text(encoding="utf-8")

    def __init__(
        self,
        comparison: Comparison,
        *,
        annotator: str | None = None,
        blind: bool = True,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.comparison = comparison
        self.annotator = annotator or default_annotator()
        self.blind = blind
        self._order = [place for place, row in enumerate(comparison) if row.finished]
        if not self._order:
            raise SettingsError("There is no answer to label: run the comparison first.")
        if shuffle:
            random.Random(self.annotator if seed is None else seed).shuffle(self._order)
        self.card: dict[str, Any] = {}
        self._undo: list[tuple[int, Label | None]] = []
        self._aspect = ASPECTS[0]
        self._position = self._first_unlabelled()
        self.on_msg(self._receive)
        self._show()

    def __repr__(self) -> str:
        return f"LabelPanel({len(self._order)} answers, {self.labelled} scored): run its cell to score them"

    @property
    def row(self) -> int:
        """The place in the comparison of the answer that is shown."""
        return self._order[self._position]

    @property
    def labelled(self) -> int:
        """How many answers the annotator has scored in every aspect."""
        return sum(self._is_complete(place) for place in self._order)

    def score(self, value: int) -> None:
        """Score the marked aspect of the shown answer, and go on: to the other aspect, or to the next answer.

        Args:
            value: 5 (the best) to 1.

        Raises:
            SettingsError: It is no whole number from 1 to 5.
        """
        self._save(**{self._aspect: value})
        if self._aspect == ASPECTS[0]:
            self._aspect = ASPECTS[1]
        else:
            self._turn(1)
        self._show()

    def undo(self) -> None:
        """Take the last score or comment back, and show its answer."""
        if self._undo:
            place, before = self._undo.pop()
            if before is None:
                self.comparison.remove_label(place, self.annotator)
            else:
                self.comparison.store.put_label(self.comparison[place].key, before)
            self._position = self._order.index(place)
            self._aspect = ASPECTS[0] if before is None or before.correctness is None else ASPECTS[1]
        self._show()

    def _receive(self, _: Any, message: dict[str, Any], __: Any) -> None:
        """Do what a key or button asks for; an error is shown in the panel."""
        try:
            match message:
                case {"do": "hello"}:  # a page has come, or come back: it knows nothing yet
                    self.send(self.card)
                case {"do": "score", "value": int(value)}:
                    self.score(value)
                case {"do": "aspect", "aspect": str(aspect)} if aspect in ASPECTS:
                    self._aspect = aspect
                    self._show()
                case {"do": "turn", "by": 1 | -1 as by}:
                    self._turn(by)
                    self._show()
                case {"do": "undo"}:
                    self.undo()
                case {"do": "comment", "text": str(text)}:
                    if text != (self._label() or Label()).comment:
                        self._save(comment=text)
                    self._show()
        except VisionError as error:
            self._show(problem=str(error))

    def _save(self, **changes: Any) -> None:
        before = self._label()
        self._undo.append((self.row, before))
        label = replace(before or Label(annotator=self.annotator), time=0.0, **changes)
        self.comparison.set_label(
            self.row,
            correctness=label.correctness,
            relevance=label.relevance,
            comment=label.comment,
            annotator=self.annotator,
        )

    def _label(self, place: int | None = None) -> Label | None:
        return self.comparison.get_label(self.row if place is None else place, self.annotator)

    def _is_complete(self, place: int) -> bool:
        label = self._label(place)
        return label is not None and None not in (label.correctness, label.relevance)

    def _first_unlabelled(self) -> int:
        return next((at for at, place in enumerate(self._order) if not self._is_complete(place)), 0)

    def _turn(self, by: int) -> None:
        self._position = max(0, min(len(self._order) - 1, self._position + by))
        self._aspect = ASPECTS[0]

    def _show(self, problem: str = "") -> None:
        row, label = self.comparison[self.row], self._label() or Label()
        try:
            picture = self.comparison.document(self.row).thumbnail(_PICTURE_SIDE, max_bytes=60_000)
        except ImageError:
            picture = ""
        # A message and no trait: traits may be saved with the notebook, and pictures and answers with them.
        self.card = {
            "position": self._position + 1,
            "total": len(self._order),
            "labelled": self.labelled,
            "picture": picture,
            "prompt": row.prompt,
            "answer": markdown_to_html(row.response),
            "model": "" if self.blind else row.model,
            "aspect": self._aspect,
            "scores": {aspect: getattr(label, aspect) for aspect in ASPECTS},
            "comment": label.comment,
            "rubric": {str(score): meaning for score, meaning in RUBRIC.items()},
            "can_undo": bool(self._undo),
            "problem": problem,
        }
        self.send(self.card)
