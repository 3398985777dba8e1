"""``%vision fix``: lets a model explain the last error, after asking what may be sent."""

from __future__ import annotations

import os
import re
import traceback
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from vision_nb.magics.usage_errors import UsageError, unknown
from vision_nb.providers.catalog import DEMO

if TYPE_CHECKING:
    from vision_nb.magics.magic import VisionMagics

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
_NO_OPTIONS: dict[str, Any] = {
    "api_base": None,
    "api_key_env": None,
    "detail": None,
    "temperature": None,
    "max_tokens": None,
    "param": {},
    "dry_run": False,
}
_LONGEST = 4_000  # characters of the cell, and of its traceback
_ASKED = (
    "A cell of a Jupyter notebook failed. Explain the error in two or three sentences, then show the corrected cell."
)


def fix(magics: VisionMagics, words: tuple[str, ...]) -> Any:
    """Show what would be sent, ask whether to send it, and show the answer.

    Raises:
        UsageError: No cell has failed, or nobody can be asked and ``--yes`` is not given.
    """
    names = [word for word in words if not word.startswith("-")]
    for word in words:
        if word.startswith("-") and word != "--yes":
            raise unknown("option", word, ["--yes"])
    if len(names) > 1:
        raise UsageError("Write %vision fix [MODEL] [--yes].")
    if magics.failure is None:
        raise UsageError("No cell has failed since the extension was loaded: there is nothing to explain.")
    name = names[0] if names else magics.model or DEMO
    llm = magics.models.get(name, Namespace(**_NO_OPTIONS))
    prompt = llm.redacted(_without_secrets(_prompt(*magics.failure)))
    if name == DEMO:
        print("The demo measures pictures and explains no error: name a model, as in %vision fix openai:gpt-4o.\n")  # noqa: T201
    print(f"This would be sent to {llm}:\n\n{prompt}\n")  # noqa: T201 - the user is to read it before it goes
    if "--yes" not in words and not _may_send(magics.shell):
        print("Nothing was sent.")  # noqa: T201
        return None
    from vision_nb.magics.output import OUTPUT_FORMATS, AnswerView
    from vision_nb.notebook.display import display_stream

    view = AnswerView(OUTPUT_FORMATS["markdown"])
    response = display_stream(llm.stream_complete(prompt), live=view)
    magics.variables["_vision"] = response
    return response


def _may_send(shell: Any) -> bool:
    kernel = getattr(shell, "kernel", None)
    if kernel is not None and not getattr(kernel, "_allow_stdin", False):
        raise UsageError("Nobody can be asked here: %vision fix --yes sends what is shown above.")
    return input("Send it? [y/N] ").strip().lower() in ("y", "yes")


def _prompt(cell: str, error: BaseException) -> str:
    where = "".join(traceback.format_exception_only(error))
    lines = [
        f"line {frame.lineno}: {frame.line or ''}".rstrip(": ")
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.name == "<module>"  # what the cell did; the libraries below it say little
    ]
    trace = "\n".join([*lines, where])[-_LONGEST:]
    return f"{_ASKED}\n\nThe cell:\n```python\n{cell.strip()[:_LONGEST]}\n```\n\nThe error:\n```\n{trace.strip()}\n```"


def _without_secrets(text: str) -> str:
    """A text without the values of environment variables that are named like secrets."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= 8:
            text = text.replace(value, "***")
    return text
