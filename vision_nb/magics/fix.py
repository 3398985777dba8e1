"""``%vision fix``: ask a model to explain the last error."""

from __future__ import annotations

import os
import re
import traceback
from typing import Any

from vision_nb.errors import MissingKeyError, ProviderError, SettingsError
from vision_nb.magics.configured import configured_model
from vision_nb.magics.models import request_settings
from vision_nb.magics.output import OUTPUT_FORMATS, AnswerView
from vision_nb.magics.session import LAST_ANSWER, Session
from vision_nb.magics.usage_errors import UsageError, unknown
from vision_nb.notebook.display import display_stream
from vision_nb.providers.catalog import DEMO, has_key
from vision_nb.providers.default_model import announce, found_model

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
_MAX_LENGTH = 4_000  # characters of the cell, and of its traceback
_PROMPT = (
    "A cell of a Jupyter notebook failed. Explain the error in two or three sentences, then show the corrected cell."
)


def can_explain(session: Session, error: BaseException) -> bool:
    """Return whether the default model can explain an error; no server is asked to find out."""
    if isinstance(error, (ProviderError, MissingKeyError)):
        return False  # it is likely to be the default model that does not answer
    try:
        configured = configured_model(session.settings)
    except SettingsError:
        return False
    if configured is None:
        return found_model() not in (None, DEMO)
    provider = configured.name.partition(":")[0]
    return provider != DEMO and (
        bool({"api_key", "api_token"} & configured.options.keys()) or has_key(provider) is not False
    )


def fix(session: Session, *words: str) -> Any:
    """Ask a model to explain the last error, after showing what would be sent.

    Args:
        session: The session.
        *words: The words after ``%vision fix``: a model, and ``--yes`` to send without confirmation.

    Returns:
        The response, or None if nothing was sent.

    Raises:
        UsageError: No cell has failed, the model is the demo, or the front end cannot ask for confirmation and
            ``--yes`` is missing.
    """
    names = [word for word in words if not word.startswith("-")]
    for word in words:
        if word.startswith("-") and word != "--yes":
            raise unknown("option", word, ["--yes"])
    if len(names) > 1:
        raise UsageError("Usage: %vision fix [MODEL] [--yes].")
    if session.failure is None:
        raise UsageError("No cell has failed since the extension was loaded.")
    if names:
        llm = session.models.get(names[0])
    else:
        default = session.default_model()
        announce(default)
        llm = session.models.get(default.name, options=default.options)
    if str(llm) == DEMO:
        raise UsageError("The demo model cannot explain errors: name a model, as in %vision fix openai:gpt-4o.")
    prompt = llm.redacted(_without_secrets(_prompt(*session.failure)))
    print(f"This would be sent to {llm}:\n\n{prompt}\n")  # noqa: T201 - to be read before it is sent
    if "--yes" not in words and not _is_confirmed(session.shell):
        print("Nothing was sent.")  # noqa: T201
        return None
    view = AnswerView(OUTPUT_FORMATS["markdown"])
    try:
        return display_stream(llm.stream_complete(prompt, **request_settings(session.settings)), live=view)
    finally:
        if view.response is not None:
            session.variables[LAST_ANSWER] = view.response


def _is_confirmed(shell: Any) -> bool:
    kernel = getattr(shell, "kernel", None)
    if kernel is not None and not getattr(kernel, "_allow_stdin", False):
        raise UsageError("This front end cannot ask for confirmation: use %vision fix --yes to send the text above.")
    try:
        return input("Send it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # nobody can answer
        return False


def _prompt(cell: str, error: BaseException) -> str:
    message = "".join(traceback.format_exception_only(error))
    lines = [
        f"line {frame.lineno}: {frame.line or ''}".rstrip(": ")
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.name == "<module>"  # the cell's own lines; those of libraries rarely help
    ]
    trace = "\n".join([*lines, message])[-_MAX_LENGTH:].strip()
    source = cell.strip()[:_MAX_LENGTH]
    return f"{_PROMPT}\n\nThe cell:\n```python\n{source}\n```\n\nThe error:\n```\n{trace}\n```"


def _without_secrets(text: str) -> str:
    """Replace the values of environment variables whose names suggest a secret."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= 8:
            text = text.replace(value, "***")
    return text
