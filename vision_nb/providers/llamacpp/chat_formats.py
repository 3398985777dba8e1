"""Chat formats with which llama.cpp's server passes images to the model.

With any other format the server drops the images without an error. It keeps no list of these formats: the function
that loads a model has a branch for each, which gives the format's handler the file of the image encoder.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from vision_nb.errors import SettingsError

_LOADER = "load_llama_from_model_settings"  # in llama_cpp/server/model.py, whose import would load the engine
_KNOWN = frozenset(
    "gemma4 llama-3-vision-alpha llava-1-5 llava-1-6 minicpm-v-2.6 moondream mtmd nanollava obsidian qwen2.5-vl".split()
)
"""The formats of llama-cpp-python 0.3.36, in case those of the installed version cannot be read."""


def check_chat_format(chat_format: str) -> None:
    """Check that images reach the model with a chat format.

    Raises:
        SettingsError: The format does not exist, or does not pass images on.
    """
    formats = image_formats()
    if chat_format in formats:
        return
    nearest = get_close_matches(chat_format, formats, n=1) if isinstance(chat_format, str) else []
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise SettingsError(
        f"With chat_format={chat_format!r:.60}, images do not reach the model.{hint} llama.cpp's formats for images: "
        f"{', '.join(sorted(formats))}."
    )


@cache
def image_formats() -> frozenset[str]:
    """Return the chat formats with which the installed version of llama.cpp's server passes images on."""
    with suppress(OSError, SyntaxError, ValueError):
        spec = importlib.util.find_spec("llama_cpp")
        for folder in (spec and spec.submodule_search_locations) or ():
            source = Path(folder, "server", "model.py").read_text(encoding="utf-8")
            return frozenset(_read_formats(ast.parse(source))) or _KNOWN
    return _KNOWN


def _read_formats(tree: ast.Module) -> Iterator[str]:
    """Yield the formats of branches such as ``if settings.chat_format == "mtmd"`` that use an image encoder."""
    loaders = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == _LOADER]
    for branch in (node for loader in loaders for node in ast.walk(loader) if isinstance(node, ast.If)):
        if "chat_format" in _attributes([branch.test]) and "clip_model_path" in _attributes(branch.body):
            constants = (node.value for node in ast.walk(branch.test) if isinstance(node, ast.Constant))
            yield from (value for value in constants if isinstance(value, str))


def _attributes(nodes: list[ast.expr] | list[ast.stmt]) -> set[str]:
    return {node.attr for top in nodes for node in ast.walk(top) if isinstance(node, ast.Attribute)}
