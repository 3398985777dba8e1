"""The sample chart: invented mortgage rates and home sales."""

from __future__ import annotations

from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

YEARS = tuple(range(2015, 2025))
RATES = (3.9, 3.7, 4.0, 4.6, 3.9, 3.1, 3.0, 5.4, 6.8, 6.6)
SALES = (5.3, 5.5, 5.6, 5.3, 5.4, 5.7, 6.2, 5.1, 4.2, 4.0)

_RATE_COLOR, _SALES_COLOR, _INK, _PALE = "#c2410c", "#1d4ed8", "#1f2937", "#6b7280"


def chart() -> Image.Image:
    """Draw the chart, 1000 x 600 pixels."""
    with matplotlib.style.context("default"):
        figure = Figure(figsize=(10, 6), dpi=100, facecolor="white")
        canvas: Any = FigureCanvasAgg(figure)  # its methods are untyped
        _plot(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _plot(figure: Figure) -> None:
    left = figure.add_axes((0.085, 0.135, 0.83, 0.64))
    right = left.twinx()
    rates = left.plot(YEARS, RATES, color=_RATE_COLOR, marker="o", markersize=7, linewidth=2.8)
    sales = right.plot(YEARS, SALES, color=_SALES_COLOR, marker="s", markersize=6.5, linewidth=2.8, linestyle="--")
    left.set_ylim(2, 8)
    right.set_ylim(3, 7.5)
    left.set_xlim(2014.6, 2024.4)
    left.set_xticks(YEARS)
    left.set_xlabel("Year", fontsize=12, color=_INK)
    left.set_ylabel("30-year mortgage rate (%)", fontsize=12, color=_RATE_COLOR, labelpad=8)
    right.set_ylabel("Homes sold (millions)", fontsize=12, color=_SALES_COLOR, labelpad=10)
    for axes, color in ((left, _RATE_COLOR), (right, _SALES_COLOR)):
        axes.tick_params(axis="y", colors=color, labelsize=11, length=0, pad=7)
        for side in ("top", "left", "right"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color("#9ca3af")
    left.tick_params(axis="x", colors=_INK, labelsize=11)
    left.grid(axis="y", color="#e5e7eb", linewidth=1)
    for year, rate, above in ((2021, 3.0, -1), (2023, 6.8, 1)):
        left.annotate(
            f"{rate:.1f} %",
            (year, rate),
            xytext=(0, 14 * above),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=11,
            fontweight="bold",
            color=_RATE_COLOR,
        )
    left.legend(
        rates + sales,
        ["30-year mortgage rate (left axis)", "Home sales (right axis)"],
        loc="upper left",
        ncols=2,
        frameon=False,
        fontsize=11.5,
        bbox_to_anchor=(-0.01, 1.115),
        borderaxespad=0,
    )
    figure.text(0.04, 0.935, "Mortgage Rates and Home Sales, 2015 to 2024", fontsize=19, weight="bold", color=_INK)
    figure.text(0.04, 0.885, "Sales fell as borrowing became more expensive", fontsize=12.5, color=_PALE)
    figure.text(0.04, 0.022, "Invented figures, for illustration only", fontsize=9.5, color=_PALE)
