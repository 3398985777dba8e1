"""Matplotlib figures that are displayed once, and keep notebooks small."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from vision_nb.images.prepare import to_jpeg, to_webp
from vision_nb.notebook.ipython import DisplayOnce, mark_displayed
from vision_nb.rendering.html import data_uri, image_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_WEBP_BYTES = 75_000
_MAX_PNG_BYTES = 100_000  # larger figures are displayed as JPEG or WebP, so that notebooks stay small


def new_figure(**options: Any) -> Figure:
    """Return a matplotlib figure that does not use pyplot, and is displayed once."""
    from matplotlib.figure import Figure

    class OnceDisplayedFigure(DisplayOnce, Figure):
        """A figure that is not displayed again as the value of its cell."""

        def __repr__(self) -> str:
            width, height = self.get_size_inches() * self.dpi
            return f"Figure({width:.0f} x {height:.0f} pixels): save it with .savefig(...), or show it in a notebook"

        def _repr_png_(self) -> bytes:
            return figure_png(self)

    return OnceDisplayedFigure(**options)


def figure_png(figure: Figure) -> bytes:
    """Return a figure as PNG, on white so that it is readable in dark themes too, unless it has no background."""
    buffer = io.BytesIO()
    background = "none" if _is_transparent(figure) else "white"
    figure.savefig(buffer, format="png", dpi=80, facecolor=background, bbox_inches="tight")
    return buffer.getvalue() if background == "white" else _without_space_below(buffer)


def _without_space_below(png: io.BytesIO) -> bytes:
    """Return a transparent image without the empty space below wide images in cells of a fixed shape."""
    from PIL import Image

    image = Image.open(png)
    _, _, _, bottom = image.getchannel("A").getbbox() or (0, 0, *image.size)
    cropped = io.BytesIO()
    image.crop((0, 0, image.width, bottom)).save(cropped, "PNG")
    return cropped.getvalue()


def _is_transparent(figure: Figure) -> bool:
    from matplotlib.colors import to_rgba

    return to_rgba(figure.get_facecolor())[3] == 0


def show_figure(figure: Figure, *, alt: str = "") -> None:
    """Display a figure in the running cell, as PNG or, if that is too large, as JPEG or WebP.

    Args:
        figure: The figure.
        alt: A text for readers who do not see a large transparent figure.
    """
    from IPython.display import Image, display

    png = figure_png(figure)
    if len(png) <= _MAX_PNG_BYTES:
        display(Image(data=png, format="png"))
    elif _is_transparent(figure):  # as HTML, which also shows a WebP in exported notebooks
        image = image_html(data_uri(to_webp(png, max_bytes=_MAX_WEBP_BYTES), "image/webp"), alt)
        display({"text/html": image, "text/plain": repr(figure)}, raw=True)
    else:
        display(Image(data=to_jpeg(png, quality=80), format="jpeg"))
    if isinstance(figure, DisplayOnce):
        mark_displayed(figure)
