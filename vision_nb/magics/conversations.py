"""The conversations of a notebook, by name, and which cell said what."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, field

from vision_nb.conversation.chat import Chat
from vision_nb.magics.usage_errors import UsageError, unknown
from vision_nb.providers.base import MultiModalLLM

THE_NOTEBOOKS = "notebook"
"""What the conversation is called that ``-c`` goes on with."""


@dataclass
class Conversation:
    """One conversation.

    Attributes:
        chat: What was said.
        model: The model's name, as the cell that began it had it.
        cells: The id of the cell of each turn, or None where the front end gives none.
    """

    chat: Chat
    model: str | None
    cells: list[str | None] = field(default_factory=list)

    def before(self, cell: str | None) -> Conversation:
        """A copy as it stood before a cell was first run: run again, a cell takes its own turn's place."""
        kept = self.cells.index(cell) if cell is not None and cell in self.cells else len(self.cells)
        chat = self.chat.fork()
        chat.undo(len(self.cells) - kept)
        return Conversation(chat, self.model, self.cells[:kept])


class Conversations(dict[str, Conversation]):
    """Conversations by name."""

    def name_of(self, options: Namespace) -> str:
        """The conversation that a cell belongs to."""
        if options.chat is not None and not options.chat.strip():
            raise UsageError("--chat needs a name: --chat cats.")
        return options.chat or THE_NOTEBOOKS

    def opened(self, options: Namespace, cell: str | None) -> Conversation | None:
        """The conversation that a cell goes on with, as it stood before that cell; None where it begins one."""
        found = self.get(self.name_of(options))
        return found.before(cell) if found is not None and (options.continue_ or options.chat) else None

    def named(self, name: str | None) -> Conversation:
        """A conversation for a subcommand.

        Raises:
            UsageError: There is none of this name.
        """
        if (name or THE_NOTEBOOKS) not in self:
            if name is None:
                raise UsageError("Nothing has been said in this notebook yet: ask with %%vision first.")
            raise unknown("conversation", name, self)
        return self[name or THE_NOTEBOOKS]


def begun(llm: MultiModalLLM, model: str | None, system: str) -> Conversation:
    """A new conversation."""
    return Conversation(Chat(llm, system=system), model)
