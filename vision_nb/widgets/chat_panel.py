"""A panel to talk about pictures in: a transcript, and a box for text and pictures below it."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

import ipywidgets

from vision_nb.conversation.chat import Chat
from vision_nb.errors import SettingsError
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.messages import ChatMessage, as_images, user_message
from vision_nb.notebook.display import UPDATES_A_SECOND
from vision_nb.notebook.ipython import current_cell_id, in_notebook, shell
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.catalog import DEMO
from vision_nb.responses import ChatResponse
from vision_nb.widgets.composer import Composer
from vision_nb.widgets.controller import Conversation
from vision_nb.widgets.model_picker import ModelChoice
from vision_nb.widgets.request import Answering, pictures
from vision_nb.widgets.static_transcript import PlainTranscript
from vision_nb.widgets.thumbnails import Thumbnails

_DEMO_NOTE = "No key was found, so the demo answers: it measures pixels, and is no language model."
_open_panels: WeakSet[ChatPanel] = WeakSet()


class ChatPanel(ipywidgets.VBox):  # type: ignore[misc] # ipywidgets carries no types
    """A conversation about pictures, with a box to go on with it.

    Text and pictures go into one box: type, paste a picture, drop files or pick them, or call `add` with a
    variable. Enter sends, Shift+Enter starts a new line, the arrow up recalls a question, Esc stops the answer.
    While another cell runs, the kernel does not hear the panel; the panel says that it waits.

    Below the panel, its cell keeps a plain transcript, which is what readers of the saved notebook see: on GitHub,
    in nbconvert, and after a restart of the kernel. After the page was loaded again, show the panel again to keep
    what is said next in the file.

    It is built of ipywidgets and anywidget alone, and needs nothing that only JupyterLab has. It is tested in
    JupyterLab 4, Notebook 7 and Voila; VS Code and Colab were not at hand. VS Code asks once whether it may fetch
    the support for widgets. In Colab, first run ``from google.colab import output;
    output.enable_custom_widget_manager()``; it has no cell ids, so that a panel whose cell is run again goes on
    until `close` is called.

    Args:
        llm: The model, its name such as "openai:gpt-4o", or several to choose from. None offers those whose key is
            in the environment, and the demo.
        images: Pictures for the first question.
        system: What the model is told before the conversation; None keeps that of ``chat``.
        height: The most room that the transcript takes: pixels, or a length of CSS.
        chat: A conversation to go on with; it stays the one that code uses. None begins a new one.
        keep_images: Send only so many pictures, the newest; None keeps that of ``chat``.

    Raises:
        SettingsError: An argument cannot be used.
        ImageError: A picture cannot be used.

    >>> panel = ChatPanel("demo")
    >>> panel
    ChatPanel(demo, 0 turns)
    """

    _closed = True  # until it is whole
    _cell: str | None  # the cell that created it, and that cell's run
    _run: int | None

    def __init__(
        self,
        llm: MultiModalLLM | str | Sequence[MultiModalLLM | str] | None = None,
        images: ImageSource | Iterable[ImageSource] = (),
        system: str | None = None,
        height: str | float = "480px",
        chat: Chat | None = None,
        *,
        keep_images: int | None = None,
    ) -> None:
        if chat is not None and not isinstance(chat, Chat):
            raise SettingsError(f"chat= is a Chat to go on with, and no {type(chat).__name__}.")
        documents, height = _documents(images), _length(height)
        self._models = ModelChoice(chat.llm if chat is not None and llm is None else llm)
        first = self._models.get(self._models.names[0])
        # A fork takes all that is to be changed first: what is refused leaves the conversation as it was.
        changed = Chat(first) if chat is None else chat.fork()
        changed.llm = first if chat is None or llm is not None else chat.llm
        changed.system = changed.system if system is None else system
        changed.keep_images = changed.keep_images if keep_images is None else keep_images
        if chat is None:
            chat = changed
        chat.llm, chat.system, chat.keep_images = changed.llm, changed.system, changed.keep_images
        self._chat = chat
        self._answering = Answering(chat, self._ended)
        self._timer: asyncio.TimerHandle | None = None
        self._drawn_at = self._drawing = 0.0  # when it was drawn last, and how many seconds that took
        self._thumbnails = Thumbnails(self._changed)
        self._plain = PlainTranscript(self._thumbnails)
        self._composer = Composer(self._thumbnails, self._act)
        self._conversation = Conversation(
            chat, self._answering, self._thumbnails, self._send, height=height, plain=self._plain.css_class
        )
        self._view = self._conversation.view
        super().__init__([self._view, self._composer])
        self._composer.documents = documents
        self._closed = False
        self._unwatch = chat.watch(self._changed)
        if (running := shell()) is not None:
            running.events.register("post_run_cell", self._flush)
        self._close_earlier_runs()
        self._draw()

    @property
    def chat(self) -> Chat:
        """The conversation: what code adds to it shows in the panel. For another one, make another panel."""
        return self._chat

    def add(self, *images: ImageSource | Iterable[ImageSource]) -> None:
        """Attach pictures to the question that is being written.

        Args:
            *images: Anything that `ImageDocument.of` takes, or lists of it.

        Raises:
            ImageError: A picture cannot be used.
        """
        for document in [document for image in images for document in _documents(image)]:
            self._composer.add(document)
        self._changed()

    async def ask(
        self, prompt: str, images: ImageSource | Iterable[ImageSource] = (), **overrides: Any
    ) -> ChatResponse:
        """Ask a question as if it had been typed, and wait for the whole answer.

        Args:
            prompt: The question.
            images: Pictures for it, beside those that are attached.
            **overrides: Request parameters for this call alone.

        Raises:
            SettingsError: An argument cannot be used, or the last question is still being answered.
            ImageError: A picture cannot be used.
            ProviderError: The model did not answer; the panel shows it too.
        """
        question = user_message(prompt, [*self._composer.documents, *as_images(images)])
        task = self._start(question, overrides)
        self._composer.take()
        try:
            answer = await task
            await self._thumbnails.settled()  # for the plain transcript; a question that failed waits for nothing
        finally:
            self._draw()
        return answer

    def stop(self) -> None:
        """Stop the answer; what has arrived of it stays."""
        self._answering.stop()

    def export(self, path: str | Path) -> Path:
        """Write the conversation to a file; arguments and errors as `Chat.export`."""
        return self.chat.export(path)

    def close(self) -> None:
        """Stop, leave the conversation alone, and free what the panel holds; the transcript stays in its cell."""
        if self._closed:
            return
        self._closed = True
        _open_panels.discard(self)
        self._answering.close()
        self._unwatch()
        self._finish()
        if self._timer is not None:
            self._timer.cancel()
        if (running := shell()) is not None:
            with suppress(ValueError):
                running.events.unregister("post_run_cell", self._flush)
        for widget in (self._view, self._composer):
            widget.layout.close()
            widget.close()
        self.layout.close()
        super().close()

    def _finish(self) -> None:
        """Write down what was said last, and free the pictures; an answer that is being stopped is waited for."""
        if not self._answering.is_asking:
            self._plain.update(self.chat)
            self._thumbnails.close()
            self._composer.drop_all()

    def _close_earlier_runs(self) -> None:
        """Close the panels that earlier runs of the same cell created."""
        cell, running = current_cell_id(), shell()
        run = None if running is None else running.execution_count
        for panel in list(_open_panels):
            if cell is not None and panel._cell == cell and panel._run != run:
                panel.close()
        self._cell, self._run = cell, run
        _open_panels.add(self)

    def _start(self, question: ChatMessage, overrides: dict[str, Any]) -> asyncio.Task[ChatResponse]:
        if self._closed:
            raise SettingsError("The panel is closed: make another one, with chat=panel.chat to go on.")
        failure = self._answering.failure
        task = self._answering.start(question, overrides)
        self._conversation.set_aside(failure)
        return task

    def _act(self, message: dict[str, Any]) -> None:
        """Do what the box asks for."""
        match message:
            case {"do": "send", "text": str(text)}:
                if not text.strip():
                    raise SettingsError("There is no question yet: write one, for the pictures too.")
                question = user_message(text.strip(), self._composer.documents)
                self._answering.check(question)
                self._conversation.forget_removed()
                self._send(question)
                self._composer.take()
            case {"do": "stop"}:
                self.stop()
            case {"do": "model", "name": str(name)}:
                self.chat.llm = self._models.get(name)
            case {"do": "recall", "back": int(back), "view": view}:
                prompts = self._conversation.prompts
                back = max(0, min(back, len(prompts)))
                text = prompts[-back] if back else ""
                self._composer.send({"recall": text, "back": back, "view": view})
        self._changed()

    def _send(self, question: ChatMessage) -> None:
        task = self._start(question, {})
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # the panel shows it

    def _changed(self) -> None:
        """Draw now, or in a moment where it was drawn a moment ago."""
        if self._closed:
            return
        pause = 1 / UPDATES_A_SECOND
        if self.chat.answering is not None:
            pause = max(pause, 4 * self._drawing)  # a long answer takes long to draw: the kernel has more to do
        due = self._drawn_at + pause - time.monotonic()
        if due <= 0:
            self._draw()
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no loop, and so no later
            self._draw()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(due, self._draw)

    def _ended(self) -> None:
        """A question has ended, well or not."""
        if self._closed:
            self._finish()
        else:
            self._changed()

    def _flush(self, *_: Any) -> None:
        """Draw what waits, as a cell has ended and the notebook may be saved."""
        if self._timer is not None:
            self._draw()

    def _draw(self) -> None:
        """Bring page and plain transcript up to the conversation; only what changed travels."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed:
            return
        began = time.monotonic()
        self._conversation.draw()
        self._composer.model = self._models.add(self.chat.llm)
        self._composer.models = self._models.names
        self._composer.state = "ready" if self.chat.answering is None else "answering"
        self._composer.note = self._note()
        self._composer.show_attachments()
        self._plain.update(self.chat)
        self._drawn_at = time.monotonic()
        self._drawing = self._drawn_at - began

    def _note(self) -> str:
        """What to know before sending: which pictures the model will see."""
        llm, question = self.chat.llm, ChatMessage("user", ["", *self._composer.documents])
        attached, left_out = len(question.image_documents), len(self.chat.dropped_images(question))
        if llm.image_limit is not None and attached > llm.image_limit:
            return f"{llm} takes {pictures(llm.image_limit)} a question: remove {attached - llm.image_limit}."
        if left_out:
            sent = sum(len(message.image_documents) for message in self.chat.messages_with(question))
            return f"Of {pictures(sent + left_out)} in this conversation, {llm} will see the newest {sent}."
        return _DEMO_NOTE if self._models.is_demo_for_want_of_a_key and str(llm) == DEMO else ""

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if not in_notebook():
            print(repr(self))  # noqa: T201 - a terminal has no widgets
            return
        display(self._repr_mimebundle_(), raw=True)
        self._plain.display(self.chat)

    def __repr__(self) -> str:
        turns = "1 turn" if len(self.chat) == 1 else f"{len(self.chat)} turns"
        return f"ChatPanel({self.chat.llm}, {turns})"


def _length(height: object) -> str:
    """A length of CSS, where a number is one in pixels."""
    if isinstance(height, (int, float)) and not isinstance(height, bool) and 0 < height < math.inf:
        return f"{height}px"
    if isinstance(height, str) and re.fullmatch(r"[\w.,%()+*/ -]+", height):
        return height
    raise SettingsError(f"height={height!r} is no length: use pixels, as in 480, or a length of CSS, as in '30em'.")


def _documents(images: ImageSource | Iterable[ImageSource]) -> list[ImageDocument]:
    """Documents of sources; what is wrong with one of this machine is said at once."""
    documents = [ImageDocument.of(image) for image in as_images(images)]
    for document in documents:
        if not document.is_remote:
            _ = document.size
    return documents
