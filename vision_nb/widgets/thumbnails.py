"""Thumbnails for the chat panel, made in threads so that a slow download does not block the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vision_nb.conversation.export import make_thumbnail
from vision_nb.images.document import ImageDocument


class ThumbnailCache:
    """Thumbnails by document.

    Args:
        on_ready: Called when a requested thumbnail has become available.
    """

    def __init__(self, on_ready: Callable[[], None]) -> None:
        self._on_ready = on_ready
        self._thumbnails: dict[ImageDocument, str | None] = {}
        self._tasks: dict[ImageDocument, asyncio.Task[None]] = {}
        self._is_closed = False

    def get(self, document: ImageDocument) -> str | None:
        """Return a thumbnail as a data URI, or None if there is none or it is not ready yet."""
        if self._is_closed or document.is_link:  # a link can become an image later: do not cache it
            return None
        document = document.with_detail(None)  # the thumbnail is the same at each level
        if document not in self._thumbnails and document not in self._tasks:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # without an event loop, blocking is fine
                self._thumbnails[document] = make_thumbnail(document)
            else:
                self._tasks[document] = loop.create_task(self._make(document))
        return self._thumbnails.get(document)

    @property
    def count(self) -> int:
        """The number of thumbnails that are ready."""
        return len(self._thumbnails)

    async def _make(self, document: ImageDocument) -> None:
        try:
            self._thumbnails[document] = await asyncio.to_thread(make_thumbnail, document)
        finally:
            self._tasks.pop(document, None)
        self._on_ready()

    async def wait(self) -> None:
        """Wait until all requested thumbnails are ready."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def close(self) -> None:
        """Cancel what is in progress, and free the thumbnails."""
        self._is_closed = True
        for task in self._tasks.values():
            task.cancel()
        self._thumbnails.clear()
