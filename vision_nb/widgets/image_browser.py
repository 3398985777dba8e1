"""`show`: images as cards in a notebook, page by page."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import traitlets

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.numbers import check_count
from vision_nb.errors import ImageError, SettingsError
from vision_nb.images.cards import PAGE, ImageCard, image_cards, read_cards
from vision_nb.images.columns import flatten
from vision_nb.images.document import ImageSource
from vision_nb.images.image_list import ListedImage, ListOfImages
from vision_nb.images.loading import find_images
from vision_nb.images.sources import local_path
from vision_nb.notebook.ipython import DisplayOnce, in_notebook, mark_displayed
from vision_nb.privacy.redaction import redact
from vision_nb.privacy.urls import redact_url
from vision_nb.rendering.format import pluralize
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.rendering.terminal import TerminalDisplay, TerminalPart
from vision_nb.widgets.assets import read_assets
from vision_nb.widgets.image_viewer import enlarged_image
from vision_nb.widgets.messages import PageWidget
from vision_nb.widgets.prefetch import PrefetchCache

_THUMBNAIL_BYTES = 8_000  # sharper than in the saved notebook
_CACHED_PAGES = 20  # about 4 MB
_MAX_TITLE = 60  # characters
_executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="vision_nb images")


@checks_arguments
def show(images: ImageSource | Iterable[ImageSource], columns: int | None = None) -> ImageBrowser:
    """Show images as cards with their names and sizes.

    A click, or Enter, enlarges an image; there, the wheel, + and - zoom, 0 fits the width, and the arrow keys show the
    previous and next image, or move an image that is zoomed. Twenty images make a page; the thumbnails of other pages
    are made when they are displayed. The saved notebook keeps the first page as HTML, which needs neither a kernel nor
    scripts. In a terminal, names and sizes are printed.

    Args:
        images: Files, folders, patterns, URLs or other image sources. One that cannot be loaded becomes a card with
            the reason.
        columns: The number of columns; None fits as many as the page has room for.

    Returns:
        The widget, which is already displayed in a notebook.

    Raises:
        SettingsError: There are no images, or the number of columns is not a positive integer.
        ImageError: The only source cannot be found or is not an image.

    >>> vn.show(vn.samples.path("chart"))
    ImageBrowser(1 image)
    """
    browser = ImageBrowser(_load(images), columns=check_count(columns, "columns"))
    if in_notebook():
        browser._ipython_display_()
        mark_displayed(browser)
    return browser


@dataclass(frozen=True)
class _UnreadableImage:
    """A source that is not an image, to show as a broken one."""

    title: str
    error: ImageError
    is_link: bool = False
    needs_download: bool = False

    def thumbnail(self, side: int = 0, *, max_bytes: int = 0, mimetype: str = "") -> str:
        raise self.error

    @property
    def name(self) -> str:
        return self.title

    @property
    def short_name(self) -> str:
        return self.title

    def check_end(self) -> None:
        """Raise the error."""
        raise self.error

    @property
    def taken(self) -> None:
        raise self.error

    @property
    def size(self) -> tuple[int, int]:
        raise self.error

    @property
    def mimetype(self) -> str:
        raise self.error


def _load(images: ImageSource | Iterable[ImageSource]) -> ListOfImages[ListedImage]:
    """Return the images, broken ones among them."""
    sources = list(flatten([] if images is None else [images]))
    shown: ListOfImages[ListedImage] = ListOfImages()
    if isinstance(images, ListOfImages):
        shown = images[:0]  # with the skipped files, unless a note has shown them
    for source in sources:
        try:
            found = find_images(source)
        except ImageError as error:
            if len(sources) == 1:
                raise
            shown.append(_UnreadableImage(_title(source), error))
        else:
            shown += found
    if not shown:
        raise SettingsError("There is nothing to show: pass at least one image, folder or pattern.")
    return shown


def _title(source: ImageSource) -> str:
    """Return a name for a source that is not an image: a path without its folder, or a URL without its secrets."""
    if isinstance(source, Mapping):  # an image in memory with a name
        source = source.get("path")
    text = str(source)
    path = local_path(text) if isinstance(source, (str, Path)) else None
    text = redact(redact_url(text) if path is None else Path(path).name or path)
    return replace_surrogates(text[:_MAX_TITLE])


class ImageBrowser(TerminalDisplay, DisplayOnce, PageWidget):
    """Cards of images, which `show` displays.

    Args:
        images: The images; the skipped files are listed below the cards.
        columns: The number of columns; None fits as many as the page has room for.

    Attributes:
        images: The images.
        page_count: The number of pages.
    """

    _esm = read_assets("dom.js", "image_viewer.js", "image_dialog.js", "image_browser.js")
    _css = read_assets("image_viewer.css", "image_dialog.css", "image_browser.css", "touch.css")
    static_class = traitlets.Unicode().tag(sync=True)
    page_count: int

    def __init__(self, images: ListOfImages[ListedImage], *, columns: int | None = None) -> None:
        super().__init__(static_class=f"vnb-static-{secrets.token_hex(4)}")
        self.images = images
        self.page_count = -(-len(images) // PAGE)
        self._remarks, self._columns = images.skipped_lines(), columns
        self._page = 0
        self._pages = PrefetchCache(self._read_page, size=_CACHED_PAGES)

    def __repr__(self) -> str:
        count = len(self.images)
        return f"ImageBrowser({pluralize(count, 'image')})"

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        return self.images._terminal_parts()

    def _ipython_display_(self) -> None:
        """Display the widget, and the first page as HTML for readers of the saved notebook."""
        from IPython.display import display

        if not in_notebook():
            print(f"\n{self}")  # noqa: T201 - otherwise, a terminal shows the text of the widget: its repr
            return
        if self.is_displayed:
            super()._ipython_display_()
            return
        cards = image_cards(self.images, columns=self._columns, remarks=self._remarks)
        static = f'<div class="{self.static_class}">{cards}</div>'
        display({"text/html": static, "text/plain": str(self)}, raw=True)
        if (bundle := self._repr_mimebundle_()) is not None:
            display(bundle[0], metadata=bundle[1], raw=True)

    def _read_page(self, page: int) -> list[ImageCard]:
        return read_cards(self.images[page * PAGE : (page + 1) * PAGE], max_bytes=_THUMBNAIL_BYTES)

    def _receive(self, message: dict[str, Any], buffers: list[Any]) -> None:
        """Handle a message from the page: it was loaded, shows another page, or enlarges an image."""
        match message:
            case {"action": "ready"}:
                self._answer(partial(self._page_message, self._page))
            case {"action": "page", "page": int(page)} if 0 <= page < self.page_count:
                self._page = page
                self._answer(partial(self._page_message, page))
            case {"action": "enlarge", "index": int(index)} if 0 <= index < len(self.images):
                self._answer(partial(self._enlarged_message, index))

    def _answer(self, make: Callable[[], dict[str, Any] | None]) -> None:
        """Make a message in a thread, and send it to the page."""
        if self._loop is None:
            self._send_result(make())
        else:
            made = _executor.submit(make)
            made.add_done_callback(lambda _: self.call_soon(lambda: self._send_result(made.result())))

    def _send_result(self, message: dict[str, Any] | None) -> None:
        if message is not None:
            self.send(message)

    def _page_message(self, page: int) -> dict[str, Any] | None:
        """Return a page's cards, or None if another page was requested since."""
        if page != self._page:
            return None
        read = self._pages.get(page)
        if page != self._page:  # it took a while
            return None
        cards = []
        for index, card in enumerate(read, page * PAGE):
            width, height = card.size
            cards.append({**asdict(card), "index": index, "width": width, "height": height})
        if page + 1 < self.page_count:
            self._pages.prefetch(page + 1)
        return {
            "kind": "page",
            "page": page,
            "pages": self.page_count,
            "page_size": PAGE,
            "total": len(self.images),
            "columns": self._columns,
            "cards": cards,
            "remarks": self._remarks,
        }

    def _enlarged_message(self, index: int) -> dict[str, Any]:
        try:
            image = enlarged_image(self.images[index])
        except ImageError:  # such as a file that was deleted: the thumbnail stays
            image = ""
        return {"kind": "enlarged", "index": index, "image": image}
