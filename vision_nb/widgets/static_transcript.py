"""The static transcript that a chat panel leaves in its cell for readers of the saved notebook."""

from __future__ import annotations

import secrets
from typing import Any

from vision_nb.conversation.chat import Chat
from vision_nb.conversation.export import transcript
from vision_nb.conversation.turn import Turn
from vision_nb.notebook.ipython import current_cell_id
from vision_nb.widgets.thumbnails import ThumbnailCache


class StaticTranscript:
    """A Markdown output that follows a conversation.

    Args:
        thumbnails: The thumbnails of the images.

    Attributes:
        css_class: The CSS class of the output, which a live panel uses to hide it.
        version: How often the output was updated; another CSS class ends in it. 0 if there is no output.
    """

    def __init__(self, thumbnails: ThumbnailCache) -> None:
        self.css_class = f"vnb-static-{secrets.token_hex(4)}"
        self.version = 0
        self._thumbnails = thumbnails
        self._handles: dict[str | None, Any] = {}  # display handles by cell id
        self._displayed: tuple[tuple[Turn, ...], str, int] | None = None

    def display(self, chat: Chat) -> None:
        """Display the transcript in the running cell; outputs in other cells continue to be updated."""
        from IPython.display import display

        self.version += 1
        self._handles[current_cell_id()] = display(self._bundle(chat), raw=True, display_id=True)
        self._displayed = None

    def update(self, chat: Chat) -> None:
        """Update the outputs if the conversation or a thumbnail has changed."""
        state = chat.turns, chat.system, self._thumbnails.count
        if self._handles and state != self._displayed:
            self._displayed = state
            self.version += 1
            for handle in self._handles.values():
                handle.update(self._bundle(chat), raw=True)

    def _bundle(self, chat: Chat) -> dict[str, str]:
        markdown = transcript(chat.system, chat.turns, self._thumbnails.get)
        classes = f"{self.css_class} {self.css_class}-{self.version}"
        # Without the blank lines, the content of the <div> would not be parsed as Markdown.
        return {"text/markdown": f'<div class="{classes}">\n\n{markdown}\n\n</div>', "text/plain": repr(chat)}
