"""`Chat`: a conversation with a model about images."""

from __future__ import annotations

from asyncio import CancelledError, Task, current_task
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vision_nb.checks.arguments import check_request_parameters, checks_arguments
from vision_nb.checks.numbers import check_count
from vision_nb.conversation.export import transcript, transcript_parts
from vision_nb.conversation.image_limit import images_to_drop, omit_images
from vision_nb.conversation.serialization import SavedConversation, read, write
from vision_nb.conversation.turn import Turn
from vision_nb.conversation.watchers import Watchers
from vision_nb.errors import ProviderError, SettingsError
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage, MessageRole, as_images, user_message
from vision_nb.paths import expand_path
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.call import Images
from vision_nb.providers.catalog import DEMO, known_models
from vision_nb.providers.connect import connect
from vision_nb.rendering.format import pluralize, type_name
from vision_nb.rendering.terminal import TerminalDisplay, TerminalPart
from vision_nb.responses import ChatResponse, Usage
from vision_nb.services.table import SERVICES
from vision_nb.user_warnings import to_thread


@checks_arguments
class Chat(TerminalDisplay):
    """A conversation in which each question is sent with all earlier questions, answers and images.

    If a question fails, the conversation stays unchanged. If an answer is stopped or cut off, the part that has
    arrived is kept, with the finish reason "interrupted" or "incomplete"; `undo` removes it, to ask again. Only one
    question can be asked at a time.

    Args:
        llm: The model, or its name as for `connect`; None for the default model. It can be changed between questions.
        system: The system message; empty for none.
        keep_images: The maximum number of images to send. The most recent images are sent, and a note replaces each
            older one. The images of the question itself are always sent. None sends as many as the model accepts.

    Attributes:
        answering: The question that is being answered, with the part of the answer received so far; otherwise None.
        failed_turn: The last question, if it failed or was stopped before any text arrived; otherwise None.

    Raises:
        SettingsError: An argument has the wrong type or value.

    >>> chat = vn.Chat(vn.connect("demo"))
    >>> print(chat.ask("How large is it?", [vn.samples.path("chart")]))
    assistant: The image's size is **1,000 x 600 pixels** (landscape). ...
    >>> print(chat.ask("And how bright?"))  # the image is sent again with this question
    assistant: The image's brightness is very high, with ...
    >>> len(chat.turns)
    2
    """

    answering: Turn | None
    failed_turn: Turn | None

    def __init__(
        self, llm: MultiModalLLM | str | None = None, *, system: str = "", keep_images: int | None = None
    ) -> None:
        self.llm = connect() if llm is None else llm
        self.system, self.keep_images = system, keep_images
        self.answering = self.failed_turn = None
        self._turns: list[Turn] = []
        self._watchers = Watchers()
        self._task: Task[Any] | None = None
        self._is_stopped = False

    @property
    def llm(self) -> MultiModalLLM:
        """The model. It can be set to a model or to the name of one."""
        return self._llm

    @llm.setter
    def llm(self, llm: MultiModalLLM | str) -> None:
        if not isinstance(llm, (MultiModalLLM, str)):
            raise SettingsError(f"llm= must be a model or a name such as 'openai:gpt-4o', not {type_name(llm)}.")
        self._llm = connect(llm) if isinstance(llm, str) else llm

    @property
    def system(self) -> str:
        """The system message; empty for none."""
        return self._system

    @system.setter
    def system(self, system: str) -> None:
        if not isinstance(system, str):
            raise SettingsError(f"system= must be a string, not {type_name(system)}.")
        self._system = system

    @property
    def keep_images(self) -> int | None:
        """The maximum number of images to send; None for as many as the model accepts."""
        return self._keep_images

    @keep_images.setter
    def keep_images(self, count: int | None) -> None:
        self._keep_images = check_count(count, "keep_images", least=0)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The questions with their answers, oldest first."""
        return tuple(self._turns)

    @property
    def history(self) -> list[ChatMessage]:
        """The questions and answers as alternating messages."""
        return [message for turn in self._turns for message in (turn.question, turn.answer.message)]

    @property
    def responses(self) -> list[ChatResponse]:
        """The answers, with their token counts and latencies."""
        return [turn.answer for turn in self._turns]

    @property
    def usage(self) -> Usage:
        """The total token counts of all answers; None if any answer's count is unknown."""
        return sum((response.usage or Usage() for response in self.responses), Usage(0, 0))

    def ask(self, prompt: str | ChatMessage, images: Images = (), **overrides: Any) -> ChatResponse:
        """Ask the next question and return the answer.

        Args:
            prompt: The question as text, or a message.
            images: Images for this question; the images of earlier questions are sent again automatically.
            **overrides: Request parameters for this call only, and ``schema`` and ``max_repairs`` as for `complete`. If
                an answer had to be repaired, the conversation keeps the repaired one.

        Raises:
            SchemaError: The answer does not match the schema, or was refused or cut off.
            SettingsError: An argument is invalid, or the previous question is still being answered.
            ImageError: An image cannot be read.
            ProviderError: The request failed.
        """
        question = _as_question(prompt, images, list(overrides))
        with self._turn_in_progress(question):
            self._update_answer(self.llm.chat(self.messages_with(question), **overrides))
        return self._turns[-1].answer

    async def aask(self, prompt: str | ChatMessage, images: Images = (), **overrides: Any) -> ChatResponse:
        """Ask the next question and return the answer: the asynchronous version of `ask`."""
        question = await _as_question_in_thread(prompt, images, list(overrides))
        with self._turn_in_progress(question, current_task()):
            self._update_answer(await self.llm.achat(self.messages_with(question), **overrides))
        return self._turns[-1].answer

    def stream(
        self, prompt: str | ChatMessage, images: Images = (), **overrides: Any
    ) -> Generator[ChatResponse, None, None]:
        """Ask the next question and yield the growing answer; arguments as `ask`. Closing the generator stops it."""
        question = _as_question(prompt, images, list(overrides))
        messages = self.messages_with(question)
        with self._turn_in_progress(question), closing(self.llm.stream_chat(messages, **overrides)) as stream:
            for response in stream:
                yield self._update_answer(response)
                if self._is_stopped:
                    yield self._update_answer(replace(response, delta="", finish_reason="interrupted"))
                    return

    async def astream(
        self, prompt: str | ChatMessage, images: Images = (), **overrides: Any
    ) -> AsyncGenerator[ChatResponse, None]:
        """Ask the next question and yield the growing answer: the asynchronous version of `stream`.

        It is an async generator: use it in ``async for`` without awaiting it first. Canceling it stops the answer.
        """
        question = await _as_question_in_thread(prompt, images, list(overrides))
        with self._turn_in_progress(question, current_task()):
            stream = await self.llm.astream_chat(self.messages_with(question), **overrides)
            async with aclosing(stream):
                async for response in stream:
                    yield self._update_answer(response)

    def stop(self) -> None:
        """Stop the current answer and keep the part that has arrived. Does nothing between questions.

        A caller that awaits `aask` or iterates `astream` gets ``asyncio.CancelledError``. `stream` ends at its next
        step. `ask` blocks the thread, so only a keyboard interrupt stops it.

        >>> chat = vn.Chat(vn.connect("demo"))
        >>> for response in chat.stream("What can you see?"):
        ...     chat.stop()
        >>> chat.responses[0].finish_reason
        'interrupted'
        """
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        elif self.answering is not None:
            self._is_stopped = True

    @contextmanager
    def _turn_in_progress(self, question: ChatMessage, task: Task[Any] | None = None) -> Iterator[None]:
        """Set `answering` inside the block, and append the turn if any of the answer's text has arrived.

        Args:
            question: The question.
            task: The task that `stop` cancels; None for the synchronous methods.
        """
        if self.answering is not None:
            raise SettingsError("The previous question is still being answered: wait for the answer, or stop it.")
        self.answering = Turn(
            question, ChatResponse(model=self.llm.model, is_demo=self.llm.is_demo), len(self.dropped_images(question))
        )
        self.failed_turn, self._task, self._is_stopped = None, task, False
        is_kept = False
        try:
            self._notify()
            yield
            is_kept = True
        except (GeneratorExit, KeyboardInterrupt, CancelledError, ProviderError) as error:
            answer = self.answering.answer
            is_kept = bool(answer.text) and getattr(error, "response", None) is None  # not if it is to be repaired
            if not isinstance(error, ProviderError):
                self._update_answer(replace(answer, finish_reason="interrupted"))
            elif answer.finish_reason is None and is_kept:
                self._update_answer(replace(answer, finish_reason="incomplete"))
            raise
        finally:
            turn, self.answering, self._task = self.answering, None, None
            if is_kept:
                self._turns.append(turn)
            else:
                self.failed_turn = turn
            self._notify()

    def _update_answer(self, response: ChatResponse) -> ChatResponse:
        if self.answering is not None:
            self.answering = replace(self.answering, answer=response)
            self._notify()
        return response

    def add(self, question: ChatMessage, answer: ChatResponse) -> ChatResponse:
        """Append a question and its answer without asking the model, and return the answer.

        Args:
            question: The user's message.
            answer: The model's answer.
        """
        self._turns.append(Turn(question, answer))
        self._notify()
        return answer

    def to_messages(self) -> list[ChatMessage]:
        """Return the system message, if any, followed by the questions and answers."""
        system = [ChatMessage(MessageRole.SYSTEM, self.system)] if self.system else []
        return [*system, *self.history]

    def messages_with(self, question: ChatMessage) -> list[ChatMessage]:
        """Return the messages of a request that asks a question, with a note in place of each dropped image.

        Args:
            question: The next question.
        """
        return [*omit_images(self.to_messages(), len(self.dropped_images(question))), question]

    def dropped_images(self, question: ChatMessage) -> list[ImageDocument]:
        """Return the images of earlier questions that are not sent again with a question, oldest first.

        Images are dropped beyond ``keep_images`` and beyond the number that the model accepts per request.

        Args:
            question: The next question. Its own images count toward the limit and are never dropped.
        """
        limits = [limit for limit in (self.keep_images, self.llm.image_limit) if limit is not None]
        return images_to_drop(self._turns, question, min(limits, default=None))

    def undo(self, turns: int = 1) -> None:
        """Remove the most recent questions and their answers.

        Args:
            turns: How many turns to remove.

        Raises:
            SettingsError: The conversation has fewer turns.
        """
        if turns not in range(len(self._turns) + 1):
            raise SettingsError(f"Cannot undo {turns!s:.80} turns: the conversation has {len(self._turns)}.")
        self.replace(self._turns[: len(self._turns) - turns])

    def replace(self, turns: Sequence[Turn]) -> None:
        """Replace all turns of the conversation.

        Args:
            turns: The new turns, oldest first.
        """
        self._turns = list(turns)
        self._notify()

    def fork(self) -> Chat:
        """Return an independent copy; call its `undo` to branch off at an earlier turn."""
        other = Chat(self.llm, system=self.system, keep_images=self.keep_images)
        other.replace(self._turns)
        return other

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call a function after every change, including each new piece of a streamed answer.

        Args:
            watcher: The function, called without arguments.

        Returns:
            A function that stops the calls.
        """
        return self._watchers.add(watcher)

    def _notify(self) -> None:
        self._watchers.call()

    def export(self, path: str | Path) -> Path:
        """Write the conversation to a file and return its path.

        Args:
            path: The file. Its suffix selects the format: ``.md``, ``.html`` or ``.ipynb`` for reading, or ``.json``
                for `load`. Images are embedded without metadata; in the formats for reading, they are thumbnails.

        Raises:
            SettingsError: The suffix is not one of these, or the file cannot be written.
        """
        path = expand_path(path)
        write(SavedConversation(str(self.llm), self.system, self.keep_images, self.turns), path)
        return path

    @classmethod
    def load(cls, path: str | Path, llm: MultiModalLLM | str | None = None) -> Chat:
        """Load a conversation that was exported as ``.json``.

        Files from untrusted sources are safe to load: images behind URLs are not downloaded for display, only when
        they are sent to a model.

        Args:
            path: The file.
            llm: The model to continue with, or its name. None connects to the model that the file names if it is a
                well-known model, an OpenAI model or a local one; pass any other model explicitly.

        Raises:
            SettingsError: The file does not exist or is not a saved conversation, or its model must be passed.
        """
        path = expand_path(path)
        saved = read(path)
        chat = cls(
            _connect_saved_model(saved.model, path) if llm is None else llm,
            system=saved.system,
            keep_images=saved.keep_images,
        )
        chat.replace(saved.turns)
        return chat

    def __len__(self) -> int:
        return len(self._turns)

    def __bool__(self) -> bool:
        return True  # also without turns, despite __len__

    def __repr__(self) -> str:
        return f"Chat({self.llm}, {pluralize(len(self), 'turn')})"

    def __str__(self) -> str:
        return repr(self)

    def _repr_markdown_(self) -> str:
        return transcript(self.system, self.turns)

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        return transcript_parts(self.system, self.turns) if self.turns else [repr(self)]


def _as_question(prompt: str | ChatMessage, images: Images, overrides: Iterable[str]) -> ChatMessage:
    check_request_parameters(overrides, ("prompt", "images", "schema", "max_repairs"))
    if not isinstance(prompt, ChatMessage):
        return user_message(prompt, images)
    if as_images(images):
        raise SettingsError("images= cannot be combined with a message: put the images into the message.")
    return prompt


async def _as_question_in_thread(prompt: str | ChatMessage, images: Images, overrides: Iterable[str]) -> ChatMessage:
    """Create a question outside the event loop, because a PDF document or video is opened for it."""
    if isinstance(images, tuple) and not images:
        return _as_question(prompt, images, overrides)
    return await to_thread(_as_question, prompt, images, overrides)


def _connect_saved_model(name: str, path: Path) -> MultiModalLLM:
    """Connect to the model that a file names, unless images could go to a server that the file's author chose."""
    provider = name.partition(":")[0]
    is_known = provider == "replicate" and name in known_models()
    if not is_known and provider not in (*SERVICES, "local", DEMO):
        raise SettingsError(f"{path.name} names the model {name!r}: pass llm=vn.connect({name!r}) to continue with it.")
    return connect(name)
