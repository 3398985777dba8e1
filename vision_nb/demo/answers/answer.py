"""Answer questions about images by measuring them: a pure function that returns Markdown or JSON.

Words in the question decide the form of the answer and what comes first; the model's name decides its manner.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from vision_nb.demo.answers import templates
from vision_nb.demo.answers.color_boxes import color_boxes
from vision_nb.demo.answers.fill_schema import fill
from vision_nb.demo.answers.language import is_english
from vision_nb.demo.answers.measure import measure
from vision_nb.demo.answers.templates import Manner, manner_of
from vision_nb.errors import SettingsError
from vision_nb.rendering.format import pluralize
from vision_nb.schema.json_text import find_json
from vision_nb.schema.prompts import summary
from vision_nb.schema.validators import DocumentValidator, InvalidDataError

MAX_IMAGES = 16
"""The maximum number of images to measure; the answer states how many were left out."""

ENGLISH_ONLY = "The demo knows English only: ask in English for an answer to your question."
_NO_IMAGE = (
    "This conversation has no image yet. Add one and ask again: `%%vision -i photo.jpg` in a cell, "
    '`llm.complete("How large is it?", ["photo.jpg"])` in code, or drop a file into the chat panel.'
)
_TOPICS = {  # the first pattern that matches decides
    "boxes": r"\bbounding box|\bboxes\b|\bbbox|\bbox_2d\b",
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


def answer(
    prompt: str, images: Sequence[Image.Image], schema: Mapping[str, Any] | None = None, *, model: str = "demo"
) -> str:
    """Answer a question about images.

    Args:
        prompt: The question.
        images: All images of the conversation, oldest first.
        schema: The JSON schema of the answer; an empty one allows any JSON object, and None any text.
        model: The model to play; its name decides how long the answer is, and whether it is a list.

    Returns:
        Markdown, or a JSON value if there is a schema (as an argument or in the question) or the question asks for
        JSON.
    """
    manner = manner_of(model)
    schema = schema or _schema_in(prompt) or schema
    if schema:
        return _filled(schema, images, manner)
    topic = next((topic for topic, pattern in _TOPICS.items() if re.search(pattern, prompt, re.IGNORECASE)), "")
    topic = topic if schema is None else "json"
    notes = [] if is_english(prompt) else [ENGLISH_ONLY]
    if not images:
        notes.append(_NO_IMAGE)
    elif (more := len(images) - MAX_IMAGES) > 0 and _chosen(prompt, len(images)) is None:
        notes.append(f"{pluralize(more, 'more image was', 'more images were')} not measured.")
    if topic == "json":
        return templates.as_json([measure(image) for image in images[:MAX_IMAGES]], " ".join(notes))
    return "\n\n".join([*notes, *([_text(prompt, images, topic, manner)] if images else [])])


def _text(prompt: str, images: Sequence[Image.Image], topic: str, manner: Manner) -> str:
    """Return an answer in Markdown."""
    index = _chosen(prompt, len(images))
    if topic == "boxes":
        image = images[index or 0]
        name = f"image {(index or 0) + 1}" if len(images) > 1 else ""
        return templates.as_boxes(color_boxes(image, measure(image), prompt), name)
    measured = [measure(image) for image in (images[:MAX_IMAGES] if index is None else [images[index]])]
    if topic == "table":
        return templates.as_table(measured)
    if topic == "code":
        return templates.as_code(measured)
    if len(measured) > 1:
        return templates.comparison(measured, manner, is_first=topic == "compare")
    if topic == "alt":
        return f"**Alternative text:** {templates.caption(measured[0], manner)}"
    return templates.description(measured[0], manner, topic, "The image" if index is None else f"Image {index + 1}")


def _schema_in(prompt: str) -> Mapping[str, Any] | None:
    """Return the JSON schema that a prompt asks to follow, or None."""
    if "JSON schema" not in prompt:
        return None
    found = [value for value in find_json(prompt) if isinstance(value, dict) and {"properties", "$ref"} & set(value)]
    return found[-1] if found else None


def _filled(schema: Mapping[str, Any], images: Sequence[Image.Image], manner: Manner) -> str:
    """Return an object that follows a schema, or the reason why there is none."""
    try:
        validator = DocumentValidator(schema)
        value = validator.validate(fill(schema, [measure(image) for image in images[:MAX_IMAGES]], manner))
    except (InvalidDataError, SettingsError) as error:
        reason = summary(error.errors) if isinstance(error, InvalidDataError) else str(error)
        return f"The demo model cannot fill this schema: {reason}."
    return templates.json_text(value)


def _chosen(prompt: str, count: int) -> int | None:
    """Return the index of the one image that a question names, as in "the second one"; None for all images."""
    found = {index for index, word in enumerate(_ORDINALS) if re.search(rf"\b{word}\b", prompt, re.IGNORECASE)}
    found |= {int(number) - 1 for number in re.findall(r"\b(?:image|picture|photo) (\d+)\b", prompt, re.IGNORECASE)}
    return min(found) if count > 1 and len(found) == 1 and found <= set(range(count)) else None
