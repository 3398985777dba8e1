"""Sentences, tables, JSON and code about measured images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from vision_nb.demo.answers.measure import Measurement, similarity


def sentences(image: Measurement) -> dict[str, str]:
    """Return one sentence each about size, colors, brightness and sharpness; each starts with "Its"."""
    colors = [f"**{color.name}** {color.where} ({max(color.share, 0.01):.0%})" for color in image.colors]
    kind = "" if image.kind == "image" else f", and it looks like a {image.kind}"
    return {
        "size": f"Its size is **{image.size} pixels** ({image.shape}).",
        "colors": f"Its main colors are {join(colors)}." if colors else "Its pixels are all transparent.",
        "brightness": f"Its brightness is {image.brightness_word} and its contrast is {image.contrast_word}.",
        "sharpness": f"Its sharpness is {image.sharpness_word}{kind}.",
    }


def caption(image: Measurement) -> str:
    """Describe an image in one sentence, as an alternative text does."""
    colors = join([f"{color.name} {color.where}" for color in image.colors[:3]])
    return f"A {image.shape} {image.kind} with {colors}." if colors else f"A transparent {image.shape} image."


def listing(images: Sequence[Measurement]) -> str:
    """Return a numbered list with a line for each image."""
    return "\n".join(f"{n}. **{image.size} pixels.** {caption(image)}" for n, image in enumerate(images, start=1))


def comparison(images: Sequence[Measurement]) -> str:
    """Describe how similar two or more images are, how they differ, and which main colors they share."""
    one, other, share = most_similar(images)
    if len(images) == 2:
        texts = [f"The images are **{share:.0%}** similar."]
    else:
        texts = [f"Images {one} and {other} are the most similar (**{share:.0%}**)."]
    texts += [f"Image {number} is {join(words)}." for number, words in sorted(_superlatives(images).items())]
    shared = shared_colors(images)
    if shared:
        texts.append(f"{'Both' if len(images) == 2 else 'All'} contain {join(shared)}.")
    else:
        texts.append("They have no main color in common.")
    return " ".join(texts)


def most_similar(images: Sequence[Measurement]) -> tuple[int, int, float]:
    """Return the numbers of the two most similar images, from 1, and their similarity."""
    pairs = combinations(enumerate(images, start=1), 2)
    found = ((one, other, similarity(left, right)) for (one, left), (other, right) in pairs)
    return max(found, key=lambda pair: pair[2])


def shared_colors(images: Sequence[Measurement]) -> list[str]:
    """Return the names of the main colors that all images have."""
    names = [[color.name for color in image.colors] for image in images]
    return [name for name in names[0] if all(name in others for others in names)]


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


def facts(image: Measurement) -> dict[str, Any]:
    """Return the facts about an image for a table or JSON."""
    return {
        "width": image.width,
        "height": image.height,
        "shape": image.shape,
        "brightness": image.brightness_word,
        "contrast": image.contrast_word,
        "sharpness": image.sharpness_word,
        "kind": image.kind,
        "transparent_percent": round(100 * image.transparency),
        "colors": [
            {"name": color.name, "hex": color.hex, "percent": round(100 * color.share), "where": color.where}
            for color in image.colors
        ],
    }


def as_json(images: Sequence[Measurement], note: str) -> str:
    """Return a JSON object: flat for one image; with "images" and "comparison" for several."""
    objects = [facts(image) for image in images]
    if len(objects) == 1:
        return json_text({**objects[0], "note": note})
    one, other, share = most_similar(images)
    compared = {
        "most_similar": [one, other],
        "similarity_percent": round(100 * share),
        "shared_colors": shared_colors(images),
    }
    return json_text({"images": objects, "comparison": compared, "note": note})


def json_text(value: Any) -> str:
    """Return a value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def as_table(images: Sequence[Measurement]) -> str:
    """Return a Markdown table with a column for each image."""
    columns = [facts(image) for image in images]
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
        palette = {color.name: color.hex for color in image.colors}
        lines += [f"size{suffix} = ({image.width}, {image.height})", f"palette{suffix} = {palette}"]
    return "\n".join(["```python", *lines, "```"])


def join(parts: Sequence[str]) -> str:
    """Join words with commas and a final "and".

    >>> join(["red", "green", "blue"])
    'red, green and blue'
    """
    return " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)
