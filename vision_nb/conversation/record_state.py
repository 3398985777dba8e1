"""`RecordState`: the state of a conversation to store, and `Encoder`: its conversion to JSON data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vision_nb.conversation.serialization import question_fields, turn_fields
from vision_nb.conversation.turn import Turn
from vision_nb.errors import SettingsError
from vision_nb.messages import ChatMessage, Part

_MAX_TITLE_LENGTH = 60  # characters


@dataclass(frozen=True)
class RecordState:
    """The state of a conversation to write to the store.

    Attributes:
        turns: The turns.
        unanswered: The question after them that is being answered or was not answered.
        first_code_prompt: The first question that code asked; empty if there is none.
    """

    turns: tuple[Turn, ...] = ()
    unanswered: ChatMessage | None = None
    first_code_prompt: str = ""

    def is_same(self, other: RecordState) -> bool:
        """Return whether nothing has changed; values are not compared, because images can be large."""
        return (
            len(self.turns) == len(other.turns)
            and common_length(self.turns, other.turns) == len(self.turns)
            and self.unanswered is other.unanswered
            and self.first_code_prompt == other.first_code_prompt
        )

    def begins_with(self, other: RecordState) -> bool:
        """Return whether the state has all turns of another one, and at least one."""
        return 0 < len(other.turns) == common_length(self.turns, other.turns)

    @property
    def questions(self) -> tuple[ChatMessage, ...]:
        """All questions, oldest first."""
        answered = tuple(turn.question for turn in self.turns)
        return answered if self.unanswered is None else (*answered, self.unanswered)

    @property
    def settings(self) -> dict[str, Any]:
        """JSON data about the whole conversation."""
        words = " ".join(self.questions[0].text.split()) if self.questions else ""
        title = words if len(words) <= _MAX_TITLE_LENGTH else f"{words[: _MAX_TITLE_LENGTH - 3].rstrip()}..."
        return {"first_code_prompt": self.first_code_prompt, "title": title}

    def without(self, questions: Sequence[ChatMessage]) -> RecordState:
        """Return the state without some questions and their answers."""
        if not questions:
            return self
        excluded = {id(question) for question in questions}
        turns = tuple(turn for turn in self.turns if id(turn.question) not in excluded)
        unanswered = None if id(self.unanswered) in excluded else self.unanswered
        is_from_code = any(turn.question.text == self.first_code_prompt for turn in turns)
        return RecordState(turns, unanswered, self.first_code_prompt if is_from_code else "")


def common_length(turns: Sequence[Turn], others: Sequence[Turn]) -> int:
    """Return the number of turns at the beginning that are the same objects."""
    for length, (turn, other) in enumerate(zip(turns, others, strict=False)):
        if turn is not other:
            return length
    return min(len(turns), len(others))


class Encoder:
    """Converts turns to JSON data.

    The images of a question are encoded once, when it is asked, and not again when it is answered. An image that can
    no longer be read is replaced by a note.

    Attributes:
        unreadable: The names of the images that were replaced.
    """

    def __init__(self) -> None:
        self.unreadable: tuple[str, ...] = ()
        self._question: ChatMessage | None = None  # the question that waits for its answer
        self._fields: dict[str, Any] = {}

    def values(self, state: RecordState, start: int) -> list[Any]:
        """Return the turns from an index on as JSON data, and the unanswered question without an answer."""
        values = [turn_fields(turn, question=self._question_fields(turn.question)) for turn in state.turns[start:]]
        if (question := state.unanswered) is None:
            self._question, self._fields = None, {}
            return values
        fields = self._question_fields(question)
        self._question, self._fields = question, fields
        return [*values, {"question": fields}]

    def partial(self, turn: Turn) -> dict[str, Any]:
        """Return a turn without its question as JSON data."""
        fields = turn_fields(turn, question={})
        del fields["question"]
        return fields

    def _question_fields(self, question: ChatMessage) -> dict[str, Any]:
        if question is self._question:
            return self._fields
        try:
            return question_fields(question)
        except SettingsError:
            return question_fields(ChatMessage(question.role, [self._readable(part) for part in question.parts]))

    def _readable(self, part: Part) -> Part:
        """Return a part of a question, or a note if it is an image that cannot be read."""
        if isinstance(part, str):
            return part
        try:
            question_fields(ChatMessage("user", [part]))
        except SettingsError:
            if part.title not in self.unreadable:
                self.unreadable = (*self.unreadable, part.title)
            return f"(The image {part.title} could not be read.)"
        return part
