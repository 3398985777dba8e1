"""A list of images that is displayed as thumbnails."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from vision_nb.images.cards import ShownImage, thumbnail_grid

D = TypeVar("D", bound=ShownImage)

_SHOWN = 24


class ListOfImages(list[D]):
    """A list of images, displayed as thumbnails in a notebook.

    Attributes:
        skipped: (path, reason) for each file in a folder or pattern that is not an image.
    """

    def __init__(self, documents: Iterable[D] = (), skipped: Iterable[tuple[Path, str]] = ()) -> None:
        super().__init__(documents)
        self.skipped = list(skipped)

    def _repr_html_(self) -> str:
        remarks = [f"and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        remarks += [f"skipped {path.name}: {reason}" for path, reason in self.skipped[:5]]
        return thumbnail_grid(self[:_SHOWN], remarks)
