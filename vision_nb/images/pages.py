"""Pages of PDF documents and TIFF files, and frames of animations."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vision_nb.errors import CorruptImageError, ImageNotFoundError, ImageTooLargeError, SettingsError
from vision_nb.images.content import ImageContent
from vision_nb.images.decode import check_pixels, decode_upright, open_image, upright_size
from vision_nb.images.encode import png_from_pixels
from vision_nb.images.frame_reader import open_frame
from vision_nb.images.parts import MAX_PARTS, Pages, Part, PartContent
from vision_nb.images.prepare import Header, Prepared
from vision_nb.images.renderer import rendered, renderer, size_in
from vision_nb.privacy.api_keys import Secret
from vision_nb.rendering.format import pluralize
from vision_nb.user_warnings import warn_user

if TYPE_CHECKING:
    from PIL import Image

_SUBFILE_TYPE = 254  # the TIFF tag; bit 0 is set in a smaller version of another page, bit 2 in a mask
_RANGE = re.compile(r"\s*(?:(-?\d{1,9})|(\d{1,9})\s*-\s*(\d{1,9})?)\s*")


def page_numbers(pages: Pages | None, count: int, name: str, unit: str = "page") -> list[int]:
    """Return the numbers of the chosen pages, from 1, each once.

    Args:
        pages: A number, numbers, or a text such as "1-3, 8-, -1"; None for all pages. The end of a range may be beyond
            the last page.
        count: How many pages there are.
        name: The name of the file, for errors.
        unit: What the pages are called in errors.

    Raises:
        SettingsError: The pages are not written in one of these ways.
        ImageNotFoundError: There is no such page.
        ImageTooLargeError: These are more than 10,000 pages.

    >>> page_numbers("1-3, 8-, -1", 10, "report.pdf")
    [1, 2, 3, 8, 9, 10]
    """
    if pages is None:
        chosen: Iterable[int] = range(1, count + 1)
    elif isinstance(pages, str):
        chosen = _ranges(pages, count, name, unit)
    else:
        chosen = pages if isinstance(pages, Iterable) else [pages]
    numbers: dict[int, None] = {}  # each page once, in the order of the choice
    for number in chosen:
        if isinstance(number, bool) or not hasattr(number, "__index__") or int(number) == 0:
            raise SettingsError(
                f"pages must be numbers from 1, or from -1 at the end, not {number!r:.60}: use pages=2, pages=[1, 3] "
                'or pages="1-3, 8-".'
            )
        number = int(number)
        if abs(number) > count:
            raise ImageNotFoundError(f"There is no {unit} {number} in {name}: it has {pluralize(count, unit)}.")
        if len(numbers) == MAX_PARTS:
            raise ImageTooLargeError(
                f'{name} has {pluralize(count, unit)}: choose at most {MAX_PARTS:,}, as in pages="1-100".'
            )
        numbers[number if number > 0 else count + 1 + number] = None
    return list(numbers)


def _ranges(text: str, count: int, name: str, unit: str) -> Iterable[int]:
    for word in text.split(","):
        match = _RANGE.fullmatch(word)
        if match is None:
            raise SettingsError(
                f'pages={text!r:.60} cannot be read: separate numbers and ranges with commas, as in "1-3, 8-, -1".'
            )
        if match[1] is not None:
            yield int(match[1])
            continue
        first, last = int(match[2]), min(int(match[3] or count), count)
        if first > count:
            raise ImageNotFoundError(f"There is no {unit} {first} in {name}: it has {pluralize(count, unit)}.")
        if match[3] is not None and first > int(match[3]):
            raise SettingsError(
                f"pages={text!r:.60} has a range that ends before it begins: write the smaller number first."
            )
        yield from range(first, last + 1)


@dataclass(frozen=True)
class PdfPage(Part):
    """A page of a PDF document.

    Args:
        number: Its number, from 1.
        dpi: Pixels per inch.
        password: The password that opens the document.
    """

    number: int
    dpi: float
    password: Secret | None = field(repr=False, compare=False)

    @property
    def fragment(self) -> str:
        """The page's number."""
        return f"page={self.number}"

    @property
    def key(self) -> str:
        """The page's number and resolution."""
        return f"pdf page {self.number} at {self.dpi:g} dpi"

    def header(self, content: ImageContent, name: str) -> Header:
        """Return the size; the type is the one of most pages, PNG, until the page has been rendered."""
        fields, _ = self._ask("size", content, name)
        return Header("image/png", size_in(fields))

    def render(self, content: ImageContent, name: str) -> Prepared:
        """Render the page as PNG, or as JPEG if it is a scan or photograph."""
        return rendered(*self._ask("render", content, name))

    def _ask(self, do: str, content: ImageContent, name: str) -> tuple[dict[str, Any], bytes]:
        return renderer().ask(content, "pdf", do, name=name, number=self.number, dpi=self.dpi, password=self.password)


def pdf_pages(content: ImageContent, pages: Pages | None, dpi: float, password: Secret | None) -> list[PartContent]:
    """Return pages of a PDF document.

    Raises:
        ImageError: The document cannot be read, or has no such page.
        SettingsError: The pages are not numbers.
    """
    fields, _ = renderer().ask(content, "pdf", "describe", name=content.label, password=password)
    count = int(fields["count"])
    if not count:
        raise CorruptImageError(f"{content.label} has no pages: save or download it again.")
    return [PartContent(content, PdfPage(n, dpi, password)) for n in page_numbers(pages, count, content.label)]


@dataclass(frozen=True)
class StackedImage(Part):
    """A page of a TIFF file, or a frame of an animation.

    Args:
        number: Its number, from 1.
        index: Its place in the file, from 0; pages of a TIFF file that are smaller versions of others are not counted.
        unit: "page" or "frame".
    """

    number: int
    index: int
    unit: str

    @property
    def fragment(self) -> str:
        """The number."""
        return f"{self.unit}={self.number}"

    def header(self, content: ImageContent, name: str) -> Header:
        """Return the size, and PNG as the type."""
        with open_frame(content, self.index, name, decodes=False) as image:
            return _header(image)

    def render(self, content: ImageContent, name: str) -> Prepared:
        """Decode the page or frame, and encode it as PNG."""
        notes: list[str] = []
        with open_frame(content, self.index, name, decodes=True) as image:
            pixels = decode_upright(image, upright_size(image), notes, name)
            prepared = Prepared(png_from_pixels(pixels), "image/png", pixels.size, original_size=pixels.size)
        for note in notes:
            warn_user(f"{name}: {note}")
        return prepared


def _header(image: Image.Image) -> Header:
    """Return the header of the page or frame that an open file is at."""
    return Header("image/png", upright_size(image))


def tiff_pages(content: ImageContent, pages: Pages | None) -> list[ImageContent]:
    """Return pages of a TIFF file; the file itself if it has a single page.

    Raises:
        ImageError: The file cannot be read, or has no such page.
        SettingsError: The pages are not numbers.
    """
    with content.open() as file, open_image(file, content.label) as (image, _):
        places = _page_places(image, content.label)
    if len(places) == 1 and pages is None:
        return [content]
    found: list[ImageContent] = []
    for number in page_numbers(pages, len(places), content.label):
        index, header = places[number - 1]
        found.append(PartContent(content, StackedImage(number, index, "page"), header))
    return found


def _page_places(image: Image.Image, name: str) -> list[tuple[int, Header | None]]:
    """Return the places and headers of the pages, counted one by one: a hostile file can have millions."""
    places: list[tuple[int, Header | None]] = []
    for index in range(MAX_PARTS + 1):
        try:
            image.seek(index)
        except EOFError:
            return places or [(0, None)]
        if not int(image.tag_v2.get(_SUBFILE_TYPE, 0)) & 0b101:  # type: ignore[attr-defined]
            places.append((index, _header(image)))
    raise ImageTooLargeError(f"{name} has more than {MAX_PARTS:,} pages: split it with another program.")


def animation_frames(
    content: ImageContent, count: int | None, every_s: float | None, frame: int | None
) -> list[ImageContent]:
    """Return frames of an animation; the file itself if it has a single frame.

    Args:
        content: The file.
        count: How many frames to take at most, evenly spread.
        every_s: The seconds from one frame to the next.
        frame: The number of a frame, from 1.

    Raises:
        ImageError: The file cannot be read, or has no such frame.
    """
    with content.open() as file, open_image(file, content.label) as (image, _):
        places: list[tuple[int, Header | None]]
        total = min(int(getattr(image, "n_frames", 1)), MAX_PARTS)
        if total == 1 and frame is None:
            return [content]
        if frame is not None:
            places = [(number - 1, None) for number in page_numbers(frame, total, content.label, "frame")]
        elif every_s is None:
            wanted = min(count or 1, total)
            places = [(int((2 * number + 1) * total / (2 * wanted)), None) for number in range(wanted)]
        else:
            check_pixels(image, content.label)
            places = _places_every(image, total, every_s)
    return [PartContent(content, StackedImage(place + 1, place, "frame"), header) for place, header in places]


def _places_every(image: Image.Image, total: int, every_s: float) -> list[tuple[int, Header | None]]:
    """Return the frames shown at 0 s, ``every_s``, twice that and so on, with their headers."""
    places: list[tuple[int, Header | None]] = []
    end, next_time = 0.0, 0.0
    for index in range(total):
        image.seek(index)
        image.load()  # some readers find the duration only then
        end += max(float(image.info.get("duration", 100)), 1) / 1000
        if next_time < end:
            places.append((index, _header(image)))
            next_time = math.ceil(end / every_s) * every_s
    return places
