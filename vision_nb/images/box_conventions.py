"""How models write coordinates: a table, with the source of each row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from vision_nb.errors import SettingsError
from vision_nb.images.boxes import SentImage
from vision_nb.images.decode import Size


@dataclass(frozen=True)
class Convention:
    """How a family of models writes coordinates.

    Attributes:
        name: The name, for ``convention=``.
        scale: The coordinate of the image's right side and bottom; None if coordinates are pixels.
        source: Where the convention comes from.
        names: A regular expression for the models' names; None for a convention that only ``convention=`` selects.
        is_y_first: Whether lists have y before x.
        is_original: Whether pixels are those of the original; otherwise, of the image as the model saw it after its
            own resizing.
        read: When the source was read.
    """

    name: str
    scale: float | None
    source: str
    names: str | None = None
    is_y_first: bool = False
    is_original: bool = False
    read: str = "2026-11"

    def extent(self, image: SentImage, size: Size) -> tuple[float, float]:
        """Return the coordinates of the image's right side and bottom.

        Args:
            image: What is known about the image as it was sent.
            size: The original's width and height in pixels.
        """
        if self.scale is not None:
            return self.scale, self.scale
        return size if self.is_original or image.seen_size is None else image.seen_size


_ANYWHERE = r"(?:.*[/\\:])?"  # the owner of a model with open weights, or the folder of its file

CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        row.name: row
        for row in (
            Convention(
                "qwen2-vl",
                1000,
                "Qwen2-VL technical report (2024): <|box_start|>(x1,y1),(x2,y2)<|box_end|> in 0..1000",
                rf"{_ANYWHERE}qwen-?2-?vl.*",
            ),
            Convention(
                "qwen2.5-vl",
                None,
                "QwenLM/Qwen3-VL, issue 931 (2025): bbox_2d is x1, y1, x2, y2 in pixels of the image as the processor "
                "resizes it",
                rf"{_ANYWHERE}qwen-?2[.p]5-?vl.*",
            ),
            Convention(
                "qwen3-vl",
                1000,
                "QwenLM/Qwen3-VL, cookbooks/2d_grounding and mobile_agent (2025): bbox_2d and point_2d in 0..1000",
                rf"{_ANYWHERE}qwen-?3(?:-?vl|[.p]\d).*",
            ),
            Convention(
                "glm-v",
                1000,
                "Z.ai, GLMV-Grounding (2026): x and y in 0..1000",
                rf"{_ANYWHERE}glm-?[4-9](?:[.p]\d)?v.*",
            ),
            Convention(
                "gemini",
                1000,
                "Google, Vertex AI: Bounding box detection (2026): [y_min, x_min, y_max, x_max] in 0..1000",
                rf"{_ANYWHERE}gemini-.*",
                is_y_first=True,
            ),
            Convention(
                "claude",
                None,
                "Anthropic, Coordinates and bounding boxes (2026): pixels of the image as Claude resizes it",
                rf"{_ANYWHERE}claude-.*",
            ),
            Convention(
                "molmo",
                100,
                "Allen AI, discussion 1 of Molmo-7B-O-0924 (2024): <point x= y= alt=> in percent",
                rf"{_ANYWHERE}molmo-.*",
            ),
            Convention("demo", 1000, "the demo model's own: bbox_2d in 0..1000", r"demo"),
            Convention("pixels", None, "pixels of the image as the model saw it"),
            Convention("original", None, "pixels of the original image", is_original=True),
            Convention("thousandths", 1000, "x and y in 0..1000"),
            Convention("percent", 100, "x and y in 0..100"),
            Convention("fractions", 1, "x and y in 0..1"),
        )
    }
)
"""The conventions by name."""


def convention_named(name: str) -> Convention:
    """Return a convention by its name.

    Raises:
        SettingsError: There is no such convention.
    """
    found = CONVENTIONS.get(name) if isinstance(name, str) else None
    if found is None:
        raise SettingsError(f"Unknown convention {name!r:.40}: use one of {', '.join(CONVENTIONS)}.")
    return found


@cache
def convention_of(model: str) -> Convention | None:
    """Return the convention of a model, or None if none is known.

    >>> convention_of("qwen/qwen2.5-vl-72b-instruct").name
    'qwen2.5-vl'
    """
    rows = (row for row in CONVENTIONS.values() if row.names and re.fullmatch(row.names, model, re.IGNORECASE))
    return next(rows, None)
