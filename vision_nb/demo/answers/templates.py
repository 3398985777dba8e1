"""Sentences, lists, tables, JSON and code about measured images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from itertools import combinations
from typing import Any
from zlib import crc32

from vision_nb.demo.answers.measure import Measurement, similarity


class Manner(Enum):
    """How an answer is written; the value is the number of colors in a caption."""

    BRIEF = 1
    SENTENCES = 3
    LIST = 5


_MANNERS = {
    "demo": Manner.SENTENCES,
    "gpt-4o": Manner.SENTENCES,
    "gpt-4o-mini": Manner.BRIEF,
    "llava-13b": Manner.SENTENCES,
    "fuyu-8b": Manner.BRIEF,
    "minigpt-4": Manner.LIST,
}


def manner_of(model: str) -> Manner:
    """Return the manner of a model: fixed for the models of the tutorials, and by a checksum for all others."""
    name = model.rpartition("/")[2]
    return _MANNERS.get(name) or list(Manner)[crc32(name.encode("utf-8", "replace")) % len(Manner)]


def description(image: Measurement, manner: Manner, topic: str, name: str) -> str:
    """Describe one image; what the question asks for comes first, or alone in a brief answer."""
    colors = [f"**{color['name']}** {color['where']} ({max(color['percent'], 1)}%)" for color in image.colors]
    words = image.facts
    kind = "" if words["kind"] == "image" else f", and it looks like a {words['kind']}"
    facts = {
        "size": ("size", "is", f"**{image.pixels}** ({words['shape']})"),
        "colors": ("main colors", "are", join(colors) or "unknown, as all pixels are transparent"),
        "brightness": ("brightness", "is", f"{words['brightness']}, with {words['contrast']} contrast"),
        "sharpness": ("sharpness", "is", f"{words['sharpness']}{kind}"),
    }
    if manner is Manner.BRIEF:
        value = facts[topic][2] if topic in facts else ""
        return f"{value[0].upper()}{value[1:]}." if value else caption(image, manner, with_size=True)
    ordered = [facts[one] for one in sorted(facts, key=lambda one: one != topic)]
    if manner is Manner.LIST:
        return "\n".join(f"- {label.capitalize()}: {value}" for label, _, value in ordered)
    text = " ".join(f"Its {label} {verb} {value}." for label, verb, value in ordered)
    return text.replace("Its", f"{name}'s", 1)


def caption(image: Measurement, manner: Manner = Manner.SENTENCES, *, with_size: bool = False) -> str:
    """Describe an image in one sentence, as an alternative text does."""
    size = f" of **{image.pixels}**" if with_size else ""
    colors = join([f"{color['name']} {color['where']}" for color in image.colors[: manner.value]])
    shape, kind = image.facts["shape"], image.facts["kind"]
    kind = f"{shape} {kind}" if colors else f"transparent {shape} image"
    return f"A {kind}{size}{' with ' if colors else ''}{colors}."


def comparison(images: Sequence[Measurement], manner: Manner, *, is_first: bool) -> str:
    """Compare two or more images, and list them unless the answer is brief.

    Args:
        images: The measurements.
        manner: The manner.
        is_first: Whether the comparison comes before the list.
    """
    pairs = combinations(enumerate(images, start=1), 2)
    share, one, other = max((similarity(left, right), -m, -n) for (m, left), (n, right) in pairs)
    if len(images) == 2:
        texts = [f"The images are **{share:.0%}** similar."]
    else:
        texts = [f"Images {-one} and {-other} are the most similar (**{share:.0%}**)."]
    texts += [f"Image {number} is {join(words)}." for number, words in sorted(_superlatives(images).items())]
    names = [[color["name"] for color in image.colors] for image in images]
    shared = [name for name in names[0] if all(name in others for others in names)]
    both = "Both" if len(images) == 2 else "All"
    texts.append(f"{both} contain {join(shared)}." if shared else "They have no main color in common.")
    compared = "\n".join(f"- {text}" for text in texts) if manner is Manner.LIST else " ".join(texts)
    if manner is Manner.BRIEF:
        return compared
    listed = "\n".join(f"{n}. **{image.pixels}.** {caption(image)}" for n, image in enumerate(images, start=1))
    return "\n\n".join([compared, listed] if is_first else [listed, compared])


def _superlatives(images: Sequence[Measurement]) -> dict[int, list[str]]:
    """Return which image is the brightest, the largest and the sharpest, by number, unless the lead is too small."""
    scales: dict[str, tuple[list[float], float]] = {
        "bright": ([image.brightness for image in images], 0.03),
        "larg": ([image.width * image.height for image in images], 0),
        "sharp": ([0 if image.blur is None else 1 - image.blur for image in images], 0.08),
    }
    found: dict[int, list[str]] = {}
    for word, (values, margin) in scales.items():
        first, second = sorted(values, reverse=True)[:2]
        if first - second > margin:
            words = found.setdefault(values.index(first) + 1, [])
            words.append(f"{word}er" if len(images) == 2 else f"the {word}est")
    return found


def as_json(images: Sequence[Measurement], note: str) -> str:
    """Return a JSON object: flat for one image, with "images" for several; and with a note if there is one."""
    objects = [image.facts for image in images]
    value: dict[str, Any] = objects[0] if len(objects) == 1 else {"images": objects} if objects else {}
    return json_text(value | ({"note": note} if note else {}))


def json_text(value: Any) -> str:
    """Return a value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def as_boxes(boxes: Sequence[dict[str, Any]], name: str) -> str:
    """Return boxes as a JSON list in a code block, one per line.

    Args:
        boxes: As `color_boxes` returns them.
        name: The image that they are on, such as "image 2"; "" if there is only one.
    """
    if not boxes:
        return f"{name or 'The image'} has no matching area.".capitalize()
    lines = ",\n".join(f"  {json.dumps(box)}" for box in boxes)
    return f"{f'On {name}:' if name else ''}\n\n```json\n[\n{lines}\n]\n```".lstrip()


def as_table(images: Sequence[Measurement]) -> str:
    """Return a Markdown table with a column for each image."""
    columns = [dict(image.facts) for image in images]
    for column in columns:
        column["colors"] = ", ".join(f"{c['name']} {c['percent']}% {c['where']}" for c in column["colors"])
    lines = [["Measured", *(f"Image {n}" for n in range(1, len(images) + 1))], ["---"] * (len(images) + 1)]
    lines += [[key.replace("_", " "), *(str(column[key]) for column in columns)] for key in columns[0]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_code(images: Sequence[Measurement]) -> str:
    """Return Python code with the size and the main colors of each image."""
    lines = []
    for number, image in enumerate(images, start=1):
        suffix = "" if len(images) == 1 else f"_{number}"
        palette = {color["name"]: color["hex"] for color in image.colors}
        lines += [f"size{suffix} = ({image.width}, {image.height})", f"palette{suffix} = {palette}"]
    return "\n".join(["```python", *lines, "```"])


def join(parts: Sequence[str]) -> str:
    """Join words with commas and a final "and".

    >>> join(["red", "green", "blue"])
    'red, green and blue'
    """
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)
