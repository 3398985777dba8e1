"""The bytes of an image: in memory, in a file or behind a URL.

An `ImageDocument` is a frozen value. State that is cached while it is used (its header, a download) is kept here.
"""

from __future__ import annotations

import copy
import glob
import hashlib
import io
import os
import stat
import threading
from abc import ABC, abstractmethod
from collections.abc import Hashable
from contextlib import suppress
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vision_nb.errors import CorruptImageError, ImageNotFoundError, UnsupportedImageError
from vision_nb.images.download import HEADER_BYTES, download
from vision_nb.images.formats import lacks_end, sniff
from vision_nb.images.metadata import without_metadata
from vision_nb.images.prepare import Header, read_header
from vision_nb.paths import expand_path, file_version, shown_path
from vision_nb.privacy.transfer import includes_secrets
from vision_nb.privacy.urls import public_url, redact_url

if TYPE_CHECKING:
    from PIL import Image

_SIMILAR_NAMES = 200  # names of a folder that are compared with a missing one: 5 ms


class ImageContent(ABC):
    """The bytes of an image; two contents are equal if they come from the same source.

    Args:
        source: The bytes, the path or the URL.
        name: The image's name.

    Attributes:
        is_local: Whether the name is the path of a file on this machine, or of a part of it.
        show_as_link: Whether the image is to be shown as a link until it has been downloaded for a model.
    """

    is_local = False
    show_as_link = False

    @property
    def needs_download(self) -> bool:
        """Whether the image is on another machine and has not been downloaded."""
        return False

    def __init__(self, source: Hashable, name: str) -> None:
        self._source = source
        self._name = name

    @property
    def name(self) -> str:
        """The image's name in captions."""
        return self._name

    @property
    def label(self) -> str:
        """The image's name in errors."""
        return self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._source == other._source

    def __hash__(self) -> int:
        return hash(self._source)

    @abstractmethod
    def read(self) -> bytes:
        """Return the whole file, unchanged."""

    @abstractmethod
    def header(self) -> Header:
        """Return the type and size, without decoding the image."""

    @abstractmethod
    def fingerprint(self) -> Hashable:
        """Return a value that changes when the image does."""

    def source(self) -> bytes | Image.Image:
        """Return what the image is decoded from: the file, or the pixels if they are in memory."""
        return self.read()

    def sha256(self) -> str:
        """Return the SHA-256 digest of the file, as hexadecimal digits."""
        return hashlib.sha256(self.read()).hexdigest()

    def lacks_end(self) -> bool:
        """Return whether a file on this machine or in memory has no end marker; it is then probably cut off."""
        return False

    def open(self) -> IO[bytes]:
        """Open the file for reading.

        Raises:
            ImageError: The file cannot be found, read or downloaded.
        """
        return io.BytesIO(self.read())

    def for_worker(self) -> ImageContent:
        """Return the content for a process on another machine, which reads files and URLs itself."""
        return self


class MemoryContent(ImageContent):
    """An image file in memory."""

    def __init__(self, data: bytes, name: str | None) -> None:
        super().__init__(data, name or f"<{len(data):,} bytes of {sniff(data) or 'unknown type'}>")
        self._data = data
        self._header: Header | None = None

    @property
    def mimetype(self) -> str | None:
        """The MIME type, detected from the first bytes; None if unknown."""
        return sniff(self._data)

    def lacks_end(self) -> bool:
        """Return whether the file has no end marker."""
        return lacks_end(io.BytesIO(self._data), self.header().mimetype)

    def read(self) -> bytes:
        """Return the bytes."""
        return self._data

    def header(self) -> Header:
        """Return the type and size; they are read once."""
        if self._header is None:
            self._header = read_header(io.BytesIO(self._data), self.name)
        return self._header

    def fingerprint(self) -> Hashable:
        """Return the length and hash of the bytes."""
        return len(self._data), hash(self._data)

    def for_worker(self) -> ImageContent:
        """Return the content without metadata."""
        return MemoryContent(without_metadata(self._data, self.name), self.name)


class FileContent(ImageContent):
    """An image file on this machine.

    The file may change, so only its header is kept.
    """

    is_local = True

    def __init__(self, path: str | Path) -> None:
        name = str(path)
        super().__init__(name, name)
        self._path = expand_path(path, ImageNotFoundError)

    @property
    def label(self) -> str:
        """The path as it was given, with the home folder as ``~``: errors are saved in notebooks."""
        return shown_path(self._path)

    def lacks_end(self) -> bool:
        """Return whether the file has no end marker."""
        with self.open() as file:
            return lacks_end(file, self.header().mimetype)

    def read(self) -> bytes:
        """Read the file."""
        with self.open() as file:
            try:
                return file.read()
            except OSError as error:
                raise UnsupportedImageError(f"{self.label} cannot be read ({error.strerror}).") from error

    def header(self) -> Header:
        """Return the type and size; they are read once for each version of the file."""
        return _file_header(self, self.fingerprint())

    def fingerprint(self) -> Hashable:
        """Return the path and the version of the file."""
        try:
            return str(self._path.absolute()), *file_version(self._path)
        except (OSError, ValueError):
            return str(self._path)  # reading the file then raises an error that names the reason

    def for_worker(self) -> ImageContent:
        """Return the content with an absolute path."""
        content = copy.copy(self)
        content._path = self._path.absolute()
        return content

    def open(self) -> IO[bytes]:
        """Open the file.

        Raises:
            ImageNotFoundError: The file does not exist.
            UnsupportedImageError: The path is not a regular file, or is empty, unreadable or invalid.
        """
        path = self._path
        try:
            state = path.stat()
            if not stat.S_ISREG(state.st_mode) and not stat.S_ISDIR(state.st_mode):
                raise UnsupportedImageError(
                    f"{self.label} is a pipe or device, not a regular file: save the image to a file."
                )
            if not state.st_size and stat.S_ISREG(state.st_mode):  # as in /proc, where reading can block forever
                raise UnsupportedImageError(f"{self.label} is not an image: it is empty.")
            return path.open("rb")
        except FileNotFoundError as error:
            raise missing_file(path) from error
        except (IsADirectoryError, PermissionError) as error:
            if path.is_dir():
                raise UnsupportedImageError(f"{self.label} is a folder: use vn.load_images({self.label!r}).") from error
            raise UnsupportedImageError(f"{self.label} cannot be read: permission denied.") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error  # the text of an OSError repeats the path
            raise UnsupportedImageError(f"{self.label[:80]!r} is not a valid path ({reason}).") from error


@lru_cache(maxsize=10_000)
def _file_header(content: FileContent, fingerprint: Hashable) -> Header:
    """Return the header of a file; documents of the same file share it."""
    with content.open() as file:
        return read_header(file, content.label)


class RemoteContent(ImageContent):
    """An image behind an http or https URL, which is downloaded once."""

    def __init__(self, url: str) -> None:
        super().__init__(url, redact_url(url))
        self._url = url
        self._data: bytes | None = None
        self._header: Header | None = None
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        if public_url(self._url) != self._url:
            includes_secrets()  # a signature
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())

    @property
    def url(self) -> str:
        """The whole URL, including any signature."""
        return self._url

    @property
    def has_header(self) -> bool:
        """Whether type and size are known without another request."""
        return self._header is not None or self._data is not None

    @property
    def needs_download(self) -> bool:
        """Whether the image is not in memory."""
        return self._data is None

    def read(self) -> bytes:
        """Return the bytes; they are downloaded once."""
        with self._lock:
            data = self._data  # another thread may forget it meanwhile
            if data is None:
                self._data = data = download(self._url)
            return data

    def header(self) -> Header:
        """Return the type and size; download the first 64 KiB if necessary."""
        with self._lock:
            if self._header is None:
                self._header = self._read_header()
            return self._header

    def fingerprint(self) -> Hashable:
        """Download the image, and return the length and hash of the bytes."""
        data = self.read()
        return len(data), hash(data)

    def for_worker(self) -> ImageContent:
        """Return the content without the downloaded bytes."""
        return RemoteContent(self._url)

    def forget(self) -> None:
        """Free the downloaded bytes; they are downloaded again when they are needed."""
        self._data = None

    def _read_header(self) -> Header:
        if self._data is None:
            with suppress(CorruptImageError):  # the size may come later, as after a long color profile: read it all
                return read_header(io.BytesIO(download(self._url, first_bytes=HEADER_BYTES)), self.name)
        return read_header(io.BytesIO(self.read()), self.name)


def missing_file(path: Path) -> ImageNotFoundError:
    """Return an error about a path that does not exist, with a similar one that does, or the working folder."""
    shown, guess = shown_path(path), _similar_path(path)
    if " " in shown and shown.endswith("?"):
        advice = "a question comes before its images."
    elif glob.has_magic(str(path)):
        advice = f"use vn.load_images({shown!r}) for a pattern."
    else:
        advice = f"did you mean {shown_path(guess)}?" if guess else f"{working_folder()}."
    return ImageNotFoundError(f"There is no file {'' if path.suffix else 'or folder '}{shown}: {advice}")


def working_folder() -> str:
    """Describe the folder that relative paths start from, for an error message."""
    return f"the working folder is {shown_path(Path.cwd())}"


def _similar_path(path: Path) -> Path | None:
    """Return an existing path that differs from a missing one in a similar name of one folder or file, or None."""
    missing = path
    try:
        while not missing.parent.exists() and missing.parent != missing:
            missing = missing.parent
        with os.scandir(missing.parent) as entries:
            names = [entry.name for entry in islice(entries, _SIMILAR_NAMES + 1)]
        for name in get_close_matches(missing.name, names, cutoff=0.7) if len(names) <= _SIMILAR_NAMES else ():
            if (guess := missing.parent / name / path.relative_to(missing)).exists():
                return guess
    except (OSError, ValueError):
        pass
    return None
