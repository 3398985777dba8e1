"""Documents for a process on another machine."""

from __future__ import annotations

import copy

from vision_nb.errors import ImageNotFoundError
from vision_nb.images.content import MemoryContent
from vision_nb.images.document import ImageDocument
from vision_nb.paths import expand_path


def is_in_memory(document: ImageDocument) -> bool:
    """Return whether an image is in this process's memory, and nowhere else."""
    return isinstance(document._content, MemoryContent)


def file_of(document: ImageDocument) -> tuple[ImageDocument, list[str]]:
    """Return the file that an image is in, and what was chosen from it, from the inside out.

    Args:
        document: The image.
    """
    parts: list[str] = []
    while document.part_of is not None:
        document, part = document.part_of
        parts.insert(0, part)
    return document, parts


def worker_document(document: ImageDocument) -> ImageDocument:
    """Return a document for a process on another machine.

    That process reads files and URLs itself, and paths are absolute. An image in memory has no metadata.

    Args:
        document: The document.
    """
    path = document.image_path
    whole = None if path is None else expand_path(path, ImageNotFoundError).absolute()
    sent = copy.copy(document)
    sent._set(image=None, image_path=whole, _content=document._content.for_worker())
    return sent
