"""HTML of images for notebook output: cards and a strip of thumbnails that can be enlarged.

Notebooks from others are displayed without scripts, style sheets and CSS variables: JupyterLab removes them. So that
a click enlarges an image there too, each card is a ``<details>`` element whose hidden content is a wide, empty box.
When it opens, the card grows to the width of the box, and the image with the card. Colors are inherited or
translucent, which suits light and dark themes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from typing import Protocol

from vision_nb.errors import ImageError
from vision_nb.images.decode import Size
from vision_nb.images.prepare import ThumbnailType
from vision_nb.paths import without_folders
from vision_nb.rendering.sanitize import escape_text, name_text

PAGE = 20
"""How many images a page of cards has."""

_PAGE_BYTES = 48_000  # of all thumbnails of a page, before base64: 64 kB in the saved notebook
_MAX_BYTES = 20_000  # of one thumbnail
_FEW_BYTES = 8_000  # a larger thumbnail would not fit, and takes four times as long to encode
_SMALL_SIDE = 320
_CARD_HEIGHT = 120  # of a thumbnail, in pixels
_STRIP_HEIGHT, _STRIP_BYTES = 64, 2_500  # of a thumbnail without a caption
_STRIP_IMAGES = 8
_ENLARGED_SIDE = 480
_FIGURE_HEIGHT = 240
_FIGURE_SIDE = 640
_WIDEST = 2.2  # times the height: a wider thumbnail has less height
_CAPTION_WIDTH = 128  # pixels: the least width of a card with a caption
_TARGET = 24  # pixels: the least width and height of something to click (WCAG 2.2, target size)
_MAX_NAME = 60  # characters
_THREADS = 8

_CARD_STYLE = (
    "flex:none;max-width:100%;box-sizing:border-box;margin:0;padding:4px;"
    "border:1px solid rgba(128,128,128,0.4);border-radius:4px"
)
_SUMMARY_STYLE = "display:block;list-style:none;margin:0;padding:0;cursor:pointer"
_CAPTION_STYLE = (
    "display:block;width:0;min-width:100%;margin:4px 0 0 0;overflow-wrap:break-word;font-size:85%;line-height:1.35;"
    "font-weight:normal;text-align:center"
)
_ROW_STYLE = "display:flex;flex-wrap:wrap;align-items:flex-start;gap:8px;margin:4px 0"


class ShownImage(Protocol):
    """What this module reads of an `ImageDocument`."""

    @property
    def name(self) -> str:
        """The path, the URL without its query, or the name of an image in memory."""

    @property
    def title(self) -> str:
        """The file name."""

    @property
    def short_name(self) -> str:
        """The name with at most one folder."""

    @property
    def is_link(self) -> bool:
        """Whether the image must not be downloaded for display."""

    @property
    def size(self) -> Size:
        """Width and height in pixels."""

    @property
    def needs_download(self) -> bool:
        """Whether the image is on another machine and has not been downloaded."""

    @property
    def mimetype(self) -> str:
        """The MIME type."""

    def thumbnail(self, side: int = 320, *, max_bytes: int = 22_000, mimetype: ThumbnailType = "image/jpeg") -> str:
        """Return a small version of the image as a data URI."""


@dataclass(frozen=True)
class ImageCard:
    """What a card shows of an image.

    Attributes:
        name: The image's name.
        facts: Its size and type, or the reason why it cannot be shown.
        thumbnail: A data URI, or "" if the image cannot be shown.
        size: Width and height of the image in pixels; (0, 0) if it cannot be shown.
    """

    name: str
    facts: str
    thumbnail: str = ""
    size: Size = (0, 0)

    @property
    def caption(self) -> str:
        """The name and the facts in one line."""
        return f"{self.name}, {self.facts}"


def read_card(document: ShownImage, *, side: int | None = None, max_bytes: int = _MAX_BYTES) -> ImageCard:
    """Read what a card shows of an image; a broken image is not an error.

    Args:
        document: The image. It is downloaded if necessary, but not if it `is_link`.
        side: The largest width and height of the thumbnail in pixels; None derives it from ``max_bytes``.
        max_bytes: The largest thumbnail in bytes, before base64.
    """
    name = document.title
    if document.is_link:
        return ImageCard(name, "not downloaded")
    if side is None:
        side = _ENLARGED_SIDE if max_bytes > _FEW_BYTES else _SMALL_SIDE
    try:
        thumbnail = document.thumbnail(side, max_bytes=max_bytes, mimetype="image/webp")
        size, kind = document.size, document.mimetype.removeprefix("image/").upper()
    except ImageError as error:
        return ImageCard(name, without_folders(str(error), document.name, name))  # the name says which file it is
    return ImageCard(name, f"{size[0]:,} \u00d7 {size[1]:,} {kind}", thumbnail, size)


def read_cards(documents: Sequence[ShownImage], *, max_bytes: int) -> list[ImageCard]:
    """Read the cards of images in threads; ``max_bytes`` is the largest thumbnail in bytes, before base64."""
    with ThreadPoolExecutor(_THREADS, "vision_nb thumbnails") as executor:
        return list(executor.map(lambda document: read_card(document, max_bytes=max_bytes), documents))


def image_figure(document: ShownImage) -> str:
    """Return the HTML of a card for a single image; a click enlarges it."""
    card = read_card(document, side=_FIGURE_SIDE)
    return f'<div style="{_ROW_STYLE}">{_card_html(card, height=_FIGURE_HEIGHT, enlarged=_FIGURE_SIDE)}</div>'


def image_cards(documents: Sequence[ShownImage], *, columns: int | None = None, remarks: Iterable[str] = ()) -> str:
    """Return the HTML of cards with thumbnails, names and sizes; a click enlarges a card.

    The HTML needs no script, and is at most about 100 kB, with images embedded. A line counts the images that are not
    shown.

    Args:
        documents: The images; a broken one becomes a card with the reason.
        columns: The number of columns; None fits as many as the page has room for.
        remarks: Lines of text to show below the cards.
    """
    more = len(documents) - PAGE
    lines = [*([f"and {more:,} more"] if more > 0 else []), *remarks]
    max_bytes = min(_MAX_BYTES, _PAGE_BYTES // max(1, min(len(documents), PAGE)))  # the fewer, the larger
    return cards_html(read_cards(documents[:PAGE], max_bytes=max_bytes), columns=columns, remarks=lines)


def cards_html(cards: Iterable[ImageCard], *, columns: int | None = None, remarks: Iterable[str] = ()) -> str:
    """Return the HTML of cards; see `image_cards`."""
    style = _ROW_STYLE
    if columns is not None:
        style = (
            f"display:grid;grid-template-columns:repeat({columns}, auto);justify-content:start;align-items:start;"
            "gap:8px;margin:4px 0;overflow-x:auto"
        )
    below = "".join(f'<div style="font-size:90%">{escape_text(remark)}</div>' for remark in remarks)
    return f'<div style="{style}">{"".join(map(_card_html, cards))}</div>{below}'


def image_strip(documents: Sequence[ShownImage]) -> str:
    """Return the HTML of a row of small thumbnails without captions; a click enlarges a thumbnail.

    Names and sizes are in the alternative texts and tooltips. Images after the first eight are counted at the end of
    the row. The HTML needs no script, and is empty if there are no images.

    Args:
        documents: The images; a broken one becomes a warning sign with the reason as its tooltip.
    """
    if not documents:
        return ""
    cards = read_cards(documents[:_STRIP_IMAGES], max_bytes=_STRIP_BYTES)
    row = "".join(_card_html(card, height=_STRIP_HEIGHT, has_caption=False) for card in cards)
    more = len(documents) - len(cards)
    rest = f'<span style="font-size:90%;align-self:center">and {more:,} more</span>' if more else ""
    return f'<div style="{_ROW_STYLE}">{row}{rest}</div>'


def _card_html(
    card: ImageCard, *, height: int = _CARD_HEIGHT, enlarged: int = _ENLARGED_SIDE, has_caption: bool = True
) -> str:
    name = card.name if len(card.name) <= _MAX_NAME else f"{card.name[: _MAX_NAME - 20]}...{card.name[-17:]}"
    if not card.thumbnail:
        return _broken_card(card, name, height, has_caption)
    width, height = _fit(card.size, height)
    card_width = max(width, _CAPTION_WIDTH if has_caption else _TARGET)
    wide = round(card_width * max(1.0, enlarged / max(width, height)))
    caption, least_width = "", f";min-width:{card_width}px"
    if has_caption:  # the card takes its width from an empty box, which is narrower on a narrow page
        caption = (
            f'<span style="{_CAPTION_STYLE}">{name_text(name)}<br>{escape_text(card.facts)}</span>'
            f'<span style="display:block;width:{card_width}px;max-width:100%;height:0"></span>'
        )
        least_width = ""
    return (
        f'<details style="{_CARD_STYLE}"><summary style="{_SUMMARY_STYLE}{least_width}" '
        f'title="{escape(card.caption)}. Click to enlarge">'
        # Without a width of its own, the image does not widen the closed card.
        f'<img src="{escape(card.thumbnail)}" alt="{escape(card.caption if not has_caption else card.name)}" '
        f'style="display:block;width:0;min-width:{100 * width / card_width:.4g}%;max-width:none;height:auto;'
        f'margin:0 auto">{caption}</summary>'
        f'<div style="width:{wide}px;max-width:100%;height:0"></div></details>'
    )


def _broken_card(card: ImageCard, name: str, height: int, has_caption: bool) -> str:
    sign = '<span style="font-size:200%;line-height:1">&#9888;</span>'
    if not has_caption:
        return (
            f'<div style="{_CARD_STYLE};min-width:{height // 2}px;text-align:center" '
            f'title="{escape(card.caption)}">{sign}</div>'
        )
    return (
        f'<div style="{_CARD_STYLE};width:{2 * _CAPTION_WIDTH}px;text-align:center">{sign}'
        f'<span style="{_CAPTION_STYLE}">{name_text(name)}<br>{escape_text(card.facts)}</span></div>'
    )


def _fit(size: Size, height: int) -> Size:
    """Return the size of a thumbnail on the page, at a height, in pixels; panoramas are not as high."""
    ratio = size[0] / size[1]
    width = max(1, round(min(ratio, _WIDEST) * height))
    return width, max(1, round(width / ratio))
