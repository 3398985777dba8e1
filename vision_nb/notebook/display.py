"""Pictures and answers in a notebook: the image grid, and answers that are shown while they arrive."""

from __future__ import annotations

import math
import sys
import time
from asyncio import CancelledError
from collections.abc import AsyncIterable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from vision_nb.errors import ImageError, SettingsError
from vision_nb.images.decode import Size
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.images.prepare import fit_within, to_jpeg
from vision_nb.messages import as_images
from vision_nb.notebook.ipython import DisplayOnce, in_notebook, mark_displayed
from vision_nb.responses import Response, response_markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

R = TypeVar("R", bound=Response)

UPDATES_A_SECOND = 12
"""How often a growing answer is redrawn at most: faster flickers, and fills the message queue."""

_GRID_SIDE = 640  # pixels of a picture in the grid
_LARGE_FIGURE = 100_000  # bytes of PNG from which on a figure is kept as JPEG, so that notebooks stay small


def display_image_uris(
    image_paths: ImageSource | Iterable[ImageSource],
    image_matrix: tuple[int, int] = (3, 3),
    top_k: int | None = None,
) -> Figure:
    """Show pictures in a grid, in their true colours, each with its name and size.

    Args:
        image_paths: Paths, URLs or other sources of pictures.
        image_matrix: Rows and columns; rows are added until every picture has its place.
        top_k: Show only so many of them.

    Returns:
        The matplotlib figure, already displayed where there is a notebook. A picture that cannot be loaded
        is a labelled tile in it, and stops no other.

    Raises:
        SettingsError: There is no picture, or the grid has no column.

    >>> figure = vn.display_image_uris([vn.samples.path("chart"), vn.samples.path("label")], image_matrix=(1, 2))
    >>> [axis.get_title() for axis in figure.axes]
    ['chart.png   1000 x 600', 'label.png   900 x 1040']
    """
    sources = as_images(image_paths)[:top_k]
    columns = min(image_matrix[1], len(sources))
    if columns < 1:
        raise SettingsError("There is nothing to show: give at least one picture, and a grid of at least one column.")
    rows = math.ceil(len(sources) / columns)
    figure = new_figure(figsize=(4.2 * columns, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.set_axis_off()
    for axis, source in zip(axes, sources, strict=False):
        _draw_picture(axis, source)
    if in_notebook():
        show_figure(figure)
    return figure


def _draw_picture(axis: Axes, source: ImageSource) -> None:
    import numpy as np

    name = source if isinstance(source, str) else type(source).__name__
    try:
        document = ImageDocument.of(source)
        name = document.title
        size, picture = _small_picture(document)
    except ImageError as error:
        axis.text(
            0.5, 0.5, f"could not be loaded\n\n{error}", ha="center", va="center", wrap=True, transform=axis.transAxes
        )
        axis.set_title(_short(name), fontsize=9)
        return
    axis.imshow(np.asarray(picture.convert("RGB")))
    axis.set_title(f"{_short(name)}   {size[0]} x {size[1]}", fontsize=9)


def _small_picture(document: ImageDocument) -> tuple[Size, Any]:
    import io

    from PIL import Image

    data = document.read()
    in_memory = ImageDocument(image=data) if document.is_remote else document
    small = in_memory.prepare(lambda size: fit_within(size, _GRID_SIDE))
    return in_memory.size, Image.open(io.BytesIO(small.data))


def _short(name: str) -> str:
    """A title, cut in the middle where it is long."""
    return name if len(name) <= 36 else f"{name[:20]}...{name[-13:]}"


def new_figure(**options: Any) -> Figure:
    """A matplotlib figure, without pyplot and its state, that is shown where it is made and once."""
    from matplotlib.figure import Figure

    class ShownFigure(DisplayOnce, Figure):
        """A figure that is shown where it is made, and not again as its cell's value."""

        def _repr_png_(self) -> bytes:
            return figure_png(self)

    return ShownFigure(**options)


def figure_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file, on white so that it reads in dark themes too."""
    import io

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, facecolor="white", bbox_inches="tight")
    return buffer.getvalue()


def show_figure(figure: Figure) -> None:
    """Display a figure in the running cell, once: as PNG, or as JPEG where photographs make that too large."""
    from IPython.display import Image, display

    png = figure_png(figure)
    if len(png) <= _LARGE_FIGURE:
        display(Image(data=png, format="png"))
    else:
        display(Image(data=to_jpeg(png, quality=80), format="jpeg"))
    if isinstance(figure, DisplayOnce):
        mark_displayed(figure)


class StreamingDisplay:
    """An answer that is shown while it grows: live Markdown in a notebook, plain text elsewhere.

    Args:
        below: Markdown to put under the answer, such as who gave it.

    Attributes:
        response: The response as it was last shown, or None.
    """

    def __init__(self, below: str = "") -> None:
        self.below = below
        self.response: Response | None = None
        self._handle: Any = None
        self._drawn_at = 0.0
        self._written = 0

    def bundle(self, response: Response, *, finished: bool) -> dict[str, str]:
        """What a notebook is to show of a response, by MIME type."""
        return {"text/markdown": response_markdown(response) + self.below, "text/plain": response.text}

    def metadata(self, response: Response) -> dict[str, Any]:
        """What a notebook is to keep beside the finished answer."""
        return {}

    def show(self, response: Response) -> None:
        """Show a response as far as it has come, unless the last redraw was a moment ago."""
        self.response = response
        if not in_notebook():
            self._write(response)
        elif time.monotonic() - self._drawn_at >= 1 / UPDATES_A_SECOND:
            self._draw(self.bundle(response, finished=False), {})

    def finish(self, response: Response) -> None:
        """Leave the finished answer as plain output, and note that it has been shown."""
        self.response = response
        if in_notebook():
            self._draw(self.bundle(response, finished=True), self.metadata(response))
        else:
            self._write(response)
            sys.stdout.write("\n")
        mark_displayed(response)

    def _write(self, response: Response) -> None:
        sys.stdout.write(response.text[self._written :])
        sys.stdout.flush()
        self._written = len(response.text)

    def _draw(self, bundle: dict[str, str], metadata: dict[str, Any]) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(bundle, raw=True, metadata=metadata, display_id=True)
        else:
            self._handle.update(bundle, raw=True, metadata=metadata)
        self._drawn_at = time.monotonic()


def display_stream(stream: Iterable[R], *, below: str = "", live: StreamingDisplay | None = None) -> R:
    """Show a streamed answer while it arrives, and leave it as plain Markdown.

    Args:
        stream: What `stream_complete` or `stream_chat` gives.
        below: Markdown to put under the finished answer.
        live: How to show it; None shows Markdown.

    Returns:
        The whole response.

    Raises:
        SettingsError: The stream has nothing in it.
        ProviderError: The stream broke; what had arrived stays shown.

    >>> llm = vn.connect("demo")
    >>> answer = vn.display_stream(llm.stream_complete("How large is it?", [vn.samples.path("chart")]))
    The image's size is **1,000 x 600 pixels** (landscape). ...
    """
    live, response = live or StreamingDisplay(below), None
    try:
        for response in stream:
            live.show(response)
    except KeyboardInterrupt:
        response = _interrupted(response)
        raise
    finally:
        # An interrupt leaves what had arrived on the page, and the connection closed.
        close = getattr(stream, "close", None)
        if close is not None:
            close()
        if response is not None:
            live.finish(response)
    if response is None:
        raise SettingsError("The stream has nothing in it: it has been read already, perhaps.")
    return response


async def adisplay_stream(stream: AsyncIterable[R], *, below: str = "", live: StreamingDisplay | None = None) -> R:
    """The asynchronous twin of `display_stream`, for what `astream_complete` or `astream_chat` give.

    Args:
        stream: What awaiting one of them gives.
        below: Markdown to put under the finished answer.
        live: How to show it; None shows Markdown.

    Returns:
        The whole response.

    Raises:
        SettingsError: The stream has nothing in it.
        ProviderError: The stream broke; what had arrived stays shown.

    >>> async def ask():
    ...     stream = await vn.connect("demo").astream_complete("How large is it?", [vn.samples.path("chart")])
    ...     return await vn.adisplay_stream(stream)
    >>> import asyncio
    >>> answer = asyncio.run(ask())  # in a notebook: answer = await ask()
    The image's size is **1,000 x 600 pixels** (landscape). ...
    """
    live, response = live or StreamingDisplay(below), None
    try:
        async for response in stream:
            live.show(response)
    except (KeyboardInterrupt, CancelledError):
        response = _interrupted(response)
        raise
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
        if response is not None:
            live.finish(response)
    if response is None:
        raise SettingsError("The stream has nothing in it: it has been read already, perhaps.")
    return response


def _interrupted(response: R | None) -> R | None:
    """A response that was stopped midway, marked as such."""
    return None if response is None else replace(response, finish_reason="interrupted")
