"""Read boxes and points from a model's answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vision_nb.checks.numbers import plain_number
from vision_nb.errors import SettingsError
from vision_nb.images.box_conventions import CONVENTIONS, Convention, convention_named, convention_of
from vision_nb.images.boxes import Box, SentImage, is_finite_number
from vision_nb.images.decode import Size
from vision_nb.rendering.format import pluralize
from vision_nb.rendering.sanitize import replace_surrogates

_NUMBER = r"\s*(-?\d{1,9}(?:\.\d{1,9})?)\s*"
_QWEN = re.compile(
    r"(?:<ref>|<\|object_ref_start\|>)(?P<label>[^<\n]{0,200})(?:</ref>|<\|object_ref_end\|>)"
    rf"|\({_NUMBER},{_NUMBER}\)\s*,\s*\({_NUMBER},{_NUMBER}\)"
)
_MOLMO = re.compile(r"<points?\s([^<>]{0,20000})>(?:([^<>]{0,1000})</points?>)?")
_MOLMO_POINT = re.compile(rf'\bx(\d*)="{_NUMBER}"\s+y\1="{_NUMBER}"')
_MOLMO_LABEL = re.compile(r'\balt="([^"]*)"')
_TAG = re.compile(r"<[^<>\n]{1,40}>")
_KEYS = {
    "bbox_2d": (4, None),
    "box_2d": (4, "gemini"),
    "bbox": (4, None),
    "box": (4, None),
    "bounding_box": (4, None),
    "point_2d": (2, None),
    "point": (2, None),
}
"""The number of coordinates under each key, and the convention, if only one uses the key."""

_LABEL_KEYS = ("label", "name", "text_content", "text", "class", "caption", "description", "title")
_SIDES = (
    ("left", "top", "right", "bottom"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
)
_MAX_LABEL = 200  # characters
_MAX_DEPTH = 50  # of lists and mappings around boxes; Python 3.13 decodes more levels than it can recurse
_MAX_FAILURES = 200  # after this many brackets that do not begin JSON, the rest of an answer is ignored


@dataclass(frozen=True)
class _Finding:
    """Coordinates as written in an answer.

    Attributes:
        numbers: Four numbers of a box, or two of a point.
        label: What is there.
        own: The name of the convention that the notation belongs to, whatever the model; otherwise None.
        fallback: The name of the convention to use if the model's is not known, or None.
        has_order: Whether x is first in any convention.
    """

    numbers: tuple[float, ...]
    label: str = ""
    own: str | None = None
    fallback: str | None = None
    has_order: bool = False


def read_boxes(
    text: str,
    *,
    model: str,
    images: Sequence[SentImage],
    convention: str | None = None,
    image: int | None = None,
) -> list[Box]:
    """Return the boxes and points in an answer, in pixels of the original image; see `Response.boxes`.

    Args:
        text: The answer.
        model: The model that answered; its name decides the convention.
        images: The images of the question.
        convention: The name of the convention, if the model's name does not decide it.
        image: The index of the image that the boxes are on; None if there is only one.
    """
    row = convention_of(model) if convention is None else convention_named(convention)
    # Other models write pairs like (0, 1), (2, 5) in prose too.
    has_bare_pairs = convention is not None or row is CONVENTIONS["qwen2-vl"]
    found = [*_qwen_boxes(text, bare=has_bare_pairs), *_molmo_points(text)] or _json_boxes(text, bare=row is not None)
    if not found:
        return []
    index = _index(image, len(images))
    size = images[index].size
    if size is None:
        raise SettingsError(
            f"The size of {images[index].name:.80} is not known, because only its URL or file ID was sent: pass it as "
            "images=, or connect with inline_urls=True."
        )
    boxes = (_mapped(one, _convention(one, row, convention, model), images[index], size, index) for one in found)
    return [box for box in boxes if box is not None]


def _index(image: int | None, count: int) -> int:
    """Return the index of the image that the boxes are on.

    Raises:
        SettingsError: There is no image, no image with this index, or more than one and no index.
    """
    if count == 0:
        raise SettingsError("The answer has boxes, but its images are not known: pass them as images=.")
    if image is None and count > 1:
        raise SettingsError(f"The question has {count} images: pass image=0 for boxes on the first one, and so on.")
    index = 0 if image is None else plain_number(image)
    if type(index) is not int or not -count <= index < count:
        raise SettingsError(f"image must be an index of the question's {pluralize(count, 'image')}, not {image!r:.80}.")
    return index % count


def _convention(finding: _Finding, row: Convention | None, asked: str | None, model: str) -> Convention:
    if row is not None and (asked is not None or finding.own is None):
        return row
    name = finding.own or finding.fallback
    if name is None:
        raise SettingsError(
            f"How {model or 'this model':.60} writes coordinates is not known: pass convention=, one of "
            f"{', '.join(CONVENTIONS)}."
        )
    return CONVENTIONS[name]


def _mapped(finding: _Finding, convention: Convention, image: SentImage, size: Size, index: int) -> Box | None:
    """Return a box in pixels of the original image, or None if it is outside the image."""
    numbers = finding.numbers if len(finding.numbers) == 4 else finding.numbers * 2
    if convention.is_y_first and not finding.has_order:
        numbers = (numbers[1], numbers[0], numbers[3], numbers[2])
    extent = convention.extent(image, size)
    scaled = [round(number * size[axis % 2] / extent[axis % 2], 1) for axis, number in enumerate(numbers)]
    (left, right), (top, bottom) = sorted(scaled[::2]), sorted(scaled[1::2])
    label = " ".join(replace_surrogates(finding.label).split())[:_MAX_LABEL]
    return Box(left, top, right, bottom, label, index).clamped(size)


def _qwen_boxes(text: str, *, bare: bool) -> Iterator[_Finding]:
    """Yield the boxes in Qwen2-VL's notation; if ``bare`` is set, also without its special tokens.

    Servers often remove the special tokens.
    """
    label, end = "", 0
    if not bare and "<|box_start|>" not in text and "<box>" not in text:
        return
    for match in _QWEN.finditer(text):
        words = _TAG.sub(" ", text[max(end, match.start() - _MAX_LABEL) : match.start()]).rpartition("\n")[2]
        end = match.end()
        if match["label"] is not None:
            label = match["label"]
            continue
        label = words.strip(" ,.;:-*|") or label
        numbers = tuple(float(number) for number in match.groups()[1:])
        yield _Finding(numbers, label, fallback="qwen2-vl", has_order=True)


def _molmo_points(text: str) -> Iterator[_Finding]:
    for tag in _MOLMO.finditer(text):
        label = _MOLMO_LABEL.search(tag[1])
        for match in _MOLMO_POINT.finditer(tag[1]):
            numbers = (float(match[2]), float(match[3]))
            yield _Finding(numbers, label[1] if label else tag[2] or "", own="molmo", has_order=True)


def _json_boxes(text: str, *, bare: bool) -> list[_Finding]:
    """Return the boxes under the usual keys; if there are none and ``bare`` is set, lists of four numbers."""
    values = list(_json_values(text))
    found = [finding for value in values for finding in _keyed(value)]
    return found or ([finding for value in values for finding in _unkeyed(value)] if bare else [])


def _json_values(text: str) -> Iterator[Any]:
    """Yield the JSON values in a text, and the complete items of a list that was cut off."""
    decoder, position, failures = json.JSONDecoder(), 0, 0
    while failures < _MAX_FAILURES and (bracket := re.compile(r"[\[{]").search(text, position)):
        try:
            value, position = decoder.raw_decode(text, bracket.start())
        except (ValueError, RecursionError):
            position, failures = bracket.end(), failures + 1
        else:
            yield value


def _keyed(value: Any, depth: int = 0) -> Iterator[_Finding]:
    """Yield boxes and points from lists and mappings, nested ones included."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            yield from _keyed(item, depth + 1)
    elif isinstance(value, dict):
        label = next((value[key] for key in _LABEL_KEYS if isinstance(value.get(key), str)), "")
        for key, item in value.items():
            if key not in _KEYS:
                yield from _keyed(item, depth + 1)
                continue
            count, own = _KEYS[key]
            several = item if isinstance(item, list) and all(isinstance(one, (list, dict)) for one in item) else [item]
            found = (_coordinates(one, count, label, own) for one in several)
            yield from (one for one in found if one is not None)


def _coordinates(value: Any, count: int, label: str, own: str | None) -> _Finding | None:
    """Return coordinates from a list, or from a mapping with a name for each side; None if they are malformed."""
    numbers = value if isinstance(value, list) else []
    if isinstance(value, dict):
        sides = next((sides for sides in _SIDES if set(sides) <= set(value)), ())
        numbers = [value[side] for side in sides]
    if len(numbers) != count or not all(map(is_finite_number, numbers)):
        return None
    return _Finding(tuple(map(float, numbers)), label, own, has_order=isinstance(value, dict))


def _unkeyed(value: Any, depth: int = 0) -> Iterator[_Finding]:
    """Yield boxes from lists of four numbers whose corners are in order."""
    if depth > _MAX_DEPTH:
        return
    finding = _coordinates(value, 4, "", None) if isinstance(value, list) else None
    if finding is None and isinstance(value, list):
        for item in value:
            yield from _unkeyed(item, depth + 1)
    elif finding is not None and finding.numbers[0] <= finding.numbers[2] and finding.numbers[1] <= finding.numbers[3]:
        yield finding
