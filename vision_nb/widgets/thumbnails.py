"""Small pictures for the panel, made beside the kernel's loop so that a slow URL does not hold it up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vision_nb.conversation.export import make_thumbnail
from vision_nb.images.document import ImageDocument


class Thumbnails:
    """Small pictures by document.

    Args:
        ready: Called when a picture that was asked for has been made.
    """

    def __init__(self, ready: Callable[[], None]) -> None:
        self._ready = ready
        self._made: dict[ImageDocument, str | None] = {}
        self._making: dict[ImageDocument, asyncio.Task[None]] = {}
        self._is_closed = False

    def get(self, document: ImageDocument) -> str | None:
        """A picture of 160 pixels as a data URI, or None where there is none, or none yet."""
        if self._is_closed or document.is_link:  # a link is not remembered, as it may be fetched later
            return None
        if document not in self._made and document not in self._making:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # a program without a loop, which can wait
                self._made[document] = make_thumbnail(document)
            else:
                self._making[document] = loop.create_task(self._make(document))
        return self._made.get(document)

    @property
    def count(self) -> int:
        """How many have been made."""
        return len(self._made)

    async def _make(self, document: ImageDocument) -> None:
        try:
            self._made[document] = await asyncio.to_thread(make_thumbnail, document)
        finally:
            self._making.pop(document, None)
        self._ready()

    async def settled(self) -> None:
        """Wait until all that were asked for have been made."""
        await asyncio.gather(*self._making.values(), return_exceptions=True)

    def close(self) -> None:
        """Make no more, and keep none."""
        self._is_closed = True
        for task in self._making.values():
            task.cancel()
        self._made.clear()
