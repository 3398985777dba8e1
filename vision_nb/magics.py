"""``%%vision``: ask a model about pictures from a cell; parse, delegate, return."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class, needs_local_scope, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.utils.process import arg_split  # type: ignore[attr-defined]  # its own magics take it from here

from vision_nb.errors import VisionError

_FALLBACK_NOTE = (
    "\n\n> **Note:** no model was named, so the demo answered, which is no language model. "
    "`%%vision openai:gpt-4o -i ...` asks a real one.\n"
)


@magics_class
class VisionMagics(Magics):
    """The magics of vision_nb."""

    @no_var_expand
    @needs_local_scope
    @magic_arguments()
    @argument("model", nargs="?", help="provider:model, such as openai:gpt-4o; left out: the demo")
    @argument("-i", "--image", action="append", default=[], help="a path, glob, folder, URL or variable (repeat)")
    @cell_magic
    def vision(self, line: str, cell: str, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Ask a model about pictures; the cell's body is the prompt."""
        arguments = self.vision.parser.parse_args(_split(line))
        if not cell.strip():
            raise UsageError("%%vision: the cell has no prompt. Write the question below the first line.")
        try:
            return self._ask(arguments, cell.strip(), {**self._variables, **(local_ns or {})})
        except VisionError as error:
            _shorten(error)
            raise

    def _ask(self, arguments: Any, prompt: str, variables: Mapping[str, Any]) -> Any:
        from vision_nb.display import display_stream
        from vision_nb.image_lists import load_images
        from vision_nb.providers.connect import connect

        images = load_images(*(_source(image, variables) for image in arguments.image))
        model = connect(arguments.model or "demo")
        below = "" if arguments.model else _FALLBACK_NOTE
        response = display_stream(model.stream_complete(prompt, images), below=below)
        self._variables["_vision"] = response
        return response

    @property
    def _variables(self) -> dict[str, Any]:
        """The notebook's variables."""
        assert self.shell is not None  # a magic runs in one
        variables: dict[str, Any] = self.shell.user_ns
        return variables


def _source(word: str, variables: Mapping[str, Any]) -> Any:
    """What ``-i`` names: a variable, an item of one such as ``Out[3]``, or else a path, pattern or URL."""
    name, index = re.fullmatch(r"(\w+)(?:\[(-?\d+)\])?|.*", word, re.DOTALL).group(1, 2)  # type: ignore[union-attr]
    if name not in variables:
        return word
    try:
        return variables[name] if index is None else variables[name][int(index)]
    except (LookupError, TypeError) as error:
        raise UsageError(f"%%vision: there is no {word} ({error}).") from error


def _split(line: str) -> list[str]:
    """The words of a magic's line, without the quotes around them; a Windows path keeps its backslashes."""
    return [re.sub(r"""^(--?[\w-]+=)?(["'])(.*)\2$""", r"\1\3", word) for word in arg_split(line, posix=False)]


def _shorten(error: VisionError) -> None:
    """Let IPython show an error as its one or two sentences, without a traceback."""
    lines = [f"{type(error).__name__}: {error}"]
    error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]  # IPython looks for it
