"""Widgets in marimo, which displays anywidget widgets but not the boxes of ipywidgets."""

from __future__ import annotations

import anywidget

_COLORS = {
    "--jp-layout-color0": "var(--background)",
    "--jp-layout-color1": "var(--background)",
    "--jp-layout-color2": "var(--muted)",
    "--jp-border-color1": "var(--border)",
    "--jp-border-color2": "var(--border)",
    "--jp-ui-font-color0": "var(--foreground)",
    "--jp-ui-font-color1": "var(--foreground)",
    "--jp-ui-font-color2": "var(--muted-foreground)",
    "--jp-content-font-color0": "var(--foreground)",
    "--jp-content-font-color1": "var(--foreground)",
    "--jp-content-link-color": "var(--link)",
}
"""JupyterLab's colors, which the widgets use, as those of marimo's light or dark theme."""


def marimo_output(*widgets: anywidget.AnyWidget) -> object:
    """Return what marimo displays for a column of widgets: the value of ``_display_``."""
    import marimo

    return marimo.vstack(widgets, gap=0).style(_COLORS)
