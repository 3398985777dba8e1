"""A conversation with a model about pictures: what was said so far, and the calls that go on with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any

from vision_nb.errors import SettingsError
from vision_nb.images import ImageSource
from vision_nb.messages import ChatMessage, MessageRole, user_message
from vision_nb.providers.base import MultiModalLLM
from vision_nb.responses import ChatResponse, Usage


class Chat:
    """A conversation: each question is sent with all that was said before it, pictures included.

    A question that fails leaves the conversation as it was. An answer that is stopped midway stays, as far as
    it came, with the finish reason "interrupted".

    Args:
        llm: The model; it may be changed between two questions.
        system: What the model is told before the conversation; empty for nothing.

    Attributes:
        llm: The model.
        system: The system message.
        history: Questions and answers in turn, as messages.
        responses: The answers, with their tokens and times.

    >>> from vision_nb.providers.connect import connect
    >>> chat = Chat(connect("demo"))
    >>> len(chat.history)
    0
    """

    def __init__(self, llm: MultiModalLLM, *, system: str = "") -> None:
        self.llm = llm
        self.system = system
        self.history: list[ChatMessage] = []
        self.responses: list[ChatResponse] = []

    def ask(self, prompt: str, images: ImageSource | Iterable[ImageSource] = (), **overrides: Any) -> ChatResponse:
        """Ask the next question.

        Args:
            prompt: The question.
            images: Pictures for it; those of earlier questions are known already.
            **overrides: Request parameters for this call alone.

        Raises:
            SettingsError: An argument cannot be used.
            ImageError: A picture cannot be used.
            ProviderError: The model did not answer.
        """
        question = user_message(prompt, images)
        return self.add(question, self.llm.chat([*self.to_messages(), question], **overrides))

    async def aask(
        self, prompt: str, images: ImageSource | Iterable[ImageSource] = (), **overrides: Any
    ) -> ChatResponse:
        """The asynchronous twin of `ask`."""
        question = user_message(prompt, images)
        return self.add(question, await self.llm.achat([*self.to_messages(), question], **overrides))

    def stream(
        self, prompt: str, images: ImageSource | Iterable[ImageSource] = (), **overrides: Any
    ) -> Generator[ChatResponse, None, None]:
        """Ask the next question and give the answer piece by piece; as `ask`."""
        question = user_message(prompt, images)
        stream = self.llm.stream_chat([*self.to_messages(), question], **overrides)
        response = None
        with closing(stream):
            try:
                for response in stream:
                    yield response
            except (GeneratorExit, KeyboardInterrupt):
                self._keep_part(question, response)
                raise
        self._keep(question, response)

    async def astream(
        self, prompt: str, images: ImageSource | Iterable[ImageSource] = (), **overrides: Any
    ) -> AsyncGenerator[ChatResponse, None]:
        """The asynchronous twin of `stream`: iterated at once with ``async for``; cancelling it is a stop."""
        from asyncio import CancelledError

        question = user_message(prompt, images)
        stream = await self.llm.astream_chat([*self.to_messages(), question], **overrides)
        response = None
        async with aclosing(stream):
            try:
                async for response in stream:
                    yield response
            except (GeneratorExit, KeyboardInterrupt, CancelledError):
                self._keep_part(question, response)
                raise
        self._keep(question, response)

    def add(self, question: ChatMessage, answer: ChatResponse) -> ChatResponse:
        """Add a question and its answer, however it was come by, and give the answer back."""
        self.history += [question, ChatMessage(MessageRole.ASSISTANT, answer.text)]
        self.responses.append(answer)
        return answer

    def _keep(self, question: ChatMessage, response: ChatResponse | None) -> None:
        if response is not None:
            self.add(question, response)

    def _keep_part(self, question: ChatMessage, response: ChatResponse | None) -> None:
        if response is not None and response.text:
            self.add(question, replace(response, finish_reason="interrupted"))

    def to_messages(self) -> list[ChatMessage]:
        """All that is sent before the next question: the system message, and the history."""
        system = [ChatMessage(MessageRole.SYSTEM, self.system)] if self.system else []
        return [*system, *self.history]

    def undo(self, turns: int = 1) -> None:
        """Take the latest questions back, and their answers.

        Raises:
            SettingsError: The conversation does not have so many turns.
        """
        if not 0 <= turns <= len(self.responses):
            raise SettingsError(f"{turns} turns cannot be taken back: the conversation has {len(self.responses)}.")
        if turns:
            del self.history[-2 * turns :]
            del self.responses[-turns:]

    def fork(self) -> Chat:
        """A second conversation that begins as this one stands; neither changes the other."""
        other = Chat(self.llm, system=self.system)
        other.history, other.responses = list(self.history), list(self.responses)
        return other

    @property
    def usage(self) -> Usage:
        """The tokens of all answers; unknown as soon as one of them is."""
        return sum((response.usage or Usage() for response in self.responses), Usage(0, 0))

    def __len__(self) -> int:
        return len(self.responses)

    def __bool__(self) -> bool:
        return True  # an empty conversation is one too

    def __repr__(self) -> str:
        turns = "1 turn" if len(self) == 1 else f"{len(self)} turns"
        return f"Chat({self.llm}, {turns})"

    def _repr_markdown_(self) -> str:
        return transcript(self)


def transcript(chat: Chat) -> str:
    """A conversation as Markdown that is safe to show."""
    from vision_nb.safe_html import safe_markdown

    parts = [f"**system**\n\n{safe_markdown(chat.system)}"] if chat.system else []
    for message in chat.history:
        names = "".join(f" [{document.short_name}]" for document in message.image_documents)
        parts.append(f"**{message.role.value}**{safe_markdown(names)}\n\n{safe_markdown(message.text)}")
    return "\n\n".join(parts) + "\n" if parts else "_Nothing has been said yet._\n"
