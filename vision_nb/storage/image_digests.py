"""The digests of images, and those of files as long as these do not change."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vision_nb.errors import ImageError, ImageNotFoundError
from vision_nb.images.document import ImageDocument
from vision_nb.paths import expand_path, file_version
from vision_nb.privacy.urls import public_url
from vision_nb.storage.store_file import StoreFile

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, modified INTEGER NOT NULL, digest TEXT NOT NULL
) WITHOUT ROWID;
"""
"""The table."""

FileVersion = tuple[str, int, int]
"""The path of a file, and its version as `file_version` returns it."""

KnownFile = tuple[int, int, str]
"""The version of a file as `file_version` returns it, and its digest."""

_MAX_RECENT = 20_000
"""The files whose digests are kept in memory: those that wait in the queues of a run."""

_recent: dict[FileVersion, str] = {}
_recent_lock = threading.Lock()


class ImageDigestStore(StoreFile):
    """The part of a store that holds the digests of images."""

    def digest(self, document: ImageDocument) -> str:
        """Return a digest of an image's content; see `digests`.

        Raises:
            ImageError: The image cannot be read.
        """
        (digest,) = self.digests([document])
        if isinstance(digest, ImageError):
            raise digest
        return digest

    def digests(self, documents: Sequence[ImageDocument]) -> list[str | ImageError]:
        """Return a digest of each image's content, or the error that reading it raised.

        A file's digest is stored until the file is written, renamed or replaced. A remote image is not downloaded: its
        digest is that of its URL without password and signature. A page or frame is not rendered: its digest is that
        of the file and of what was chosen from it.

        Args:
            documents: The images.
        """
        versions = [_file_version(document) for document in documents]
        files = self._read_files([version[0] for version in versions if version is not None])
        known = {(path, size, modified): digest for path, (size, modified, digest) in files.items()}
        new: dict[FileVersion, str] = {}
        found: list[str | ImageError] = []
        for document, version in zip(documents, versions, strict=True):
            try:
                digest = (known.get(version) if version else None) or self._compute_digest(document)
            except ImageError as error:
                found.append(error)
                continue
            found.append(digest)
            if version is not None:
                _note_recent(version, digest)
                if version not in known:
                    new[version] = digest
        if new:
            self._write_files((*version, digest) for version, digest in new.items())
        return found

    def file_digest(self, document: ImageDocument) -> str | None:
        """Return the digest of an image in a file as the file is now; None for other images, which do not change.

        Args:
            document: The image.

        Raises:
            ImageError: The image cannot be read.
        """
        if document.part_of is not None:
            file, part = document.part_of
            digest = self.file_digest(file)
            return None if digest is None else part_digest(digest, [part])
        if document.image_path is None:
            return None
        version = _file_version(document)
        known = None if version is None else _recent.get(version)
        return known or self.digest(document)

    def _compute_digest(self, document: ImageDocument) -> str:
        if document.part_of is not None:
            file, part = document.part_of
            return part_digest(self.digest(file), [part])
        if document.is_remote:
            return _sha256(public_url(str(document.image_url)).encode("utf-8", "surrogatepass"))
        return document.sha256()

    def file_versions(self, documents: Sequence[ImageDocument]) -> list[KnownFile | None]:
        """Return what is known of images in files, which may have changed; None for the others.

        Args:
            documents: The images.
        """
        paths = [_stored_path(document) for document in documents]
        known = self._read_files([path for path in paths if path is not None])
        return [None if path is None else known.get(path) for path in paths]

    def put_file_versions(self, versions: Mapping[ImageDocument, KnownFile]) -> None:
        """Store the digests of images in files.

        Args:
            versions: The images with the versions that were read.
        """
        paths = {_stored_path(document): version for document, version in versions.items()}
        self._write_files((path, *version) for path, version in paths.items() if path is not None)

    def _read_files(self, paths: Sequence[str]) -> dict[str, KnownFile]:
        with self._locked() as connection:
            rows = connection.execute(
                "SELECT path, bytes, modified, digest FROM files WHERE path IN (SELECT value FROM json_each(?))",
                [json.dumps(paths)],
            )
            return {path: (size, modified, digest) for path, size, modified, digest in rows}

    def _write_files(self, rows: Iterable[tuple[str, int, int, str]]) -> None:
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)


def _note_recent(version: FileVersion, digest: str) -> None:
    with _recent_lock:
        _recent[version] = digest
        if len(_recent) > _MAX_RECENT:
            del _recent[next(iter(_recent))]


def _file_version(document: ImageDocument) -> FileVersion | None:
    """Return the path and version of an image in a whole file that can be found; otherwise None."""
    if document.image_path is None or document.part_of is not None:
        return None
    try:
        path = _absolute_path(document.image_path)
        return _text(path), *file_version(path)
    except (OSError, ValueError, ImageError):
        return None  # reading the image then raises an ImageError that names the path


def _stored_path(document: ImageDocument) -> str | None:
    """Return the whole path of an image in a file, as it is stored; None for other images."""
    return None if document.image_path is None else _text(_absolute_path(document.image_path))


def _absolute_path(path: str | Path) -> Path:
    return expand_path(path, ImageNotFoundError).absolute()


def _text(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()  # a lone surrogate cannot be stored


def part_digest(digest: str, parts: Iterable[str]) -> str:
    """Return the digest of a part of a file, such as a page.

    Args:
        digest: The file's digest.
        parts: What was chosen from it, from the inside out; nothing for the file itself.
    """
    for part in parts:
        digest = _sha256(f"{digest} {part}".encode())
    return digest


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
