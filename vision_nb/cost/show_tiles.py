"""A plot of an image as a model sees it: scaled to the model's size, with its tiles or patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vision_nb.checks.arguments import checks_arguments
from vision_nb.cost.image_rules import checked_row, view_of
from vision_nb.cost.model_reference import counted_model
from vision_nb.cost.rule_kinds import CanvasTiles, Rule, View
from vision_nb.errors import SettingsError
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.images.prepare import fit_within
from vision_nb.notebook.figures import CAPTION, new_figure, show_figure
from vision_nb.notebook.ipython import in_notebook
from vision_nb.rendering.format import format_count, pluralize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_SIDE = 1000  # pixels of the plotted image; the axes have the model's own scale
_SINGULAR = {"tiles": "tile", "patches": "patch"}
_OVERVIEW_SIDE = 200  # pixels of the plotted overview
_MAX_COLUMNS = 64  # with more, thick lines would hide the image
_SMALL_UNIT = 100  # pixels: tiles have thicker lines than patches


@checks_arguments
def show_tiles(image: ImageSource, model: Any = "gpt-4o", detail: str | Sequence[str] = "high") -> Figure:
    """Plot an image as a model sees it, with its tiles or patches and the token count.

    Args:
        image: Any image source.
        model: A model's name, such as "gpt-4o" or "provider:model", or a model object.
        detail: A detail level, or several to plot side by side, such as ``("low", "high")``.

    Returns:
        The matplotlib figure; in a notebook, it has already been displayed.

    Raises:
        SettingsError: The model's rule is not known, or the model does not support the detail level.
        ImageError: The image cannot be read.

    >>> len(vn.show_tiles(vn.samples.path("chart"), "gpt-4o", ("low", "high")).axes)
    2
    """
    details: list[Any] = list(detail) if isinstance(detail, (list, tuple)) else [detail]
    if not details or None in details:
        raise SettingsError(f"detail= must be a level or a list of them, such as 'high': got {detail!r:.80}.")
    document, name = ImageDocument.of(image), counted_model(model).model
    figure = new_figure(figsize=(6.2 * len(details), 5.8), layout="constrained", facecolor="none")
    for axis, level in zip(figure.subplots(1, len(details), squeeze=False)[0], details, strict=True):
        _draw(axis, document, name, level)
    if in_notebook():
        show_figure(figure, alt=f"{document.title} as {name} sees it")
    return figure


def _draw(axis: Axes, document: ImageDocument, model: str, detail: str) -> None:
    import numpy as np

    row, view = checked_row(model, detail), view_of(document.size, model, detail)
    if row is None or view is None:
        raise SettingsError(f"The token rule of {model} for images is not known, so its tiles cannot be plotted.")
    width, height = view.size
    pixels = document.to_pil().convert("RGB").resize(fit_within(view.size, _MAX_SIDE), reducing_gap=2.0)
    axis.imshow(np.asarray(pixels), extent=(0, width, height, 0))
    _draw_grid(axis, view, row.rule)
    if view.grid[0] and _has_overview(view.grid[0] * view.grid[1], row.rule):
        overview = axis.inset_axes((1.04, 0, 0.3, 0.3), xticks=[], yticks=[])
        overview.imshow(np.asarray(pixels.resize((_OVERVIEW_SIDE, _OVERVIEW_SIDE))))
        overview.set_title(f"overview, {row.rule.unit} px", loc="left", **{**CAPTION, "fontsize": 8})
    axis.set_title(_title(document, view, row.rule, model, detail), pad=10, **CAPTION)
    axis.set_xlim(-0.01 * width, width * 1.01)
    axis.set_ylim(height * 1.01, -0.01 * height)
    axis.set(xticks=[], yticks=[])


def _draw_grid(axis: Axes, view: View, rule: Rule) -> None:
    (columns, rows), (width, height), unit = view.grid, view.size, rule.unit
    if not columns:
        return
    widest = 0.3 if max(columns, rows) > _MAX_COLUMNS else 0.6 if unit < _SMALL_UNIT else 2.2
    style: dict[str, Any] = {"color": "#ffd400", "linewidth": widest}
    for column in range(columns + 1):
        axis.plot([min(column * unit, width)] * 2, [0, height], **style)
    for row in range(rows + 1):
        axis.plot([0, width], [min(row * unit, height)] * 2, **style)


def _title(document: ImageDocument, view: View, rule: Rule, model: str, detail: str) -> str:
    (width, height), (seen_width, seen_height), (columns, rows) = document.size, view.size, view.grid
    name = f"{model}, detail {detail}" if rule.has_levels else model
    tokens = f"{format_count(view.tokens, is_estimate=view.is_estimate)} tokens{' (estimate)' * view.is_estimate}"
    seen = "seen" if rule.unit else "sent"
    return f"{name}: {tokens}\n{width} x {height} {seen} as {seen_width} x {seen_height}\n{_parts(columns, rows, rule)}"


def _has_overview(tiles: int, rule: Rule) -> bool:
    return rule.has_overview and not (tiles == 1 and isinstance(rule, CanvasTiles))


def _parts(columns: int, rows: int, rule: Rule) -> str:
    overview = " and an overview" if _has_overview(columns * rows, rule) else ""
    if not columns:
        return f"{rule.name}{overview}, in an unknown layout" if overview else "no tiles, a fixed count"
    count = columns * rows
    breaks = f" and {pluralize(rows, 'row end')}" if rule.breaks else ""
    parts = pluralize(count, _SINGULAR[rule.unit_name], rule.unit_name)
    return f"{columns} x {rows} = {parts} of {rule.unit} px{breaks}{overview}"
