"""Load the images that ``-i`` names: variables, files, folders and URLs."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from vision_nb.checks.spelling import closest
from vision_nb.errors import ImageNotFoundError, UnsupportedImageError, VisionError
from vision_nb.images.document import ImageList
from vision_nb.images.loading import find_images
from vision_nb.magics.template import evaluate_argument
from vision_nb.magics.usage_errors import UsageError, describe, truncate

IMAGE_SUFFIXES = tuple(".png .jpg .jpeg .gif .webp .bmp .tif .tiff .heic .avif .pdf .mp4 .m4v .mov .webm .mkv".split())
"""The file name endings that completion offers. Loading ignores them: a file's type comes from its bytes."""

# A variable, perhaps with attributes, indexes, slices or calls: `docs[:3]`. Any other word is a file name.
_EXPRESSION = re.compile(r"(?P<name>[^\W\d]\w*)(?P<rest>\s*[.\[(].*|\s+\+.*)?", re.DOTALL)
_ITEM = re.compile(r"(?:\[(?:-?\d+|'[^']*'|\"[^\"]*\")\])*")


def load_image_args(words: Iterable[str], variables: Mapping[str, Any]) -> ImageList:
    """Load the images that the values of ``-i`` name, in order.

    A value is a variable or an expression that begins with one, such as ``docs[:3]`` or ``page.images``, or else a
    file, folder, pattern or URL.

    Args:
        words: The values of ``-i``.
        variables: The notebook's variables.

    Raises:
        UsageError: A variable is None, empty or not an image, an expression is invalid or raises an error, or a word
            names neither a variable nor a file.
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
        images = find_images(source)  # skipped files are listed below the answer
    except UnsupportedImageError as error:
        if is_variable:
            raise UsageError(f"-i {truncate(word)}: {error}") from error
        raise
    except ImageNotFoundError as error:
        expression = _EXPRESSION.fullmatch(word) if "[" in word or "(" in word else None
        guess = closest(expression["name"] if expression else word, image_variables(variables))
        if is_variable or guess is None:
            raise
        raise UsageError(f"There is no variable and no file {truncate(word)!r}: did you mean {guess}?") from error
    except VisionError:
        raise
    except Exception as error:  # the code of any class can run
        raise UsageError(f"-i {truncate(word)}: this is not an image ({describe(error)}).") from error
    if not images:
        raise UsageError(f"-i {truncate(word)}: the list is empty; omit -i to ask without an image.")
    return images


def _source(word: str, variables: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return a variable's value or the word itself, and whether it is a variable."""
    match = _EXPRESSION.fullmatch(word)
    if match is None or match["name"] not in variables:
        if match is not None and match["name"] in ("Out", "In", "_") and not _names_files(word):
            raise UsageError(f"-i {truncate(word)}: there is no output yet.")
        return word, False
    rest = match["rest"] or ""
    # photo.jpg and scan[0-9].png name files, even if there are variables photo and scan; several[1] is an item.
    if not _ITEM.fullmatch(rest) and _names_files(word):
        return word, False
    value = evaluate_argument(word, variables, option="-i") if rest else variables[match["name"]]
    if value is None:
        raise UsageError(f"-i {truncate(word)}: the value is None; run the cell that sets it.")
    return (list(value) if isinstance(value, (set, frozenset)) else value), True


def _names_files(word: str) -> bool:
    """Return whether a word is the name of a file, or a pattern of such names."""
    try:
        return Path(word).is_file() or (glob.has_magic(word) and bool(glob.glob(word)))  # noqa: PTH207 - as load_images
    except (OSError, ValueError):  # the name is too long or invalid, or a folder cannot be read
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
