"""Images that are a part of a file, such as a page, and are made when they are read."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from typing import TypeAlias

from vision_nb.images.cache import ImageCache
from vision_nb.images.content import ImageContent, MemoryContent
from vision_nb.images.prepare import Header, Prepared

Pages: TypeAlias = int | str | Iterable[int]
"""Pages by number, from 1; negative numbers count from the end. Also a text such as "1-3, 8-, -1"."""

RENDERED_PARTS: ImageCache[Prepared] = ImageCache(max_bytes=64_000_000)
"""The encoded images of the parts that were read last, for all documents."""

MAX_PARTS = 10_000
"""The most parts of one file that become documents: a damaged or hostile file can claim any number."""


class Part(ABC):
    """What is chosen from a file: a frozen value, without the file.

    Attributes:
        fragment: The end of the image's name, such as "page=2".
        key: Everything that the image depends on beside the file, as text that is the same in each process.
    """

    @property
    @abstractmethod
    def fragment(self) -> str:
        """The end of the image's name, such as "page=2"."""

    @property
    def key(self) -> str:
        """Everything that the image depends on beside the file, as text that is the same in each process."""
        return self.fragment

    @abstractmethod
    def header(self, content: ImageContent, name: str) -> Header:
        """Return the type and size of the image, without making it if possible."""

    @abstractmethod
    def render(self, content: ImageContent, name: str) -> Prepared:
        """Make the image."""


class PartContent(ImageContent):
    """A part of a file.

    Args:
        container: The file.
        part: What is chosen from it.
        header: The type and size of the image, if they are known.
    """

    def __init__(self, container: ImageContent, part: Part, header: Header | None = None) -> None:
        super().__init__((container, part), f"{container.name}#{part.fragment}")
        self.container = container
        self.part = part
        self.is_local = container.is_local
        self._header: tuple[Hashable, Header] | None = None if header is None else (self.fingerprint(), header)

    @property
    def label(self) -> str:
        """The image's name in errors."""
        return f"{self.container.label}#{self.part.fragment}"

    def for_worker(self) -> ImageContent:
        """Return the part of a file that the worker reads, or the image itself if the file is in memory."""
        if isinstance(self.container, MemoryContent):
            return MemoryContent(self.read(), self.name)
        content = copy.copy(self)
        content.container = self.container.for_worker()
        return content

    def read(self) -> bytes:
        """Return the image, encoded; it is made again unless it was read recently."""
        return self._rendered().data

    def header(self) -> Header:
        """Return the type and size; they are read once for each version of the file."""
        fingerprint = self.fingerprint()
        if self._header is None or self._header[0] != fingerprint:
            self._header = (fingerprint, self.part.header(self.container, self.label))
        return self._header[1]

    def fingerprint(self) -> Hashable:
        """Return the fingerprint of the file, with the part."""
        return self.container.fingerprint(), self.part

    def _rendered(self) -> Prepared:
        fingerprint = self.fingerprint()
        made = RENDERED_PARTS.get(fingerprint, lambda: self.part.render(self.container, self.label))
        self._header = (fingerprint, Header(made.mimetype, made.size))
        return made
