"""Display in a notebook: image grids, and streamed answers."""

from __future__ import annotations

import io
import math
import sys
import time
from asyncio import CancelledError
from collections.abc import AsyncIterable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, closing, nullcontext
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.numbers import plain_number
from vision_nb.errors import ImageError, ProviderError, SettingsError
from vision_nb.images.answer_strip import image_names, markdown_strip
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.images.prepare import fit_within
from vision_nb.messages import as_images
from vision_nb.notebook.figures import CAPTION, new_figure, show_figure
from vision_nb.notebook.ipython import in_notebook, mark_displayed
from vision_nb.notebook.stream_status import INTERVAL, StreamStatus
from vision_nb.rendering.answer import answer_part, badge_notes, plain_text, response_markdown
from vision_nb.rendering.format import type_name
from vision_nb.rendering.sanitize import terminal_text
from vision_nb.rendering.terminal import joined_parts
from vision_nb.responses import Response

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

R = TypeVar("R", bound=Response)

UPDATES_PER_SECOND = 12
"""How often a streamed answer is redrawn at most: more often flickers, and fills the message queue."""

_STATUS_WIDTH = 40  # characters of a structured answer, while it arrives in a terminal
_MAX_RESENT = 5.0  # how many times its length the updates of a growing answer may have before another one is sent
_FREE_CHARACTERS = 20_000  # in total for short answers, which are always redrawn often
_FREE_EACH_SECOND = 100_000  # in total for answers that are redrawn each second

_GRID_SIDE = 640  # longest side of an image in the grid, in pixels
_CELL_SIZE = (4.2, 3.6)  # width and height of a cell of the grid, in inches
_CELL_ASPECT = 0.75  # height of a cell without its caption, divided by the width


@checks_arguments
def display_image_uris(
    image_paths: ImageSource | Iterable[ImageSource],
    image_matrix: tuple[int, int] = (3, 3),
    top_k: int | None = None,
) -> Figure:
    """Show images in a grid, each with its name and size.

    The grid is a matplotlib figure with a transparent background. `show` displays cards instead, which can be enlarged.

    Args:
        image_paths: Paths, URLs or other image sources.
        image_matrix: The numbers of rows and columns; rows are added if there are more images.
        top_k: How many images to show; None for all.

    Returns:
        The matplotlib figure, which is already displayed in a notebook. An image that cannot be loaded is replaced
        by the error message.

    Raises:
        SettingsError: There are no images, or image_matrix is not a grid with columns.

    >>> figure = vn.display_image_uris([vn.samples.path("chart"), vn.samples.path("label")], image_matrix=(1, 2))
    >>> [axis.get_title() for axis in figure.axes]
    ['chart.png   1000 x 600', 'label.png   900 x 1040']
    """
    sources = as_images(image_paths)[:top_k]
    if not isinstance(image_matrix, (tuple, list)) or [type(plain_number(side)) for side in image_matrix] != [int, int]:
        raise SettingsError(f"image_matrix must be (rows, columns), such as (2, 3): got {image_matrix!r:.80}.")
    columns = min(image_matrix[1], len(sources))
    if columns < 1:
        raise SettingsError(
            "There is nothing to show: pass at least one image, and an image_matrix with at least one column."
        )
    rows = math.ceil(len(sources) / columns)
    size = (_CELL_SIZE[0] * columns, _CELL_SIZE[1] * rows)
    figure = new_figure(figsize=size, layout="constrained", facecolor="none")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.set_axis_off()
        axis.set_box_aspect(_CELL_ASPECT)
    for axis, source in zip(axes, sources, strict=False):
        _draw_image(axis, source)
    if in_notebook():
        show_figure(figure, alt="Images: " + ", ".join(axis.get_title() for axis in axes[: len(sources)]))
    return figure


def _draw_image(axis: Axes, source: ImageSource) -> None:
    import numpy as np
    from PIL import Image

    name = source if isinstance(source, str) else type(source).__name__
    try:
        document = ImageDocument.of(source)
        name = document.title
        prepared = document.prepare(lambda size: fit_within(size, _GRID_SIDE))
    except ImageError as error:
        message = f"could not be loaded\n\n{error}".replace("$", r"\$")  # wrapped text ignores parse_math=False
        place: dict[str, Any] = {"ha": "center", "va": "center", "wrap": True, "transform": axis.transAxes}
        axis.text(0.5, 0.5, message, color="black", bbox=CAPTION["bbox"], **place)
        _set_caption(axis, _shortened(name))
        return
    pixels = np.asarray(Image.open(io.BytesIO(prepared.data)).convert("RGB"))
    axis.imshow(pixels, aspect="auto")
    # All cells have the same shape; the image fills it in one direction, and begins right below its caption.
    height, width = pixels.shape[:2]
    shown_width, shown_height = max(width, height / _CELL_ASPECT), max(height, width * _CELL_ASPECT)
    axis.set_xlim(width / 2 - 0.5 - shown_width / 2, width / 2 - 0.5 + shown_width / 2)
    axis.set_ylim(shown_height - 0.5, -0.5)
    width, height = prepared.original_size
    _set_caption(axis, f"{_shortened(name)}   {width} x {height}")


def _set_caption(axis: Axes, text: str) -> None:
    axis.set_title(text, pad=8, **CAPTION)


def _shortened(name: str) -> str:
    """Return a title, with its middle left out if it is long."""
    return name if len(name) <= 36 else f"{name[:20]}...{name[-13:]}"


class StreamingDisplay:
    """A display of a streamed answer: Markdown in a notebook, otherwise plain text.

    Args:
        below: Markdown to show below the answer, such as the model's name.
        thumbnails: Whether to show the images of the question below the finished answer.

    Attributes:
        response: The last response shown, or None.
    """

    def __init__(self, below: str = "", *, thumbnails: bool = True) -> None:
        self.below, self.thumbnails = below, thumbnails
        self.response: Response | None = None
        self._handle: Any = None
        self._status = StreamStatus()
        self._drawn_at = 0.0
        self._sent, self._growth = 0, 0.0
        self._written, self._attempts = 0, 1

    def bundle(self, response: Response, *, finished: bool) -> dict[str, str]:
        """Return the notebook output for a response, by MIME type."""
        strip = markdown_strip(self.images(response)) if finished else ""
        markdown = response_markdown(response, below=strip) + self.below
        return {"text/markdown": markdown, "text/plain": plain_text(response)}

    def images(self, response: Response) -> tuple[ImageDocument, ...]:
        """Return the images to show below the finished answer."""
        return response.shown_images if self.thumbnails else ()

    def metadata(self, response: Response) -> dict[str, Any]:
        """Return the metadata that is saved with the finished answer in the notebook."""
        return {}

    def notes(self, response: Response) -> list[str]:
        """Return the notes that a terminal shows below the finished answer."""
        return [response.remark] if response.remark else []

    def show(self, response: Response) -> None:
        """Show a partial response, unless the last update was a moment ago.

        An update sends the whole answer again. As an answer grows, it is therefore redrawn less often, so that all
        updates together send at most ten times its length. In between, a line below it shows its last words.
        """
        self.response = response
        if not in_notebook():
            self._write(response)
        elif self._is_due(response):
            bundle = self.bundle(response, finished=False)
            if len(bundle) > 1:
                del bundle["text/plain"]  # the finished answer has it, for exports
            length = sum(map(len, bundle.values()))
            self._sent += length
            self._growth = length / _received(response)
            self._draw(bundle, {})
        else:
            text = response.text or response.reasoning
            self._status.show(text, _received(response), drawn_at=self._drawn_at)

    def finish(self, response: Response) -> None:
        """Show the final response, and mark it as displayed."""
        self.response = response
        if in_notebook():
            self._status.clear()
            self._draw(self.bundle(response, finished=True), self.metadata(response))
        else:
            self._write(response, finished=True)
            images = response.images if self.thumbnails else ()
            names = [image_names(images)] if images else []
            notes = [*names, *self.notes(response), *badge_notes(response)]
            sys.stdout.write("".join(["\n" * bool(self._written), *(f"({note})\n" for note in notes)]))
        mark_displayed(response)

    def _is_due(self, response: Response) -> bool:
        if response.attempts > self._attempts:  # another text replaces this one
            self._sent, self._attempts = 0, response.attempts
        seconds = time.monotonic() - self._drawn_at
        if seconds < 1 / UPDATES_PER_SECOND:
            return False
        allowed = _FREE_CHARACTERS + _MAX_RESENT * self._growth * _received(response)
        return self._sent <= (allowed if seconds < INTERVAL else max(allowed, _FREE_EACH_SECOND))

    def _write(self, response: Response, *, finished: bool = False) -> None:
        """Write what is new of an answer to a terminal; a structured one as a table when it is finished."""
        if response.schema is None:
            sys.stdout.write(terminal_text(response.text[self._written :]))
            sys.stdout.flush()
        elif finished:
            self._status.clear()
            sys.stdout.write(joined_parts([answer_part(response)]))
        else:
            end = response.text[-_STATUS_WIDTH:]
            self._status.show(end, _received(response), drawn_at=self._status.started)
        self._written = len(response.text)

    def _draw(self, bundle: dict[str, str], metadata: dict[str, Any]) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(bundle, raw=True, metadata=metadata, display_id=True)
        else:
            self._handle.update(bundle, raw=True, metadata=metadata)
        self._drawn_at = time.monotonic()


def _received(response: Response) -> int:
    """Return how many characters of a response have arrived, at least 1."""
    return max(1, len(response.text) + len(response.reasoning))


@checks_arguments
def display_stream(
    stream: Iterable[R], *, below: str = "", thumbnails: bool = True, live: StreamingDisplay | None = None
) -> R:
    """Show a streamed answer while it arrives, and leave it as plain Markdown.

    Args:
        stream: The stream that `stream_complete` or `stream_chat` returns.
        below: Markdown to show below the finished answer.
        thumbnails: Whether to show the images of the question, a few kB each, below the finished answer.
        live: The display to use; None shows Markdown.

    Returns:
        The whole response.

    Raises:
        SettingsError: The value is not a stream, or the stream is empty.
        ProviderError: The stream broke; the part that has arrived stays on the page.

    >>> llm = vn.connect("demo")
    >>> answer = vn.display_stream(llm.stream_complete("How large is it?", [vn.samples.path("chart")]))
    The image's size is **1,000 x 600 pixels** (landscape). ...
    """
    if isinstance(stream, str) or not isinstance(stream, Iterable):
        raise SettingsError(f"display_stream() takes what llm.stream_complete() returns, not {type_name(stream)}.")
    shown = _StreamedAnswer[R](live or StreamingDisplay(below, thumbnails=thumbnails))
    with shown, _closing(stream):
        for response in stream:
            shown.update(response)
    return shown.result()


@checks_arguments
async def adisplay_stream(
    stream: AsyncIterable[R], *, below: str = "", thumbnails: bool = True, live: StreamingDisplay | None = None
) -> R:
    """Show an asynchronously streamed answer; the asynchronous version of `display_stream`.

    Args:
        stream: The stream that awaiting `astream_complete` or `astream_chat` returns.
        below: Markdown to show below the finished answer.
        thumbnails: Whether to show the images of the question, a few kB each, below the finished answer.
        live: The display to use; None shows Markdown.

    Returns:
        The whole response.

    Raises:
        SettingsError: The value is not a stream, or the stream is empty.
        ProviderError: The stream broke; the part that has arrived stays on the page.

    >>> async def ask():
    ...     stream = await vn.connect("demo").astream_complete("How large is it?", [vn.samples.path("chart")])
    ...     return await vn.adisplay_stream(stream)
    >>> import asyncio
    >>> answer = asyncio.run(ask())  # in a notebook: answer = await ask()
    The image's size is **1,000 x 600 pixels** (landscape). ...
    """
    if not isinstance(stream, AsyncIterable):
        raise SettingsError(
            f"adisplay_stream() takes what await llm.astream_complete() returns, not {type_name(stream)}."
        )
    shown = _StreamedAnswer[R](live or StreamingDisplay(below, thumbnails=thumbnails))
    with shown:
        async with _aclosing(stream):
            async for response in stream:
                shown.update(response)
    return shown.result()


def _closing(stream: Any) -> AbstractContextManager[Any]:
    return closing(stream) if hasattr(stream, "close") else nullcontext()


def _aclosing(stream: Any) -> AbstractAsyncContextManager[Any]:
    return aclosing(stream) if hasattr(stream, "aclose") else nullcontext()


class _StreamedAnswer(Generic[R]):
    """The latest response of a stream.

    It stays on the page even if the stream breaks or is interrupted.
    """

    def __init__(self, display: StreamingDisplay) -> None:
        self._display = display
        self._response: R | None = None

    def update(self, response: R) -> None:
        if not isinstance(response, Response):
            raise SettingsError(f"The stream has {type_name(response)} in place of a response: pass that of a model.")
        self._response = response
        self._display.show(response)

    def result(self) -> R:
        if self._response is None:
            raise SettingsError("The stream is empty: a stream can be read only once, so make a new request.")
        return self._response

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._response is None:
            return
        if isinstance(error, (KeyboardInterrupt, CancelledError)):
            self._response = replace(self._response, finish_reason="interrupted")
        elif isinstance(error, ProviderError) and self._response.finish_reason is None:
            self._response = replace(self._response, finish_reason="incomplete")
        self._display.finish(self._response)
