"""Reading the frames of animations, and the pages of TIFF files, in their order.

A frame is what it changes in the frame before, so a file that is opened anew for each frame is decoded from its
beginning each time. The files that were read last therefore stay open where the last frame was read.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vision_nb.images.content import ImageContent
from vision_nb.images.decode import decoder_errors, image_type, open_as

if TYPE_CHECKING:
    from PIL import Image

MAX_OPEN = 8
"""How many files stay open: threads that read the same file have one each, so that none goes back to its beginning."""

MAX_BYTES = 256_000_000
"""The size of the files that stay open. They are in memory, so that the files on disk can be replaced and deleted."""


@dataclass(eq=False)
class _OpenFile:
    """A file that is open at a frame.

    Attributes:
        fingerprint: Identifies the version of the file.
        data: The file.
        mimetype: Its type.
        image: The open image.
        next: The first frame that can be read without going back.
    """

    fingerprint: Hashable
    data: bytes = field(repr=False)
    mimetype: str
    image: Image.Image
    next: int = 0


_open_files: list[_OpenFile] = []  # the most recently used last; none is in use
_lock = threading.Lock()


@contextmanager
def open_frame(content: ImageContent, index: int, name: str, *, decodes: bool) -> Iterator[Image.Image]:
    """Open a file at a frame. The image must not be used after the block.

    Args:
        content: The file.
        index: The place of the frame, from 0.
        name: The frame's name in error messages.
        decodes: Whether the block decodes the frame, or only reads its header.

    Raises:
        ImageError: The file or the frame cannot be read.
    """
    file = _take(content.fingerprint(), index) or _open(content, name)
    with decoder_errors(name, file.mimetype):
        file.image.seek(index)
        yield file.image
    file.next = index + 1 if decodes else index
    _keep(file)


def _open(content: ImageContent, name: str) -> _OpenFile:
    fingerprint, data = content.fingerprint(), content.read()
    stream = io.BytesIO(data)
    mimetype = image_type(stream, name)
    with decoder_errors(name, mimetype):
        return _OpenFile(fingerprint, data, mimetype, open_as(stream, mimetype))


def _take(fingerprint: Hashable, index: int) -> _OpenFile | None:
    """Return the open file that is closest before a frame, or None."""
    with _lock:
        found = [file for file in _open_files if file.fingerprint == fingerprint and file.next <= index]
        if not found:
            return None
        closest = max(found, key=lambda file: file.next)
        _open_files.remove(closest)
        return closest


def _keep(file: _OpenFile) -> None:
    """Keep a file open until others have been used."""
    with _lock:
        _open_files.append(file)
        while len(_open_files) > MAX_OPEN or sum(len(one.data) for one in _open_files) > MAX_BYTES:
            _open_files.pop(0).image.close()
