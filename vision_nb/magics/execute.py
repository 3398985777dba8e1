"""Run a ``%%vision`` cell: get the answer from a model or the store, and show it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from IPython.display import display

from vision_nb.conversation.chat import Chat
from vision_nb.magics.answer_parsers import extract_code
from vision_nb.magics.compare import ask_all
from vision_nb.magics.conversations import DEFAULT_NAME, Conversation
from vision_nb.magics.image_args import load_image_args
from vision_nb.magics.models import request_settings
from vision_nb.magics.output import OUTPUT_FORMATS, AnswerView, waiting_line
from vision_nb.magics.preview import check_image_count, preview
from vision_nb.magics.question import Question, as_completion
from vision_nb.magics.schema_arg import load_schema_arg
from vision_nb.magics.session import LAST_ANSWER, Session
from vision_nb.magics.template import insert_values
from vision_nb.magics.usage_errors import UsageError
from vision_nb.notebook.display import display_stream
from vision_nb.notebook.ipython import current_cell_id, in_notebook, mark_displayed
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.default_model import announce
from vision_nb.rendering.format import as_sentence
from vision_nb.rendering.html import error_box
from vision_nb.storage.claims import claimed

_JSON_ONLY = "\n\nAnswer with JSON only."
_MAX_SKIPPED = 3  # skipped files that are named


def run_cell(session: Session, options: Namespace, cell: str, variables: Mapping[str, Any]) -> Any:
    """Ask the question of a cell and display the answer.

    Args:
        session: The session.
        options: The options on the cell's first line.
        cell: The body of the cell.
        variables: The variables that the cell can use.

    Returns:
        The cell's value: the response, the parsed answer, the answers of several models, or a preview; None if the
        body ends in a semicolon.

    Raises:
        UsageError: The cell is incomplete, or its options contradict each other.
        VisionError: An image cannot be used, or the model did not answer.
    """
    if not cell.strip():
        raise UsageError("The cell has no question: write it on the lines below %%vision.")
    # IPython's own test for a semicolon parses the body as Python, which fails for most prose.
    silent = cell.rstrip().endswith(";")
    questions, conversation, notes = _prepare(session, options, cell, variables, silent=silent)
    if options.dry_run:
        value = _preview(session, options, questions, notes)
    else:
        if not options.yes:
            is_stored = partial(_is_stored, session, options)
            check_image_count(questions, session.settings.many_images, is_stored=is_stored)
        if options.compare:
            value = _compare(session, options, questions, silent=silent)
        else:
            value = _answer(session, options, questions[0], conversation, notes, silent=silent)
    if silent:
        return None
    if questions[0].schema and not options.compare and not options.dry_run:
        # The answer is already displayed: do not display its value again below the table.
        session.shell.displayhook.update_user_ns(value)
        return None
    return value


def show_error(error: Exception) -> None:
    """Display an error as output, so that Run All continues (``--no-raise``)."""
    text = f"{type(error).__name__}: {error}"
    display({"text/html": error_box(text), "text/plain": text}, raw=True)


def _prepare(
    session: Session, options: Namespace, cell: str, variables: Mapping[str, Any], *, silent: bool
) -> tuple[list[Question], Conversation, list[str]]:
    """Return the question for each model, its conversation, and notes to display."""
    if options.compare and (options.continue_ or options.chat):
        raise UsageError("A conversation has only one model: omit -m, or omit -c and --chat.")
    settings = session.settings
    if options.schema and options.format:
        raise UsageError("--schema returns an object, which is shown as a table: omit -f or --schema.")
    schema = load_schema_arg(options.schema, variables)
    prompt = insert_values(cell.removesuffix("\n"), variables)
    if (options.format or settings.format) == "json" and schema is None and "json" not in prompt.lower():
        prompt += _JSON_ONLY
    images = load_image_args(options.image, variables)
    earlier = session.conversations.get(options.chat or DEFAULT_NAME) if options.continue_ or options.chat else None
    name = options.model or (earlier.model if earlier else "")
    llms = _models(session, options, name, silent=silent)
    conversation = earlier.before(current_cell_id()) if earlier else Conversation(Chat(llms[0]))
    conversation.model, conversation.chat.llm = name, llms[0]
    conversation.chat.system = options.system or conversation.chat.system or settings.system
    call_settings = request_settings(
        settings,
        detail=options.detail,
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        parameters=options.param,
    )
    questions = [Question(llm, conversation.chat, prompt, images, call_settings, schema) for llm in llms]
    return questions, conversation, _skipped_notes(images.skipped)


def _models(session: Session, options: Namespace, name: str, *, silent: bool) -> list[MultiModalLLM]:
    """Return the model with a name and those of ``-m``; the default model if there are none."""
    named: list[tuple[str, Mapping[str, Any]]] = [(one, {}) for one in ([name] if name else []) + options.compare]
    if not named:
        default = session.default_model(options.api_base)
        named.append((default.name, default.options))
        if not silent:
            announce(default)
    server = {"api_base": options.api_base, "api_key_env": options.api_key_env, "dry_run": options.dry_run}
    return [session.models.get(one, options=arguments, **server) for one, arguments in named]


def _skipped_notes(skipped: list[tuple[Path, str]]) -> list[str]:
    notes = [f"Skipped {path.name}: {as_sentence(reason)}" for path, reason in skipped[:_MAX_SKIPPED]]
    more = len(skipped) - _MAX_SKIPPED
    return [*notes, f"Skipped {more} more files."] if more > 0 else notes


def _uses_cache(session: Session, options: Namespace) -> bool:
    return bool(session.settings.cache if options.cache is None else options.cache)


def _is_stored(session: Session, options: Namespace, question: Question) -> bool:
    """Return whether the store has the answer to a question, and may be used."""
    return _uses_cache(session, options) and session.store.get(question.key(session.store)) is not None


def _shows_thumbnails(session: Session, options: Namespace) -> bool:
    return bool(session.settings.thumbnails if options.thumbnails is None else options.thumbnails)


def _preview(session: Session, options: Namespace, questions: list[Question], notes: list[str]) -> Any:
    """Display the previews of all questions but the last, which is the cell's value."""
    previews = [
        preview(question, is_stored=_is_stored(session, options, question), notes=tuple(notes))
        for question in questions
    ]
    for one in previews[:-1]:
        display(one)
    return previews[-1]


def _answer(
    session: Session,
    options: Namespace,
    question: Question,
    conversation: Conversation,
    notes: list[str],
    *,
    silent: bool,
) -> Any:
    """Ask one model, or take the answer from the store, and display the answer."""
    chat, store = question.chat, session.store
    key, turns = question.key(store), len(chat)  # before the answer becomes part of the conversation
    format_name = "markdown" if question.schema else options.format or session.settings.format
    waiting = waiting_line(str(question.llm), silent=silent)
    with claimed(store.claim(key, reuse=_uses_cache(session, options)), waiting=waiting) as found:
        stored = None if found is None else question.as_answer(found)
        view = AnswerView(
            OUTPUT_FORMATS[format_name],
            notes,
            from_store=stored is not None,
            with_cost=options.cost,
            silent=silent,
            thumbnails=_shows_thumbnails(session, options),
        )
        try:
            if stored is not None:
                view.finish(chat.add(question.message, stored))
            else:
                _ask(session, options, question, view)
                store.put(key, str(question.llm), chat.responses[-1])
                store.checkpoint()
        finally:  # an interrupt leaves the part of the answer that had arrived
            if view.response is not None:
                session.variables[LAST_ANSWER] = as_completion(view.response)
            if len(chat) > turns:
                conversation.cells.append((chat.turns[-1], current_cell_id()))
                session.conversations[options.chat or DEFAULT_NAME] = conversation
    if format_name == "code" and stored is None:  # a cached answer already has its cell
        session.shell.set_next_input(extract_code(chat.responses[-1].text))
    return _value(session, options, question, view)


def _value(session: Session, options: Namespace, question: Question, view: AnswerView) -> Any:
    """Return the value of a cell whose answer is displayed, and assign it to the cell's variable."""
    response = session.variables[LAST_ANSWER]
    mark_displayed(response)
    if view.problem is not None:
        raise view.problem
    value = response if view.output_format.parse is None else view.value
    if question.schema is not None:
        value = response.parsed
    if options.name:
        session.variables[options.name] = value
    return value


def _ask(session: Session, options: Namespace, question: Question, view: AnswerView) -> None:
    """Ask the model, and display the answer, while it arrives if answers are streamed."""
    chat = question.chat
    if session.settings.stream if options.stream is None else options.stream:
        display_stream(chat.stream(question.prompt, question.images, **question.call_options), live=view)
    else:
        view.finish(chat.ask(question.prompt, question.images, **question.call_options))


def _compare(session: Session, options: Namespace, questions: list[Question], *, silent: bool) -> Any:
    """Ask several models, and display their answers side by side."""
    answers = ask_all(
        questions,
        session.store,
        cache=_uses_cache(session, options),
        silent=silent,
        thumbnails=_shows_thumbnails(session, options),
    )
    session.variables[LAST_ANSWER] = answers
    if options.name:
        session.variables[options.name] = answers
    if in_notebook() and not silent:
        bundle = {"text/html": answers._repr_html_(), "text/plain": repr(answers)}
        display(bundle, raw=True, metadata=answers.metadata())
        mark_displayed(answers)
    return answers
