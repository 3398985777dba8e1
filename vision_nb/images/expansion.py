"""The images in one source: itself, or the pages or frames of the file that it names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vision_nb.checks.numbers import check_count, plain_number
from vision_nb.errors import ImageError, SettingsError
from vision_nb.images.containers import HEAD_BYTES, container_kind, kind_of_name
from vision_nb.images.content import FileContent, ImageContent, MemoryContent, RemoteContent
from vision_nb.images.formats import sniff, type_of_name
from vision_nb.images.parts import Pages
from vision_nb.images.remote import NO_OPTIONS, RemoteFile, StorageOptions, is_remote_file, public_name
from vision_nb.images.sources import ImageSource, local_path
from vision_nb.privacy.api_keys import Secret
from vision_nb.rendering.format import type_name
from vision_nb.user_warnings import warn_user

DEFAULT_DPI = 150.0
"""The resolution of PDF pages: a letter page has 1275 x 1650 pixels."""

_ANIMATED = frozenset({"image/gif", "image/webp", "image/png", "image/avif"})
_FRAGMENT = re.compile(r"(.+)#(?:page=([\d, -]+)|t=(\d{1,9}(?:\.\d{1,9})?)|frame=(\d{1,9}))", re.DOTALL)
_MAX_DPI = 2400.0


@dataclass(frozen=True)
class PartOptions:
    """Which pages and frames are chosen from files that have several.

    Args:
        pages: Pages of PDF documents and TIFF files; None for all.
        dpi: The resolution of PDF pages in pixels per inch.
        password: The password of PDF documents.
        every_s: Seconds from one frame of a video or animation to the next.
        frames: How many frames of a video or animation.
        times: Seconds at which frames of a video are shown.
        frame: The number of a frame of an animation, from 1.

    Raises:
        SettingsError: A value is invalid, or both every_s and frames are given.
    """

    pages: Pages | None = None
    dpi: float = DEFAULT_DPI
    password: Secret | None = field(default=None, repr=False)
    every_s: float | None = None
    frames: int | None = None
    times: tuple[float, ...] = ()
    frame: int | None = None

    def __post_init__(self) -> None:
        if self.every_s is not None and self.frames is not None:
            raise SettingsError("Pass every_s= or frames=, not both: they choose the frames in different ways.")
        check_count(self.frames, "frames")
        if self.every_s is not None and not _is_in(self.every_s, 0.001, math.inf):
            raise SettingsError(f"every_s must be at least 0.001 seconds, not {self.every_s!r:.60}.")
        if not _is_in(self.dpi, 1, _MAX_DPI):
            raise SettingsError(f"dpi must be from 1 to {_MAX_DPI:,.0f} pixels per inch, not {self.dpi!r:.60}.")
        if isinstance(self.pages, Iterable) and not isinstance(self.pages, str):
            object.__setattr__(self, "pages", tuple(self.pages))  # an iterator would be used up by the first file

    @property
    def chosen_kinds(self) -> frozenset[str]:
        """Return the kinds of files that the caller chose parts of: "pdf", "video"."""
        chosen = {"pdf"} if self.pages is not None else set()
        return frozenset(chosen | ({"video"} if self.every_s is not None or self.frames is not None else set()))

    @property
    def chooses_frames(self) -> bool:
        """Return whether the caller chose frames, which animations have too."""
        return self.frames is not None or self.every_s is not None or self.frame is not None

    def divides(self, mimetype: str | None) -> bool:
        """Return whether an image of a type may be several images: TIFF pages, or chosen frames."""
        return mimetype == "image/tiff" or (self.chooses_frames and mimetype in _ANIMATED)


def password_of(password: str | None) -> Secret | None:
    """Return a password in a form that nothing shows.

    Raises:
        SettingsError: It is not a string.
    """
    if password is not None and not isinstance(password, str):
        raise SettingsError(f"password must be a string, not {type_name(password)}.")
    return None if password is None else Secret(password, name="The password of a PDF document")


def _is_in(number: Any, least: float, most: float) -> bool:
    return type(plain_number(number)) in (int, float) and least <= number <= most


def parts_of(content: ImageContent, options: PartOptions) -> list[ImageContent]:
    """Return the pages or frames of a file; the file itself if it is an image, or cannot be read.

    Raises:
        ImageError: The pages or frames cannot be read, or a package is missing.
        SettingsError: The pages are not numbers.
    """
    head = _head(content)
    kind, mimetype = container_kind(head), sniff(head)
    if (kind == "video" or mimetype == "image/gif") and options.pages is not None and not options.chooses_frames:
        warn_user(f"{content.label} has frames instead of pages: choose them with frames= or every_s=.")
    if kind is None and not options.divides(mimetype):
        return [content]
    from vision_nb.images.frames import video_frames  # most files are one image
    from vision_nb.images.pages import animation_frames, pdf_pages, tiff_pages

    if kind == "pdf":
        return list(pdf_pages(content, options.pages, options.dpi, options.password))
    if kind == "video":
        return list(video_frames(content, every_s=options.every_s, frames=options.frames, times=options.times))
    if mimetype == "image/tiff":
        try:
            return tiff_pages(content, options.pages)
        except ImageError:
            if options.pages is None:
                return [content]  # the error is raised when the image is read
            raise
    return animation_frames(content, options.frames, options.every_s, options.frame)


def may_have_parts(name: str, options: PartOptions) -> bool:
    """Return whether a remote file must be read to find its pages or frames, by the ending of its name."""
    return kind_of_name(name) is not None or options.divides(type_of_name(name))


def _head(content: ImageContent) -> bytes:
    try:
        with content.open() as file:
            return file.read(HEAD_BYTES)
    except (ImageError, OSError):
        if isinstance(content, FileContent):
            return b""  # the error is raised when the image is read
        raise


def contents_of(
    source: ImageSource, options: PartOptions, storage: StorageOptions = NO_OPTIONS
) -> list[ImageContent] | None:
    """Return the pages and frames that a source names, or its remote file; None for any other image.

    Args:
        source: A path, which may end in "#page=2", "#t=12.0" or "#frame=3"; a URL; the bytes of a file, also as
            ``{"bytes": ..., "path": ...}``; or an open binary file.
        options: Which pages and frames are chosen.
        storage: Arguments for fsspec's file system, if the source is a URL of one.

    Raises:
        ImageError: The file has no such page or frame, or cannot be read.
        SettingsError: The pages are not numbers.
    """
    if isinstance(source, Mapping) and source.get("bytes") is None:
        source = source.get("path")
    if isinstance(source, (str, Path)):
        return _named(str(source), options, storage)
    content = _in_memory(source)
    if content is None:
        return None
    parts = parts_of(content, options)
    return None if parts == [content] else parts


def names_part(source: ImageSource) -> bool:
    """Return whether a string ends like the name of a page or frame, such as "report.pdf#page=2"."""
    return isinstance(source, str) and _FRAGMENT.fullmatch(source) is not None


def only_one(contents: list[ImageContent], source: ImageSource) -> ImageContent:
    """Return the only image in a list.

    Raises:
        SettingsError: There are several.
    """
    if len(contents) != 1:
        raise SettingsError(
            f"{public_name(str(source)):.80} names {len(contents)} images: use vn.load_images to load them."
        )
    return contents[0]


def _named(source: str, options: PartOptions, storage: StorageOptions) -> list[ImageContent] | None:
    path = local_path(source)
    is_file_name = path is not None and path == source and _exists(path)  # the path of a file:// URL has no fragment
    match = None if is_file_name else _FRAGMENT.fullmatch(source)
    if match is not None:
        source, path = match[1], local_path(match[1])
        options = _chosen_by(match, options)
    if path is not None:
        content: ImageContent = FileContent(path)
    elif is_remote_file(source):
        content = RemoteFile(source, storage)
        if match is None and not may_have_parts(source, options):
            return [content]  # not read yet
    elif _is_web_url(source) and (match is not None or may_have_parts(source.partition("?")[0], options)):
        content = RemoteContent(source.strip())
    else:
        return None
    parts = parts_of(content, options)
    return None if parts == [content] and not isinstance(content, RemoteFile) else parts


def _chosen_by(match: re.Match[str], options: PartOptions) -> PartOptions:
    """Return the options of a name's fragment."""
    if match[2] is not None:
        return replace(options, pages=match[2])
    if match[3] is not None:
        return replace(options, times=(float(match[3]),))
    return replace(options, frame=int(match[4]))


def _is_web_url(source: str) -> bool:
    """Return whether a string is an http or https URL."""
    return source.strip().lower().startswith(("http://", "https://"))


def names_image(text: str) -> bool:
    """Return whether a string is a path that exists or looks like the name of an image; a prompt is neither."""
    is_word = re.search(r"\s", text) is None
    return (is_word and (type_of_name(text) is not None or _is_web_url(text))) or (text != "" and _exists(text))


def _exists(path: str | Path) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _in_memory(source: ImageSource) -> ImageContent | None:
    """Return the content of bytes or an open file that may have several images, or None."""
    name = None
    if isinstance(source, Mapping):
        source, name = source.get("bytes"), source.get("path")
    elif hasattr(source, "read") and not getattr(source, "closed", False) and hasattr(source, "seek"):
        name = getattr(source, "name", None)
        try:
            position = source.tell()
            source.seek(0)
            head = source.read(HEAD_BYTES)
            rest = source.read() if isinstance(head, bytes) and _has_parts(head) else b""
            source.seek(position)
        except Exception:  # the error is raised when the image is made
            return None
        source = head + rest if isinstance(head, bytes) else None
    if not isinstance(source, (bytes, bytearray, memoryview)) or not _has_parts(bytes(source[:HEAD_BYTES])):
        return None
    data = bytes(source)
    names = {"pdf": "PDF document", "video": "video"}
    return MemoryContent(data, str(name) if name else names.get(container_kind(data[:HEAD_BYTES]) or "", "image"))


def _has_parts(head: bytes) -> bool:
    return container_kind(head) is not None or sniff(head) in _ANIMATED | {"image/tiff"}
