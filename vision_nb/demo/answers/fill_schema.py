"""Fill a JSON schema with what was measured on images: a pure function."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vision_nb.demo.answers import templates
from vision_nb.demo.answers.measure import Measurement
from vision_nb.demo.answers.templates import Manner

_NUMBER = " number"  # after the name of a property that is known as a word too
_MAX_DEPTH = 8  # of nested objects, in a schema that refers to itself
_DATES = {"date": "2026-01-01", "time": "12:00:00Z", "date-time": "2026-01-01T12:00:00Z", "duration": "P1D"}
_FORMATS = _DATES | {
    "email": "demo@example.com",
    "uri": "https://example.com/",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_IMAGE_LISTS = ("images", "pictures", "photos", "pages", "items", "results")
_CAPTIONS = ("caption", "description", "summary", "alt", "alttext", "text", "title", "answer")
_UNKNOWN = ("unknown", "other", "none", "n/a", "na", "unclear", "not visible", "unsure")
_PATTERN_TRIES = ("", "0", "0.00", "-", "A", "AA", "AAA", "00", "000", "0000", "00000", "unknown", "a", "2026-01-01")


def fill(schema: Mapping[str, Any], images: Sequence[Measurement], manner: Manner = Manner.SENTENCES) -> Any:
    """Return a value that a schema allows.

    A property named after something that is measured, such as "width" or "colors", gets that value of the first image;
    of each image in turn in an array called "images" or the like. An enumeration of colors gets a main color. All
    others are null if the schema allows it, otherwise "unknown" or the first allowed value, otherwise empty.

    Args:
        schema: A JSON schema: objects, arrays, enumerations, ``anyOf``, ``allOf``, references and limits are
            understood; other keywords are ignored.
        images: The measurements of each image.
        manner: The manner of captions.

    >>> fill({"type": "object", "properties": {"total": {"type": ["number", "null"]}, "name": {"type": "string"}}}, ())
    {'total': None, 'name': ''}
    """
    known = [_known(image, manner) for image in images]
    return _Filler(schema, known).value(schema, known[0] if known else {}, "", 0)


def _known(image: Measurement, manner: Manner) -> dict[str, Any]:
    """Return what is known of an image under each name that a schema may give it."""
    facts = templates.facts(image)
    colors = [color["name"] for color in facts["colors"]]
    numbers = {"brightness": image.brightness, "contrast": image.contrast, "transparency": image.transparency}
    if image.blur is not None:
        numbers |= {"blur": image.blur, "sharpness": 1 - image.blur}
    known = {
        **{name.replace("_", ""): value for name, value in facts.items()},
        **{
            f"{name}{unit}": round(100 * value) for name, value in numbers.items() for unit in ("percent", "percentage")
        },
        **{f"{name}{_NUMBER}": round(value, 3) for name, value in numbers.items()},
        "widthpx": image.width,
        "heightpx": image.height,
        "orientation": image.shape,
        "size": image.size,
        "colors": colors,
        "maincolors": colors,
        "dominantcolors": colors,
        "palette": [color["hex"] for color in facts["colors"]],
        **dict.fromkeys(_CAPTIONS, templates.caption(image, manner)),
    }
    if colors:
        known |= {"color": colors[0], "maincolor": colors[0], "dominantcolor": colors[0]}
    return known


class _Filler:
    """Fills one schema.

    Args:
        root: The whole schema, to which references point.
        images: What is known of each image, by name.
    """

    def __init__(self, root: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> None:
        self._root = root
        self._images = images
        self._measured_values = 0  # how many values of the result were measured

    def value(self, schema: Any, known: Mapping[str, Any], name: str, depth: int) -> Any:
        """Return a value for a schema.

        Args:
            schema: The schema, or a part of it.
            known: What is known of the image that the value is about.
            name: The name of the property.
            depth: How many objects the value is in.
        """
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._of_enum(schema["enum"], known, name)
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return self._choose(choices, known, name, depth)
        kinds = _kinds(schema)
        if depth > _MAX_DEPTH and "null" in kinds:
            return None
        for kind in kinds:
            measured = _measured(known, name, kind)
            if measured is not None and kind not in ("object", "array"):
                self._measured_values += 1
                return _limited(measured, schema, kind)
        if "null" in kinds:
            return None
        if kinds[0] == "object":
            return self._object(schema, known, depth)
        if kinds[0] == "array":
            return self._array(schema, known.get(_plain(name)), known, name, depth)
        return _empty(schema, kinds[0])

    def _of_enum(self, values: Sequence[Any], known: Mapping[str, Any], name: str) -> Any:
        """Return the measured value of an enumeration, or the one that means unknown, or the first."""
        by_text = {str(value).lower(): value for value in values}
        found = known.get("colors")  # a text within a list of colors
        colors = found if isinstance(found, list) else []
        for measured in (known.get(_plain(name)), *colors, *(color.rpartition(" ")[2] for color in colors)):
            if str(measured).lower() in by_text and measured is not None:
                self._measured_values += 1
                return by_text[str(measured).lower()]
        if None in values:
            return None
        return next((by_text[text] for text in _UNKNOWN if text in by_text), values[0])

    def _resolve(self, schema: Any) -> dict[str, Any]:
        """Follow references, and merge the parts of ``allOf``."""
        seen: set[str] = set()
        while isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str) and schema["$ref"] not in seen:
            seen.add(schema["$ref"])
            found: Any = self._root
            for step in schema["$ref"].removeprefix("#").split("/")[1:]:
                found = found.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
            schema = found
        result = dict(schema) if isinstance(schema, Mapping) else {}
        for part in result.pop("allOf", ()):
            other = self._resolve(part)
            properties = {**result.get("properties", {}), **other.get("properties", {})}
            required = [*result.get("required", ()), *other.get("required", ())]
            result |= other
            if properties:
                result |= {"properties": properties, "required": required}
        return result

    def _choose(self, choices: Sequence[Any], known: Mapping[str, Any], name: str, depth: int) -> Any:
        resolved = [self._resolve(choice) for choice in choices]
        null = [choice for choice in resolved if choice.get("type") == "null"]
        others = [choice for choice in resolved if choice not in null]
        if depth >= _MAX_DEPTH and null:
            return None
        for choice in others:
            before = self._measured_values
            value = self.value(choice, known, name, depth)
            if self._measured_values > before:
                return value
        return None if null else self.value(resolved[0], known, name, depth)

    def _object(self, schema: Mapping[str, Any], known: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        names = schema.get("required", ()) if depth > _MAX_DEPTH else properties
        names = [*names, *(name for name in schema.get("required", ()) if name not in names)]
        if depth > 4 * _MAX_DEPTH:  # a schema that requires itself has no finite value
            return {}
        return {name: self.value(properties.get(name, {}), known, name, depth + 1) for name in names}

    def _array(
        self, schema: Mapping[str, Any], measured: Any, known: Mapping[str, Any], name: str, depth: int
    ) -> list[Any]:
        items, parts = schema.get("items", {}), schema.get("prefixItems") or ()
        most = schema.get("maxItems", math.inf)
        kinds = _kinds(self._resolve(items))
        if parts:
            values = [self.value(part, known, "", depth + 1) for part in parts]
        elif isinstance(measured, list) and all(_fits(one, kinds[0]) for one in measured):
            self._measured_values += 1
            values = [self.value(items, {_plain(name): one}, name, depth + 1) for one in measured]
        elif name.lower() in _IMAGE_LISTS and kinds[0] == "object" and depth < _MAX_DEPTH:
            before = self._measured_values
            values = [self.value(items, image, "", depth + 1) for image in self._images]
            values = values if self._measured_values > before else []
        else:
            values = []
        missing = max(0, schema.get("minItems", 0) - len(values))
        values += [self.value(items, known, "", depth + 1) for _ in range(missing)]
        return values[: len(values) if most == math.inf else int(most)]


def _plain(name: str) -> str:
    """Return a property's name in lower case, without underscores and digits."""
    return re.sub(r"[^a-z]", "", name.lower())


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    """Return the types that a schema allows; an object or a text if it names none."""
    kinds = schema.get("type") or ("object" if "properties" in schema else "string")
    return kinds if isinstance(kinds, list) else [kinds]


def _measured(known: Mapping[str, Any], name: str, kind: str) -> Any:
    """Return the known value for a name if it has the right kind, or None; a number may be written as text."""
    plain = _plain(name)
    value, number = known.get(plain), known.get(f"{plain}{_NUMBER}")
    return next((one for one in (value, number) if _fits(one, kind)), None)


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return False
    types: dict[str, Any] = {"string": str, "integer": int, "number": (int, float), "array": list, "object": dict}
    return kind in types and isinstance(value, types[kind])


def _limited(value: Any, schema: Mapping[str, Any], kind: str) -> Any:
    """Return a measured value, or an empty one if it breaks a limit of the schema."""
    if kind == "string":
        value = value[: schema.get("maxLength", len(value))]
        allowed = len(value) >= schema.get("minLength", 0) and _matches(schema.get("pattern", ""), value)
        return value if allowed and "format" not in schema else _empty(schema, kind)
    low, high = _limits(schema, kind)
    divisible = "multipleOf" not in schema or value % schema["multipleOf"] == 0
    return value if low <= value <= high and divisible else _empty(schema, kind)


def _limits(schema: Mapping[str, Any], kind: str) -> tuple[float, float]:
    step = 1 if kind == "integer" else 1e-6
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    return max(low, schema.get("exclusiveMinimum", -math.inf) + step), min(
        high, schema.get("exclusiveMaximum", math.inf) - step
    )


def _empty(schema: Mapping[str, Any], kind: str) -> Any:
    """Return the value closest to nothing that a schema allows."""
    if kind == "string":
        text = _FORMATS.get(schema.get("format", ""), "")
        if schema.get("pattern"):
            return next((one for one in _PATTERN_TRIES if _matches(schema["pattern"], one)), text)
        return text + "-" * max(0, schema.get("minLength", 0) - len(text))
    if kind in ("integer", "number"):
        low, high = _limits(schema, kind)
        value = 0 if low <= 0 <= high else low if low > 0 else high
        step = schema.get("multipleOf")
        value = math.ceil(value / step) * step if step else value
        return math.ceil(value) if kind == "integer" else value
    return {"boolean": False, "null": None}.get(kind, "")


def _matches(pattern: Any, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except (re.error, TypeError):
        return False
