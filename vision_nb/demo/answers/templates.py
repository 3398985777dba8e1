"""Sentences, captions, tables and JSON about what was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from vision_nb.demo.answers.measure import Measured, likeness


def size(picture: Measured) -> str:
    """Such as "640 x 480"."""
    return f"{picture.width:,} x {picture.height:,}"


def size_sentence(picture: Measured) -> str:
    """Size and shape. In these sentences ``{It}`` and ``{Its}`` stand for the picture."""
    shape = "square" if picture.shape == "square" else f"in {picture.shape} format"
    return f"{{It}} is {shape}, **{size(picture)} pixels**."


def colour_sentence(picture: Measured) -> str:
    """The main colours, where they are, and their shares."""
    if not picture.colours:
        return "{It} is wholly transparent, so there is nothing to see."
    named = join([f"**{c.name}** {c.where} ({max(c.share, 0.01):.0%})" for c in picture.colours])
    return f"{{Its}} main colours are {named}." if len(picture.colours) > 1 else f"{{Its}} one main colour is {named}."


def light_sentence(picture: Measured) -> str:
    """Light, contrast and transparency; nothing about a wholly transparent picture."""
    if not picture.colours:
        return ""
    clear = f", and {picture.transparent:.0%} transparent" if picture.transparent >= 0.005 else ""
    return f"{{It}} is {_light(picture)} overall, with {picture.contrast_word} contrast{clear}."


def look_sentence(picture: Measured) -> str:
    """Sharpness, and whether it looks drawn."""
    if not picture.sharpness:
        return "There are no edges by which to judge sharpness, or to tell a drawing from a photograph."
    return (
        f"The edges are {picture.sharpness}, and "
        + {
            "drawing": "flat areas of few colours suggest a drawing rather than a photograph.",
            "photograph": "many fine shades suggest a photograph rather than a drawing.",
            "": "it could be a drawing as well as a photograph.",
        }[picture.kind]
    )


def caption(picture: Measured, most: int) -> str:
    """One sentence that could stand as alternative text."""
    look = f"A {picture.shape if picture.shape == 'square' else picture.shape + '-format'} {picture.kind or 'picture'}"
    if not picture.colours:
        return f"{look}, wholly transparent."
    return f"{look}, {_light(picture)}, with {_places(picture, most)}."


def figures(picture: Measured) -> str:
    """What the plain sentences leave out: the colours as hex values, and the numbers behind the words."""
    colours = join([f"{colour.name} is `{colour.hex}`" for colour in picture.colours[:3]])
    blur = "" if picture.blur is None else f", blur {picture.blur:.2f}"
    numbers = f"mean lightness {picture.light:.2f}, contrast {picture.contrast:.2f}{blur} (each from 0 to 1)"
    return f"In figures: {colours + '; ' if colours else ''}{numbers}."


def row(picture: Measured, most: int) -> str:
    """Size, kind, light and the largest colours, for a list of several pictures."""
    names = _places(picture, most) or "wholly transparent"
    return f"**{size(picture)}**, {picture.shape}, {_light(picture)}: {names}"


def comparison(pictures: Sequence[Measured], *, identical: bool) -> str:
    """What differs between pictures and what they share, in one short paragraph.

    Args:
        pictures: Two or more.
        identical: Whether the closest pair is the same pixel for pixel.
    """
    one, other = closest_pair(pictures)
    share = likeness(pictures[one], pictures[other])
    both = len(pictures) == 2
    which = "The two are" if both else f"Pictures {one + 1} and {other + 1} are"
    alike = f"**{min(share, 0.99):.0%}** alike{'' if both else ', more than any others'}"
    told = [f"{which} {'**the same picture**, pixel for pixel' if identical else alike}."]
    told += [f"Picture {place + 1} is {join(words)}." for place, words in sorted(extremes(pictures).items())]
    shared = shared_colours(pictures)
    if shared:
        told.append(f"{'Both' if both else 'All'} hold {join(shared[:3])}.")
    else:
        told.append(f"No main colour is in {'both' if both else 'all of them'}.")
    return " ".join(told)


def closest_pair(pictures: Sequence[Measured]) -> tuple[int, int]:
    """The places of the two pictures that look most alike."""
    return max(combinations(range(len(pictures)), 2), key=lambda pair: likeness(pictures[pair[0]], pictures[pair[1]]))


def extremes(pictures: Sequence[Measured]) -> dict[int, list[str]]:
    """By place: "the lighter", "the larger" and "the sharper" of two, or "the lightest" and so on of more.

    A difference that eyes would not see is left out.
    """
    ending = "r" if len(pictures) == 2 else "st"
    scales: list[tuple[str, list[float], float]] = [
        ("lighte", [picture.light for picture in pictures], 0.03),
        ("large", [picture.width * picture.height for picture in pictures], 0),
        ("sharpe", [1 if picture.blur is None else -picture.blur for picture in pictures], 0.08),
    ]
    if any(picture.blur is None for picture in pictures):
        scales.pop()
    found: dict[int, list[str]] = {}
    for word, values, margin in scales:
        first, second = sorted(values, reverse=True)[:2]
        if first - second > margin:
            found.setdefault(values.index(first), []).append(f"the {word}{ending}")
    return found


def shared_colours(pictures: Sequence[Measured]) -> list[str]:
    """The names of the main colours that every picture has."""
    others = [{colour.name for colour in picture.colours} for picture in pictures[1:]]
    return [c.name for c in pictures[0].colours if all(c.name in names for names in others)]


def table(pictures: Sequence[Measured]) -> str:
    """A Markdown table with a column for each picture."""
    rows = {
        "Size": [f"{size(picture)} pixels" for picture in pictures],
        "Shape": [picture.shape for picture in pictures],
        "Main colours": [
            ", ".join(f"{c.name} {c.share:.0%} {c.where}" for c in picture.colours[:3]) or "none"
            for picture in pictures
        ],
        "Light": [picture.brightness for picture in pictures],
        "Contrast": [picture.contrast_word for picture in pictures],
        "Sharpness": [picture.sharpness or "no edges" for picture in pictures],
        "Looks like": [picture.kind or "either a drawing or a photograph" for picture in pictures],
        "Transparent": [f"{picture.transparent:.0%}" for picture in pictures],
    }
    names = ["Picture"] if len(pictures) == 1 else [f"Picture {place + 1}" for place in range(len(pictures))]
    lines = [["Measured", *names], ["---"] * (len(names) + 1), *([name, *cells] for name, cells in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_json(pictures: Sequence[Measured], note: str, left: int = 0) -> str:
    """A JSON object: flat for one picture; with "images" and "comparison" for several.

    Args:
        pictures: What was measured on each.
        note: What the object says about itself.
        left: How many more pictures there were.
    """
    objects = [_json_object(picture) for picture in pictures]
    if len(objects) == 1:
        return dump({**objects[0], "note": note})
    pair = closest_pair(pictures)
    compared = {
        "most_alike": [place + 1 for place in pair],
        "likeness_percent": round(100 * likeness(pictures[pair[0]], pictures[pair[1]])),
        "shared_colours": shared_colours(pictures),
    }
    return dump({"images": objects, "not_measured": left, "comparison": compared, "note": note})


def dump(value: Any) -> str:
    """JSON as it is shown to people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _json_object(picture: Measured) -> dict[str, Any]:
    return {
        "width": picture.width,
        "height": picture.height,
        "shape": picture.shape,
        "light": picture.brightness,
        "contrast": picture.contrast_word,
        "sharpness": picture.sharpness or None,
        "looks_like": picture.kind or None,
        "transparent_percent": round(100 * picture.transparent),
        "colours": [
            {"name": c.name, "hex": c.hex, "percent": round(100 * c.share), "where": c.where} for c in picture.colours
        ],
    }


def code(pictures: Sequence[Measured]) -> str:
    """Python that holds the size and the main colours of each picture."""
    lines = []
    for place, picture in enumerate(pictures, start=1):
        suffix = "" if len(pictures) == 1 else f"_{place}"
        lines += [f"size{suffix} = ({picture.width}, {picture.height})", f"palette{suffix} = {{"]
        lines += [f'    "{c.name}": "{c.hex}",  # {c.share:.0%}, {c.where}' for c in picture.colours]
        lines.append("}")
    return "\n".join(["```python", *lines, "```"])


def join(parts: Sequence[str]) -> str:
    """Join words as prose does: "a", "a and b", "a, b and c".

    >>> join(["red", "green", "blue"])
    'red, green and blue'
    """
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)


def _light(picture: Measured) -> str:
    return "of medium brightness" if picture.brightness == "medium" else picture.brightness


def _places(picture: Measured, most: int) -> str:
    return join([f"{colour.name} {colour.where}" for colour in picture.colours[:most]])
