"""Lists of images from URLs, files, folders and glob patterns."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from vision_nb.checks.arguments import checks_arguments
from vision_nb.errors import ImageError, ImageNotFoundError, SettingsError
from vision_nb.images.columns import flatten
from vision_nb.images.containers import HEAD_BYTES, container_kind, kind_of_name
from vision_nb.images.content import FileContent, ImageContent, missing_file, working_folder
from vision_nb.images.document import ImageDocument, ImageList, ImageSource
from vision_nb.images.expansion import (
    DEFAULT_DPI,
    PartOptions,
    contents_of,
    may_have_parts,
    names_part,
    parts_of,
    password_of,
)
from vision_nb.images.formats import SNIFF_BYTES, describe_data, sniff, type_of_name
from vision_nb.images.parts import Pages
from vision_nb.images.remote import NO_OPTIONS, StorageOptions, has_magic, is_remote_file, public_name, remote_files
from vision_nb.images.sources import local_path
from vision_nb.paths import expand_path, shown_path

_READ_BYTES = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # without conversion of line ends on Windows
_NUMBER = re.compile(r"\d+")
_HOW_TO_CHOOSE = {
    "pdf": 'it is a PDF document; pass its path, or vn.load_images(..., pages="1-")',
    "video": "it is a video; pass its path, or vn.load_images(..., frames=8)",
}


@checks_arguments
def load_image_urls(image_urls: Iterable[str]) -> ImageList:
    """Create a document for each URL; nothing is downloaded yet.

    Args:
        image_urls: http or https URLs.

    Raises:
        SettingsError: A single URL was given instead of a list.
        UnsupportedImageError: A string is not an http or https URL.

    >>> vn.load_image_urls(["https://example.org/1.jpg"])
    [ImageDocument('https://example.org/1.jpg')]
    """
    if isinstance(image_urls, str) or not isinstance(image_urls, Iterable):
        raise SettingsError("load_image_urls takes a list of URLs: pass [url] for a single one.")
    return ImageList(ImageDocument(image_url=url) for url in image_urls)


@checks_arguments
def load_images(
    *sources: ImageSource,
    recursive: bool = False,
    pages: Pages | None = None,
    dpi: float = DEFAULT_DPI,
    password: str | None = None,
    every_s: float | None = None,
    frames: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> ImageList:
    """Create documents from files, folders, URLs, tables or in-memory images.

    The images of a folder or pattern are found by their first bytes, and sorted in natural order (``img2`` before
    ``img10``). Other files in it are skipped: ``.skipped`` lists them with the reason, and a note counts them, which
    is a warning outside notebooks. PDF documents and videos in it are skipped too, unless the pattern names their
    ending, as ``*.pdf`` does, or their pages or frames are chosen.

    Each page of a PDF document or TIFF file is a document, such as ``report.pdf#page=2``, and so are frames of a video,
    such as ``talk.mp4#t=12.0``, the time in seconds. They are rendered when they are used. These names are sources too.

    Args:
        *sources: Paths, URLs (also of object stores, such as ``s3://bucket/photo.jpg``), patterns, in-memory images, or
            lists, iterators, columns of tables and numpy arrays of strings or objects with them, in any combination.
            The URL of a folder ends with a slash. An image in memory without a name is named by its position in its
            list or column, such as ``images[2]``.
        recursive: Whether to search subfolders too.
        pages: Pages of PDF documents and TIFF files: numbers from 1, or from -1 at the end, or a text such as
            ``"1-3, 8-, -1"``. The end of a range may be beyond the last page. None for all pages.
        dpi: The resolution of PDF pages in pixels per inch: 150 makes 1275 x 1650 pixels of a letter page.
        password: The password of PDF documents. A pickled document does not contain it.
        every_s: Seconds from one frame of a video to the next. Also applies to animations, of which only the first
            frame is used otherwise.
        frames: How many frames of each video or animation, evenly spread, instead of ``every_s``. By default, 8 frames
            of a video.
        storage_options: Arguments for fsspec's file system, such as credentials, if sources are in object stores. By
            default, the file system finds credentials where its command-line tools do. A pickled document does not
            contain them.

    Raises:
        ImageNotFoundError: A file, page or frame does not exist, or a folder or pattern contains no image.
        ImageError: A PDF document or video cannot be read, or a package that reads it is missing.
        SettingsError: An option is invalid.

    >>> vn.load_images("photos", "https://example.org/3.jpg")
    [ImageDocument('photos/1.jpg'), ImageDocument('photos/2.jpg'), ImageDocument('https://example.org/3.jpg')]
    """
    options = PartOptions(pages, dpi, password_of(password), every_s, frames)
    storage = StorageOptions(storage_options)
    del password, storage_options  # a traceback can show the variables of each function
    documents = _load_all(sources, options, storage, recursive)
    documents.report_skipped()
    return documents


def find_images(*sources: ImageSource) -> ImageList:
    """Create documents as `load_images` does by default, without a note about skipped files."""
    return _load_all(sources, PartOptions(), NO_OPTIONS, False)


def _load_all(
    sources: Iterable[ImageSource], options: PartOptions, storage: StorageOptions, recursive: bool
) -> ImageList:
    documents = ImageList()
    for source in flatten(sources):
        found = _load(source, options, storage, recursive)
        documents.extend(found)
        documents.skipped.extend(found.skipped)
    return documents


def with_parts(
    source: ImageSource, options: PartOptions | None = None, storage: StorageOptions = NO_OPTIONS
) -> list[ImageSource]:
    """Return documents of the pages or frames of a PDF document, TIFF file or video; any other source unchanged.

    Args:
        source: The source.
        options: Which pages and frames are chosen; None for the default.
        storage: Arguments for fsspec's file system, if the source is a URL of one.

    Raises:
        ImageError: The pages or frames cannot be read.
    """
    contents = contents_of(source, options or PartOptions(), storage)
    return [source] if contents is None else [ImageDocument(image=content) for content in contents]


def _documents(source: ImageSource, options: PartOptions, storage: StorageOptions) -> ImageList:
    return ImageList(map(ImageDocument.of, with_parts(source, options, storage)))


def _load(source: ImageSource, options: PartOptions, storage: StorageOptions, recursive: bool) -> ImageList:
    if not isinstance(source, (str, Path)):
        return _documents(source, options, storage)
    if is_remote_file(str(source)) and (has_magic(str(source)) or str(source).endswith("/")):
        return _expand_remote(str(source), options, storage, recursive)
    place = local_path(str(source))
    path = None if place is None else expand_path(place, ImageNotFoundError)
    try:
        # Pipes and devices are refused when they are read.
        is_file = path is None or (not path.is_dir() if path.exists() else names_part(source))
        found = None if path is None or is_file else _expand(path, options, recursive)
    except OSError as error:
        if isinstance(error, ImageNotFoundError):
            raise
        shown = shown_path(Path(str(source)))
        raise ImageNotFoundError(f"{shown} cannot be read ({error.strerror}): {working_folder()}.") from error
    return _documents(source, options, storage) if found is None else found


def _expand(path: Path, options: PartOptions, recursive: bool) -> ImageList:
    """Return the images in the files of a folder or glob pattern."""
    if path.is_dir():
        place = f"the folder {shown_path(path)}"
        files = _files_of(path, recursive=recursive)
    elif glob.has_magic(str(path)):
        place = f"the pattern {shown_path(path)}"
        matches = glob.iglob(str(path), recursive=True)  # noqa: PTH207 - Path.glob does not accept absolute patterns
        files = (name for name in matches if Path(name).is_file())
    else:
        raise missing_file(path)
    found = ImageList()
    wanted = options.chosen_kinds | {kind_of_name(path.name)}
    # Names until they are sorted, and one read for each file: there may be a hundred thousand.
    for name in sorted(files, key=_natural_order):
        file = Path(name)
        if file.name.startswith("."):
            continue
        try:
            head = _head(name)
        except OSError as error:
            found.skipped.append((file, f"it cannot be read ({error.strerror})"))
            continue
        kind, mimetype = container_kind(head), sniff(head[:SNIFF_BYTES])
        if kind is None and mimetype is None:
            found.skipped.append((file, describe_data(head[:512])))
        elif kind is not None and kind not in wanted:
            found.skipped.append((file, _HOW_TO_CHOOSE[kind]))
        elif kind is not None or options.divides(mimetype):
            _add_parts(found, FileContent(file), file, options)
        else:
            found.append(ImageDocument(image_path=file))
    has_folders = path.is_dir() and not recursive and any(one.is_dir() for one in path.iterdir())
    return _not_empty(found, place, "recursive=True searches its subfolders" if has_folders else working_folder())


def _files_of(folder: str | Path, *, recursive: bool) -> Iterator[str]:
    """Yield the paths of the files in a folder; subfolders that cannot be read are left out."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file():
                yield entry.path
            elif recursive and entry.is_dir(follow_symlinks=False):  # a link to a parent folder would never end
                with suppress(PermissionError):
                    yield from _files_of(entry.path, recursive=True)


def _head(name: str) -> bytes:
    file = os.open(name, _READ_BYTES)  # six times faster than Path.open
    try:
        return os.read(file, HEAD_BYTES)
    finally:
        os.close(file)


def _expand_remote(url: str, options: PartOptions, storage: StorageOptions, recursive: bool) -> ImageList:
    """Return the images in a folder or pattern of an object store, by the endings of their names."""
    found, wanted = ImageList(), options.chosen_kinds | {kind_of_name(url)}
    ending = PurePosixPath(url).suffix
    files = remote_files(url, storage, recursive=recursive)
    for file in sorted(files, key=lambda file: _natural_order(file.path)):
        kind = kind_of_name(file.path)
        if kind is None and type_of_name(file.path) is None and (not ending or has_magic(ending)):
            found.skipped.append((Path(file.path), "its name does not end like that of an image"))
        elif not may_have_parts(file.path, options):
            found.append(ImageDocument(image=file))
        elif kind is None or kind in wanted:
            _add_parts(found, file, Path(file.path), options)
        else:
            found.skipped.append((Path(file.path), _HOW_TO_CHOOSE[kind]))
    return _not_empty(found, public_name(url), "check the bucket and the path")


def _add_parts(found: ImageList, file: ImageContent, path: Path, options: PartOptions) -> None:
    """Add the images in a file of a folder; a damaged PDF document or video is skipped."""
    try:
        for content in parts_of(file, options):
            is_path = content is file and isinstance(file, FileContent)
            found.append(ImageDocument(image_path=path) if is_path else ImageDocument(image=content))
    except ImageError as error:
        found.skipped.append((path, str(error).removesuffix(".")))


def _not_empty(found: ImageList, place: str, advice: str) -> ImageList:
    if not found:
        others = ""
        if found.skipped:
            (path, reason), *more = found.skipped
            others = f" ({path.name:.40}: {reason:.100}{f'; {len(more)} more skipped' if more else ''})"
        raise ImageNotFoundError(f"There is no image in {place}{others}: {advice}.")
    return found


def _natural_order(path: str) -> str:
    """Return the text by which a path is sorted: numbers by their length first, and before all other characters."""
    return _NUMBER.sub(_sortable, path.casefold())


def _sortable(number: re.Match[str]) -> str:
    digits = str(int(number[0]))
    return f"\0{chr(len(digits))}{digits}"
