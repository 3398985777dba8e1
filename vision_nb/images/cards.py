"""HTML of images for notebook output: a figure, and a grid of thumbnails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from vision_nb.errors import ImageError
from vision_nb.images.decode import Size
from vision_nb.rendering import html


class ShownImage(Protocol):
    """What this module reads of an `ImageDocument`."""

    @property
    def title(self) -> str:
        """The file name."""

    @property
    def short_name(self) -> str:
        """The name with at most one folder."""

    @property
    def size(self) -> Size:
        """Width and height in pixels."""

    @property
    def mimetype(self) -> str:
        """The MIME type."""

    def thumbnail(self, side: int = 320, *, max_bytes: int = 22_000) -> str:
        """Return a small JPEG as a data URI."""


def image_figure(document: ShownImage) -> str:
    """Return an image with its name, size and type, or the reason why it cannot be shown."""
    try:
        return html.image_figure(document.thumbnail(), document.short_name, document.size, document.mimetype)
    except ImageError as error:
        return html.error_box(str(error))


def thumbnail_grid(documents: Iterable[ShownImage], remarks: Sequence[str] = ()) -> str:
    """Return a grid of thumbnails with captions, and remarks below it."""
    return html.thumbnail_grid(map(_thumbnail_and_caption, documents), remarks)


def _thumbnail_and_caption(document: ShownImage) -> tuple[str | None, str]:
    """Return a thumbnail and its caption, or None and an error message."""
    try:
        return document.thumbnail(side=120), document.title
    except ImageError as error:
        return None, str(error)
