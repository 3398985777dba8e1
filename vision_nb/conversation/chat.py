"""A conversation with a model about pictures: what was said so far, and the calls that go on with it."""

from __future__ import annotations

from asyncio import CancelledError, Task, current_task
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any

from vision_nb.errors import SettingsError
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.messages import ChatMessage, MessageRole, as_images, user_message
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.connect import connect
from vision_nb.responses import ChatResponse, Usage

_DROPPED_IMAGE_NOTE = "(A picture was here. It is not sent again.)"


@dataclass(frozen=True)
class Turn:
    """One question and its answer.

    Attributes:
        question: The question, with its pictures.
        answer: The answer, whole or as far as it has come.
        dropped_images: How many pictures of earlier questions were not sent again with this one.
    """

    question: ChatMessage
    answer: ChatResponse
    dropped_images: int = 0


class Chat:
    """A conversation: each question is sent with all that was said before it, pictures included.

    A question that fails leaves the conversation as it was. An answer that is stopped midway stays, as far as
    it came, with the finish reason "interrupted". One question is asked at a time.

    Args:
        llm: The model, or its name as `connect` takes it; it may be changed between two questions.
        system: What the model is told before the conversation; empty for nothing.
        keep_images: Send only so many pictures, the newest; a note stands in for an older one. None sends all
            that the model takes. The pictures of a question itself are never left out of it.

    Attributes:
        answering: The question that is being answered, and the answer so far; None between two questions.

    Raises:
        SettingsError: ``llm`` is no model, ``system`` no text, or ``keep_images`` no number of pictures.

    >>> chat = vn.Chat(vn.connect("demo"))
    >>> print(chat.ask("How large is it?", [vn.samples.path("chart")]))
    assistant: The picture is in landscape format, **1,000 x 600 pixels**. ...
    >>> print(chat.ask("And how bright?"))  # the picture is known already
    assistant: The picture is very bright overall, ...
    >>> len(chat.turns)
    2
    """

    def __init__(self, llm: MultiModalLLM | str, *, system: str = "", keep_images: int | None = None) -> None:
        self.llm = llm
        self.system = system
        self.keep_images = keep_images
        self.answering: Turn | None = None
        self._turns: list[Turn] = []
        self._watchers: list[Callable[[], None]] = []
        self._task: Task[Any] | None = None
        self._is_stopped = False

    @property
    def llm(self) -> MultiModalLLM:
        """The model; a name can be put in its place, and is connected."""
        return self._llm

    @llm.setter
    def llm(self, llm: MultiModalLLM | str) -> None:
        if not isinstance(llm, (MultiModalLLM, str)):
            raise SettingsError(f"A {type(llm).__name__} is no model: vn.connect('openai:gpt-4o') makes one.")
        self._llm = connect(llm) if isinstance(llm, str) else llm

    @property
    def system(self) -> str:
        """What the model is told before the conversation; empty for nothing."""
        return self._system

    @system.setter
    def system(self, system: str) -> None:
        if not isinstance(system, str):
            raise SettingsError(f"system= is a text, and no {type(system).__name__}.")
        self._system = system

    @property
    def keep_images(self) -> int | None:
        """How many pictures are sent at most; None for all that the model takes."""
        return self._keep_images

    @keep_images.setter
    def keep_images(self, count: int | None) -> None:
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
            raise SettingsError(f"keep_images={count!r} is no number of pictures: use 0 or more, or None for all.")
        self._keep_images = count

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Questions with their answers, oldest first."""
        return tuple(self._turns)

    @property
    def history(self) -> list[ChatMessage]:
        """Questions and answers in turn, as messages."""
        return [message for turn in self._turns for message in (turn.question, turn.answer.message)]

    @property
    def responses(self) -> list[ChatResponse]:
        """The answers, with their tokens and times."""
        return [turn.answer for turn in self._turns]

    def ask(
        self, prompt: str | ChatMessage, images: ImageSource | Iterable[ImageSource] = (), **overrides: Any
    ) -> ChatResponse:
        """Ask the next question.

        Args:
            prompt: The question, or a whole message.
            images: Pictures for it; those of earlier questions are known already.
            **overrides: Request parameters for this call alone.

        Raises:
            SettingsError: An argument cannot be used, or the last question is still being answered.
            ImageError: A picture cannot be used.
            ProviderError: The model did not answer.
        """
        question = _question(prompt, images)
        with self._asking(question):
            self._grow(self.llm.chat(self.messages_with(question), **overrides))
        return self._turns[-1].answer

    async def aask(
        self, prompt: str | ChatMessage, images: ImageSource | Iterable[ImageSource] = (), **overrides: Any
    ) -> ChatResponse:
        """The asynchronous twin of `ask`: arguments and errors as `ask`."""
        question = _question(prompt, images)
        with self._asking(question, current_task()):
            self._grow(await self.llm.achat(self.messages_with(question), **overrides))
        return self._turns[-1].answer

    def stream(
        self, prompt: str | ChatMessage, images: ImageSource | Iterable[ImageSource] = (), **overrides: Any
    ) -> Generator[ChatResponse, None, None]:
        """Ask the next question and give the answer piece by piece; arguments as `ask`. Closing it is a stop."""
        question = _question(prompt, images)
        with self._asking(question), closing(self.llm.stream_chat(self.messages_with(question), **overrides)) as stream:
            for response in stream:
                yield self._grow(response)
                if self._is_stopped:
                    yield self._grow(replace(response, delta="", finish_reason="interrupted"))
                    return

    async def astream(
        self, prompt: str | ChatMessage, images: ImageSource | Iterable[ImageSource] = (), **overrides: Any
    ) -> AsyncGenerator[ChatResponse, None]:
        """The asynchronous twin of `stream`: iterated at once with ``async for``; cancelling it is a stop."""
        question = _question(prompt, images)
        with self._asking(question, current_task()):
            stream = await self.llm.astream_chat(self.messages_with(question), **overrides)
            async with aclosing(stream):
                async for response in stream:
                    yield self._grow(response)

    def stop(self) -> None:
        """Stop the answer that is arriving, whoever asked for it; what has arrived of it stays.

        Who awaits the answer gets ``asyncio.CancelledError``. A `stream` ends when it is asked for its next piece;
        `ask` holds up everything else until it ends, and is stopped by an interrupt. Between two questions there is
        nothing to stop.

        >>> chat = vn.Chat(vn.connect("demo"))
        >>> for response in chat.stream("Is there a picture?"):
        ...     chat.stop()
        >>> chat.responses[0].finish_reason
        'interrupted'
        """
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        elif self.answering is not None:
            self._is_stopped = True

    @contextmanager
    def _asking(self, question: ChatMessage, task: Task[Any] | None = None) -> Iterator[None]:
        """Holds the question and its growing answer, and makes a turn of them when the answer has ended.

        The task is that which asks, where one does.
        """
        if self.answering is not None:
            raise SettingsError(
                "The conversation is still answering its last question: wait for the answer, or stop it."
            )
        self.answering = Turn(question, ChatResponse(model=self.llm.model), len(self.dropped_images(question)))
        self._task, self._is_stopped = task, False
        keep = False
        try:
            self._changed()
            yield
            keep = True
        except (GeneratorExit, KeyboardInterrupt, CancelledError):
            keep = bool(self.answering.answer.text)
            self._grow(replace(self.answering.answer, finish_reason="interrupted"))
            raise
        finally:
            turn, self.answering, self._task = self.answering, None, None
            if keep:
                self._turns.append(turn)
            self._changed()

    def _grow(self, response: ChatResponse) -> ChatResponse:
        if self.answering is not None:
            self.answering = replace(self.answering, answer=response)
            self._changed()
        return response

    def add(self, question: ChatMessage, answer: ChatResponse) -> ChatResponse:
        """Add a question and its answer, however it was come by, and give the answer back.

        Args:
            question: The user's message.
            answer: The model's.
        """
        self._turns.append(Turn(question, answer))
        self._changed()
        return answer

    def to_messages(self) -> list[ChatMessage]:
        """All that was said: the system message, and questions and answers in turn."""
        system = [ChatMessage(MessageRole.SYSTEM, self.system)] if self.system else []
        return [*system, *self.history]

    def messages_with(self, question: ChatMessage) -> list[ChatMessage]:
        """All that is sent with a question: what was said, as far as its pictures are kept, and the question.

        Args:
            question: The next question.
        """
        notes = repeat(_DROPPED_IMAGE_NOTE, len(self.dropped_images(question)))
        return [*(_with_notes(message, notes) for message in self.to_messages()), question]

    def dropped_images(self, question: ChatMessage) -> list[ImageDocument]:
        """The pictures of earlier questions that are not sent again with a question, oldest first.

        They are those beyond ``keep_images`` and beyond what the model takes in one request.

        Args:
            question: The next question, whose own pictures are counted first.
        """
        earlier = [document for turn in self._turns for document in turn.question.image_documents]
        limits = [limit for limit in (self.keep_images, self.llm.image_limit) if limit is not None]
        if not limits:
            return []
        kept = max(0, min(limits) - len(question.image_documents))
        return earlier[: max(0, len(earlier) - kept)]

    def undo(self, turns: int = 1) -> None:
        """Take the latest questions back, and their answers.

        Args:
            turns: How many.

        Raises:
            SettingsError: The conversation does not have so many turns.
        """
        if not 0 <= turns <= len(self._turns):
            raise SettingsError(f"{turns} turns cannot be taken back: the conversation has {len(self._turns)}.")
        self.replace(self._turns[: len(self._turns) - turns])

    def replace(self, turns: Sequence[Turn]) -> None:
        """Put other turns in the place of all that was said.

        Args:
            turns: Questions with their answers, oldest first.
        """
        self._turns = list(turns)
        self._changed()

    def fork(self) -> Chat:
        """A second conversation that begins as this one stands; neither changes the other."""
        other = Chat(self.llm, system=self.system, keep_images=self.keep_images)
        other.replace(self._turns)
        return other

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call a function after every change, also while an answer grows.

        Args:
            watcher: Called without arguments.

        Returns:
            A function that ends it.
        """
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    def _changed(self) -> None:
        for watcher in list(self._watchers):
            watcher()

    @property
    def usage(self) -> Usage:
        """The tokens of all answers; unknown as soon as one of them is."""
        return sum((response.usage or Usage() for response in self.responses), Usage(0, 0))

    def export(self, path: str | Path) -> Path:
        """Write the conversation to a file.

        Args:
            path: Where to; the ending says what it becomes: ``.md``, ``.html`` or ``.ipynb`` to read, ``.json`` to
                be loaded again. Pictures are inside the file, small where it is to be read, and without metadata.

        Raises:
            SettingsError: The ending is another one, or the file cannot be written.
        """
        from vision_nb.conversation.serialization import write

        return write(self, Path(path).expanduser())

    @classmethod
    def load(cls, path: str | Path, llm: MultiModalLLM | None = None) -> Chat:
        """Bring back a conversation that was exported as ``.json``.

        A file may come from anybody. A picture behind a URL is not fetched to be shown: it is first when a question
        is asked about it.

        Args:
            path: The file.
            llm: The model to go on with; None connects to the one that the file names, where that is a well-known
                one, one of OpenAI's, or one on this machine. A deployment or model of somebody's own has to be given.

        Raises:
            SettingsError: There is no such file, it holds no conversation, or its model cannot be connected.
        """
        from vision_nb.conversation.serialization import read

        return read(Path(path).expanduser(), llm)

    def __len__(self) -> int:
        return len(self._turns)

    def __bool__(self) -> bool:
        return True  # an empty conversation is one too

    def __repr__(self) -> str:
        turns = "1 turn" if len(self) == 1 else f"{len(self)} turns"
        return f"Chat({self.llm}, {turns})"

    def _repr_markdown_(self) -> str:
        from vision_nb.conversation.export import transcript

        return transcript(self)


def _question(prompt: str | ChatMessage, images: ImageSource | Iterable[ImageSource]) -> ChatMessage:
    if not isinstance(prompt, ChatMessage):
        return user_message(prompt, images)
    if as_images(images):
        raise SettingsError("A message brings its own pictures: leave images= out, or give the question as a text.")
    return prompt


def _with_notes(message: ChatMessage, notes: Iterator[str]) -> ChatMessage:
    """A message with a note in the place of each picture, as long as there are notes."""
    if not message.image_documents:
        return message
    return ChatMessage(
        message.role, [next(notes, part) if isinstance(part, ImageDocument) else part for part in message.parts]
    )
