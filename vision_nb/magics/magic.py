"""`VisionMagics`: the two magics, and what they remember between cells."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, needs_local_scope, no_var_expand

from vision_nb.errors import VisionError
from vision_nb.magics.options import parse, with_options
from vision_nb.magics.settings import VisionSettings, apply_project
from vision_nb.magics.usage_errors import UsageError, short_traceback

if TYPE_CHECKING:
    from IPython.core.magic_arguments import MagicArgumentParser

    from vision_nb.magics.conversations import Conversation, Conversations
    from vision_nb.magics.models import Models
    from vision_nb.magics.question import Question
    from vision_nb.responses import Response
    from vision_nb.store import Store

_DEMO_NOTE = (
    "No model was named, so the demo answered, which is no language model. "
    "To ask a real one, begin the cell with %%vision openai:gpt-4o."
)


@magics_class
class VisionMagics(VisionSettings, Magics):
    """The magics of vision_nb, and their defaults.

    Attributes:
        failure: The cell that failed last, and its error.
    """

    shell: Any

    def __init__(self, shell: Any) -> None:
        super().__init__(shell=shell)
        self.failure: tuple[str, BaseException] | None = None
        self._stores: dict[str, Store] = {}
        self._models: Models | None = None
        self._conversations: Conversations | None = None
        apply_project(self, Path.cwd())

    @no_var_expand
    @needs_local_scope
    @with_options
    @line_cell_magic
    def vision(self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None) -> Any:
        r"""Ask a model about pictures: the body of a ``%%vision`` cell is the question.

        ``%%vision [MODEL] [NAME <<] [options]``; ``%vision help`` shows examples, and ``%vision SUBCOMMAND`` does
        the rest. The body is sent as it is typed; ``{{expression}}`` inserts a value, and ``\{{`` sends braces.
        """
        variables = {**self.variables, **(local_ns or {})}
        with short_traceback(self.shell):
            if cell is None:
                from vision_nb.magics.subcommands import run

                return run(self, line)
            options = parse(self.parser, line)
            try:
                value = self._ask(options, cell, variables)
            except (VisionError, UsageError) as error:
                if options.raises:
                    raise
                return _show_error(error)
            # IPython's own output_can_be_silenced reads the body as Python, and fails on much that is prose.
            return None if _is_silenced(cell) else self._out(value)

    def _ask(self, options: Namespace, cell: str, variables: Mapping[str, Any]) -> Any:
        from vision_nb.magics.preview import preview, refuse_many
        from vision_nb.magics.question import stored

        if not cell.strip():
            raise UsageError("The cell has no question: write it below the first line.")
        questions, conversation, notes = self._questions(options, cell, variables)
        store = self.open_store()
        cache = self.cache if options.cache is None else options.cache
        if options.dry_run:
            previews = [
                preview(question, is_stored=cache and stored(question, store) is not None, notes=tuple(notes))
                for question in questions
            ]
            return _show_all(previews)
        if not options.yes:
            refuse_many(questions[0], self.many_images)
        if options.compare:
            return self._compare(questions, options, store, cache, silent=_is_silenced(cell))
        return self._answer(questions[0], conversation, options, notes, store, cache, silent=_is_silenced(cell))

    def _questions(
        self, options: Namespace, cell: str, variables: Mapping[str, Any]
    ) -> tuple[list[Question], Conversation, list[str]]:
        """What is asked, of each model; the conversation that it goes on with; and what to say of it."""
        from vision_nb.magics.conversations import begun
        from vision_nb.magics.image_args import images_named
        from vision_nb.magics.question import Question
        from vision_nb.magics.template import insert
        from vision_nb.notebook.ipython import current_cell_id
        from vision_nb.providers.catalog import DEMO

        if options.compare and (options.continue_ or options.chat):
            raise UsageError("-m asks several models, and a conversation has one: leave out -c and --chat, or -m.")
        prompt = insert(cell.removesuffix("\n"), variables)
        images = images_named(options.image, variables)
        opened = self.conversations.opened(options, current_cell_id())
        named = options.model or (opened.model if opened else None) or self.model or None
        names = [*([named] if options.model or not options.compare else []), *options.compare]
        llms = [self.models.get(name or DEMO, options) for name in names]
        conversation = opened or begun(llms[0], named, "")
        conversation.model, conversation.chat.llm = named, llms[0]
        conversation.chat.system = options.system or conversation.chat.system or self.system
        notes = [] if names[0] else [_DEMO_NOTE]
        notes += [f"skipped {path.name}: {reason}." for path, reason in images.skipped[:3]]
        notes += [f"{len(images.skipped) - 3} more files were skipped."] if len(images.skipped) > 3 else []
        return [Question(llm, conversation.chat, prompt, images) for llm in llms], conversation, notes

    def _answer(
        self,
        question: Question,
        conversation: Conversation,
        options: Namespace,
        notes: list[str],
        store: Store,
        cache: bool,
        *,
        silent: bool,
    ) -> Any:
        from vision_nb.magics.execute import answer
        from vision_nb.magics.output import OUTPUT_FORMATS, AnswerView
        from vision_nb.magics.parsers import code_of
        from vision_nb.magics.question import completion
        from vision_nb.notebook.ipython import current_cell_id, mark_displayed

        form = options.format or self.format

        def keep(response: Response) -> None:
            self.variables["_vision"] = completion(response)

        def view(from_store: bool) -> AnswerView:
            return AnswerView(OUTPUT_FORMATS[form], notes, from_store=from_store, with_cost=options.cost, silent=silent)

        stream = self.stream if options.stream is None else options.stream
        turns = len(question.chat)
        try:
            shown = answer(question, store, view, cache=cache, stream=stream, keep=keep)
        finally:
            if len(question.chat) > turns:
                conversation.cells.append(current_cell_id())
                self.conversations[self.conversations.name_of(options)] = conversation
        value = self.variables["_vision"]
        mark_displayed(value)
        if shown.problem is not None:
            raise shown.problem
        if form == "code" and not shown.from_store:  # an answer seen before has its cell already
            self.shell.set_next_input(code_of(value.text))
        if shown.form.read is not None:
            value = shown.value
        if options.name:
            self.variables[options.name] = value
        return value

    def _compare(
        self, questions: list[Question], options: Namespace, store: Store, cache: bool, *, silent: bool
    ) -> Any:
        from IPython.display import display

        from vision_nb.magics.compare import ask_all
        from vision_nb.notebook.ipython import in_notebook, mark_displayed

        answers = ask_all(questions, store, cache=cache)
        self.variables["_vision"] = answers
        if options.name:
            self.variables[options.name] = answers
        if in_notebook() and not silent:
            bundle = {"text/html": answers._repr_html_(), "text/plain": repr(answers)}
            display(bundle, raw=True, metadata=answers.metadata())
            mark_displayed(answers)
        return answers

    def _out(self, value: Any) -> Any:
        """The cell's value; a terminal would print an empty Out for one that it has shown already."""
        from vision_nb.notebook.ipython import DisplayOnce, in_notebook

        if in_notebook() or not isinstance(value, DisplayOnce) or not value.is_displayed:
            return value
        self.shell.displayhook.update_user_ns(value)
        return None

    def remember_failure(self, result: Any) -> None:
        """Note a cell that failed, for ``%vision fix``; IPython calls it after each cell."""
        error = result.error_before_exec or result.error_in_exec
        cell = getattr(result.info, "raw_cell", None)
        if error is not None and isinstance(cell, str) and not cell.lstrip().startswith("%vision fix"):
            self.failure = (cell, error)

    @property
    def parser(self) -> MagicArgumentParser:
        """The parser of a cell's first line."""
        parser: MagicArgumentParser = type(self).vision.parser  # type: ignore[union-attr]  # with_options puts it there
        return parser

    @property
    def variables(self) -> dict[str, Any]:
        """The notebook's variables."""
        variables: dict[str, Any] = self.shell.user_ns
        return variables

    @property
    def models(self) -> Models:
        """The models that were asked."""
        from vision_nb.magics.models import Models

        self._models = self._models or Models(self)
        return self._models

    @property
    def conversations(self) -> Conversations:
        """The notebook's conversations."""
        from vision_nb.magics.conversations import Conversations

        if self._conversations is None:
            self._conversations = Conversations()
        return self._conversations

    def open_store(self) -> Store:
        """The store of finished answers."""
        from vision_nb.store import Store, default_path

        path = self.store or str(default_path())
        if path not in self._stores or not Path(path).expanduser().exists():
            self._stores[path] = Store(path)
        return self._stores[path]

    def close(self) -> None:
        """Close the stores."""
        for store in self._stores.values():
            store.close()


def _is_silenced(cell: str) -> bool:
    return cell.rstrip().endswith(";")


def _show_all(values: list[Any]) -> Any:
    from IPython.display import display

    for value in values[:-1]:
        display(value)
    return values[-1]


def _show_error(error: Exception) -> None:
    from IPython.display import display

    from vision_nb.rendering.html import error_box

    text = f"{type(error).__name__}: {error}"
    display({"text/html": error_box(text), "text/plain": text}, raw=True)
