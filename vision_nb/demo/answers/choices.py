"""Choose the value of an enumeration that comes nearest to what was measured on an image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vision_nb.demo.answers.color_measurement import oklab

_LEVELS = ("very low", "low", "medium", "high", "very high")
_GENERAL = {"low": 1, "small": 1, "poor": 1, "medium": 2, "normal": 2, "average": 2, "high": 3, "strong": 3, "good": 3}
"""Words for levels of anything: they are used only for a property that is named after the scale."""

_SCALES = {  # words for the levels of what is measured; "very" is one level further from the middle
    "brightness": {"black": 0, "night": 1, "dark": 1, "dim": 1, "bright": 3, "light": 3, "day": 3},
    "sharpness": {"blurry": 1, "blurred": 1, "soft": 1, "unsharp": 1, "sharp": 3, "clear": 3, "crisp": 3},
    "contrast": {"flat": 1, "contrasty": 3},
}
_SAME = {  # other words for what is seen
    "landscape": ("horizontal", "wide"),
    "portrait": ("vertical", "tall"),
    "photograph": ("photo", "picture"),
    "drawing": ("illustration", "graphic", "diagram"),
}


def nearest_choices(choices: Sequence[Any], known: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Yield the fitting values of an enumeration, the best first.

    Args:
        choices: The values of the enumeration.
        known: What was measured, by name; ``name`` is among the names if that is measured.
        name: The name of the property, in lower case.
    """
    by_text = {re.sub(r"[\s_-]+", " ", str(value)).strip().lower(): value for value in choices if value is not None}
    named = [known[name]] if isinstance(known.get(name), (str, int, float)) else []
    colors = known["colors"] if isinstance(known.get("colors"), list) else []
    seen = [*named, *colors, *(color.rpartition(" ")[2] for color in colors), known.get("shape"), known.get("kind")]
    words = [word for one in seen if one is not None for word in (str(one).lower(), *_SAME.get(str(one), ()))]
    yield from (by_text[word] for word in words if word in by_text)
    for scale in sorted(_SCALES, key=lambda one: one != name):
        places = {**_GENERAL, **_SCALES[scale]} if scale == name else _SCALES[scale]
        found = {text: place for text in by_text if (place := _place(text, places)) is not None}
        if len(found) > 1 and known.get(scale) in _LEVELS:
            level = _LEVELS.index(known[scale])
            yield by_text[min(found, key=lambda text: abs(found[text] - level))]
    yield from _nearest_color(by_text, known.get("palette"))


def _place(text: str, places: Mapping[str, int]) -> int | None:
    """Return the level that a text names, from 0 to 4, or None."""
    place = places.get(text.removeprefix("very "))
    return place if place is None or not text.startswith("very ") else 2 * place - 2


def _nearest_color(by_text: Mapping[str, Any], palette: Any) -> Iterator[Any]:
    """Yield the choice that is nearest to the largest color, if at least two choices are colors."""
    from PIL import ImageColor

    names = {text: text.replace(" ", "") for text in by_text}
    rgb = {text: ImageColor.getrgb(name)[:3] for text, name in names.items() if name in ImageColor.colormap}
    if len(rgb) > 1 and palette:
        typical = oklab(np.array([*rgb.values(), ImageColor.getrgb(palette[0])[:3]], dtype=np.uint8))
        yield by_text[list(rgb)[int(np.linalg.norm(typical[:-1] - typical[-1], axis=-1).argmin())]]
