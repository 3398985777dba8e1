"""Tab completion on the lines of ``%%vision`` and ``%vision``."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

from vision_nb.cost.small_models import SMALL_MODELS
from vision_nb.images.detail import DETAILS
from vision_nb.magics.image_args import IMAGE_SUFFIXES, image_variables
from vision_nb.magics.options import OPTION_NAMES
from vision_nb.magics.schema_arg import schema_variables
from vision_nb.magics.session import Session
from vision_nb.magics.settings import FORMATS
from vision_nb.magics.subcommands import SUBCOMMANDS
from vision_nb.providers.catalog import known_models

_MODEL_OPTIONS = ("-m", "--compare")
_FREE_VALUES = (
    "-s", "--system", "-t", "--temperature", "--max-tokens", "-p", "--param", "--api-base", "--api-key-env",
)  # fmt: skip


def complete(session: Session, event: Any) -> list[str]:
    """Return the words that are valid at the cursor.

    IPython keeps those that begin with the typed prefix.

    Args:
        session: The session.
        event: IPython's completion event.
    """
    before = event.text_until_cursor[: len(event.text_until_cursor) - len(event.symbol)]
    words = before.split()
    if event.command == "%vision":
        return _subcommand_words(session, words[1:])
    previous = words[-1] if len(words) > 1 and before[-1:].isspace() else ""
    if previous in ("-i", "--image"):
        return [*image_variables(session.variables), *_files(event.symbol)]
    if previous in ("-d", "--detail"):
        return list(DETAILS)
    if previous in ("-f", "--format"):
        return list(FORMATS)
    if previous == "--schema":
        return schema_variables(session.variables)
    if previous == "--chat":
        return list(session.conversations)
    if previous in _FREE_VALUES:
        return []
    if event.symbol.startswith("-"):
        return [name for name in OPTION_NAMES if name.startswith("--") or event.symbol == "-"]
    if previous in _MODEL_OPTIONS or len(words) == 1 or not before[-1:].isspace():
        return _models(session, before)
    return []


def _subcommand_words(session: Session, words: list[str]) -> list[str]:
    if not words:
        return list(SUBCOMMANDS)
    if words[0] in ("use", "alias", "fix"):
        return _models(session, " ".join(["", *words]))
    if words == ["dealias"]:
        return list(session.settings.aliases)
    if words[0] == "chat":
        return ["show", "reset", "export"] if len(words) == 1 else list(session.conversations)
    return {"batch": ["list"], "cache": ["clear", "path"], "cost": ["reset"], "download": list(SMALL_MODELS)}.get(
        words[0], []
    )


def _models(session: Session, before: str) -> list[str]:
    """Return aliases and models; after "openai:", only what follows the colon."""
    names = [*session.settings.aliases, *SMALL_MODELS, *known_models()]
    typed = before.split()[-1] if before and not before[-1].isspace() else ""
    if typed.endswith(":"):
        return [name.removeprefix(typed) for name in names if name.startswith(typed)]
    return names


def _files(symbol: str) -> list[str]:
    """Return the folders and image files whose path starts with the typed text."""
    found = []
    for name in sorted(glob.glob(f"{glob.escape(symbol)}*")):  # noqa: PTH207 - keeps "./" and "~" as typed
        if name.lower().endswith(IMAGE_SUFFIXES):
            found.append(name)
        elif Path(name).is_dir():
            found.append(f"{name}/")
    return found
