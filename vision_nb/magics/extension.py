"""Puts the magics into a shell, and takes everything out again."""

from __future__ import annotations

from functools import partial
from typing import Any

from vision_nb.magics.magic import VisionMagics

COMMANDS = ("%vision", "%%vision")


def load(shell: Any) -> None:
    """Register the magics, their completion, and the memory of the last error."""
    unload(shell)  # loaded twice, they are there once
    magics = VisionMagics(shell)
    shell.register_magics(magics)
    for command in COMMANDS:
        shell.set_hook("complete_command", partial(_complete, magics), str_key=command)
    shell.events.register("post_run_cell", magics.remember_failure)


def unload(shell: Any) -> None:
    """Take out what `load` has put in."""
    magics = shell.magics_manager.registry.pop(VisionMagics.__name__, None)
    if magics is None:
        return
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("vision", None)
    for command in COMMANDS:
        shell.strdispatchers["complete_command"].strs.pop(command, None)
    shell.events.unregister("post_run_cell", magics.remember_failure)
    shell.configurables.remove(magics)
    magics.close()


def _complete(magics: VisionMagics, _: Any, event: Any) -> list[str]:
    from vision_nb.magics.completion import complete  # first needed when Tab is pressed

    return complete(magics, event)
