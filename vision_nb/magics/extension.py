"""Register the magics in an IPython shell, and remove them again."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from vision_nb.magics.magic import VisionMagics

_MATCHER = "vision_nb"


def load(shell: Any, package: ModuleType) -> None:
    """Register the magics, their completion and the recording of failed cells.

    Args:
        shell: The IPython shell.
        package: The module with the public names that ``%vision help`` explains.
    """
    unload(shell)
    magics = VisionMagics(shell, package)
    shell.register_magics(magics)
    shell.Completer.custom_matchers.append(_matcher(magics))
    shell.events.register("post_run_cell", magics.record_failure)


def unload(shell: Any) -> None:
    """Remove everything that `load` registered."""
    magics = shell.magics_manager.registry.pop(VisionMagics.__name__, None)
    if magics is None:
        return
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop("vision", None)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [matcher for matcher in matchers if getattr(matcher, "matcher_identifier", "") != _MATCHER]
    shell.events.unregister("post_run_cell", magics.record_failure)
    shell.configurables.remove(magics)
    magics.close()


def _matcher(magics: VisionMagics) -> Any:
    """Return a function with which IPython completes the magics' lines.

    A ``complete_command`` hook would not do: IPython adds Jedi's Python names to what a hook offers.
    """
    from IPython.core.completer import SimpleCompletion, SimpleMatcherResult, context_matcher

    @context_matcher(identifier=_MATCHER)
    def match(context: Any) -> SimpleMatcherResult:
        line = context.text_until_cursor.lstrip()
        if not line.startswith(("%vision", "%%vision")):
            return SimpleMatcherResult(completions=[])
        from vision_nb.magics.completion import complete  # %load_ext does not load it

        typed, words = complete(magics.session, line)
        completions = [SimpleCompletion(word) for word in words]
        return SimpleMatcherResult(completions=completions, matched_fragment=typed, suppress=True, ordered=True)

    return match
