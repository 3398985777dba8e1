"""Files in object stores and other remote file systems, through fsspec."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar
from urllib.parse import unquote

from vision_nb.errors import (
    CorruptImageError,
    ImageDownloadError,
    ImageError,
    ImageNotFoundError,
    SettingsError,
    UnsupportedImageError,
    VisionError,
)
from vision_nb.images import download
from vision_nb.images.cache import ImageCache
from vision_nb.images.content import ImageContent, MemoryContent, RemoteContent
from vision_nb.images.convert import from_data_uri
from vision_nb.images.download import HEADER_BYTES, MAX_DOWNLOAD
from vision_nb.images.prepare import Header, read_header
from vision_nb.privacy.api_keys import Hidden, Secret
from vision_nb.privacy.redaction import redact
from vision_nb.privacy.urls import public_url, redact_url, without_login

P = ParamSpec("P")
T = TypeVar("T")

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
not used: through them, a URL from somebody else could read local files or reach private networks.
"""

_PUBLIC_OPTIONS = frozenset(
    "account_name account_host endpoint endpoint_url region region_name project consistency".split()
)


_WITH_LOGIN = ("s3", "s3a", "oss")
_SECRET_PART = re.compile(r"(?:key|signature|sig)=([^;&\s]+)|(?<=://)[^\s/@:]*:([^\s/@]+)(?=@)", re.IGNORECASE)


DOWNLOADS: ImageCache[bytes] = ImageCache()
"""The remote files that were read last, for all documents."""


def is_remote_file(source: str) -> bool:
    """Return whether a string is a URL of a file system that is read through fsspec."""
    protocol, separator, _ = source.partition("://")
    return bool(separator) and protocol.strip().lower() in PROTOCOLS


class StorageOptions:
    """Arguments for fsspec's file systems; those that may be secret never appear in a repr, error or pickle.

    Args:
        options: The arguments.

    Raises:
        SettingsError: They are not a mapping with names.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        options = {} if options is None else options
        if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
            raise SettingsError("storage_options must be a dict of arguments for fsspec, such as {'anon': True}.")
        given = dict(options)
        self.public = {name: _without_userinfo(value) for name, value in given.items() if name in _PUBLIC_OPTIONS}
        self._private = Hidden({name: value for name, value in given.items() if self.public.get(name) != value})
        self._secrets = [Secret(text, name="A storage option") for text in _texts(given)]  # redacted from now on
        self.identity = hash(repr(sorted(given.items())))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_secrets": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._secrets = [Secret(text, name="A storage option") for text in _texts(self.arguments())]

    def arguments(self) -> dict[str, Any]:
        """Return all arguments; in another process, only those that are not secret."""
        return {**self.public, **(self._private.value or {})}

    def with_login(self, login: Mapping[str, str]) -> StorageOptions:
        """Return the options with the login of a URL, unless they already have one."""
        return StorageOptions({**login, **self.arguments()}) if login else self


def _without_userinfo(value: Any) -> Any:
    return without_login(value) if isinstance(value, str) and "://" in value else value


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in options that may be secret."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            if name not in _PUBLIC_OPTIONS or _without_userinfo(one) != one:
                yield from _texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, bytes):
        yield from _texts(value.decode("utf-8", "replace"))
    elif isinstance(value, str) and value:
        yield value
        yield from (match[1] or match[2] for match in _SECRET_PART.finditer(value))


NO_OPTIONS = StorageOptions()


class RemoteFile(ImageContent):
    """A file in an object store, which is read when it is needed.

    Args:
        url: Its URL, such as "s3://bucket/photo.jpg". A login in it, "s3://key:secret@bucket/...", is not shown.
        options: Arguments for fsspec's file system, such as credentials.
    """

    def __init__(self, url: str, options: StorageOptions = NO_OPTIONS) -> None:
        self._url, login = _without_login(url.strip())
        self._options = options.with_login(login)
        super().__init__((self._url, self._options.identity), public_name(self._url))
        self._token = uuid.uuid4().hex
        self._fingerprint: Hashable = None
        self._header: Header | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fingerprint": None}  # hashes differ between processes

    @property
    def path(self) -> str:
        """The bucket and the path in it."""
        return self._url.partition("://")[2]

    @property
    def needs_download(self) -> bool:
        """Whether the file has not been read yet."""
        return self._fingerprint is None

    def read(self) -> bytes:
        """Return the bytes; they are read again if the file was not used recently."""
        return DOWNLOADS.get(self._token, self._download)

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

    def _download(self) -> bytes:
        data = _call(self.name, _first_bytes, self._url, self._options, MAX_DOWNLOAD + 1)
        if len(data) > MAX_DOWNLOAD:
            raise ImageDownloadError(
                f"{self.name} is larger than {MAX_DOWNLOAD // 10**6} MB: download the file and scale it down first."
            )
        self._fingerprint = (len(data), hash(data))
        return data

    def _read_header(self) -> Header:
        if self._fingerprint is None:
            head = _call(self.name, _first_bytes, self._url, self._options, HEADER_BYTES)
            with suppress(CorruptImageError):  # the size may come later, as after a long color profile: read it all
                return read_header(io.BytesIO(head), self.name)
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
        f"{redact_url(url)} is neither an http or https URL nor the URL of an object store: download the image first, "
        "or pass a path."
    )


def remote_files(url: str, options: StorageOptions, *, recursive: bool) -> list[RemoteFile]:
    """Return the files that a URL with a pattern matches, or those in a folder, whose URL ends with a slash.

    Raises:
        ImageDownloadError: The files cannot be listed.
        ImageNotFoundError: There is no such folder.
    """
    address, login = _without_login(url.strip())
    merged = options.with_login(login)
    paths = _call(public_name(address), _listed, address, merged, recursive)
    protocol = address.partition("://")[0]
    names = [path.lstrip("/") for path in paths if not path.rpartition("/")[2].startswith(".")]
    return [RemoteFile(f"{protocol}://{name}", merged) for name in names]


def _listed(url: str, options: StorageOptions, recursive: bool) -> list[str]:
    system, path = _file_system(url, options)
    if not has_magic(url):
        found = system.find(path, maxdepth=None if recursive else 1, detail=True)
    else:
        found = system.glob(path, detail=True)
        if not found and system.isfile(path):
            return [path]  # its name has a bracket or question mark
    return [path for path, info in found.items() if info.get("type") == "file"]


def has_magic(url: str) -> bool:
    """Return whether a URL is a pattern."""
    return any(character in url for character in "*?[")


def _file_system(url: str, options: StorageOptions) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it."""
    import fsspec

    protocol = url.partition("://")[0].lower()
    kind = fsspec.get_filesystem_class(protocol)
    return kind(**{**kind._get_kwargs_from_urls(url), **options.arguments()}), str(kind._strip_protocol(url))


def _first_bytes(url: str, options: StorageOptions, count: int) -> bytes:
    """Read the beginning of a file; the file systems of object stores may take 60 seconds."""
    system, path = _file_system(url, options)
    if not getattr(system, "async_impl", False):
        return bytes(system.cat_file(path, start=0, end=count))
    from fsspec.asyn import sync

    return bytes(sync(system.loop, system._cat_file, path, start=0, end=count, timeout=download.TOTAL_SECONDS))


def _call(name: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that uses fsspec, and map the exceptions of its file systems.

    Only the text of these exceptions is kept: they, and the frames in which they were raised, refer to the
    credentials.
    """
    try:
        return function(*args, **kwargs)
    except VisionError:
        raise
    except Exception as error:  # each file system has exceptions of its own
        mapped, cause = _mapped(error, name), RuntimeError(redact(f"{type(error).__name__}: {error}"))
    raise mapped from cause


def _mapped(error: Exception, name: str) -> ImageError:
    if isinstance(error, ImportError):
        package = PROTOCOLS[name.partition("://")[0].lower()]
        also = "" if package == "fsspec" else f" {package}"
        return UnsupportedImageError(
            f'{name} is a remote file: pip install "vision-nb[remote]"{also} to read it, or download it first.'
        )
    if isinstance(error, FileNotFoundError):
        return ImageNotFoundError(f"There is no file {name}: check the bucket and the path.")
    if isinstance(error, IsADirectoryError):
        return UnsupportedImageError(f"{name} is a folder: use vn.load_images with a slash at its end.")
    if isinstance(error, TimeoutError):
        seconds = f"{download.TOTAL_SECONDS:.0f}"
        return ImageDownloadError(f"{name} took more than {seconds} seconds: try again, or download the file first.")
    said = redact(f"{type(error).__name__}: {error}")[:120]
    return ImageDownloadError(
        f"{name} cannot be read ({said}): check the address, the network, and the credentials, which load_images takes "
        "as storage_options=."
    )


def _without_login(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL without its login, and the login as options.

    Raises:
        UnsupportedImageError: The URL has a login, but its file system takes none from URLs.
    """
    # A secret can contain "/", or else "@".
    match = re.match(r"((\w+)://)([^/@:]*):([^/]*|[^@]*)@", url)
    protocol = "" if match is None else match[2].lower()
    if match is None or protocol not in PROTOCOLS or (protocol not in _WITH_LOGIN and "/" in match[4]):
        return url, {}
    if protocol not in _WITH_LOGIN:
        raise UnsupportedImageError(
            f"{match[1]}{url[match.end() :]:.80} was given with a login, which is not read from such a URL: pass the "
            "credentials as load_images(..., storage_options=...)."
        )
    return match[1] + url[match.end() :], {"key": unquote(match[3]), "secret": unquote(match[4])}


def public_name(url: str) -> str:
    """Return a URL without login and signature, to name the file."""
    url = _without_login(url)[0]
    address, separator, fragment = url.partition("#")
    return public_url(address) + separator + fragment
