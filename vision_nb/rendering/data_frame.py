"""Display of data frames that hold untrusted text."""

from __future__ import annotations

from typing import Any, TypeVar

Frame = TypeVar("Frame", bound=Any)


def without_formulas(frame: Frame) -> Frame:
    """Make a pandas DataFrame display its text unchanged; MathJax would typeset formulas in it.

    Args:
        frame: The data frame. Frames that are derived from it are displayed with pandas' own settings.

    Returns:
        The same data frame.
    """

    def repr_html() -> Any:
        import pandas as pd

        with pd.option_context("display.html.use_mathjax", False):
            return type(frame)._repr_html_(frame)

    object.__setattr__(frame, "_repr_html_", repr_html)  # pandas would treat it as a column
    return frame
