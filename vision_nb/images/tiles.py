"""The edges of the tiles that an image is cut into."""

from __future__ import annotations

from vision_nb.checks.numbers import plain_number
from vision_nb.errors import SettingsError
from vision_nb.images.boxes import Edges
from vision_nb.images.decode import Size


def tile_edges(size: Size, rows: int, columns: int, *, overlap: int) -> dict[tuple[int, int], Edges]:
    """Return the edges of each tile by its row and column, which are counted from 1.

    Args:
        size: Width and height of the image in pixels.
        rows: How many tiles the image has from top to bottom.
        columns: How many tiles it has from left to right.
        overlap: How many pixels neighboring tiles share.

    Raises:
        SettingsError: There are more tiles than pixels on a side, or a number is negative or not whole.

    >>> tile_edges((100, 60), 1, 2, overlap=10)
    {(1, 1): (0, 0, 55, 60), (1, 2): (45, 0, 100, 60)}
    """
    width, height = size
    rows, columns, overlap = map(plain_number, (rows, columns, overlap))
    for name, number, least, most in (
        ("rows", rows, 1, height),
        ("columns", columns, 1, width),
        ("overlap", overlap, 0, max(width, height)),
    ):
        if type(number) is not int or not least <= number <= most:
            raise SettingsError(f"{name} must be an integer from {least} to {most:,}, not {number!r:.80}.")
    edges = {}
    for row in range(rows):
        top, bottom = _edges(height, rows, row, overlap)
        for column in range(columns):
            left, right = _edges(width, columns, column, overlap)
            edges[row + 1, column + 1] = (left, top, right, bottom)
    return edges


def _edges(length: int, count: int, number: int, overlap: int) -> tuple[int, int]:
    """Return where a tile begins and ends on one side of an image."""
    begin = length * number // count - (overlap // 2 if number else 0)
    end = length * (number + 1) // count + (overlap - overlap // 2 if number + 1 < count else 0)
    return max(begin, 0), min(end, length)
