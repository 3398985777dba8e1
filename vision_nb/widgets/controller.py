"""`PanelController`: asks the questions of a chat panel, and carries out the actions of its transcript."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from operator import itemgetter
from typing import Any

from vision_nb.conversation.chat import Chat
from vision_nb.conversation.export import has_demo, totals
from vision_nb.conversation.serialization import SavedConversation, to_html
from vision_nb.conversation.turn import Turn
from vision_nb.errors import IncompleteResponseError, SettingsError, VisionError
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage, user_message
from vision_nb.notebook.wait_line import show_wait
from vision_nb.rendering.demo_badge import BADGE
from vision_nb.rendering.format import pluralize
from vision_nb.responses import ChatResponse, Usage
from vision_nb.storage.conversations import ConversationSummary
from vision_nb.widgets.image_viewer import enlarged_image
from vision_nb.widgets.thumbnails import ThumbnailCache
from vision_nb.widgets.transcript_view import TranscriptView
from vision_nb.widgets.view_model import FAILED_ID, FailedTurn, TranscriptViewModel

_NOT_ANSWERED = "This question was not answered."
_FOR_CODE = " The text so far is in .partial_text."  # the panel shows this text


class PanelController:
    """Asks one question at a time, edits the conversation, and updates the transcript on the page.

    Args:
        chat: The conversation.
        thumbnails: The thumbnails of the images.
        on_end: Called when a question has been answered, has failed or was stopped.
        on_start_new: Called by the button that starts a new conversation.
        on_open: Called with the id of an earlier conversation that was chosen.
        height: The maximum height of the transcript, as a CSS length.
        static_class: The CSS class of the static transcript, which the page hides.

    Attributes:
        view: The transcript on the page.
        failed: The last question, if it was not answered.
        continued_from: When the conversation was written last, if the panel continues it; seconds since 1970.
        earlier: The earlier conversations that can be chosen.
    """

    def __init__(
        self,
        chat: Chat,
        thumbnails: ThumbnailCache,
        on_end: Callable[[], None],
        on_start_new: Callable[[], None],
        on_open: Callable[[int], Awaitable[None]],
        *,
        height: str,
        static_class: str,
    ) -> None:
        self.view = TranscriptView(height=height, static_class=static_class, on_action=self._handle)
        self.continued_from: float | None = None
        self.earlier: Sequence[ConversationSummary] = ()
        self._chat, self._on_end, self._on_start_new, self._on_open = chat, on_end, on_start_new, on_open
        self._view_model = TranscriptViewModel(thumbnails)
        self._task: asyncio.Task[ChatResponse] | None = None
        self._has_received_all = False
        self._wait = ""
        self._is_closed = False
        self._background_task: asyncio.Task[None] | None = None
        self._enlarged: Sequence[ImageDocument] = ()  # the images that the page shows one by one
        self.show_conversation()

    def show_conversation(self) -> None:
        """Show the chat's turns as a conversation that was just opened: nothing can be restored."""
        turn = self._chat.failed_turn
        self.failed = None if turn is None else FailedTurn(turn, _NOT_ANSWERED)
        self._turns_before: tuple[Turn, ...] = ()  # the turns before the last removal, to restore them
        self._failed_before: FailedTurn | None = None
        self._unanswered: list[tuple[int, str]] = []  # replaced questions, each with the number of turns at that time
        self._error = ""

    def draw(self) -> None:
        """Update the page."""
        self.view.show(self._view_model.views(self._chat, self.failed, wait=self._wait))
        present = {id(turn) for turn in self._chat.turns}
        removed = sum(id(turn) not in present for turn in self._turns_before) + (self._failed_before is not None)
        self.view.status = {
            "totals": totals(self._chat.turns),
            "badge": BADGE if has_demo(self._chat.turns) else "",
            "error": self._error,
            "removed": removed,
            "continued_from": self.continued_from,
            "earlier": [
                {"id": one.id, "time": one.time, "title": str(one.settings.get("title", ""))} for one in self.earlier
            ],
            "can_start_new": bool(self._chat.turns or self.failed),
        }

    def start(self, question: ChatMessage, overrides: Mapping[str, Any]) -> asyncio.Task[ChatResponse]:
        """Start asking a question.

        Args:
            question: The question.
            overrides: Request parameters for this call only.

        Raises:
            SettingsError: The panel is closed, or the question cannot be asked; see `check`.
        """
        if self._is_closed:
            raise SettingsError("The panel is closed: create another one with vn.ChatPanel(chat=panel.chat).")
        self.check(question)
        self._set_aside_failed()
        question = ChatMessage(question.role, question.content)  # `_end` recognizes it by its identity
        self._has_received_all, self._error = False, ""
        self._task = asyncio.get_running_loop().create_task(self._answer(question, overrides))
        # The end is handled in a callback, because a task that is cancelled before its first step never runs.
        self._task.add_done_callback(lambda task: self._end(task, question))
        return self._task

    def send(self, question: ChatMessage) -> None:
        """Ask a question, and display any error instead of raising it."""
        self.start(question, {}).add_done_callback(lambda task: task.cancelled() or task.exception())

    def stop(self) -> None:
        """Stop the current answer and keep the part that has arrived."""
        if self._task is None:
            self._chat.stop()  # code or another panel asked the question
        elif not self._has_received_all:
            self._task.cancel()

    def close(self) -> None:
        """Accept no more questions, and stop the current one if it was asked here."""
        self._is_closed, self._enlarged = True, ()
        if self._task is not None:
            self.stop()

    @property
    def is_asking(self) -> bool:
        """Whether a question that was asked here is in progress."""
        return self._task is not None

    def check(self, question: ChatMessage) -> None:
        """Check that a question can be asked now.

        Raises:
            SettingsError: A question is being answered, or the question has more images than the model accepts.
        """
        self.check_idle()
        if error := image_limit_error(self._chat, question):
            raise SettingsError(error)

    def discard_removed(self) -> None:
        """Make removed turns unrecoverable, because the conversation continues."""
        self._turns_before, self._failed_before = (), None

    @property
    def prompts(self) -> list[str]:
        """All questions, answered or not, oldest first."""
        prompts = [turn.question.text for turn in self._chat.turns]
        for position, prompt in sorted(self._unanswered, key=itemgetter(0))[::-1]:
            prompts.insert(position, prompt)
        if self.failed is not None:
            prompts.append(self.failed.turn.question.text)
        return prompts

    def check_idle(self) -> None:
        """Raise a SettingsError if a question is being answered."""
        if self._task is not None or self._chat.answering is not None:
            raise SettingsError("The model is still answering: wait for the answer, or stop it.")

    async def _answer(self, question: ChatMessage, overrides: Mapping[str, Any]) -> ChatResponse:
        show_wait.set(self._show_wait)  # the task has a context of its own
        # Loading the price list takes half a second: do it in a thread while the model is answering.
        prices = asyncio.ensure_future(asyncio.to_thread(self._chat.llm.price, Usage(1, 1)))
        async with aclosing(self._chat.astream(question, **overrides)) as stream:
            async for _ in stream:
                await asyncio.sleep(0)  # let a stop through even if all pieces have arrived already
        answer = self._chat.turns[-1].answer
        self._has_received_all = True
        await asyncio.wait([prices])
        return answer

    def _show_wait(self, line: str) -> None:
        """Show why the question is not sent yet; "" when it is."""
        self._wait = line
        self.draw()

    def _end(self, task: asyncio.Task[ChatResponse], question: ChatMessage) -> None:
        self._task, self._error = None, ""
        error: str | None = None
        if task.cancelled():
            if not any(turn.question is question for turn in self._chat.turns):
                error = "Stopped before the answer began."
        elif (exception := task.exception()) is not None:
            error = str(exception) if isinstance(exception, VisionError) else f"{type(exception).__name__}: {exception}"
            if any(turn.question is question for turn in self._chat.turns):  # the answer was cut off
                if not isinstance(exception, IncompleteResponseError):  # the turn's remark already says so
                    self._error = self._chat.llm.redacted(error.removesuffix(_FOR_CODE))
                error = None
        if error is not None:
            turn = self._chat.failed_turn
            if turn is None or turn.question is not question:  # the task ended before its first step
                turn = Turn(question, ChatResponse(model=self._chat.llm.model, is_demo=self._chat.llm.is_demo))
            self.failed = FailedTurn(turn, self._chat.llm.redacted(error))
        self._on_end()

    def _handle(self, message: dict[str, Any]) -> None:
        """Carry out the action of a button; the page displays an error below the turns."""
        self._error = ""
        try:
            self._do(message)
        except VisionError as error:
            self._error = str(error)
        self.draw()

    def _do(self, message: dict[str, Any]) -> None:
        match message:
            case {"do": "restore"}:
                self._restore()
                return
            case {"do": "stop"}:
                self.stop()
                return
            case {"do": "start_new"}:
                self._on_start_new()
                return
            case {"do": "export", "view": str(view)}:
                self._background_task = asyncio.get_running_loop().create_task(self._export(view))
                return
            case {"do": "enlarge_other", "index": int(index), "view": str(view)}:
                self.enlarge(self._enlarged, index, view)
                return
            case {"do": "open", "id": int(conversation)}:
                self._background_task = asyncio.get_running_loop().create_task(self._open(conversation))
                return
        position, turn = self._find(message.get("id"))
        if turn is None:
            return
        question = turn.question
        match message:
            case {"do": "enlarge", "index": int(index), "view": str(view)}:
                self.enlarge(question.image_documents, index, view)
            case {"do": "ask_again", "id": turn_id}:
                self.check(question)
                self._remove_from(position, keep_failed=turn_id != FAILED_ID)
                self.send(question)
            case {"do": "edit", "text": str(text)}:
                if not text.strip():
                    raise SettingsError("Type a question before sending.")
                edited = user_message(text.strip(), question.image_documents)
                self.check(edited)
                self._remove_from(position)
                self.send(edited)
            case {"do": "delete"}:
                self._remove_from(position)

    def _find(self, turn_id: object) -> tuple[int, Turn | None]:
        """Return the position and the turn with an id, or None if there is none."""
        if turn_id == FAILED_ID and self.failed is not None:
            return len(self._chat), self.failed.turn
        for position, turn in enumerate(self._chat.turns):
            if self._view_model.id_of(turn) == turn_id:
                return position, turn
        return 0, None

    def remove_all(self) -> None:
        """Remove all turns; they can be restored until the next question is sent."""
        self._remove_from(0)

    def _remove_from(self, position: int, *, keep_failed: bool = True) -> None:
        """Remove a turn and those after it; they can be restored until the next question is sent."""
        self.check_idle()
        if position < len(self._chat):
            self._turns_before, self._failed_before = self._chat.turns, None
            self._chat.replace(self._chat.turns[:position])
        if keep_failed:
            self._set_aside_failed()
        self.failed = None

    def _set_aside_failed(self) -> None:
        """Keep the failed turn, if any, for `_restore`."""
        if self.failed is not None:
            self._unanswered.append((len(self._chat), self.failed.turn.question.text))
            self._failed_before, self.failed, self._chat.failed_turn = self.failed, None, None

    def _restore(self) -> None:
        """Restore what was removed. Restoring again reverts it."""
        if not (self._turns_before or self._failed_before):
            return
        self.check_idle()
        self.failed, self._failed_before = self._failed_before, self.failed
        self._chat.failed_turn = None if self.failed is None else self.failed.turn
        if self._turns_before:
            turns, self._turns_before = self._turns_before, self._chat.turns
            self._chat.replace(turns)

    async def _open(self, conversation: int) -> None:
        try:
            await self._on_open(conversation)
        except VisionError as error:
            self._error = str(error)
        self.draw()

    async def _export(self, view: str) -> None:
        chat = self._chat
        saved = SavedConversation(str(chat.llm), chat.system, chat.keep_images, chat.turns)
        data = (await asyncio.to_thread(to_html, saved)).encode("utf-8", "replace")
        self.view.send({"op": "export", "name": "conversation.html", "type": "text/html", "view": view}, [data])

    def enlarge(self, documents: Sequence[ImageDocument], index: int, view: str) -> None:
        """Display one of several images at a larger size; the page can then ask for the others.

        Args:
            documents: The images.
            index: The index of the image; nothing happens if it is outside the list.
            view: The view of the panel that asked, because a panel can be displayed several times.
        """
        if not 0 <= index < len(documents):
            return
        self._enlarged = documents
        # The event loop holds only a weak reference to a task.
        self._background_task = asyncio.get_running_loop().create_task(self._enlarge(documents, index, view))

    async def _enlarge(self, documents: Sequence[ImageDocument], index: int, view: str) -> None:
        document = documents[index]
        try:
            image, (width, height) = await asyncio.to_thread(lambda: (enlarged_image(document), document.size))
        except VisionError as error:
            self._error = str(error)
            self.draw()
        else:
            message = {"name": document.title, "thumbnail": image, "width": width, "height": height}
            self.view.send({"op": "enlarge", **message, "index": index, "count": len(documents), "view": view})


def image_limit_error(chat: Chat, question: ChatMessage) -> str | None:
    """Return an error message if a question has more images than the model accepts."""
    limit, count = chat.llm.image_limit, len(question.image_documents)
    if limit is None or count <= limit:
        return None
    return f"{chat.llm} accepts {pluralize(limit, 'image')} per question: remove {count - limit}."
