"""The question that a panel is asking: a task of its own, so that the kernel stays free while it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from vision_nb.conversation.chat import Chat
from vision_nb.conversation.turn import Turn
from vision_nb.errors import SettingsError, VisionError
from vision_nb.messages import ChatMessage
from vision_nb.responses import ChatResponse, Usage


@dataclass(frozen=True)
class Failure:
    """A question that got no answer.

    Attributes:
        turn: The question, and what had arrived of the answer.
        message: What went wrong.
    """

    turn: Turn
    message: str


class Answering:
    """Asks one question at a time.

    Args:
        chat: The conversation.
        changed: Called when a question has ended, well or not.

    Attributes:
        failure: The last question, where it got no answer.
    """

    def __init__(self, chat: Chat, changed: Callable[[], None]) -> None:
        self.failure: Failure | None = None
        self._chat, self._changed = chat, changed
        self._task: asyncio.Task[ChatResponse] | None = None
        self._is_whole = False

    def start(self, question: ChatMessage, overrides: Mapping[str, Any]) -> asyncio.Task[ChatResponse]:
        """Begin to ask.

        Raises:
            SettingsError: The last question is still being answered, or the model takes fewer pictures.
        """
        self.check(question)
        turn = Turn(question, ChatResponse(model=self._chat.llm.model), len(self._chat.dropped_images(question)))
        task = asyncio.get_running_loop().create_task(self._answer(question, overrides))
        self.failure, self._turn, self._task, self._is_whole = None, turn, task, False
        task.add_done_callback(self._ended)  # a task that is cancelled at once never reaches a line of its own
        return task

    def stop(self) -> None:
        """Stop; what has arrived of the answer stays."""
        if self._task is None:
            self._chat.stop()  # another panel asked, or code did
        elif not self._is_whole:
            self._task.cancel()

    def close(self) -> None:
        """Stop the question that was asked here, and no other."""
        if self._task is not None:
            self.stop()

    @property
    def is_asking(self) -> bool:
        """Whether a question that was asked here has not ended yet."""
        return self._task is not None

    def check_idle(self) -> None:
        """Raise SettingsError where a question is being answered."""
        if self._task is not None or self._chat.answering is not None:
            raise SettingsError("The model is still answering: wait for it, or stop it.")

    def check(self, question: ChatMessage) -> None:
        """Raise SettingsError where a question cannot be asked now: see `start`."""
        self.check_idle()
        limit, count = self._chat.llm.image_limit, len(question.image_documents)
        if limit is not None and count > limit:
            raise SettingsError(f"{self._chat.llm} takes {pictures(limit)} a question: remove {count - limit}.")

    async def _answer(self, question: ChatMessage, overrides: Mapping[str, Any]) -> ChatResponse:
        # The price list takes half a second to read: it is read while the model thinks.
        prices = asyncio.ensure_future(asyncio.to_thread(self._chat.llm.price, Usage(1, 1)))
        async with aclosing(self._chat.astream(question, **overrides)) as stream:
            async for response in stream:
                self._turn = replace(self._turn, answer=response)
                await asyncio.sleep(0)  # pieces that have arrived already would keep the loop from a stop
        self._is_whole = True
        await asyncio.wait([prices])
        return self._turn.answer

    def _ended(self, task: asyncio.Task[ChatResponse]) -> None:
        self._task = None
        if task.cancelled():
            if not self._turn.answer.text:
                self.failure = Failure(self._turn, "Stopped before the first word.")
        elif (error := task.exception()) is not None:
            shown = str(error) if isinstance(error, VisionError) else f"{type(error).__name__}: {error}"
            self.failure = Failure(self._turn, self._chat.llm.redacted(shown))
        self._changed()


def pictures(count: int) -> str:
    """A number of pictures in words."""
    return "1 picture" if count == 1 else f"{count} pictures"
