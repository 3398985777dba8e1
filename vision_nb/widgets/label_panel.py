"""A widget to score answers: blind, in random order, by keyboard."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from typing import Any

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.numbers import plain_number
from vision_nb.comparison.labels import ASPECTS, RUBRIC, default_annotator
from vision_nb.comparison.result import Comparison
from vision_nb.errors import ImageError, SettingsError, VisionError
from vision_nb.rendering.format import type_name
from vision_nb.rendering.markdown.html import markdown_to_html
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.storage.annotations import Label
from vision_nb.widgets.assets import read_assets
from vision_nb.widgets.image_viewer import enlarged_image
from vision_nb.widgets.messages import PageWidget, how_to_use
from vision_nb.widgets.prefetch import PrefetchCache

_IMAGE_SIDE = 480  # pixels
_IMAGE_BYTES = 60_000
_CACHED_ANSWERS = 64  # about 5 MB of images


@checks_arguments
class LabelPanel(PageWidget):
    """Show one answer at a time with its image and question, and let a person score it.

    Keys: 1 to 5 score the selected aspect and move on, up and down select the aspect, left and right go to the
    previous and next answer, U undoes the last score, S skips, C moves to the comment, E enlarges the image. Every
    score is saved at once.

    Args:
        comparison: The comparison to label; rows without an answer are left out.
        annotator: The name of the person; None uses the user's name on this machine.
        blind: Hide the model's name, also from the page's source.
        shuffle: Show the answers in random order, so that the answers of a model or image are not grouped.
        seed: The seed of the order; None derives it from the annotator, so that the order is the same after a reload.

    Raises:
        SettingsError: There are no answers to label.

    >>> comparison = vn.compare(["demo"], ["How large is it?"], [vn.samples.path("chart")], progress=False)
    >>> panel = vn.LabelPanel(comparison, annotator="you")  # displays itself as the last line of a cell
    >>> panel.score(5)  # the same as the key 5: first the correctness,
    >>> panel.score(4)  # then the relevance
    >>> panel.labeled
    1
    """

    _esm = read_assets("dom.js", "image_viewer.js", "image_dialog.js", "kernel_status.js", "label_panel.js")
    _css = read_assets(
        "kernel_status.css",
        "image_viewer.css",
        "image_dialog.css",
        "annotation_panel.css",
        "label_panel.css",
        "touch.css",
    )
    card: dict[str, Any]
    _advice = dict.fromkeys(("shuffle", "seed"), "pass it to a new panel")

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
        if not isinstance(comparison, Comparison):
            raise SettingsError(f"{type_name(comparison, 'A')} cannot be labeled: pass the result of compare().")
        self.comparison = comparison
        self.annotator = annotator or default_annotator()
        self.blind = blind
        self._order = list(comparison.rows.finished_indices())
        if not self._order:
            raise SettingsError("There are no answers to label: run the comparison first.")
        if shuffle:
            random.Random(replace_surrogates(self.annotator) if seed is None else plain_number(seed)).shuffle(
                self._order
            )
        self.card = {}
        self._content = PrefetchCache(self._read_content, size=_CACHED_ANSWERS)
        self._row_counts = Counter(map(comparison.rows.key, self._order))  # images with the same content
        self._undo: list[tuple[int, Label | None]] = []  # positions, and the labels before the change
        self._aspect = ASPECTS[0]
        self._read_labels()
        self._position = self._first_unlabeled()
        self._show()

    def __repr__(self) -> str:
        state = f"{len(self._order)} answers, {self.labeled} scored"
        return f"LabelPanel({state}): {how_to_use('score them', '.set_label(...) of the comparison')}"

    @property
    def row(self) -> int:
        """The index of the current answer in the comparison."""
        return self._order[self._position]

    @property
    def labeled(self) -> int:
        """The number of answers that the annotator has scored in every aspect."""
        return self._labeled

    def score(self, value: int) -> None:
        """Score the selected aspect of the current answer, then move to the aspect without a score or the next answer.

        Args:
            value: From 5 (best) to 1.

        Raises:
            SettingsError: The value is not an integer from 1 to 5.
        """
        self._save(self._position, **{self._aspect: value})
        label, message = self._label(self._position) or Label(), ""
        if self._aspect == ASPECTS[0]:
            self._aspect = ASPECTS[1]
        elif label.correctness is None:
            self._aspect = ASPECTS[0]
        else:
            message = self._go_on()
        self._show(message=message)

    def undo(self) -> None:
        """Undo the last score or comment, and show its answer."""
        if self._undo:
            self._position, before = self._undo.pop()
            if before is None:
                self.comparison.remove_label(self.row, self.annotator)
            else:
                self.comparison.store.put_label(self.comparison.rows.key(self.row), before)
            self._aspect = ASPECTS[0] if before is None or before.correctness is None else ASPECTS[1]
        self._show()

    def _receive(self, message: dict[str, Any], buffers: list[Any]) -> None:
        """Handle a message from the page; an error is shown in the panel."""
        try:
            if message.get("action") == "ready":  # the page was loaded, perhaps after changes elsewhere
                self._read_labels()
                self._show()
            elif message.get("action") == "comment":
                self._save_comment(message)
            elif message.get("position") == self._position + 1:  # not of an earlier card
                self._act(message)
        except VisionError as error:
            self._show(error=str(error))

    def _act(self, message: dict[str, Any]) -> None:
        if message.get("aspect") in ASPECTS:
            self._aspect = message["aspect"]
        match message:
            case {"action": "score", "value": int(value)}:
                self.score(value)
            case {"action": "select"}:
                self._show()
            case {"action": "move", "by": 1 | -1 as by}:
                self._move(by)
                self._show()
            case {"action": "undo"}:
                self.undo()
            case {"action": "enlarge"}:
                self._send_enlarged()

    def _save_comment(self, message: dict[str, Any]) -> None:
        """Save a comment with the answer it was typed for, which may no longer be the current one."""
        match message:
            case {"text": str(text), "position": int(number)} if 1 <= number <= len(self._order):
                if text != (self._label(number - 1) or Label()).comment:
                    self._save(number - 1, comment=text)
                self._show()

    def _save(self, position: int, **changes: Any) -> None:
        before = self._label(position)
        self.comparison.set_label(self._order[position], annotator=self.annotator, **changes)
        self._undo.append((position, before))
        self._count(position)

    def _label(self, position: int) -> Label | None:
        """Read an answer's label; another kernel may have changed it."""
        return self.comparison.get_label(self._order[position], self.annotator)

    def _read_labels(self) -> None:
        """Read once which answers are labeled; otherwise, every key press would read all labels."""
        labels = self.comparison.store.labels(self._row_counts)
        self._labeled_keys = {
            key
            for key, found in labels.items()
            for label in found
            if label.annotator == self.annotator and _is_complete(label)
        }
        self._labeled = sum(self._row_counts[key] for key in self._labeled_keys)

    def _count(self, position: int) -> Label | None:
        """Update the number of labeled answers from an answer's label, and return the label."""
        label, key = self._label(position), self.comparison.rows.key(self._order[position])
        if _is_complete(label) and key not in self._labeled_keys:
            self._labeled_keys.add(key)
            self._labeled += self._row_counts[key]
        elif not _is_complete(label) and key in self._labeled_keys:
            self._labeled_keys.remove(key)
            self._labeled -= self._row_counts[key]
        return label

    def _first_unlabeled(self) -> int:
        keys = map(self.comparison.rows.key, self._order)
        return next((position for position, key in enumerate(keys) if key not in self._labeled_keys), 0)

    def _go_on(self) -> str:
        """Go to the next answer, and return a message for the person at the end of the list."""
        if self._position + 1 < len(self._order):
            self._move(1)
            return ""
        if self.labeled == len(self._order):
            return "All answers are scored."
        self._position, self._aspect = self._first_unlabeled(), ASPECTS[0]
        return "Back at the first answer that is not scored."

    def _move(self, by: int) -> None:
        self._position = max(0, min(len(self._order) - 1, self._position + by))
        self._aspect = ASPECTS[0]

    def _read_content(self, index: int) -> dict[str, Any]:
        """Return the part of a card that does not change; decoding the image takes most of the time."""
        row, document = self.comparison[index], self.comparison.document(index)
        try:
            thumbnail = document.thumbnail(_IMAGE_SIDE, max_bytes=_IMAGE_BYTES)
            width, height = document.size
        except ImageError:
            thumbnail, width, height = "", 0, 0
        return {
            "thumbnail": thumbnail,
            "name": document.title,
            "width": width,
            "height": height,
            "prompt": row.prompt,
            "answer": markdown_to_html(row.response),
            "model": "" if self.blind else row.model,
        }

    def _send_enlarged(self) -> None:
        with suppress(ImageError):  # such as a file that was deleted: the thumbnail stays
            image = enlarged_image(self.comparison.document(self.row))
            self.send({"enlarged": image, "position": self._position + 1})

    def _show(self, *, message: str = "", error: str = "") -> None:
        label = self._count(self._position)
        # A message instead of a trait: traits may be saved with the notebook, and images and answers with them.
        self.card = {
            **self._content.get(self.row),
            "position": self._position + 1,
            "total": len(self._order),
            "labeled": self.labeled,
            "aspect": self._aspect,
            "scores": {aspect: getattr(label, aspect, None) for aspect in ASPECTS},
            "comment": label.comment if label else "",
            "rubric": {str(score): meaning for score, meaning in RUBRIC.items()},
            "can_undo": bool(self._undo),
            "message": message,
            "error": error,
        }
        self.send(self.card)
        if self._position + 1 < len(self._order):
            self._content.prefetch(self._order[self._position + 1])


def _is_complete(label: Label | None) -> bool:
    return label is not None and None not in (label.correctness, label.relevance)
