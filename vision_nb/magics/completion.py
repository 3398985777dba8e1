"""What Tab offers on the line of ``%%vision`` and ``%vision``."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_nb.images.detail import DETAILS
from vision_nb.magics.image_args import IMAGE_SUFFIXES, image_variables
from vision_nb.magics.settings import FORMATS

if TYPE_CHECKING:
    from vision_nb.magics.magic import VisionMagics

_MODEL_OPTIONS = ("-m", "--compare")
_NOTHING_TO_OFFER = (
    "-s", "--system", "-t", "--temperature", "--max-tokens", "-p", "--param", "--api-base", "--api-key-env",
)  # fmt: skip


def complete(magics: VisionMagics, event: Any) -> list[str]:
    """The words that may stand where the cursor is; IPython keeps those that begin as what is typed."""
    before = event.text_until_cursor[: len(event.text_until_cursor) - len(event.symbol)]
    words = before.split()
    if event.command == "%vision":
        return _of_subcommand(magics, words[1:], event.symbol)
    previous = words[-1] if len(words) > 1 and before[-1:].isspace() else ""
    if previous in ("-i", "--image"):
        return [*image_variables(magics.variables), *_files(event.symbol)]
    if previous in ("-d", "--detail"):
        return list(DETAILS)
    if previous in ("-f", "--format"):
        return list(FORMATS)
    if previous == "--chat":
        return list(magics.conversations)
    if previous in _NOTHING_TO_OFFER:
        return []
    if event.symbol.startswith("-"):
        from vision_nb.magics.options import option_names

        return [name for name in option_names(magics.parser) if name.startswith("--") or event.symbol == "-"]
    if previous in _MODEL_OPTIONS or len(words) == 1 or not before[-1:].isspace():
        return _models(magics, before)
    return []


def _of_subcommand(magics: VisionMagics, words: list[str], symbol: str) -> list[str]:
    from vision_nb.magics.subcommands import SUBCOMMANDS

    if not words:
        return list(SUBCOMMANDS)
    if words[0] in ("use", "alias", "fix"):
        return _models(magics, " ".join(["", *words]))
    if words == ["dealias"]:
        return list(magics.aliases)
    if words[0] == "chat":
        return ["show", "reset", "export"] if len(words) == 1 else list(magics.conversations)
    return {"cache": ["clear"], "cost": ["reset"]}.get(words[0], [])


def _models(magics: VisionMagics, before: str) -> list[str]:
    """Aliases and models; behind "openai:" their second halves, as IPython completes from the colon on."""
    from vision_nb.providers.catalog import known_models

    names = [*magics.aliases, *known_models()]
    typed = before.split()[-1] if before and not before[-1].isspace() else ""
    if typed.endswith(":"):
        return [name.removeprefix(typed) for name in names if name.startswith(typed)]
    return names


def _files(symbol: str) -> list[str]:
    """Folders and image files whose path begins as typed."""
    found = []
    for name in sorted(glob.glob(f"{glob.escape(symbol)}*")):  # noqa: PTH207 - keeps "./" and "~" as typed
        if name.lower().endswith(IMAGE_SUFFIXES):
            found.append(name)
        elif Path(name).is_dir():
            found.append(f"{name}/")
    return found
