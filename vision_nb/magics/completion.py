"""Tab completion on the lines of ``%%vision`` and ``%vision``."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from vision_nb.cost.small_models import SMALL_MODELS
from vision_nb.images.detail import DETAILS
from vision_nb.magics.help import public_names
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


def complete(session: Session, line: str) -> tuple[str, list[str]]:
    """Return the last word of a line, and the words that may stand in its place.

    Args:
        session: The session.
        line: The line of a magic up to the cursor.
    """
    *words, typed = re.split(r"\s+", line)
    offered = _offered(session, words, typed)
    matching = [word for word in offered if word.startswith(typed)]
    return typed, matching or [word for word in offered if word.lower().startswith(typed.lower())]


def _offered(session: Session, words: list[str], typed: str) -> list[str]:
    if words[:1] == ["%vision"]:
        return _subcommand_words(session, words[1:])
    if words[:1] != ["%%vision"]:
        return []
    previous = words[-1]
    if previous in ("-i", "--image"):
        return [*image_variables(session.variables), *_files(typed)]
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
    if typed.startswith("-"):
        return [name for name in OPTION_NAMES if name.startswith("--") or typed == "-"]
    if previous in _MODEL_OPTIONS or len(words) == 1:
        return _models(session)
    return []


def _subcommand_words(session: Session, words: list[str]) -> list[str]:
    if not words:
        return list(SUBCOMMANDS)
    if words[0] in ("use", "alias", "fix"):
        return _models(session)
    if words == ["dealias"]:
        return list(session.settings.aliases)
    if words[0] == "chat":
        return ["show", "reset", "export"] if len(words) == 1 else list(session.conversations)
    if words == ["help"]:
        return [*OPTION_NAMES, *SUBCOMMANDS, *public_names(session.package)]
    return {"batch": ["list"], "cache": ["clear", "path"], "cost": ["reset"], "download": list(SMALL_MODELS)}.get(
        words[0], []
    )


def _models(session: Session) -> list[str]:
    return [*session.settings.aliases, *SMALL_MODELS, *known_models()]


def _files(typed: str) -> list[str]:
    """Return the folders and image files whose path starts with the typed text."""
    found = []
    for name in sorted(glob.glob(f"{glob.escape(typed)}*")):  # noqa: PTH207 - keeps "./" and "~" as typed
        if name.lower().endswith(IMAGE_SUFFIXES):
            found.append(name)
        elif Path(name).is_dir():
            found.append(f"{name}/")
    return found
