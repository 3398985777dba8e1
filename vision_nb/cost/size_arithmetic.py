"""Integer arithmetic on sizes in pixels, for one size or numpy arrays of sizes."""

from __future__ import annotations

import math
from typing import Any

IntOrArray = Any
"""An integer, or a numpy array of integers."""


def choose(condition: Any, value: IntOrArray, other: IntOrArray) -> IntOrArray:
    """Return ``value`` where the condition holds, else ``other``."""
    return other + (value - other) * condition


def minimum(one: IntOrArray, other: IntOrArray) -> IntOrArray:
    """Return the smaller of two numbers."""
    return choose(one < other, one, other)


def maximum(one: IntOrArray, other: IntOrArray) -> IntOrArray:
    """Return the larger of two numbers."""
    return choose(one > other, one, other)


def divide_up(number: IntOrArray, divisor: int) -> IntOrArray:
    """Divide and round up."""
    return -(-number // divisor)


def round_half_even(number: IntOrArray, divisor: int) -> IntOrArray:
    """Divide and round to the nearest integer, and halves to the even one, as Python's ``round`` does."""
    doubled = 2 * number + divisor
    rounded = doubled // (2 * divisor)
    return rounded - (doubled % (2 * divisor) == 0) * (rounded % 2)


def fit_side(width: IntOrArray, height: IntOrArray, side: int) -> tuple[IntOrArray, IntOrArray]:
    """Scale down to a longest side, as `fit_within` does."""
    divisor = maximum(maximum(width, height), side)
    return maximum(width * side // divisor, 1), maximum(height * side // divisor, 1)


def scale_to(width: IntOrArray, height: IntOrArray, side: IntOrArray) -> tuple[IntOrArray, IntOrArray]:
    """Scale the longest side to ``side``, and round the other to the nearest pixel."""
    longest = maximum(width, height)
    scaled = ((2 * one * side + longest) // (2 * longest) for one in (width, height))
    width, height = (maximum(one, 1) for one in scaled)
    return width, height


def fit_budget(width: IntOrArray, height: IntOrArray, budget: int, unit: int) -> tuple[IntOrArray, IntOrArray]:
    """Scale sizes with too many patches into a budget, so that one side is a whole number of patches.

    The guide scales by sqrt(unit^2 * budget / (width * height)), which leaves sqrt(budget * width / height) columns,
    and rows likewise; then by the smaller of floor(columns) / columns and floor(rows) / rows.
    """
    columns, rows = square_root(budget * width // height), square_root(budget * height // width)
    by_columns = columns * height < rows * width
    return (
        choose(by_columns, unit * columns, unit * rows * width // height),
        choose(by_columns, unit * columns * height // width, unit * rows),
    )


def square_root(number: IntOrArray) -> IntOrArray:
    """Round a square root down."""
    if isinstance(number, int):
        return math.isqrt(number)
    return ((number + 0.5) ** 0.5).astype(number.dtype)  # half a unit more keeps perfect squares exact
