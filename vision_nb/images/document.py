"""`ImageDocument`: an image from any source, as a value."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.attributes import read_only
from vision_nb.checks.public_object import PublicObject
from vision_nb.errors import SettingsError
from vision_nb.images.boxes import Box, crop_edges, crop_name
from vision_nb.images.cache import PREPARED_IMAGES
from vision_nb.images.cards import image_figure
from vision_nb.images.content import FileContent, ImageContent, MemoryContent, RemoteContent
from vision_nb.images.convert import read_source
from vision_nb.images.decode import Size, decode_upright, open_source, upright_size
from vision_nb.images.detail import Detail, check_detail
from vision_nb.images.expansion import PartOptions, contents_of, names_part, only_one
from vision_nb.images.formats import SENDABLE, type_of_name
from vision_nb.images.image_list import ListOfImages
from vision_nb.images.parts import PartContent
from vision_nb.images.pixel_content import memory_content
from vision_nb.images.prepare import MAX_BYTES, Prepared, ThumbnailType, fit_within, prepare, thumbnail
from vision_nb.images.remote import content_of_url
from vision_nb.images.sources import ImageSource as ImageSource
from vision_nb.images.sources import source_arguments
from vision_nb.images.tiles import tile_edges
from vision_nb.rendering import html
from vision_nb.rendering.sanitize import replace_surrogates, terminal_text

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T", covariant=True)


class Uploader(Protocol[T]):
    """A model whose service takes uploads."""

    def upload(self, document: ImageDocument) -> T:
        """Upload an image, and return it as an uploaded one."""

    async def aupload(self, document: ImageDocument) -> T:
        """Upload an image; the asynchronous version of `upload`."""


@checks_arguments
@read_only(detail="use document.with_detail(LEVEL), which returns another document")
@dataclass(frozen=True, repr=False)
class ImageDocument(PublicObject):
    """An image in a file, behind a URL or in memory.

    Pass exactly one of ``image``, ``image_path`` and ``image_url``. A path or URL is read when the image is needed;
    an array, figure or open file is copied at once, so later changes to it do not affect the document.

    Args:
        image: Encoded bytes, a base64 string, a data URI, a binary file, a Pillow image, a numpy array (see
            `pixels_from_array` for its shapes) or a matplotlib figure. A str is never interpreted as a path.
        image_path: A file on this machine.
        image_url: An http or https URL, a URL of an object store such as "s3://bucket/photo.jpg", or a data URI.
        image_mimetype: The type that the caller expects; informative only. The type that is sent is detected from
            the bytes.
        detail: "auto", "low", "high" or "original" for this image; None uses the model's setting.
        image_name: A name for an image in memory, such as the name of the file it came from.

    Raises:
        SettingsError: No source or more than one was given, or the detail level does not exist.
        UnsupportedImageError: The source is not an image, or its type is not supported.

    >>> vn.ImageDocument(image_url="https://example.org/colosseum.jpg")
    ImageDocument('https://example.org/colosseum.jpg')
    """

    image: Any = field(default=None, compare=False)
    image_path: str | Path | None = None
    image_url: str | None = None
    image_mimetype: str | None = None
    detail: Detail | None = None
    image_name: str | None = None
    _content: ImageContent = field(init=False)

    def __post_init__(self) -> None:
        given = [name for name in ("image", "image_path", "image_url") if getattr(self, name) is not None]
        if len(given) != 1:
            raise SettingsError(
                f"Pass exactly one of image=, image_path= and image_url=, not {' and '.join(given) or 'none'}. "
                "For any other kind of source, use ImageDocument.of(source)."
            )
        check_detail(self.detail)
        if self.image_path is not None:
            self._set(_content=FileContent(self.image_path))
        elif self.image_url is not None:
            url = str(self.image_url).strip()
            self._set(image_url=url, _content=content_of_url(url, self.image_name))
        elif isinstance(self.image, ImageContent):  # a page, a frame or a remote file
            self._set(_content=self.image)
        else:
            source = read_source(self.image, self.image_name)
            content = memory_content(source, self.image_name)
            kept = self.image if isinstance(self.image, str) else source if isinstance(source, bytes) else content
            self._set(_content=content, image=kept)

    def _set(self, **values: Any) -> None:
        """Set attributes of the frozen dataclass while it is being created."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, source: ImageSource, *, detail: Detail | None = None) -> ImageDocument:
        """Create a document from any source.

        Args:
            source: A path, URL or data URI (as str), a Path, bytes, a binary file, a Pillow image, a numpy array, a
                matplotlib figure, or a document. A str that is neither a URL nor a data URI is a path. It may name a
                page or frame, as "report.pdf#page=2" or "talk.mp4#t=12.0".
            detail: The detail level of this image; None keeps a document's own.

        Raises:
            UnsupportedImageError: The source is not an image, or its type is not supported.
        """
        if isinstance(source, ImageDocument):
            return source if detail is None else source.with_detail(detail)
        contents = contents_of(source, PartOptions()) if names_part(source) else None
        arguments = source_arguments(source) if contents is None else {"image": only_one(contents, source)}
        return cls(**arguments, detail=detail)

    def with_detail(self, detail: Detail | None) -> ImageDocument:
        """Return the document with another detail level; both share a download.

        Args:
            detail: "auto", "low", "high" or "original"; None uses the model's setting.

        Raises:
            SettingsError: The detail level does not exist.
        """
        check_detail(detail)
        document = copy.copy(self)
        document._set(detail=detail)
        return document

    @property
    def name(self) -> str:
        """The path, the URL without its query, or the name of an image in memory."""
        return self._content.name

    @property
    def short_name(self) -> str:
        """The name with at most one folder, for notebooks that are shared."""
        path = Path(self.name)
        return str(Path(*path.parts[-2:])) if self._content.is_local and path.is_absolute() else self.name

    @property
    def title(self) -> str:
        """The file name, or the type of an image in memory without a name."""
        if isinstance(self._content, MemoryContent):
            kind = (self._content.mimetype or "image/unknown").partition("/")[2]
            return replace_surrogates(self.image_name or f"{kind.upper()} image")
        return replace_surrogates(Path(self.name).name or self.name)

    @property
    def part_of(self) -> tuple[ImageDocument, str] | None:
        """The file that the image is a page or frame of, and what was chosen from it; None for a whole file."""
        if not isinstance(self._content, PartContent):
            return None
        file = self._content.container
        if isinstance(file, FileContent):
            return ImageDocument(image_path=file.name), self._content.part.key
        if isinstance(file, RemoteContent):
            return ImageDocument(image_url=file.url), self._content.part.key
        return ImageDocument(image=file), self._content.part.key

    @property
    def is_remote(self) -> bool:
        """Whether the image is behind an http or https URL."""
        return isinstance(self._content, RemoteContent)

    def fingerprint(self) -> Hashable:
        """Return a value that changes when the image does; an image behind a URL is downloaded."""
        return self._content.fingerprint()

    @property
    def size(self) -> Size:
        """Width and height in pixels, EXIF orientation applied; read from the header."""
        return self._content.header().size

    @property
    def taken(self) -> datetime | None:
        """When the image was taken, by its EXIF data, in the camera's local time; None if unknown."""
        return self._content.header().taken

    @property
    def mimetype(self) -> str:
        """The MIME type, detected from the first bytes.

        For a URL that has not been downloaded, it is ``image_mimetype`` or what the URL's ending says; the first
        bytes are downloaded if neither is known.
        """
        if isinstance(self._content, RemoteContent) and not self._content.has_header:
            told = self.image_mimetype or type_of_name(urlsplit(str(self.image_url)).path)
            if told is not None:
                return told
        return self._content.header().mimetype

    def check_end(self) -> None:
        """Raise `ImageError` if the file is cut off; only a file without an end marker is decoded."""
        if self._content.lacks_end():
            self.to_pil()

    def read(self) -> bytes:
        """Return the image file unchanged, metadata included.

        Raises:
            ImageError: The image cannot be found, read or downloaded.
        """
        return self._content.read()

    def prepare(
        self,
        fit: Callable[[Size], Size] = lambda size: size,
        *,
        max_bytes: int = MAX_BYTES,
        types: frozenset[str] = SENDABLE,
    ) -> Prepared:
        """Return the image ready to be sent: upright, opaque, sRGB, resized, without metadata.

        The result is cached: preparing the image again at the same size does not decode it again.

        Args:
            fit: A function from the image's (width, height) in pixels to the size to send it at.
            max_bytes: The largest file to send, in bytes.
            types: The MIME types that the server accepts; an image of another type is converted to PNG or JPEG.

        Raises:
            ImageError: The image cannot be found, read or decoded, or is too large.
        """
        fingerprint = self._content.fingerprint()  # first: the header is then read from the downloaded bytes
        target = fit(self.size)
        return PREPARED_IMAGES.get(
            (fingerprint, target, max_bytes, types),
            lambda: prepare(
                self._content.source(), name=self._content.label, fit=lambda _: target, max_bytes=max_bytes, types=types
            ),
        )

    def upload(self, llm: Uploader[T]) -> T:
        """Upload the image once, to refer to it in many requests.

        The image is uploaded as it would be sent: resized and without metadata. The file is deleted by
        `UploadedImage.delete`, when the model is closed, or when Python exits. In case that fails, the service is asked
        to delete it after a day; some versions of Azure's API do not support this.

        Args:
            llm: A model of OpenAI, or of Azure OpenAI's v1 endpoint. An image that is already uploaded with this model
                is not uploaded again.

        Returns:
            An `UploadedImage`, which can be used in place of the image.

        Raises:
            SettingsError: The model's service does not take uploads.
            ImageError: The image cannot be used.
            ProviderError: The server did not accept the file.
        """
        if not hasattr(llm, "upload"):
            raise SettingsError(f"upload() takes a model object, as vn.connect() returns it, not {llm!r:.80}.")
        return llm.upload(self)

    async def aupload(self, llm: Uploader[T]) -> T:
        """Upload the image once; the asynchronous version of `upload`."""
        if not hasattr(llm, "aupload"):
            raise SettingsError(f"aupload() takes a model object, as vn.connect() returns it, not {llm!r:.80}.")
        return await llm.aupload(self)

    def show_as_link(self) -> None:
        """Show a URL from an untrusted file as a link, without a request, until it is downloaded for a model."""
        self._content.show_as_link = True

    @property
    def is_link(self) -> bool:
        """Whether the image must not be downloaded for display; see `show_as_link`."""
        return self._content.show_as_link and self._content.needs_download

    @property
    def needs_download(self) -> bool:
        """Whether the image is behind a URL or in an object store, and has not been downloaded."""
        return self._content.needs_download

    def forget_download(self) -> None:
        """Free the memory of a downloaded image; it is downloaded again when it is needed."""
        if isinstance(self._content, RemoteContent):
            self._content.forget()

    def sha256(self) -> str:
        """Return the SHA-256 digest of the image file, as hexadecimal digits.

        Raises:
            ImageError: The image cannot be found, read or downloaded.
        """
        return self._content.sha256()

    def to_pil(self, max_side: int | None = None) -> Image.Image:
        """Return the image as an upright 8-bit sRGB Pillow image.

        Args:
            max_side: The longest side in pixels, to which a larger image is scaled; None for the full size.

        Raises:
            ImageError: The image cannot be found, read or decoded.
        """
        name = self._content.label
        with open_source(self._content.source(), name) as (image, _):
            size = upright_size(image)
            return decode_upright(image, size if max_side is None else fit_within(size, max_side), [], name)

    def split(self, rows: int, columns: int = 1, *, overlap: int = 0) -> ImageList:
        """Cut the image into tiles, row by row, to send a long or large image at full resolution.

        Args:
            rows: How many tiles the image has from top to bottom.
            columns: How many tiles it has from left to right.
            overlap: How many pixels neighboring tiles share, so that a line of text is whole in one of them.

        Returns:
            A list of documents with the image's detail level.

        Raises:
            SettingsError: There are more tiles than pixels on a side, or a number is negative or not whole.
            ImageError: The image cannot be found, read or decoded.

        >>> tiles = vn.ImageDocument.of(vn.samples.path("chart")).split(2, 2, overlap=20)
        >>> [tile.size for tile in tiles]
        [(510, 310), (510, 310), (510, 310), (510, 310)]
        """
        boxes = tile_edges(self.size, rows, columns, overlap=overlap)
        pixels, tiles = self.to_pil(), ImageList()
        for (row, column), box in boxes.items():
            name = f"{self.title} (row {row} of {rows}, column {column} of {columns})"
            tiles.append(ImageDocument(image=pixels.crop(box), detail=self.detail, image_name=name))
        return tiles

    def crop(self, box: Box | Sequence[float] | float, *edges: float) -> ImageDocument:
        """Return a part of the image as a document.

        Args:
            box: A `Box`, or (left, top, right, bottom), in pixels of the upright image. Pixels that the box covers in
                part are included; what is outside the image is cut off.
            *edges: The top, right and bottom of a box that is given as four numbers: ``crop(10, 20, 310, 220)``.

        Returns:
            A document in memory with the image's detail level; ``.to_pil().save("crop.png")`` saves it. Its name has
            the crop's left, top, width and height, such as "photo.jpg#xywh=10,20,300,200".

        Raises:
            SettingsError: The value is not a box, or contains no pixel of the image.
            ImageError: The image cannot be found, read or decoded.

        >>> vn.ImageDocument.of(vn.samples.path("chart")).crop((10, 20, 310, 220)).title
        'chart.png#xywh=10,20,300,200'
        """
        part = crop_edges((box, *edges) if edges else box, self.size, self.title)
        return ImageDocument(image=self.to_pil().crop(part), detail=self.detail, image_name=crop_name(self.title, part))

    def data_uri(self) -> str:
        """Return the image as a data URI, in a type that browsers and providers accept."""
        prepared = self.prepare()
        return html.data_uri(prepared.data, prepared.mimetype)

    def thumbnail(self, side: int = 320, *, max_bytes: int = 22_000, mimetype: ThumbnailType = "image/jpeg") -> str:
        """Return a small version of the image as a data URI.

        Args:
            side: The largest width and height in pixels.
            max_bytes: The largest file in bytes, before base64.
            mimetype: "image/jpeg", or "image/webp", which has more pixels in a few kB.

        Raises:
            ImageError: The image cannot be found, read or decoded.
        """
        source, name = self._content.source(), self._content.label
        return html.data_uri(thumbnail(source, name=name, side=side, max_bytes=max_bytes, mimetype=mimetype), mimetype)

    def __repr__(self) -> str:
        detail = f", detail={self.detail!r}" if self.detail else ""
        name = terminal_text(self.short_name) if isinstance(self._content, MemoryContent) else repr(self.short_name)
        return f"{type(self).__name__}({name}{detail})"

    def _repr_html_(self) -> str:
        return image_figure(self)


class ImageList(ListOfImages[ImageDocument]):
    """A list of documents, displayed as thumbnails in a notebook; see `ListOfImages` for what it can do."""
