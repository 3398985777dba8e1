"""Parts of an attached image, which the page selects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from vision_nb.errors import ImageError
from vision_nb.images.document import ImageDocument
from vision_nb.widgets.attached_images import AttachedImages
from vision_nb.widgets.region_select import IMAGE_BYTES, IMAGE_SIDE, read_page_boxes


class AttachedRegions:
    """Sends an attached image to the page in order to select parts of it, and attaches the parts.

    Images are decoded in threads. Without an event loop, the methods wait for them.

    Args:
        attached: The attached images.
        send: Sends an image to the page, with its id, name and size.
        on_change: Called when parts were attached.
        on_error: Called with an error message.
    """

    def __init__(
        self,
        attached: AttachedImages,
        send: Callable[[dict[str, Any]], None],
        on_change: Callable[[], None],
        on_error: Callable[[str], None],
    ) -> None:
        self._attached, self._send, self._on_change, self._on_error = attached, send, on_change, on_error
        self._task: asyncio.Task[None] | None = None

    def show(self, image_id: str) -> None:
        """Send an attached image to the page."""
        document = self._attached[image_id]

        def read() -> dict[str, Any]:
            image = document.thumbnail(IMAGE_SIDE, max_bytes=IMAGE_BYTES)
            return {"id": image_id, "name": document.title, "image": image, "size": document.size}

        self._run(read, self._send)

    def attach(self, image_id: str, boxes: list[Any], *, replace: bool) -> None:
        """Attach parts of an attached image after it.

        Args:
            image_id: The image's id.
            boxes: The boxes as the page sent them; see `read_page_boxes`.
            replace: Whether to remove the image.
        """
        document = self._attached[image_id]

        def attach(crops: list[ImageDocument]) -> None:
            if image_id in self._attached and crops:
                self._attached.insert_after(image_id, crops, replace=replace)
                self._on_change()

        self._run(lambda: [document.crop(box) for box in read_page_boxes(boxes, document.size)], attach)

    def _run(self, read: Callable[[], Any], use: Callable[[Any], None]) -> None:
        """Call a function in a thread, and another one with its result."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self._arun(read, use))
        else:
            self._task = loop.create_task(self._arun(read, use))

    async def _arun(self, read: Callable[[], Any], use: Callable[[Any], None]) -> None:
        try:
            use(await asyncio.to_thread(read))
        except ImageError as error:
            self._on_error(str(error))
