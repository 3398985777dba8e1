"""Lists of images from URLs, files, folders and glob patterns."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from vision_nb.errors import ImageNotFoundError, SettingsError
from vision_nb.images.content import working_folder
from vision_nb.images.document import ImageDocument, ImageList, ImageSource
from vision_nb.images.formats import SNIFF_BYTES, describe_data, sniff
from vision_nb.paths import expand_path
from vision_nb.user_warnings import warn_user


def load_image_urls(image_urls: Iterable[str]) -> ImageList:
    """Create a document for each URL; nothing is downloaded yet.

    Args:
        image_urls: http or https URLs.

    Raises:
        SettingsError: A single string was given instead of a list.
        UnsupportedImageError: A string is not an http or https URL.

    >>> load_image_urls(["https://example.org/1.jpg"])
    [ImageDocument('https://example.org/1.jpg')]
    """
    if isinstance(image_urls, str):
        raise SettingsError("load_image_urls takes a list of URLs: pass [url] for a single one.")
    return ImageList(ImageDocument(image_url=url) for url in image_urls)


def load_images(*sources: ImageSource, recursive: bool = False) -> ImageList:
    """Create documents from files, folders, glob patterns, URLs and in-memory images.

    The images of a folder or pattern are found by their first bytes, and sorted in natural order (``img2`` before
    ``img10``). Other files in it are skipped: a warning counts them, and ``.skipped`` lists them with the reason.

    Args:
        *sources: Paths, URLs, patterns, in-memory images, or lists of them, in any combination.
        recursive: Whether to search subfolders too.

    Raises:
        ImageNotFoundError: A file does not exist, or a folder or pattern contains no image.

    >>> vn.load_images("photos", "https://example.org/3.jpg")
    [ImageDocument('photos/1.jpg'), ImageDocument('photos/2.jpg'), ImageDocument('https://example.org/3.jpg')]
    """
    documents = ImageList()
    for source in flatten(sources):
        if not isinstance(source, (str, Path)):
            documents.append(ImageDocument.of(source))
            continue
        document = ImageDocument.of(source)
        path = None if document.image_path is None else expand_path(document.image_path, ImageNotFoundError)
        try:
            found = None if path is None or _is_file_like(path) else _expand(path, recursive)
        except OSError as error:
            if isinstance(error, ImageNotFoundError):
                raise
            raise ImageNotFoundError(f"{path} cannot be read ({error.strerror}): {working_folder()}.") from error
        if found is None:
            documents.append(document)
        else:
            documents.extend(found)
            documents.skipped.extend(found.skipped)
    if documents.skipped:
        reasons = "; ".join(f"{path.name}: {reason}" for path, reason in documents.skipped[:3])
        more = "" if len(documents.skipped) <= 3 else "; ..."
        files = (
            "1 file that is not an image"
            if len(documents.skipped) == 1
            else f"{len(documents.skipped)} files that are not images"
        )
        warn_user(f"Skipped {files} ({reasons}{more})")
    return documents


def flatten(sources: Iterable[ImageSource]) -> Iterator[ImageSource]:
    """Yield the sources in nested lists."""
    for source in sources:
        if isinstance(source, (list, tuple)):
            yield from flatten(source)
        else:
            yield source


def _is_file_like(path: Path) -> bool:
    """Return whether a path exists and is not a folder; pipes and devices are rejected when they are read."""
    return path.exists() and not path.is_dir()


def _expand(path: Path, recursive: bool) -> ImageList:
    """Return the image files of a folder or glob pattern."""
    if path.is_dir():
        place = f"the folder {path}"
        paths: Iterable[Path] = path.rglob("*") if recursive else path.iterdir()
    elif glob.has_magic(str(path)):
        place = f"the pattern {path}"
        paths = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207 - Path.glob does not accept absolute patterns
    else:
        raise ImageNotFoundError(f"There is no file {path}: {working_folder()}.")
    found = ImageList()
    files = [file for file in paths if file.is_file() and not file.name.startswith(".")]
    for file in sorted(files, key=_natural_order):
        reason = _reason_to_skip(file)
        if reason is None:
            found.append(ImageDocument(image_path=file))
        else:
            found.skipped.append((file, reason))
    if not found:
        others = f" ({len(found.skipped)} other files)" if found.skipped else ""
        raise ImageNotFoundError(f"There is no image in {place}{others}: {working_folder()}.")
    return found


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _reason_to_skip(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            head = file.read(SNIFF_BYTES)
            return None if sniff(head) else describe_data(head + file.read(512 - SNIFF_BYTES))
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
