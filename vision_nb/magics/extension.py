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
    shell.input_transformers_cleanup.append(_keep_question)


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
    shell.input_transformers_cleanup.remove(_keep_question)
    shell.configurables.remove(magics)
    magics.close()


def _keep_question(lines: list[str]) -> list[str]:
    """Change a cell of one line so that IPython leaves its mistake to the magic, which explains it better.

    IPython itself refuses ``%%vision demo`` without a body, and takes ``%vision What is it?`` for a request for help.
    """
    if len(lines) != 1:
        return lines
    line = lines[0].rstrip()
    magic, _, words = line.partition(" ")
    if magic == "%%vision":
        return [f"{line}\n", "\n"]
    is_question = magic == "%vision" and words.endswith("?")
    return [f"get_ipython().run_line_magic('vision', {words!r})\n"] if is_question else lines


_keep_question.has_side_effects = True  # type: ignore[attr-defined]  # a front end still waits for the cell's body


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
