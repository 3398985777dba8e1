"""Files in object stores and other remote file systems, through fsspec."""

from __future__ import annotations

import io
import json
import re
import time
import uuid
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from vision_nb.errors import (
    CorruptImageError,
    ImageDownloadError,
    ImageNotFoundError,
    UnsupportedImageError,
    VisionError,
)
from vision_nb.images.cache import ImageCache
from vision_nb.images.content import ImageContent, MemoryContent, RemoteContent
from vision_nb.images.convert import from_data_uri
from vision_nb.images.download import HEADER_BYTES, MAX_DOWNLOAD, TOTAL_SECONDS
from vision_nb.images.prepare import Header, read_header
from vision_nb.privacy.api_keys import Secret
from vision_nb.privacy.urls import public_url, redact_url

PROTOCOLS: Mapping[str, str] = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
    "oss": "ossfs",
    "hf": "huggingface_hub",
    "memory": "fsspec",
}
"""The file systems that a URL may name, with the package that each needs.

None of these URLs can name a host in a private network: only the caller's settings can. fsspec's other file systems are
not used, because a URL from somebody else could read local files, or what only this machine can reach, through them.
"""

_PUBLIC_OPTIONS = frozenset(
    "account_name account_host endpoint endpoint_url region region_name project consistency".split()
)
_CHUNK = 4_000_000  # bytes


@dataclass(frozen=True)
class _Download:
    data: bytes


DOWNLOADS: ImageCache[_Download] = ImageCache()
"""The remote files that were read last, for all documents."""


def is_remote_file(source: str) -> bool:
    """Return whether a string is a URL of a file system that is read through fsspec."""
    protocol, separator, _ = source.partition("://")
    return bool(separator) and protocol.strip().lower() in PROTOCOLS


class RemoteFile(ImageContent):
    """A file in an object store, which is read when it is needed.

    Args:
        url: Its URL, such as "s3://bucket/photo.jpg". A login in it, "s3://key:secret@bucket/...", is not shown.
        options: Arguments for fsspec's file system, such as credentials.
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self._url, login = _without_login(url.strip())
        self._options = {**login, **(options or {})}
        super().__init__((self._url, json.dumps(self._options, sort_keys=True, default=repr)), public_name(self._url))
        self._token = uuid.uuid4().hex
        self._fingerprint: Hashable = None
        self._header: Header | None = None
        self._secrets = _secrets_of(self._options)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_secrets": [], "_fingerprint": None}  # a hash is another in each process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _secrets=_secrets_of(state["_options"]))

    @property
    def path(self) -> str:
        """The bucket and the path in it."""
        return self._url.partition("://")[2]

    def read(self) -> bytes:
        """Return the bytes; they are read again if the file was not used recently."""
        return DOWNLOADS.get(self._token, self._download).data

    def header(self) -> Header:
        """Return the type and size; read the first 64 KiB if necessary."""
        if self._header is None:
            self._header = self._read_header()
        return self._header

    def fingerprint(self) -> Hashable:
        """Read the file, and return the length and hash of the bytes."""
        if self._fingerprint is None:
            data = self.read()
            self._fingerprint = (len(data), hash(data))
        return self._fingerprint

    def _download(self) -> _Download:
        deadline = time.monotonic() + TOTAL_SECONDS
        received = bytearray()
        with reading(self.name):
            system, path = file_system(self._url, self._options)
            with system.open(path, "rb") as file:
                while chunk := file.read(_CHUNK):
                    received += chunk
                    if len(received) > MAX_DOWNLOAD:
                        raise ImageDownloadError(
                            f"{self.name} is larger than {MAX_DOWNLOAD // 10**6} MB: download the file and scale it "
                            "down first."
                        )
                    if time.monotonic() > deadline:
                        raise ImageDownloadError(
                            f"{self.name} took more than {TOTAL_SECONDS:.0f} seconds: try again, or download the file."
                        )
        data = bytes(received)
        self._fingerprint = (len(data), hash(data))
        return _Download(data)

    def _read_header(self) -> Header:
        if self._fingerprint is None:
            with reading(self.name):
                system, path = file_system(self._url, self._options)
                with system.open(path, "rb", block_size=HEADER_BYTES) as file:
                    head = file.read(HEADER_BYTES)
            try:
                return read_header(io.BytesIO(head), self.name)
            except CorruptImageError:
                pass  # the size comes later than in most files: read it all
        return read_header(io.BytesIO(self.read()), self.name)


def content_of_url(url: str, name: str | None) -> ImageContent:
    """Return the content behind a URL; that of a data URI is in memory.

    Raises:
        UnsupportedImageError: The URL has another scheme.
    """
    if url.startswith("data:"):
        return MemoryContent(from_data_uri(url), name)
    if url.lower().startswith(("http://", "https://")):
        return RemoteContent(url)
    if is_remote_file(url):
        return RemoteFile(url)
    raise UnsupportedImageError(
        f"{redact_url(url)} is not an http or https URL, and not one of an object store: download the image first, or "
        "pass a path."
    )


def remote_files(url: str, options: Mapping[str, Any] | None, *, recursive: bool) -> list[RemoteFile]:
    """Return the files that a URL with a pattern matches, or those in a folder, whose URL ends with a slash.

    Raises:
        ImageDownloadError: The files cannot be listed.
        ImageNotFoundError: There is no such folder.
    """
    address, login = _without_login(url.strip())
    name, merged = public_name(address), {**login, **(options or {})}
    keep = _secrets_of(merged)
    with reading(name):
        system, path = file_system(address, merged)
        found = (
            system.glob(path, detail=True)
            if has_magic(address)
            else system.find(path, maxdepth=None if recursive else 1, detail=True)
        )
    del keep
    protocol = address.partition("://")[0]
    files = sorted(path for path, info in found.items() if info.get("type") == "file")
    return [
        RemoteFile(f"{protocol}://{path.lstrip('/')}", merged)
        for path in files
        if not path.rpartition("/")[2].startswith(".")
    ]


def has_magic(url: str) -> bool:
    """Return whether a URL is a pattern."""
    return any(character in url for character in "*?[")


def file_system(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it."""
    import fsspec

    protocol = url.partition("://")[0].lower()
    kind = fsspec.get_filesystem_class(protocol)
    return kind(**{**kind._get_kwargs_from_urls(url), **options}), str(kind._strip_protocol(url))


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Map the exceptions of fsspec and its file systems."""
    try:
        yield
    except VisionError:
        raise
    except ImportError as error:
        package = PROTOCOLS[name.partition("://")[0].lower()]
        also = "" if package == "fsspec" else f" {package}"
        raise UnsupportedImageError(
            f'{name} is a remote file: pip install "vision-nb[remote]"{also} to read it, or download it first.'
        ) from error
    except FileNotFoundError as error:
        raise ImageNotFoundError(f"There is no file {name}: check the bucket and the path.") from error
    except IsADirectoryError as error:
        raise UnsupportedImageError(f"{name} is a folder: use vn.load_images with a slash at its end.") from error
    except Exception as error:  # each file system has exceptions of its own
        said = f"{type(error).__name__}: {error}"[:120]
        raise ImageDownloadError(
            f"{name} cannot be read ({said}): check the address, the network, and the credentials, which "
            "load_images takes as storage_options=."
        ) from error


def _without_login(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL without its login, and the login as options."""
    match = re.match(r"((?:s3|s3a|oss)://)([^/@:]*):([^@]*)@", url, re.IGNORECASE)
    if match is None:
        return url, {}
    return match[1] + url[match.end() :], {"key": unquote(match[2]), "secret": unquote(match[3])}


def public_name(url: str) -> str:
    """Return a URL without login and signature, to name the file."""
    url = _without_login(url)[0]
    address, separator, fragment = url.partition("#")
    return public_url(address) + separator + fragment


def _secrets_of(options: Mapping[str, Any]) -> list[Secret]:
    """Register the secret options, so that no error shows them for as long as the result is kept."""
    return [Secret(value, name="A storage option") for value in _private_values(options)]


def _private_values(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _private_values(value)
        elif isinstance(value, str) and value and name not in _PUBLIC_OPTIONS:
            yield value
