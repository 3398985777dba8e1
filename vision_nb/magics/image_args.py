"""What ``-i`` names: a variable or an item of one, or else a path, pattern, folder or URL."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from vision_nb.errors import ImageNotFoundError, UnsupportedImageError
from vision_nb.images.loading import ImageList, load_images
from vision_nb.magics.usage_errors import UsageError, nearest

_VARIABLE = re.compile(r"(?P<name>[^\W\d]\w*)(?P<steps>(?:\.[^\W\d]\w*|\[(?:-?\d+|'[^']*'|\"[^\"]*\")\])*)")
_STEP = re.compile(r"\.(\w+)|\[(.+?)\]")


def images_named(words: Iterable[str], variables: Mapping[str, Any]) -> ImageList:
    """The pictures that the words after ``-i`` lead to, in order; what was left out is in ``.skipped``.

    Raises:
        UsageError: A variable is None or holds no picture, or a word is neither a variable nor a file.
        ImageError: A file, folder or pattern has no picture.
    """
    found = ImageList()
    for word in words:
        images = _images(word, variables)
        found.extend(images)
        found.skipped.extend(images.skipped)
    return found


def _images(word: str, variables: Mapping[str, Any]) -> ImageList:
    source, is_variable = _source(word, variables)
    try:
        with warnings.catch_warnings():  # the cell says below its answer what was skipped
            warnings.simplefilter("ignore", UserWarning)
            return load_images(source)
    except UnsupportedImageError as error:
        if is_variable:
            raise UsageError(f"-i {word}: {error}") from error
        raise
    except ImageNotFoundError as error:
        guess = nearest(word, image_variables(variables))
        if is_variable or guess is None:
            raise
        raise UsageError(f"There is no variable and no file {word!r}: did you mean {guess}?") from error


def _source(word: str, variables: Mapping[str, Any]) -> tuple[Any, bool]:
    """The value of a variable, or the word itself; and which of them it is."""
    match = _VARIABLE.fullmatch(word)
    if match is None or match["name"] not in variables:
        if match is not None and match["name"] in ("Out", "In", "_") and not Path(word).exists():
            raise UsageError(f"-i {word}: there is no output yet.")
        return word, False
    if match["steps"].startswith(".") and Path(word).is_file():
        return word, False  # photo.jpg is a file, also where there is a variable photo
    value = variables[match["name"]]
    for attribute, index in _STEP.findall(match["steps"]):
        try:
            value = getattr(value, attribute) if attribute else value[ast.literal_eval(index)]
        except (LookupError, TypeError, AttributeError) as error:
            raise UsageError(f"-i {word}: there is no such item ({type(error).__name__}: {error}).") from error
    if value is None:
        raise UsageError(f"-i {word}: it is None: run the cell that sets it.")
    return (list(value) if isinstance(value, (set, frozenset)) else value), True


def image_variables(variables: Mapping[str, Any]) -> list[str]:
    """The names of variables that hold a picture or a list of them, without looking far into them."""
    return [
        name for name, value in variables.items() if not name.startswith("_") and name != "Out" and _may_be_image(value)
    ]


def _may_be_image(value: Any, depth: int = 1) -> bool:
    if isinstance(value, (list, tuple)):
        return depth > 0 and bool(value) and _may_be_image(value[0], depth - 1)
    if isinstance(value, (str, Path)):
        return str(value).lower().endswith(IMAGE_SUFFIXES)
    marks = ("image_path", "getbands", "savefig", "__array_interface__")
    return not isinstance(value, (type, ModuleType)) and any(hasattr(value, mark) for mark in marks)


IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".avif")
"""Endings that are offered for completion; what a file really is, its first bytes tell."""
