"""Lists of pictures: from URLs, files, folders and patterns."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from vision_nb.errors import ImageError, ImageNotFoundError, SettingsError
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.images.formats import SNIFF_BYTES, describe_data, sniff
from vision_nb.rendering import html
from vision_nb.user_warnings import warn_user


class ImageList(list[ImageDocument]):
    """A list of documents that shows itself as a sheet of thumbnails.

    Attributes:
        skipped: (path, reason) for each file that a folder or pattern led to and that was left out.
    """

    def __init__(self, documents: Iterable[ImageDocument] = (), skipped: Iterable[tuple[Path, str]] = ()) -> None:
        super().__init__(documents)
        self.skipped = list(skipped)

    def _repr_html_(self) -> str:
        shown = self[:24]
        rest = [f"and {len(self) - len(shown)} more"] if len(self) > len(shown) else []
        left_out = [f"skipped {path.name}: {reason}" for path, reason in self.skipped[:5]]
        return html.thumbnail_grid([_tile(document) for document in shown], rest + left_out)


def _tile(document: ImageDocument) -> tuple[str | None, str]:
    """A thumbnail and its caption; for a picture that cannot be read, no thumbnail and the reason."""
    try:
        return document.thumbnail(side=120), document.title
    except ImageError as error:
        return None, str(error)


def load_image_urls(image_urls: Iterable[str]) -> ImageList:
    """Make a document from each URL; nothing is downloaded.

    Args:
        image_urls: http or https URLs.

    Raises:
        SettingsError: A single text was given instead of a list.
        UnsupportedImageError: One of them is no such URL.

    >>> load_image_urls(["https://example.org/1.jpg"])
    [ImageDocument('https://example.org/1.jpg')]
    """
    if isinstance(image_urls, str):
        raise SettingsError("load_image_urls takes a list of URLs: put the one you have in [brackets].")
    return ImageList(ImageDocument(image_url=url) for url in image_urls)


def load_images(*sources: ImageSource, recursive: bool = False) -> ImageList:
    """Make documents from files, folders, glob patterns, URLs and whatever else can hold a picture, mixed.

    A file or URL that is named is taken; a folder or pattern gives its image files in natural order
    (``img2`` before ``img10``), told by their first bytes. Files that were left out are counted in a
    warning, and listed with the reason in ``.skipped``.

    Args:
        *sources: Paths, URLs, patterns, in-memory pictures, or lists of them.
        recursive: Also look into the folders of a folder.

    Raises:
        ImageNotFoundError: A file is not there, or a pattern or folder has no picture.

    >>> vn.load_images("photos", "https://example.org/3.jpg")
    [ImageDocument('photos/1.jpg'), ImageDocument('photos/2.jpg'), ImageDocument('https://example.org/3.jpg')]
    """
    documents = ImageList()
    for source in flatten(sources):
        if not isinstance(source, (str, Path)):
            documents.append(ImageDocument.of(source))
            continue
        document = ImageDocument.of(source)
        path = None if document.image_path is None else Path(str(document.image_path)).expanduser()
        if path is None or path.is_file():
            documents.append(document)
        else:
            found = _expand(path, recursive)
            documents.extend(found)
            documents.skipped.extend(found.skipped)
    if documents.skipped:
        listed = "; ".join(f"{path.name}: {reason}" for path, reason in documents.skipped[:3])
        more = "" if len(documents.skipped) <= 3 else "; ..."
        files = "1 file" if len(documents.skipped) == 1 else f"{len(documents.skipped)} files"
        warn_user(f"Skipped {files} that cannot be used as a picture ({listed}{more})")
    return documents


def flatten(sources: Iterable[ImageSource]) -> Iterator[ImageSource]:
    """The sources in a list of them and of lists of them."""
    for source in sources:
        if isinstance(source, (list, tuple)):
            yield from flatten(source)
        else:
            yield source


def _expand(path: Path, recursive: bool) -> ImageList:
    """The image files of a folder or a glob pattern."""
    if path.is_dir():
        where = f"the folder {path}"
        paths: Iterable[Path] = path.rglob("*") if recursive else path.iterdir()
    elif glob.has_magic(str(path)):
        where = f"the pattern {path}"
        paths = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    else:
        raise ImageNotFoundError(f"There is no file {path}: the notebook runs in {Path.cwd()}.")
    found = ImageList()
    files = [file for file in paths if file.is_file() and not file.name.startswith(".")]
    for file in sorted(files, key=_natural_order):
        reason = _why_not(file)
        if reason is None:
            found.append(ImageDocument(image_path=file))
        else:
            found.skipped.append((file, reason))
    if not found:
        others = f", only {len(found.skipped)} other files" if found.skipped else ""
        raise ImageNotFoundError(f"There is no picture in {where}{others}: the notebook runs in {Path.cwd()}.")
    return found


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    pieces = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces]


def _why_not(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            head = file.read(SNIFF_BYTES)
            return None if sniff(head) else describe_data(head + file.read(512 - SNIFF_BYTES))
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
