"""A list of images that is displayed as cards, and stays one when it is sliced, filtered or sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self, SupportsIndex, TypeVar, overload

from vision_nb.images.cards import ShownImage, image_cards

D = TypeVar("D", bound=ShownImage)

_SKIPPED_LINES = 5


class ListOfImages(list[D]):
    """A list of images, displayed as cards in a notebook.

    Slices, concatenations, repetitions and copies are such lists too, and so are the results of `filter`,
    `sorted_by` and `reversed`.

    Attributes:
        skipped: (path, reason) for each file in a folder or pattern that is not an image. All lists that are made
            from this one have it too; a concatenation has those of both.
    """

    def __init__(self, documents: Iterable[D] = (), skipped: Iterable[tuple[Path, str]] = ()) -> None:
        super().__init__(documents)
        self.skipped = list(skipped)

    def _with(self, documents: Iterable[D]) -> Self:
        return type(self)(documents, self.skipped)

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> D: ...
    @overload
    def __getitem__(self, index: slice, /) -> Self: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> D | Self:
        if isinstance(index, slice):
            return self._with(super().__getitem__(index))
        return super().__getitem__(index)

    def __add__(self, other: list[Any], /) -> Self:  # type: ignore[override]
        total = self._with(self)
        total += other
        return total

    def __radd__(self, other: list[D], /) -> Self:
        return self._with([*other, *self])

    def __iadd__(self, other: Iterable[D], /) -> Self:  # type: ignore[misc, override]
        self.skipped += [one for one in getattr(other, "skipped", ()) if one not in self.skipped]
        self.extend(other)
        return self

    def __mul__(self, count: SupportsIndex, /) -> Self:
        return self._with(super().__mul__(count))

    __rmul__ = __mul__

    def copy(self) -> Self:
        """Return a shallow copy."""
        return self._with(self)

    def filter(self, keep: Callable[[D], object]) -> Self:
        """Return the images for which a function returns a true value.

        Args:
            keep: A function of an image.

        >>> images = vn.load_images(vn.samples.path("chart"), vn.samples.path("label"))
        >>> images.filter(lambda image: image.size[0] < 1000)
        [ImageDocument('samples/label.png')]
        """
        return self._with(document for document in self if keep(document))

    def sorted_by(self, key: Callable[[D], Any], *, reverse: bool = False) -> Self:
        """Return the images in order.

        Args:
            key: A function of an image that returns what to compare.
            reverse: Whether the largest comes first.

        >>> images = vn.load_images(vn.samples.path("chart"), vn.samples.path("label"))
        >>> images.sorted_by(lambda image: image.size)[0].title
        'label.png'
        """
        return self._with(sorted(self, key=key, reverse=reverse))

    def reversed(self) -> Self:
        """Return the images in reverse order."""
        return self[::-1]

    def _repr_html_(self) -> str:
        remarks = [f"skipped {path.name}: {reason}" for path, reason in self.skipped[:_SKIPPED_LINES]]
        more = len(self.skipped) - _SKIPPED_LINES
        return image_cards(self, remarks=[*remarks, *([f"and {more:,} more skipped"] if more > 0 else [])])
