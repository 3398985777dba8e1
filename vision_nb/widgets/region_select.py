"""A widget to select regions of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import traitlets

from vision_nb.checks.arguments import checks_arguments
from vision_nb.errors import ImageError, SettingsError
from vision_nb.images.boxes import Box, crop_edges
from vision_nb.images.decode import Size
from vision_nb.images.document import ImageDocument, ImageList
from vision_nb.images.sources import ImageSource
from vision_nb.rendering.format import pluralize
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.widgets.assets import read_assets
from vision_nb.widgets.messages import PageWidget, how_to_use

IMAGE_SIDE = 1600
"""The longest side, in pixels, of the image on which boxes are drawn."""

IMAGE_BYTES = 400_000
"""The largest file of that image."""

MAX_BOXES = 200
"""The maximum number of boxes that a page can send."""

_MAX_LABEL = 200  # characters


class RegionSelect(PageWidget):
    """A widget to draw boxes on an image, as returned by `select_region`.

    Attributes:
        document: The image.
        boxes: The boxes, in whole pixels of the upright image. Set it to change them; call ``observe(function,
            "boxes")`` to be notified of changes.
    """

    _esm = read_assets("dom.js", "kernel_status.js", "region_editor.js", "region_select.js")
    _css = read_assets("kernel_status.css", "region_editor.css", "touch.css")
    boxes = traitlets.Any(())

    def __init__(self, document: ImageDocument, boxes: Iterable[Box | Sequence[float]] | None = None) -> None:
        super().__init__()
        self.document = document
        self._size = document.size
        self._changed_by: dict[str, Any] = {}
        self.boxes = () if boxes is None else boxes

    @property
    def crops(self) -> ImageList:
        """The selected parts of the image, one for each box.

        Raises:
            ImageError: The image can no longer be read or decoded.
        """
        return ImageList(self.document.crop(box) for box in self.boxes)

    def __repr__(self) -> str:
        count = pluralize(len(self.boxes), "box", "boxes")
        next_step = how_to_use("select regions", ".crop(...) of the image")
        return f"RegionSelect({self.document.title!r}, {count}): {next_step}"

    @traitlets.validate("boxes")
    def _check_boxes(self, proposal: dict[str, Any]) -> tuple[Box, ...]:
        boxes = proposal["value"]
        return tuple(_whole(Box.of(box), self._size) for box in ([boxes] if isinstance(boxes, Box) else boxes))

    @traitlets.observe("boxes")
    def _send_boxes(self, _: Any) -> None:
        self.send({"boxes": [[*box, box.label] for box in self.boxes], **self._changed_by})

    def _receive(self, message: dict[str, Any], buffers: list[Any]) -> None:
        match message:
            case {"do": "hello"}:
                self._send_image()
            case {"do": "boxes", "boxes": list(sent), "view": str(view), "revision": int(revision)}:
                self._changed_by = {"view": view[:20], "revision": revision}
                boxes = tuple(read_page_boxes(sent, self._size))
                try:
                    if boxes == self.boxes:
                        self._send_boxes(None)  # the page waits for an answer
                    self.boxes = boxes
                finally:
                    self._changed_by = {}

    def _send_image(self) -> None:
        # A message instead of a trait: traits may be saved with the notebook, and images with them.
        try:
            image = self.document.thumbnail(IMAGE_SIDE, max_bytes=IMAGE_BYTES)
        except ImageError as error:
            self.send({"error": str(error)})
            return
        self.send({"image": image, "name": self.document.title, "size": self._size})
        self._send_boxes(None)


@checks_arguments
def select_region(image: ImageSource, boxes: Iterable[Box | Sequence[float]] | None = None) -> RegionSelect:
    """Select parts of an image by drawing boxes on it.

    Boxes are drawn with the mouse, a finger or the keyboard. The widget's ``boxes`` and ``crops`` always contain the
    current selection. The image's file is not changed.

    Keys: Tab moves to the next box, arrow keys move it by a hundredth of the image, Shift and arrow keys resize it, and
    Delete removes it. The fields below the image take exact values.

    Args:
        image: The image.
        boxes: Boxes to begin with, such as ``response.boxes()``; parts outside the image are cut off.

    Returns:
        A widget, which displays itself as the last line of a cell.

    Raises:
        SettingsError: A value is not a box, or is outside the image.
        ImageError: The image cannot be found or read.

    >>> selection = vn.select_region(vn.samples.path("chart"), [(10, 20, 310, 220)])
    >>> selection.crops
    [ImageDocument(chart.png#xywh=10,20,300,200)]
    """
    return RegionSelect(ImageDocument.of(image), boxes)


def read_page_boxes(sent: list[Any], size: Size) -> list[Box]:
    """Return the boxes that a page sent, within the image; values that are not boxes are left out.

    Args:
        sent: The boxes, each a list of left, top, right, bottom and label. It can have any content.
        size: The image's width and height in pixels.
    """
    boxes = []
    for one in sent[:MAX_BOXES]:
        match one:
            case [left, top, right, bottom, str(label)]:
                box = Box(left, top, right, bottom, " ".join(replace_surrogates(label).split())[:_MAX_LABEL])
                with suppress(SettingsError):
                    boxes.append(_whole(box, size))
    return boxes


def _whole(box: Box, size: Size) -> Box:
    """Return a box in whole pixels, within an image."""
    left, top, right, bottom = crop_edges(box, size, "the image")
    return Box(left, top, right, bottom, box.label, box.image)
