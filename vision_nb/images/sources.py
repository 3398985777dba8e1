"""The kinds of sources that an image can come from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes, urlsplit

from vision_nb.errors import UnsupportedImageError

ImageSource: TypeAlias = Any
"""A path, URL, data URI, bytes, binary file, Pillow image, numpy array, matplotlib figure or ImageDocument.

llama-index's ImageDocument and the ``{"bytes": ..., "path": ...}`` rows of the datasets package are sources too. So are
PDF documents, TIFF files and videos, wherever a function takes several images; each page or frame is an image.
"""


def local_path(source: str) -> str | None:
    """Return the path that a string names, or None if it is a URL or data URI."""
    scheme = re.match(r"(?:[A-Za-z][A-Za-z0-9+.-]+::)*([A-Za-z][A-Za-z0-9+.-]+)://|(data):", source.strip())
    if scheme is None:
        return source
    if scheme[0].lower() != "file://":
        return None
    path = urlsplit(source).path
    if os.name != "nt":  # url2pathname of Python 3.14 takes a path with two slashes to name another host
        return os.fsdecode(unquote_to_bytes(path))
    from urllib.request import url2pathname  # imports http and email

    return url2pathname(path)


def is_missing(value: Any) -> bool:
    """Return whether a value is missing in its list or table: None, NaN, or a missing value of pandas."""
    is_nan = isinstance(value, float) and value != value
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def with_name(source: ImageSource, name: str) -> ImageSource:
    """Return a source that has this name if it is an image in memory without one."""
    data, known = (source.get("bytes"), source.get("path")) if isinstance(source, Mapping) else (source, None)
    is_file = isinstance(data, (str, Path)) or hasattr(data, "image_path") or hasattr(data, "read")
    return source if known or is_file or is_missing(data) else {"bytes": data, "path": name}


def source_arguments(source: ImageSource) -> dict[str, Any]:
    """Return the arguments with which `ImageDocument` is created from a source.

    Args:
        source: Any source but a document of ours. A str that is neither a URL nor a data URI is a path.

    Raises:
        UnsupportedImageError: The source is a missing value.
    """
    if is_missing(source):
        raise UnsupportedImageError(f"The image is missing ({source!r}): leave it out, as with column.dropna().")
    if isinstance(source, str):
        path = local_path(source)
        return {"image_url": source} if path is None else {"image_path": path}
    if isinstance(source, Mapping) and ("bytes" in source or "path" in source):  # a row of the datasets package
        data, path = source.get("bytes"), source.get("path")
        return source_arguments(path) if data is None else {"image": data, "image_name": path}
    if hasattr(source, "image_path") and hasattr(source, "image_url"):  # llama-index's ImageDocument
        names = ("image", "image_path", "image_url")
        name = next((name for name in names if getattr(source, name, None)), "image")
        return {name: getattr(source, name, None), "image_mimetype": getattr(source, "image_mimetype", None)}
    return {"image_path" if isinstance(source, Path) else "image": source}
