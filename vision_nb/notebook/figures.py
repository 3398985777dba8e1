"""Matplotlib figures that are displayed once, and keep notebooks small."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from vision_nb.images.prepare import to_webp
from vision_nb.notebook.ipython import DisplayOnce, mark_displayed
from vision_nb.rendering.html import data_uri, image_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_WEBP_BYTES = 75_000
_MAX_PNG_BYTES = 100_000  # larger figures with images are displayed as WebP, so that notebooks stay small
CAPTION: dict[str, Any] = {
    "fontsize": 10,
    "parse_math": False,
    "color": "black",
    "bbox": {"facecolor": "white", "edgecolor": "none", "boxstyle": "round,pad=0.3"},
}
"""Dark on white, because the background of figures with images is the page's, which can be light or dark."""

DARK_PLOT_CSS = "[data-jp-theme-light=false] .vnb-plot, .vscode-dark .vnb-plot "
DARK_PLOT_CSS += "{ filter: invert(.93) hue-rotate(180deg); }"
"""White becomes the #111 of a dark page, and hues stay."""


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
    """Return a figure as PNG, on white so that it is readable everywhere, unless it has no background."""
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


def show_figure(figure: Figure, *, alt: str) -> None:
    """Display a figure in the running cell.

    A plot, which has a background, becomes dark in dark themes. A figure without a background contains images, which
    keep their colors; it is displayed as WebP if it is large.

    Args:
        figure: The figure.
        alt: A text for readers who do not see the figure.
    """
    from IPython.display import display

    png = figure_png(figure)
    bundle = {"image/png": base64.b64encode(png).decode()}
    if not _is_transparent(figure):
        image = image_html(data_uri(png, "image/png"), alt)
        bundle["text/html"] = f'<style>{DARK_PLOT_CSS}</style><div class="vnb-plot">{image}</div>'
    elif len(png) > _MAX_PNG_BYTES:  # as HTML, which also shows a WebP in exported notebooks
        bundle = {"text/html": image_html(data_uri(to_webp(png, max_bytes=_MAX_WEBP_BYTES), "image/webp"), alt)}
    display({"text/plain": repr(figure), **bundle}, raw=True)
    if isinstance(figure, DisplayOnce):
        mark_displayed(figure)
