"""The turns of a conversation on the page, and what their buttons do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from vision_nb.conversation.chat import Chat
from vision_nb.conversation.export import totals
from vision_nb.conversation.turn import Turn
from vision_nb.errors import VisionError
from vision_nb.images.document import ImageDocument
from vision_nb.images.prepare import fit_within
from vision_nb.messages import ChatMessage, user_message
from vision_nb.widgets.request import Answering, Failure
from vision_nb.widgets.thumbnails import Thumbnails
from vision_nb.widgets.transcript_view import TranscriptView
from vision_nb.widgets.view_model import FAILED, TranscriptViewModel

_LARGE = 1600  # pixels of a picture that is opened large


class Conversation:
    """Keeps the page up to a conversation, and edits it as the buttons ask.

    Args:
        chat: The conversation.
        answering: Asks its questions.
        thumbnails: Gives the small pictures.
        send: Asks a question once more, or another one in its place.
        height: The most room that the turns take, as a length of CSS.
        plain: The class of the plain transcript, which the page hides.

    Attributes:
        view: The widget.
    """

    def __init__(
        self,
        chat: Chat,
        answering: Answering,
        thumbnails: Thumbnails,
        send: Callable[[ChatMessage], None],
        *,
        height: str,
        plain: str,
    ) -> None:
        self.view = TranscriptView(height=height, plain=plain, act=self._act)
        self._chat, self._answering, self._send = chat, answering, send
        self._entries = TranscriptViewModel(thumbnails)
        self._removed: tuple[Turn, ...] = ()
        self._set_aside: Failure | None = None
        self._unanswered: list[tuple[float, str]] = []
        self._enlarging: asyncio.Task[None] | None = None
        self._problem = ""

    def draw(self) -> None:
        """Bring the page up to the conversation."""
        self.view.show(self._entries.of(self._chat, self._answering.failure))
        present = {id(turn) for turn in self._chat.turns}
        removed = sum(id(turn) not in present for turn in self._removed) + (self._set_aside is not None)
        self.view.status = {"totals": totals(self._chat.turns), "problem": self._problem, "removed": removed}

    def forget_removed(self) -> None:
        """Offer no more to put back what was removed, as the conversation has gone on."""
        self._removed, self._set_aside = (), None

    def set_aside(self, failure: Failure | None) -> None:
        """Offer to put a question back that got no answer, as another one takes its place."""
        if failure is not None:
            self._set_aside = failure
            self._unanswered.append((len(self._chat) - 0.5, failure.turn.question.text))

    @property
    def prompts(self) -> list[str]:
        """All that was asked, oldest first, answered or not."""
        failure = self._answering.failure
        now = [] if failure is None else [(float(len(self._chat)), failure.turn.question.text)]
        said = [(float(place), turn.question.text) for place, turn in enumerate(self._chat.turns)]
        return [text for _, text in sorted([*said, *self._unanswered, *now], key=lambda one: one[0])]

    def _act(self, message: dict[str, Any]) -> None:
        """Do what a turn's button asks for; an error is shown below the turns."""
        self._problem = ""
        try:
            self._do(message)
        except VisionError as error:
            self._problem = str(error)
        self.draw()

    def _do(self, message: dict[str, Any]) -> None:
        place, turn = self._find(message.get("id"))
        match message:
            case {"do": "put_back"} if self._removed or self._set_aside:
                self._answering.check_idle()
                self._answering.failure, self._set_aside = self._set_aside, self._answering.failure
                if self._removed:
                    turns, self._removed = self._removed, self._chat.turns
                    self._chat.replace(turns)
            case {"do": "copy"} if turn:
                self.view.send({"op": "copy", "text": turn.answer.text})
            case {"do": "enlarge", "place": int(picture)} if turn and 0 <= picture < len(turn.question.image_documents):
                enlarging = self._enlarge(turn.question.image_documents[picture])
                self._enlarging = asyncio.get_running_loop().create_task(enlarging)  # the loop keeps no hold of it
            case {"do": "again"} if turn:
                self._answering.check(turn.question)
                self._cut(place, keep_failure=message["id"] != FAILED)
                self._send(turn.question)
            case {"do": "edit", "text": str(text)} if turn and text.strip():
                question = user_message(text.strip(), turn.question.image_documents)
                self._answering.check(question)
                self._cut(place)
                self._send(question)
            case {"do": "delete"} if turn:
                self._cut(place)

    def _find(self, name: object) -> tuple[int, Turn | None]:
        if name == FAILED and self._answering.failure is not None:
            return len(self._chat), self._answering.failure.turn
        for place, turn in enumerate(self._chat.turns):
            if self._entries.name_of(turn) == name:
                return place, turn
        return 0, None

    def _cut(self, place: int, *, keep_failure: bool = True) -> None:
        """Remove the turns from a place on; they can be put back until the next question."""
        self._answering.check_idle()
        failure, self._answering.failure = self._answering.failure, None
        if place < len(self._chat):
            self._removed, self._set_aside = self._chat.turns, None
            self._chat.replace(self._chat.turns[:place])
        self.set_aside(failure if keep_failure else None)

    async def _enlarge(self, document: ImageDocument) -> None:
        try:
            ready = await asyncio.to_thread(document.prepare, lambda size: fit_within(size, _LARGE))
        except VisionError as error:
            self._problem = str(error)
            self.draw()
        else:
            self.view.send({"op": "enlarge", "name": document.title, "type": ready.mimetype}, [ready.data])
