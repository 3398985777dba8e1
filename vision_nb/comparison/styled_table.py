"""A DataFrame with a small image in each row, for display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vision_nb.comparison.answer_cells import thumbnail_html
from vision_nb.errors import SettingsError
from vision_nb.images.document import ImageDocument
from vision_nb.rendering.sanitize import escape_text, name_text
from vision_nb.rendering.values import value_html

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

_SIDE = 72  # pixels of a thumbnail
_THUMBNAIL_BYTES = 2_200
_MAX_HTML = 480_000  # characters of all thumbnails together


def styled_table(table: Any, documents: Sequence[ImageDocument]) -> Styler:
    """Return a DataFrame with a small image before each row's name, for display.

    Args:
        table: A DataFrame with a column "image", which is moved to the left.
        documents: The image of each row.

    Raises:
        SettingsError: The table has no column "image".
    """
    if "image" not in table.columns:
        raise SettingsError('thumbnails=True needs the column "image": add it to columns=.')
    made: dict[int, str] = {}  # decode an image once, even if it is in several rows
    thumbnails: list[str] = []
    length = 0
    for document in documents:
        if length >= _MAX_HTML:
            thumbnails.append(name_text(document.title))
            continue
        if id(document) not in made:
            made[id(document)] = thumbnail_html(document, _SIDE, _THUMBNAIL_BYTES)
        thumbnails.append(made[id(document)])
        length += len(thumbnails[-1])
    table = table[["image", *(name for name in table.columns if name != "image")]]
    shown = table.assign(image=thumbnails)
    others = [name for name in table.columns if name != "image"]
    style = shown.style.format_index(escape_text, axis="columns")  # by default, pandas does not escape names
    return style.format(value_html, subset=others, na_rep=value_html(None)).hide(axis="index")
