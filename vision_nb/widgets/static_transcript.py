"""The plain transcript that a panel leaves in its cell, for who reads the saved notebook."""

from __future__ import annotations

import secrets
from typing import Any

from vision_nb.conversation.chat import Chat
from vision_nb.conversation.export import transcript
from vision_nb.conversation.turn import Turn
from vision_nb.notebook.ipython import current_cell_id
from vision_nb.widgets.thumbnails import Thumbnails


class PlainTranscript:
    """A display of Markdown that is kept up to date.

    Args:
        thumbnails: Gives the small pictures.

    Attributes:
        css_class: The class of what is displayed, by which a live panel hides it.
    """

    def __init__(self, thumbnails: Thumbnails) -> None:
        self.css_class = f"vnb-plain-{secrets.token_hex(4)}"
        self._thumbnails = thumbnails
        self._handles: dict[str | None, Any] = {}
        self._shown: tuple[tuple[Turn, ...], str, int] | None = None

    def display(self, chat: Chat) -> None:
        """Display it in the running cell; what was displayed in other cells is kept up to date too."""
        from IPython.display import display

        self._handles[current_cell_id()] = display(self._bundle(chat), raw=True, display_id=True)
        self._shown = None

    def update(self, chat: Chat) -> None:
        """Bring what is displayed up to the conversation, where that has changed."""
        state = chat.turns, chat.system, self._thumbnails.count
        if self._handles and state != self._shown:
            self._shown = state
            for handle in self._handles.values():
                handle.update(self._bundle(chat), raw=True)

    def _bundle(self, chat: Chat) -> dict[str, str]:
        said = transcript(chat.system, chat.turns, self._thumbnails.get)
        # The blank lines have the Markdown inside read as Markdown.
        return {"text/markdown": f'<div class="{self.css_class}">\n\n{said}\n\n</div>', "text/plain": repr(chat)}
