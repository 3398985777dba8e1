"""`ImageDocument`: a picture from anywhere, as a value."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit

from vision_nb.errors import (
    CorruptImageError,
    ImageError,
    ImageNotFoundError,
    SettingsError,
    UnsupportedImageError,
)
from vision_nb.images.cache import PREPARED_IMAGES
from vision_nb.images.convert import from_data_uri, image_bytes
from vision_nb.images.decode import Size, decode_upright, open_image, upright_size
from vision_nb.images.detail import Detail, check_detail
from vision_nb.images.download import HEADER_BYTES, download, redact_url
from vision_nb.images.formats import sniff
from vision_nb.images.prepare import MAX_BYTES, Header, Prepared, prepare, read_header, thumbnail
from vision_nb.rendering import html
from vision_nb.rendering.sanitize import replace_surrogates

if TYPE_CHECKING:
    from PIL import Image

ImageSource: TypeAlias = Any
"""A path, URL, data URI, bytes, binary file, Pillow image, numpy array, matplotlib figure or ImageDocument."""

_HEADERS: dict[Hashable, Header] = {}
_HEADERS_KEPT = 10_000  # a question about the same picture need not open its file again


@dataclass(frozen=True, repr=False)
class ImageDocument:
    """A picture, wherever it is: in a file, behind a URL or in memory.

    Exactly one of ``image``, ``image_path`` and ``image_url`` is given. Making a document from a path or a
    URL reads nothing; what is in memory is kept as it is at that moment, and a later change to an array or a
    figure does not reach the document.

    Args:
        image: Encoded bytes, a base64 string, a data URI, a binary file, a Pillow image, a numpy array (see
            `png_from_array` for its shapes) or a matplotlib figure. A str here is never a path.
        image_path: A file on this machine.
        image_url: An http or https URL, or a data URI.
        image_mimetype: What the caller believes the type to be; kept, and never trusted: the type that is
            sent is told from the bytes.
        detail: "auto", "low", "high" or "original" for this picture alone; None leaves it to the model.
        image_name: What to call a picture that is in memory, such as the name of the file it came from.

    Raises:
        SettingsError: None or more than one source is given, or the detail level does not exist.
        UnsupportedImageError: The source is of a kind that cannot hold a picture.

    >>> ImageDocument(image_url="https://example.org/colosseum.jpg")
    ImageDocument('https://example.org/colosseum.jpg')
    """

    image: Any = field(default=None, compare=False)
    image_path: str | Path | None = None
    image_url: str | None = None
    image_mimetype: str | None = None
    detail: Detail | None = None
    image_name: str | None = None
    _memory: bytes | None = field(default=None, init=False)
    _is_link: bool = field(default=False, init=False, compare=False)

    def __post_init__(self) -> None:
        given = [name for name in ("image", "image_path", "image_url") if getattr(self, name) is not None]
        if len(given) != 1:
            raise SettingsError(
                f"An ImageDocument takes one of image=, image_path= and image_url=, and got "
                f"{' and '.join(given) or 'none'}: ImageDocument.of(source) picks the right one."
            )
        if self.detail is not None:
            check_detail(self.detail)
        if self.image_url is not None:
            object.__setattr__(self, "image_url", str(self.image_url).strip())
            self._check_url(str(self.image_url))
        elif self.image is not None:
            object.__setattr__(self, "_memory", image_bytes(self.image, self.image_name))
            if not isinstance(self.image, str):
                object.__setattr__(self, "image", self._memory)

    def _check_url(self, url: str) -> None:
        if url.startswith("data:"):
            object.__setattr__(self, "_memory", from_data_uri(url))
        elif not url.lower().startswith(("http://", "https://")):
            raise UnsupportedImageError(
                f"{redact_url(url)} is no http or https URL: download the picture first, or give a path."
            )

    @classmethod
    def of(cls, source: ImageSource, *, detail: Detail | None = None) -> ImageDocument:
        """Make a document from any source.

        Args:
            source: A path, URL or data URI (as str), a Path, bytes, a binary file, a Pillow image, a numpy
                array, a matplotlib figure, or a document. A str that is neither URL nor data URI is a path.
            detail: The detail level of this picture; None keeps a document's own.

        Raises:
            UnsupportedImageError: The source is of a kind that cannot hold a picture.
        """
        if isinstance(source, ImageDocument):
            return source if detail is None or detail == source.detail else replace(source, detail=detail)
        if isinstance(source, str):
            scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://|(data):", source.strip())
            if scheme is None:
                return cls(image_path=source, detail=detail)
            if scheme[0].lower() == "file://":
                from urllib.request import url2pathname  # it brings all of http and email with it

                return cls(image_path=url2pathname(unquote(urlsplit(source).path)), detail=detail)
            return cls(image_url=source, detail=detail)
        if isinstance(source, Path):
            return cls(image_path=source, detail=detail)
        return cls(image=source, detail=detail)

    @property
    def name(self) -> str:
        """What to call the picture: its path, its URL without the query, its given name, or its kind and bytes."""
        if self.image_path is not None:
            return str(self.image_path)
        if self.is_remote:
            return redact_url(str(self.image_url))
        if self.image_name:
            return self.image_name
        data = self._memory or b""
        return f"<{len(data):,} bytes of {sniff(data) or 'unknown type'}>"

    @property
    def short_name(self) -> str:
        """The name without the folders above the file's own: what is shown in notebooks that travel."""
        if self.image_path is not None and Path(str(self.image_path)).is_absolute():
            return str(Path(*Path(str(self.image_path)).parts[-2:]))
        return self.name

    @property
    def title(self) -> str:
        """The file's own name, for a caption; what is in memory and was given no name has its kind."""
        if self._memory is not None:
            kind = (sniff(self._memory) or "image/unknown").partition("/")[2]
            return replace_surrogates(self.image_name or f"{kind.upper()} picture")
        return replace_surrogates(Path(self.name).name or self.name)

    @property
    def is_remote(self) -> bool:
        """Whether the picture is behind an http or https URL."""
        return self.image_url is not None and self._memory is None

    @property
    def size(self) -> Size:
        """Width and height in pixels as a viewer shows it, read from the header alone."""
        return self._header.size

    @property
    def mimetype(self) -> str:
        """The MIME type by the first bytes, whatever a name or a server says."""
        return self._header.mimetype

    @property
    def _header(self) -> Header:
        if self.is_remote:
            return self._remote_header
        if self._memory is not None:
            return read_header(io.BytesIO(self._memory), self.name)
        key = self._content_key()
        header = _HEADERS.get(key)
        if header is None:
            with self._open() as file:
                header = _HEADERS[key] = read_header(file, self.name)
            if len(_HEADERS) > _HEADERS_KEPT:
                _HEADERS.clear()
        return header

    @cached_property
    def _remote_header(self) -> Header:
        url = str(self.image_url)
        if "_downloaded" not in self.__dict__:
            try:
                return read_header(io.BytesIO(download(url, first_bytes=HEADER_BYTES)), self.name)
            except CorruptImageError:
                pass  # the header is further in than most, as behind a long colour profile: read it all
        return read_header(io.BytesIO(self._downloaded), self.name)

    @cached_property
    def _downloaded(self) -> bytes:
        return download(str(self.image_url))

    def _open(self) -> IO[bytes]:
        path = Path(str(self.image_path)).expanduser()
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            advice = (
                f"vn.load_images({str(path)!r}) reads a pattern" if any(mark in str(path) for mark in "*?[") else ""
            )
            where = f"the notebook runs in {Path.cwd()}"
            raise ImageNotFoundError(f"There is no file {path}: {advice or where}.") from error
        except (IsADirectoryError, PermissionError) as error:
            if path.is_dir():
                raise UnsupportedImageError(f"{path} is a folder: vn.load_images({str(path)!r}) reads it.") from error
            raise UnsupportedImageError(f"{path} cannot be read: its permissions forbid it.") from error
        except (OSError, ValueError) as error:
            raise UnsupportedImageError(f"{str(path)[:120]!r} is no usable path ({error}).") from error
        return file

    def read(self) -> bytes:
        """The picture's file as it is, metadata included: from memory, disk or network.

        Raises:
            ImageError: It cannot be found, read or downloaded.
        """
        if self._memory is not None:
            return self._memory
        if self.is_remote:
            return self._downloaded
        with self._open() as file:
            return file.read()

    def prepare(self, fit: Callable[[Size], Size] = lambda size: size, *, max_bytes: int = MAX_BYTES) -> Prepared:
        """The picture ready to be sent: upright, sRGB, fitted, without metadata; see `vision_nb.images.prepare`.

        A picture that was made ready a moment ago at the same size is not decoded again.

        Args:
            fit: The size to scale to, from the size in pixels that it has; both are (width, height).
            max_bytes: How large the file may be.

        Raises:
            ImageError: It cannot be found, read, decoded or made small enough.
        """
        target = fit(self.size)
        key = (self._content_key(), target, max_bytes)
        return PREPARED_IMAGES.get(
            key, lambda: prepare(self.read(), name=self.name, fit=lambda _: target, max_bytes=max_bytes)
        )

    def _content_key(self) -> Hashable:
        """What changes when the picture's content does."""
        if self._memory is not None:
            return len(self._memory), hash(self._memory)
        if self.is_remote:
            return len(self._downloaded), hash(self._downloaded)
        path = Path(str(self.image_path)).expanduser()
        try:
            state = path.stat()
        except (OSError, ValueError):
            return str(path)  # reading it then raises the error that says what is wrong
        return str(path.absolute()), state.st_size, state.st_mtime_ns

    def show_as_link(self) -> None:
        """Fetch the picture only when a model is asked about it, and not to show it: its URL is somebody else's."""
        object.__setattr__(self, "_is_link", True)

    @property
    def is_link(self) -> bool:
        """Whether the picture is not to be fetched to be shown; see `show_as_link`."""
        return self._is_link and "_downloaded" not in self.__dict__

    def forget_download(self) -> None:
        """Free the memory that a downloaded picture takes; it is downloaded again when it is needed."""
        self.__dict__.pop("_downloaded", None)

    def to_pil(self) -> Image.Image:
        """Decode to an upright 8-bit sRGB Pillow image at full size."""
        with open_image(io.BytesIO(self.read()), self.name) as (image, _):
            return decode_upright(image, upright_size(image), [])

    def data_uri(self) -> str:
        """The picture as a data URI, without its metadata, in a type that browsers and providers take."""
        ready = self.prepare()
        return html.data_uri(ready.data, ready.mimetype)

    def thumbnail(self, side: int = 320, *, max_bytes: int = 22_000) -> str:
        """A small JPEG as a data URI.

        Args:
            side: Pixels that it is wide and high at most.
            max_bytes: Bytes that it has at most, before base64.

        Raises:
            ImageError: The picture cannot be found, read or decoded.
        """
        small = thumbnail(self.read(), name=self.name, side=side, max_bytes=max_bytes)
        return html.data_uri(small, "image/jpeg")

    def __repr__(self) -> str:
        detail = f", detail={self.detail!r}" if self.detail else ""
        name = self.short_name if self._memory is not None else repr(self.short_name)
        return f"ImageDocument({name}{detail})"

    def _repr_html_(self) -> str:
        try:
            ready = self._header
            return html.image_figure(self.thumbnail(), self.short_name, ready.size, ready.mimetype)
        except ImageError as error:
            return html.error_box(str(error))
