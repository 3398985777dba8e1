"""The images of a question as small thumbnails below its answer."""

from __future__ import annotations

import os
from collections.abc import Sequence

from vision_nb.images.cards import image_strip
from vision_nb.images.document import ImageDocument
from vision_nb.rendering.html import muted_text

_SWITCH = "VISION_NB_THUMBNAILS"
_MAX_NAMES = 3  # in a line of text


def answer_strip(documents: Sequence[ImageDocument]) -> str:
    """Return the HTML of a row of thumbnails, a few kB each, that a click enlarges; "" if there are no images.

    Nothing is downloaded: if only an image's URL was sent, its name is shown. The environment variable
    VISION_NB_THUMBNAILS=0 turns the thumbnails off.

    Args:
        documents: The images of the question.
    """
    if not documents or os.environ.get(_SWITCH) == "0":
        return ""
    named = [document for document in documents if document.needs_download]
    strip = image_strip([document for document in documents if not document.needs_download])
    return strip + (muted_text(image_names(named)) if named else "")


def markdown_strip(documents: Sequence[ImageDocument]) -> str:
    """Return `answer_strip` as a block of Markdown; "" if there are no images."""
    strip = answer_strip(documents)
    # Front ends look for formulas and code before they parse the HTML, attributes included.
    for character in ("$", "\\", "`"):
        strip = strip.replace(character, f"&#{ord(character)};")
    return f"\n\n{' '.join(strip.split())}\n" if strip else ""


def image_names(documents: Sequence[ImageDocument]) -> str:
    """Return the names of images in one line of text; only the first ones, if there are many."""
    names = [document.title for document in documents[:_MAX_NAMES]]
    more = len(documents) - len(names)
    return f"{'Image' if len(documents) == 1 else 'Images'}: {', '.join(names)}{f' and {more:,} more' if more else ''}"
