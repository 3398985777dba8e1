"""`AttachedImages`: the images of the next question, in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vision_nb.images.detail import Detail
from vision_nb.images.document import ImageDocument


class AttachedImages:
    """The images of the next question, by ids that stay the same while the page adds, moves and removes images.

    Attributes:
        detail: The detail level of images that are attached without their own; None for the model's default.
    """

    def __init__(self) -> None:
        self.detail: Detail | None = None
        self._images: dict[str, ImageDocument] = {}
        self._count = 0  # of all images so far, so that no id is used twice

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._images

    def __getitem__(self, image_id: str) -> ImageDocument:
        return self._images[image_id]

    def index(self, image_id: str) -> int:
        """Return an image's index."""
        return list(self._images).index(image_id)

    def items(self) -> list[tuple[str, ImageDocument]]:
        """Return the ids and the images, in order."""
        return list(self._images.items())

    @property
    def documents(self) -> list[ImageDocument]:
        """The images, in order."""
        return list(self._images.values())

    def replace_all(self, documents: Iterable[ImageDocument]) -> None:
        """Replace all images."""
        self._images = {}
        for document in documents:
            self.add(document)

    def add(self, document: ImageDocument) -> None:
        """Attach an image after the others."""
        self._count += 1
        self._images[f"image-{self._count}"] = document if document.detail else document.with_detail(self.detail)

    def insert_after(self, image_id: str, documents: Sequence[ImageDocument], *, replace: bool = False) -> None:
        """Attach images after another one, such as parts of it.

        Args:
            image_id: The other image's id.
            documents: The images.
            replace: Whether to remove the other image.
        """
        for place, document in enumerate(documents, self.index(image_id) + 1):
            self.add(document)
            self.move(next(reversed(self._images)), place)
        if replace:
            self.remove(image_id)

    def remove(self, image_id: str) -> None:
        """Remove an image."""
        del self._images[image_id]

    def move(self, image_id: str, index: int) -> None:
        """Move an image to another place.

        Args:
            image_id: The image's id.
            index: The image's new index, from 0; an index outside the list means its nearest end.
        """
        others = [one for one in self._images if one != image_id]
        others.insert(max(0, min(index, len(others))), image_id)
        self._images = {one: self._images[one] for one in others}

    def set_detail(self, image_id: str, detail: Detail | None) -> None:
        """Set the detail level of one image; None for the model's default."""
        self._images[image_id] = self._images[image_id].with_detail(detail)

    def set_all_details(self, detail: Detail | None) -> None:
        """Set the detail level of all images, and of those that are attached later; None for the model's default."""
        self.detail = detail
        self._images = {one: document.with_detail(detail) for one, document in self._images.items()}
