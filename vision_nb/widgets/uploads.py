"""Files that a page uploads in parts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from vision_nb.errors import ImageError

MAX_FILE_BYTES = 50_000_000
"""The largest file that can be uploaded. Images are scaled down before they are sent to a model."""

MAX_UPLOADS = 8
"""How many files can be uploaded at the same time."""

MAX_UPLOAD_BYTES = 100_000_000
"""How many bytes of unfinished uploads are kept."""

UPLOAD_TIMEOUT = 600.0
"""Seconds without another part after which an unfinished upload is discarded."""


@dataclass
class _Upload:
    data: bytearray = field(default_factory=bytearray)
    timer: asyncio.TimerHandle | None = None


class Uploads:
    """The unfinished uploads of a panel; their number, size and age are limited."""

    def __init__(self) -> None:
        self._uploads: dict[str, _Upload] = {}

    def __len__(self) -> int:
        return len(self._uploads)

    @property
    def size(self) -> int:
        """The number of bytes that are kept."""
        return sum(len(upload.data) for upload in self._uploads.values())

    def add(self, upload_id: str, part: bytes, *, start: int, last: bool, name: str) -> bytes | None:
        """Add a part of a file, and return the whole file after its last part, otherwise None.

        Args:
            upload_id: The id that all parts of a file have in common.
            part: The part.
            start: The number of bytes before this part; 0 begins a new upload.
            last: Whether it is the last part.
            name: The file's name, for error messages.

        Raises:
            ImageError: The file is too large, too many files are being uploaded, or an earlier part is missing, for
                instance because the upload has expired. The upload is discarded.
        """
        upload = self._take(upload_id) if start else _Upload()
        if start == 0:
            self.cancel(upload_id)
        if upload is None or len(upload.data) != start:
            raise ImageError(f"The upload of {name} was interrupted: attach it again.")
        size = start + len(part)
        if size > MAX_FILE_BYTES:
            raise ImageError(f"{name} is larger than {MAX_FILE_BYTES / 1e6:.0f} MB: reduce its size first.")
        if not last and (len(self) >= MAX_UPLOADS or self.size + size > MAX_UPLOAD_BYTES):
            raise ImageError(f"Too many files are being uploaded: attach {name} again when the others are attached.")
        upload.data += part
        if last:
            return bytes(upload.data)
        self._uploads[upload_id] = upload
        self._expire_later(upload_id, upload)
        return None

    def cancel(self, upload_id: str) -> None:
        """Discard an upload, if there is one with this id."""
        self._take(upload_id)

    def clear(self) -> None:
        """Discard all uploads."""
        for upload_id in list(self._uploads):
            self.cancel(upload_id)

    def _take(self, upload_id: str) -> _Upload | None:
        upload = self._uploads.pop(upload_id, None)
        if upload is not None and upload.timer is not None:
            upload.timer.cancel()
        return upload

    def _expire_later(self, upload_id: str, upload: _Upload) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # outside a kernel, no page uploads files
            return
        upload.timer = loop.call_later(UPLOAD_TIMEOUT, self.cancel, upload_id)
