"""A plot of accuracy against price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vision_nb.comparison.accuracy import AccuracySummary, ModelAccuracy, percent
from vision_nb.notebook.figures import new_figure, show_figure
from vision_nb.notebook.ipython import in_notebook

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#333333")
"""Colors that color-blind readers can distinguish: M. Okabe and K. Ito, "Color Universal Design" (2008)."""

_MARKERS = "osD^vPX"
_LOG_RATIO = 20  # prices that differ by more than this need a logarithmic axis


def plot_accuracy(models: AccuracySummary) -> Figure:
    """Plot the accuracy of each model with its 95% interval against the price of 1,000 images.

    Models without a known price are listed in a note. If no price is known, the plot has a row for each model.

    Args:
        models: The models.
    """
    scored = sorted((one for one in models if one.accuracy is not None), key=lambda one: -(one.accuracy or 0))
    priced = [one for one in scored if one.usd_per_1000 is not None]
    shown = priced or scored
    height = 3.6 if priced else 1.4 + 0.45 * len(shown)
    figure = new_figure(figsize=(7.2, max(height, 1.4 + 0.25 * len(shown))), layout="constrained")
    axis = figure.subplots()
    for number, one in enumerate(shown):
        _draw_model(axis, number, one, by_price=bool(priced))
    if priced:
        _set_price_axis(axis, [float(one.usd_per_1000 or 0) for one in priced])
        legend = axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=9)
        for text in legend.get_texts():
            text.set_parse_math(False)
    else:
        axis.set_yticks(range(len(shown)), [one.model for one in shown], parse_math=False)
        axis.set_ylim(max(1, len(shown)) - 0.5, -0.5)
    value_axis = axis.yaxis if priced else axis.xaxis
    value_axis.set_major_formatter(lambda rate, _: f"{100 * rate:.0f}%")
    (axis.set_ylabel if priced else axis.set_xlabel)("correct values, 95% interval")
    (axis.set_ylim if priced else axis.set_xlim)(*_range(shown))
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    notes = _notes(scored, priced)
    if notes:
        figure.supxlabel(notes, fontsize=8.5, color="#555555", parse_math=False)
    if in_notebook():
        show_figure(figure, alt="Accuracy of the models" + " against price" * bool(priced))
    return figure


def _draw_model(axis: Any, number: int, one: ModelAccuracy, *, by_price: bool) -> None:
    rate = one.accuracy or 0.0
    ends = [[rate - one.low], [one.high - rate]]
    place = float(one.usd_per_1000 or 0) if by_price else number
    x, y = (place, rate) if by_price else (rate, place)
    axis.errorbar(
        x,
        y,
        **{"yerr" if by_price else "xerr": ends},
        fmt=_MARKERS[number % len(_MARKERS)],
        color=_COLORS[number % len(_COLORS)],
        markersize=7,
        capsize=4,
        elinewidth=1.6,
        label=f"{_short(one.model)}: {percent(rate)}",
    )


def _set_price_axis(axis: Any, prices: list[float]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    cheapest, dearest = min(prices), max(prices)
    axis.set_xlabel("USD per 1,000 images")
    if cheapest > 0 and dearest / cheapest > _LOG_RATIO:
        axis.set_xscale("log")
        axis.set_xlim(cheapest / 2, dearest * 2)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(lambda usd, _: f"{usd:g}")
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.set_xlim(-0.06 * (dearest or 1), (dearest or 1) * 1.12)


def _range(models: list[ModelAccuracy]) -> tuple[float, float]:
    """Return the ends of the axis of accuracy: the intervals with a margin, and not less than a fifth of the scale."""
    low = min((one.low for one in models), default=0.0)
    return max(-0.02, min(low - 0.05, 0.8)), 1.02


def _notes(scored: list[ModelAccuracy], priced: list[ModelAccuracy]) -> str:
    unknown = [f"{_short(one.model)} ({percent(one.accuracy)})" for one in scored if one.usd_per_1000 is None]
    if not scored:
        return "No answers were scored."
    if not priced:
        return "No price is known."
    return f"Price unknown: {', '.join(unknown)}" if unknown else ""


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:24]}...{name[-13:]}"
