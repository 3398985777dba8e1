"""A list of images that is displayed as cards, and stays one when it is sliced, filtered or sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, SupportsIndex, TypeVar, overload

from vision_nb.checks.indices import item_at
from vision_nb.errors import ImageError, SettingsError
from vision_nb.images import hooks
from vision_nb.images.cards import ShownImage, image_cards
from vision_nb.notebook.ipython import running_cell
from vision_nb.rendering.data_frame import without_formulas
from vision_nb.rendering.format import pluralize
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.rendering.terminal import TerminalDisplay, TerminalPart, TextTable
from vision_nb.user_warnings import warn_user

if TYPE_CHECKING:
    import pandas as pd


class ListedImage(ShownImage, Protocol):
    """What a list reads of an `ImageDocument`."""

    @property
    def taken(self) -> datetime | None:
        """When the image was taken."""

    def check_end(self) -> None:
        """Raise ImageError if the file is cut off."""


D = TypeVar("D", bound=ListedImage)

_SKIPPED_LINES = 5
_SKIPPED_NAMED = 3
_TERMINAL_LINES = 24
_THREADS = 8
_COLUMNS = ("path", "width", "height", "type", "taken", "error")


class ListOfImages(TerminalDisplay, list[D]):
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
        self._reported_in: int | None = None  # the cell that has shown a note about the skipped files

    def report_skipped(self) -> None:
        """Show a note about the skipped files, if there are any; the list's display in this cell omits them."""
        if not self.skipped:
            return
        reasons = "; ".join(f"{path.name}: {reason}" for path, reason in self.skipped[:_SKIPPED_NAMED])
        more = "; ..." if len(self.skipped) > _SKIPPED_NAMED else ""
        count = len(self.skipped)
        files = pluralize(count, "file that is not an image", "files that are not images")
        warn_user(f"Skipped {files} ({reasons}{more})")
        self._reported_in = running_cell()

    def _with(self, documents: Iterable[D]) -> Self:
        made = type(self)(documents, self.skipped)
        made._reported_in = self._reported_in
        return made

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> D: ...
    @overload
    def __getitem__(self, index: slice, /) -> Self: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> D | Self:
        if isinstance(index, slice):
            return self._with(super().__getitem__(index))
        place: int = item_at(range(len(self)), index, "image", "use .filter() instead of")
        return super().__getitem__(place)

    def __add__(self, other: list[Any], /) -> Self:  # type: ignore[override]
        total = self._with(self)
        total += other
        return total

    def __radd__(self, other: list[D], /) -> Self:
        return self._with([*other, *self])

    def __iadd__(self, other: Iterable[D], /) -> Self:  # type: ignore[misc, override]
        self.skipped = list(dict.fromkeys([*self.skipped, *getattr(other, "skipped", ())]))
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
        _check_function(keep, "keep")
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
        _check_function(key, "key")
        return self._with(sorted(self, key=key, reverse=reverse))

    def reversed(self) -> Self:
        """Return the images in reverse order."""
        return self[::-1]

    def to_dataframe(self, model: Any = None) -> pd.DataFrame:
        """Return a pandas DataFrame with a row per image.

        The columns are path, width and height in pixels, type, taken (when the image was taken, by its EXIF data),
        tokens if there is a model, and error, which says why an image cannot be read. Only the headers and the last
        bytes of the files are read, and a file that ends early is decoded. Of a URL, at most the first 64 KiB are
        downloaded, once, unless its header is longer.

        Args:
            model: A model or its name, whose input tokens are counted as by `image_tokens`.

        Raises:
            SettingsError: The model's name is misspelled.

        >>> images = vn.load_images(vn.samples.path("chart"), vn.samples.path("label"))
        >>> images.to_dataframe("gpt-4o")[["width", "height", "type", "tokens"]]
           width  height type  tokens
        0   1000     600  PNG     765
        1    900    1040  PNG     765
        """
        import pandas as pd

        with ThreadPoolExecutor(_THREADS, "vision_nb headers") as executor:
            records = list(executor.map(_record, self))
        table = pd.DataFrame.from_records(records, columns=list(_COLUMNS))
        table = table.astype({"width": "Int64", "height": "Int64", "taken": "datetime64[us]"})
        if model is not None:
            errors = [record[-1] for record in records]
            # A broken image has no tokens; it would be downloaded again.
            counts = iter(
                hooks.count_tokens([one for one, error in zip(self, errors, strict=True) if error is None], model)
            )
            tokens = [next(counts) if error is None else None for error in errors]
            table.insert(len(_COLUMNS) - 1, "tokens", pd.array(tokens, dtype="Int64"))
        return without_formulas(table)

    def __str__(self) -> str:
        return repr(self)

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        yield pluralize(len(self), "image")
        yield TextTable((), [(document.short_name, _size_text(document)) for document in self[:_TERMINAL_LINES]])
        if len(self) > _TERMINAL_LINES:
            yield f"and {len(self) - _TERMINAL_LINES:,} more"
        yield from self.skipped_lines()

    def _repr_html_(self) -> str:
        return image_cards(self, remarks=self.skipped_lines())

    def skipped_lines(self) -> list[str]:
        """Return lines of text about the first skipped files; none if the running cell has shown a note about them."""
        if self._reported_in is not None and self._reported_in == running_cell():
            return []
        remarks = [f"skipped {path.name}: {reason}" for path, reason in self.skipped[:_SKIPPED_LINES]]
        more = len(self.skipped) - _SKIPPED_LINES
        return [*remarks, *([f"and {more:,} more skipped"] if more > 0 else [])]


def _size_text(document: ShownImage) -> str:
    """Return an image's size in pixels, or why it cannot be read; nothing is downloaded."""
    if document.needs_download:
        return ""
    try:
        return f"{document.size[0]} x {document.size[1]}"
    except ImageError as error:
        return str(error)


def _record(document: ListedImage) -> tuple[Any, ...]:
    """Return the values of an image in the order of the columns."""
    path = replace_surrogates(document.name)
    try:
        (width, height), taken = document.size, document.taken
        document.check_end()
        return path, width, height, document.mimetype.removeprefix("image/").upper(), taken, None
    except ImageError as error:
        return path, None, None, None, None, str(error)


def _check_function(value: object, argument: str) -> None:
    if not callable(value):
        raise SettingsError(f"{argument} must be a function, such as lambda image: image.size: got {value!r:.80}.")
