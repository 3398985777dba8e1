"""Answer questions about images by measuring them: a pure function that returns Markdown.

Words in the question decide the form of the answer (prose, a table, JSON or code) and what comes first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from vision_nb.demo.answers import templates
from vision_nb.demo.answers.fill_schema import fill
from vision_nb.demo.answers.measure import Measurement, measure
from vision_nb.errors import SettingsError
from vision_nb.schema.json_text import find_json
from vision_nb.schema.validators import DocumentValidator, InvalidDataError
from vision_nb.schema.words import summary

MAX_IMAGES = 16
"""The maximum number of images to measure; the answer states how many were left out."""

NOTE = (
    "This is vision_nb's demo model: it measures pixels and is not a language model, "
    "so it cannot say what an image shows."
)
_NO_IMAGE = (
    "This conversation has no image yet. Add one and ask again: `%%vision -i photo.jpg` in a cell, "
    '`llm.complete("How large is it?", ["photo.jpg"])` in code, or drop a file into the chat panel.'
)
_TOPICS = {  # the first pattern that matches decides
    "json": r"\bjson\b",
    "table": r"(?<!the )\btable\b",
    "code": r"\bpython\b|\bwrite .*\bcode\b",
    "alt": r"\balt(ernative)?[ -]texts?\b",
    "compare": r"\b(differ|compar|relation|similar|same\b)",
    "colors": r"\bcolou?r",
    "size": r"\b(size|dimension|pixel)s?\b|\bhow (big|large|wide|tall|high)\b|\b(larg|bigg|small)er\b",
    "brightness": r"\b(bright|dark|light)",
    "sharpness": r"\b(sharp|blur|focus)|\b(drawing|photo(graph)?) or\b",
}
_ORDINALS = ("first", "second", "third", "fourth", "fifth")


def answer(prompt: str, images: Sequence[Image.Image], schema: Mapping[str, Any] | None = None) -> str:
    """Answer a question about images.

    Args:
        prompt: The question.
        images: All images of the conversation, oldest first.
        schema: The JSON schema of the answer; an empty one allows any JSON object, and None any text.

    Returns:
        Markdown, or a JSON value if there is a schema (as an argument or in the question) or the question asks for
        JSON.
    """
    schema = schema or _schema_in(prompt) or schema
    if schema:
        return _filled(schema, images)
    topic = next((topic for topic, pattern in _TOPICS.items() if re.search(pattern, prompt, re.IGNORECASE)), "")
    topic = topic if schema is None else "json"
    if not images:
        return templates.json_text({"note": _NO_IMAGE}) if topic == "json" else f"{_NO_IMAGE}\n\n*{NOTE}*"
    index = _chosen(prompt, len(images))
    if index is not None:
        images = [images[index]]
    measured = [measure(image) for image in images[:MAX_IMAGES]]
    note = NOTE if len(images) <= MAX_IMAGES else f"{NOTE} {len(images) - MAX_IMAGES} more images were not measured."
    if topic == "json":
        return templates.as_json(measured, note)
    if topic == "table":
        body = templates.as_table(measured)
    elif topic == "code":
        body = templates.as_code(measured)
    elif len(measured) == 1:
        body = _describe(measured[0], topic, "The image" if index is None else f"Image {index + 1}")
    else:
        parts = [templates.listing(measured), templates.comparison(measured)]
        body = "\n\n".join(reversed(parts) if topic == "compare" else parts)
    return f"{body}\n\n*{note}*"


def _schema_in(prompt: str) -> Mapping[str, Any] | None:
    """Return the JSON schema that a prompt asks to follow, or None."""
    if "JSON schema" not in prompt:
        return None
    found = [value for value in find_json(prompt) if isinstance(value, dict) and {"properties", "$ref"} & set(value)]
    return found[-1] if found else None


def _filled(schema: Mapping[str, Any], images: Sequence[Image.Image]) -> str:
    """Return an object that follows a schema, or the reason why there is none."""
    value = fill(schema, [measure(image) for image in images[:MAX_IMAGES]], NOTE)
    try:
        DocumentValidator(schema).validate(value)
    except (InvalidDataError, SettingsError) as error:
        reason = summary(error.errors) if isinstance(error, InvalidDataError) else str(error)
        return f"The demo model cannot fill this schema: {reason}. {NOTE}"
    return templates.json_text(value)


def _chosen(prompt: str, count: int) -> int | None:
    """Return the index of the one image that a question names, as in "the second one"; None for all images."""
    found = {index for index, word in enumerate(_ORDINALS) if re.search(rf"\b{word}\b", prompt, re.IGNORECASE)}
    found |= {int(number) - 1 for number in re.findall(r"\b(?:image|picture|photo) (\d+)\b", prompt, re.IGNORECASE)}
    return min(found) if count > 1 and len(found) == 1 and found <= set(range(count)) else None


def _describe(measured: Measurement, topic: str, name: str) -> str:
    if topic == "alt":
        return f"**Alternative text:** {templates.caption(measured)}"
    sentences = templates.sentences(measured)
    first = sentences.pop(topic, "")
    return " ".join([first, *sentences.values()]).strip().replace("Its", f"{name}'s", 1)
