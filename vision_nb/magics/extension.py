"""Register the magics in an IPython shell, and remove them again."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

from vision_nb.magics.magic import VisionMagics

COMMANDS = ("%vision", "%%vision")


def load(shell: Any, package: ModuleType) -> None:
    """Register the magics, their completion and the recording of failed cells.

    Args:
        shell: The IPython shell.
        package: The module with the public names that ``%vision help`` explains.
    """
    unload(shell)
    magics = VisionMagics(shell, package)
    shell.register_magics(magics)
    for command in COMMANDS:
        shell.set_hook("complete_command", partial(_complete, magics), str_key=command)
    shell.events.register("post_run_cell", magics.record_failure)


def unload(shell: Any) -> None:
    """Remove everything that `load` registered."""
    magics = shell.magics_manager.registry.pop(VisionMagics.__name__, None)
    if magics is None:
        return
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("vision", None)
    for command in COMMANDS:
        shell.strdispatchers["complete_command"].strs.pop(command, None)
    shell.events.unregister("post_run_cell", magics.record_failure)
    shell.configurables.remove(magics)
    magics.close()


def _complete(magics: VisionMagics, _: Any, event: Any) -> list[str]:
    from vision_nb.magics.completion import complete  # %load_ext does not load it

    return complete(magics.session, event)
