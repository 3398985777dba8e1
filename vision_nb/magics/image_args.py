"""Load the images that ``-i`` names: variables, files, folders and URLs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from vision_nb.errors import ImageNotFoundError, UnsupportedImageError, VisionError
from vision_nb.images.document import ImageList
from vision_nb.images.loading import find_images
from vision_nb.magics.usage_errors import UsageError, closest, describe, truncate

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".avif")
"""The file name endings that completion offers. Loading ignores them: a file's type comes from its bytes."""

_VARIABLE = re.compile(r"(?P<name>[^\W\d]\w*)(?P<steps>(?:\.[^\W\d]\w*|\[(?:-?\d+|'[^']*'|\"[^\"]*\")\])*)")
_STEP = re.compile(r"\.(\w+)|\[(.+?)\]")


def load_image_args(words: Iterable[str], variables: Mapping[str, Any]) -> ImageList:
    """Load the images that the values of ``-i`` name, in order.

    Args:
        words: The values of ``-i``.
        variables: The notebook's variables.

    Raises:
        UsageError: A variable is None or not an image, or a word names neither a variable nor a file.
        ImageError: A file, folder or pattern contains no image.
    """
    found = ImageList()
    for word in words:
        images = _load(word, variables)
        found.extend(images)
        found.skipped.extend(images.skipped)
    return found


def _load(word: str, variables: Mapping[str, Any]) -> ImageList:
    source, is_variable = _source(word, variables)
    try:
        return find_images(source)  # skipped files are listed below the answer
    except UnsupportedImageError as error:
        if is_variable:
            raise UsageError(f"-i {truncate(word)}: {error}") from error
        raise
    except ImageNotFoundError as error:
        guess = closest(word, image_variables(variables))
        if is_variable or guess is None:
            raise
        raise UsageError(f"There is no variable and no file {truncate(word)!r}: did you mean {guess}?") from error
    except VisionError:
        raise
    except Exception as error:  # the code of any class can run
        raise UsageError(f"-i {truncate(word)}: this is not an image ({describe(error)}).") from error


def _source(word: str, variables: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return a variable's value or the word itself, and whether it is a variable."""
    match = _VARIABLE.fullmatch(word)
    if match is None or match["name"] not in variables:
        if match is not None and match["name"] in ("Out", "In", "_") and not _is_file(word):
            raise UsageError(f"-i {truncate(word)}: there is no output yet.")
        return word, False
    if match["steps"].startswith(".") and _is_file(word):
        return word, False  # photo.jpg names the file, even if there is a variable photo
    value = variables[match["name"]]
    for attribute, index in _STEP.findall(match["steps"]):
        try:
            value = getattr(value, attribute) if attribute else value[ast.literal_eval(index)]
        except Exception as error:  # the code of any class can run
            raise UsageError(f"-i {truncate(word)}: there is no such item ({describe(error)}).") from error
    if value is None:
        raise UsageError(f"-i {truncate(word)}: the value is None; run the cell that sets it.")
    return (list(value) if isinstance(value, (set, frozenset)) else value), True


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except OSError:  # the name is too long, or a folder cannot be read
        return False


def image_variables(variables: Mapping[str, Any]) -> list[str]:
    """Return the names of variables that appear to hold an image or a list of images."""
    names = [name for name in variables if not name.startswith("_") and name != "Out"]
    found = []
    for name in names:
        with suppress(Exception):  # the code of any class can run
            if _may_be_image(variables[name]):
                found.append(name)
    return found


def _may_be_image(value: Any, depth: int = 1) -> bool:
    if isinstance(value, (list, tuple)):
        return depth > 0 and bool(value) and _may_be_image(value[0], depth - 1)
    if isinstance(value, (str, Path)):
        return str(value).lower().endswith(IMAGE_SUFFIXES)
    marks = ("image_path", "getbands", "savefig", "__array_interface__")
    return not isinstance(value, (type, ModuleType)) and any(hasattr(value, mark) for mark in marks)
