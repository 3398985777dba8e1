"""The conversations of a notebook, by name, and the cell of each turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile

from vision_nb.conversation.chat import Chat
from vision_nb.conversation.turn import Turn
from vision_nb.magics.usage_errors import UsageError, unknown

DEFAULT_NAME = "notebook"
"""The name of the conversation that ``-c`` continues."""


@dataclass
class Conversation:
    """A conversation.

    Attributes:
        chat: The questions and answers.
        model: The model's name as the user wrote it; empty for the default model.
        cells: The turns that cells have asked, each with the cell's ID, if the front end sends IDs.
    """

    chat: Chat
    model: str = ""
    cells: list[tuple[Turn, str | None]] = field(default_factory=list)

    def before(self, cell: str | None) -> Conversation:
        """Return a copy without a cell's turn and all later turns, which a rerun replaces."""
        asked = [id(turn) for turn, asked_by in self.cells if cell is not None and asked_by == cell]
        turns = list(takewhile(lambda turn: id(turn) not in asked, self.chat.turns))
        chat = self.chat.fork()
        chat.replace(turns)
        kept = {id(turn) for turn in turns}
        return Conversation(chat, self.model, [one for one in self.cells if id(one[0]) in kept])


class Conversations(dict[str, Conversation]):
    """Conversations by name."""

    def find(self, name: str | None) -> Conversation:
        """Return a conversation by name; None means the notebook's own.

        Raises:
            UsageError: The conversation does not exist.
        """
        if (name or DEFAULT_NAME) in self:
            return self[name or DEFAULT_NAME]
        if name is None:
            raise UsageError("There is no conversation yet: ask a question with %%vision first.")
        raise unknown("conversation", name, self)
