"""`ChatPanel`: a conversation about images, as a widget in a notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Literal
from weakref import WeakSet

import ipywidgets

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.public_object import PublicWidget
from vision_nb.conversation import hooks
from vision_nb.conversation.chat import Chat
from vision_nb.conversation.places import place_of_cell, place_of_name
from vision_nb.conversation.record import begin_record, find_record
from vision_nb.errors import SettingsError
from vision_nb.images.document import ImageSource
from vision_nb.messages import ChatMessage, user_message
from vision_nb.notebook.ipython import current_cell_id, in_notebook, in_voila, shell
from vision_nb.providers.base import MultiModalLLM
from vision_nb.rendering.format import pluralize
from vision_nb.responses import ChatResponse
from vision_nb.store import Store
from vision_nb.widgets.composer import Composer
from vision_nb.widgets.controller import PanelController, image_limit_error
from vision_nb.widgets.marimo_output import marimo_output
from vision_nb.widgets.model_picker import ModelPicker
from vision_nb.widgets.panel_arguments import check_types, checked_documents, configured_chat, css_length
from vision_nb.widgets.redraw_timer import RedrawTimer
from vision_nb.widgets.static_transcript import StaticTranscript
from vision_nb.widgets.thumbnails import ThumbnailCache

_open_panels: WeakSet[ChatPanel] = WeakSet()


@checks_arguments
class ChatPanel(PublicWidget, ipywidgets.VBox):  # type: ignore[misc] # ipywidgets has no type annotations
    """A conversation about images, with an input box.

    The box takes text and images: type, paste an image, drop or pick files, or call `add` with an image from code.
    Enter sends, Shift+Enter starts a new line, Up recalls an earlier question, and Esc stops the answer. While
    another cell runs, the kernel is busy, and the panel shows that it is waiting.

    Each turn is written to the store as it ends, and an answer about once a second while it arrives. When the same
    cell of the same notebook creates the panel again, also after a restart of the kernel or after the notebook was
    renamed or moved, the panel continues its conversation; so does a panel with the same ``name``. A button starts a
    new conversation. So does code that asks the same first question again with `ask`, as when all cells are run again.
    The last five conversations are kept, 500 MB for all panels together, and can be chosen below the turns.

    Where the conversation is kept:

    - Jupyter and VS Code tell the kernel which notebook and cell create the panel. Other front ends do not, so there,
      a conversation is stored only if the panel has a ``name``.
    - The notebook's file: in Jupyter, the panel's cell keeps a static transcript for readers on GitHub, of an exported
      page, and after a restart of the kernel. A page that was reloaded cannot add to it: the panel says so, and
      running the cell again adds what is missing. VS Code should keep it too; there, this is not tested.
    - marimo: with a ``name``, the conversation is stored while you edit the notebook. Its file has no outputs.
    - Nothing is stored for visitors of Voila dashboards and marimo apps, or with ``store=False``. Each visitor has a
      panel of their own, and the conversation ends with the page.

    The panel is tested in JupyterLab 4, Notebook 7, Voila and marimo. It uses only ipywidgets and anywidget, so it
    should also work in VS Code, which asks for permission to download widget support, and in Colab, after ``from
    google.colab import output; output.enable_custom_widget_manager()``. Colab has no cell ids: there, running a cell
    again does not close its earlier panel, so call `close`.

    Args:
        llm: The model, its name such as "openai:gpt-4o", or several to choose from. None asks the default model, as
            `connect` does without a name; a note below the input box says which one this is, and why. Models whose API
            key is set, downloaded small models and the demo model can be chosen too.
        images: Images for the first question, or folders or patterns with images.
        system: The system message; None keeps that of ``chat``.
        height: The maximum height of the transcript: a number of pixels, or a CSS length.
        chat: A conversation to continue, which the panel then shares with your code. None starts a new one.
        keep_images: The maximum number of images to send, the most recent first; None keeps the setting of ``chat``.
        name: A name for the conversation: panels with the same name, in any notebook, continue it.
        store: Where the conversation is kept: a store, the path of its file, None for the file that
            ``VisionMagics.store`` names, by default in the user's cache folder, or False to store nothing. Images are
            stored without metadata, at most 2,048 pixels a side.

    Raises:
        SettingsError: An argument has the wrong type or value.
        ImageError: An image cannot be read.

    >>> panel = vn.ChatPanel("demo")
    >>> panel
    ChatPanel(demo, 0 turns)
    """

    _is_closed = True  # until the end of __init__
    _cell_id: str | None  # the cell that created the panel
    _execution_count: int | None  # the run of that cell

    _advice: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("model", "llm"), 'set panel.chat.llm, as in panel.chat.llm = "openai:gpt-4o"'),
        **dict.fromkeys(("system", "keep_images"), "set it on panel.chat"),
        **dict.fromkeys(("image", "images"), "call panel.add(images)"),
    }

    def __init__(
        self,
        llm: MultiModalLLM | str | Sequence[MultiModalLLM | str] | None = None,
        images: ImageSource | Iterable[ImageSource] = (),
        system: str | None = None,
        height: str | float = "480px",
        chat: Chat | None = None,
        *,
        keep_images: int | None = None,
        name: str | None = None,
        store: Store | str | Path | Literal[False] | None = None,
    ) -> None:
        check_types(name, chat)
        documents, height = checked_documents(images), css_length(height)
        self._cell_id, self._execution_count = current_cell_id(), getattr(shell(), "execution_count", None)
        place = None
        if store is not False:
            place = place_of_cell(len(self._panels_of_cell(this_run=True))) if name is None else place_of_name(name)
            store = hooks.configured_store() if store is None and place is not None else store
        earlier = find_record(place, store or None) if chat is None else None
        continued = chat if earlier is None else earlier.chat
        self._models = ModelPicker(continued.llm if continued is not None and llm is None else llm)
        self._chat = configured_chat(continued, self._models, llm, system, keep_images)
        self._record = earlier or begin_record(self._chat, place, store or None)
        self._first_images = documents
        self._redraw_timer = RedrawTimer(self._draw)
        self._thumbnails = ThumbnailCache(self._redraw_soon)
        self._static_transcript = StaticTranscript(self._thumbnails)
        self._composer = Composer(self._chat, self._thumbnails, self._handle)
        self._controller = PanelController(
            self._chat,
            self._thumbnails,
            self._question_ended,
            self.start_new_conversation,
            self._open_conversation,
            height=height,
            static_class=self._static_transcript.css_class,
        )
        self._controller.continued_from = self._record.time if self._chat.turns and chat is None else None
        self._composer.documents = [] if self._controller.continued_from is not None else list(documents)
        self._view = self._controller.view
        super().__init__([self._view, self._composer])
        self._is_closed = False
        self._unwatch = self._chat.watch(self._chat_changed)
        self._unwatch_record = self._record.watch(lambda: self._view.call_soon(self._redraw_soon))
        if (ipython := shell()) is not None:
            ipython.events.register("post_run_cell", self._redraw_pending)
        for panel in self._panels_of_cell(this_run=False):
            panel.close()
        _open_panels.add(self)
        self._redraw_timer.now()

    @property
    def chat(self) -> Chat:
        """The conversation. The panel displays every change; to display another conversation, create another panel."""
        return self._chat

    def add(self, *images: ImageSource | Iterable[ImageSource]) -> None:
        """Attach images to the next question.

        Args:
            *images: Anything that `load_images` accepts, folders and patterns included.

        Raises:
            ImageError: An image cannot be read.
        """
        for document in [document for image in images for document in checked_documents(image)]:
            self._composer.attach(document)
        self._redraw_soon()

    async def ask(
        self, prompt: str, images: ImageSource | Iterable[ImageSource] = (), **overrides: Any
    ) -> ChatResponse:
        """Ask a question as if it had been typed, and return the complete answer: ``await panel.ask("What is this?")``.

        Await it in a cell; without ``await``, nothing is asked.

        Args:
            prompt: The question.
            images: Images for this question, in addition to the attached ones.
            **overrides: Request parameters for this call only.

        Raises:
            SettingsError: An argument is invalid, or the previous question is still being answered.
            ImageError: An image cannot be read.
            ProviderError: The request failed; the panel displays the error too.
        """
        self._start_anew_if_repeated(prompt)
        if not (isinstance(images, (list, tuple)) and not images):  # pages of PDF documents and the like take time
            images = (await asyncio.to_thread(user_message, prompt, images)).image_documents
        question = user_message(prompt, [*self._composer.documents, *images])
        self._controller.check(question)
        self._controller.discard_removed()
        task = self._controller.start(question, overrides)
        self._composer.detach_all()
        try:
            answer = await task
            await self._thumbnails.wait()  # so that the saved transcript has them
        finally:
            self._redraw_timer.now()
        return answer

    def stop(self) -> None:
        """Stop the current answer and keep the part that has arrived."""
        self._controller.stop()

    def start_new_conversation(self) -> None:
        """Remove all turns, and attach the images for the first question again.

        A button restores the turns until the next question is asked.

        Raises:
            SettingsError: A question is being answered.
        """
        self._controller.check_idle()
        self._record.start_new()
        self._controller.remove_all()
        self._composer.documents = self._composer.documents or list(self._first_images)
        self._controller.continued_from = None
        self._redraw_soon()

    async def _open_conversation(self, number: int) -> None:
        """Show and continue an earlier conversation; the current one stays in the store."""
        self._controller.check_idle()
        await self._record.open(number, self._controller.check_idle)
        self._controller.show_conversation()
        self._controller.continued_from = self._record.time
        self._redraw_soon()

    def _start_anew_if_repeated(self, prompt: str) -> None:
        """Start a new conversation if code asks the same first question again, as when all cells are run again."""
        if self._controller.continued_from is not None and prompt == self._record.first_code_prompt:
            self.start_new_conversation()
        self._controller.continued_from = None
        self._record.first_code_prompt = self._record.first_code_prompt or prompt

    def export(self, path: str | Path) -> Path:
        """Write the conversation to a file; arguments and errors as `Chat.export`."""
        return self.chat.export(path)

    def close(self) -> None:
        """Stop the answer and free the panel's widgets and images; the static transcript stays in its cell."""
        if self._is_closed:
            return
        self._is_closed = True
        _open_panels.discard(self)
        self._controller.close()
        self._unwatch()
        self._unwatch_record()
        self._free_if_idle()
        self._redraw_timer.cancel()
        if (ipython := shell()) is not None:
            with suppress(ValueError):
                ipython.events.unregister("post_run_cell", self._redraw_pending)
        for widget in (self._view, self._composer):
            widget.layout.close()
            widget.close()
        self.layout.close()
        super().close()

    def _free_if_idle(self) -> None:
        """Update the static transcript and free the images, unless an answer is still being stopped."""
        if not self._controller.is_asking:
            self._static_transcript.update(self.chat)
            self._thumbnails.close()
            self._composer.free()

    def _panels_of_cell(self, *, this_run: bool) -> list[ChatPanel]:
        """Return the open panels that the same cell created, in this run or in earlier ones."""
        if self._cell_id is None:
            return []
        of_cell = [panel for panel in _open_panels if panel._cell_id == self._cell_id]
        return [panel for panel in of_cell if (panel._execution_count == self._execution_count) is this_run]

    def _handle(self, message: dict[str, Any]) -> None:
        """Carry out an action of the input box."""
        match message:
            case {"do": "send", "text": str(text)}:
                if not text.strip():
                    raise SettingsError("Type a question before sending.")
                question = user_message(text.strip(), self._composer.documents)
                self._controller.check(question)
                self._controller.discard_removed()
                self._controller.send(question)
                self._composer.detach_all()
                self._controller.continued_from = None
            case {"do": "stop"}:
                self.stop()
            case {"do": "model", "name": str(name)}:
                self.chat.llm = self._models.get(name)
            case {"do": "enlarge", "id": str(image_id), "view": str(view)} if image_id in self._composer.attached:
                self._controller.enlarge(self._composer.documents, self._composer.attached.index(image_id), view)
            case {"do": "recall", "steps_back": int(steps_back), "view": str(view)}:
                prompts = self._controller.prompts
                steps_back = max(0, min(steps_back, len(prompts)))
                prompt = prompts[-steps_back] if steps_back else ""
                self._composer.send({"recall": prompt, "steps_back": steps_back, "view": view})
        self._redraw_soon()

    def _chat_changed(self) -> None:
        self._record.save()
        self._redraw_soon()

    def _question_ended(self) -> None:
        self._record.save()
        if self._is_closed:
            self._free_if_idle()
        else:
            self._redraw_soon()

    def _redraw_soon(self) -> None:
        if not self._is_closed:
            self._redraw_timer.soon(is_growing=self.chat.answering is not None)

    def _redraw_pending(self, *_: Any) -> None:
        """Redraw at the end of a cell if a redraw is due, because the notebook may be saved next."""
        if self._redraw_timer.is_due:
            self._redraw_timer.now()

    def _draw(self) -> None:
        """Update the page and the static transcript; only changes are sent."""
        if self._is_closed or (self._controller.is_asking and self.chat.answering is None):
            return  # redrawn when a question begins or ends: an answer is done when the next can be asked
        self._controller.earlier = self._record.earlier
        self._composer.state = "ready" if self.chat.answering is None else "answering"  # before the turn that is done
        self._controller.draw()
        self._composer.model = self._models.add(self.chat.llm)
        self._composer.models = self._models.names
        self._composer.note = self._note()
        self._composer.update()
        self._update_static_transcript()

    def _note(self) -> str:
        """Return what the user should know before sending, such as that not all images will be sent."""
        llm, question = self.chat.llm, ChatMessage("user", ["", *self._composer.documents])
        if error := image_limit_error(self.chat, question):
            return error
        if dropped := len(self.chat.dropped_images(question)):
            sent = sum(len(message.image_documents) for message in self.chat.messages_with(question))
            return f"Of the {sent + dropped} images in this conversation, {llm} will get the most recent {sent}."
        if self._record.error:
            return f"This conversation will be lost when the kernel restarts: {self._record.error}"
        if names := self._record.unreadable:
            return f"An image that can no longer be read is not stored with this conversation: {', '.join(names)}."
        default = self._models.default
        return default.note if default is not None and llm is self._models.get(self._models.names[0]) else ""

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if not in_notebook():
            print(f"{self!r}: a notebook shows the panel; here, ask with .ask(...)")  # noqa: T201
            return
        display(self._repr_mimebundle_(), raw=True)
        self._static_transcript.display(self.chat)
        self._update_static_transcript()

    def _display_(self) -> object:
        return marimo_output(self._view, self._composer)

    def _update_static_transcript(self) -> None:
        self._static_transcript.update(self.chat)
        if not in_voila():  # where no notebook is saved
            self._view.static_version = self._static_transcript.version

    def __repr__(self) -> str:
        turns = pluralize(len(self.chat), "turn")
        attached = len(self._composer.documents)
        images = f", {pluralize(attached, 'image')} attached" if attached else ""
        return f"ChatPanel({self.chat.llm}, {turns}{images})"
