"""Fill a JSON schema with what was measured on images: a pure function."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vision_nb.demo.answers import templates
from vision_nb.demo.answers.choices import nearest_choices
from vision_nb.demo.answers.measure import Measurement
from vision_nb.demo.answers.templates import Manner
from vision_nb.schema.jsonschema_import import import_jsonschema

_NUMBER = " number"  # after the name of a property that is known as a word too
_MAX_DEPTH = 8  # of nested objects, in a schema that refers to itself
_FORMATS = {"date": "2026-01-01", "time": "12:00:00Z", "date-time": "2026-01-01T12:00:00Z", "duration": "P1D"}
_FORMATS |= {"email": "demo@example.com", "uri": "https://example.com/", "hostname": "example.com"}
_FORMATS |= {"ipv4": "127.0.0.1", "ipv6": "::1", "uuid": "00000000-0000-4000-8000-000000000000"}
_IMAGE_LISTS = ("images", "pictures", "photos", "pages", "items", "results")
_CAPTIONS = ("caption", "description", "summary", "alt", "alttext", "text", "title", "answer")
_UNKNOWN = ("unknown", "other", "none", "n/a", "na", "unclear", "not visible", "unsure")
_TEXTS = ("unknown", "", "0", "0.00", "-", "A", "AA", "AAA", "00", "000", "0000", "00000", "a", "2026-01-01")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_CHECKED = ("type", "enum", "const", "minLength", "maxLength", "pattern", "multipleOf", *_BOUNDS)


def fill(schema: Mapping[str, Any], images: Sequence[Measurement], manner: Manner = Manner.SENTENCES) -> Any:
    """Return a value that a schema allows.

    A property named after something that is measured, such as "width" or "colors", gets that value of the first image;
    of each image in turn in an array called "images" or the like. An enumeration gets the value that comes nearest to
    what was measured, such as a main color. All others are null if the schema allows it, otherwise "unknown", 0, empty
    or the first allowed value.

    Args:
        schema: A JSON schema: objects, arrays, enumerations, ``anyOf``, ``allOf``, references and limits are
            understood; other keywords are ignored.
        images: The measurements of each image.
        manner: The manner of captions.

    >>> fill({"type": "object", "properties": {"total": {"type": ["number", "null"]}, "name": {"type": "string"}}}, ())
    {'total': None, 'name': 'unknown'}
    """
    known = [_known(image, manner) for image in images]
    return _Filler(schema, known).value(schema, known[0] if known else {}, "", 0)


def _known(image: Measurement, manner: Manner) -> dict[str, Any]:
    """Return what is known of an image under each name that a schema may give it."""
    facts = image.facts
    colors = [color["name"] for color in facts["colors"]]
    numbers = {"brightness": image.brightness, "contrast": image.contrast, "transparency": image.transparency}
    if image.blur is not None:
        numbers |= {"blur": image.blur, "sharpness": 1 - image.blur}
    known = {
        **{name.replace("_", ""): value for name, value in facts.items()},
        **{f"{name}percent": round(100 * value) for name, value in numbers.items()},
        **{f"{name}{_NUMBER}": round(value, 3) for name, value in numbers.items()},
        **{"widthpx": image.width, "heightpx": image.height},
        "orientation": facts["shape"],
        "size": image.size,
        **dict.fromkeys(("colors", "maincolors", "dominantcolors"), colors),
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
        """Return a value for a part of the schema, at a depth: of a property of an image of which this is known."""
        schema = self._resolve(schema)
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return self._choose(choices, known, name, depth)
        kinds = _kinds(schema)
        if "null" not in kinds and not schema.keys() & {"enum", "const"}:
            if kinds[0] == "object":
                return self._object(schema, known, depth)
            if kinds[0] == "array":
                return self._array(schema, known.get(_plain(name)), known, name, depth)
        is_allowed = _checker(schema, kinds)
        for value in _measured(schema, known, _plain(name)) if depth <= _MAX_DEPTH else ():
            if is_allowed(value):
                self._measured_values += 1
                return value
        return next(filter(is_allowed, _unmeasured(schema)), None)

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
        items = schema.get("items", {})
        kind = _kinds(self._resolve(items))[0]
        values = [self.value(part, known, "", depth + 1) for part in schema.get("prefixItems", ())]
        if isinstance(measured, list) and kind == "string":
            self._measured_values += 1
            values += [self.value(items, {_plain(name): one}, name, depth + 1) for one in measured]
        elif name.lower() in _IMAGE_LISTS and kind == "object" and depth < _MAX_DEPTH:
            before = self._measured_values
            found = [self.value(items, image, "", depth + 1) for image in self._images]
            values += found if self._measured_values > before else []
        missing = max(0, schema.get("minItems", 0) - len(values))
        values += [self.value(items, known, "", depth + 1) for _ in range(missing)]
        return values[: schema.get("maxItems")]


def _plain(name: str) -> str:
    """Return a property's name in lower case, without underscores and digits."""
    return re.sub(r"[^a-z]", "", name.lower())


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    """Return the types that a schema allows; an object or a text if it names none."""
    kinds = schema.get("type") or ("object" if "properties" in schema else "string")
    return kinds if isinstance(kinds, list) else [kinds]


def _checker(schema: Mapping[str, Any], kinds: Sequence[str]) -> Callable[[Any], bool]:
    """Return a function that tells whether a schema allows a text, a number, a boolean or null."""
    checked = {"type": kinds} if not schema.keys() & {"enum", "const"} else {}
    validator = import_jsonschema().Draft202012Validator(
        {**checked, **{key: schema[key] for key in _CHECKED if key in schema}}
    )
    return lambda value: bool(validator.is_valid(value))


def _measured(schema: Mapping[str, Any], known: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Yield the measured values for a name: a word, a number, or the fitting values of an enumeration."""
    if "enum" in schema:
        yield from nearest_choices(schema["enum"], known, name)
    elif "format" not in schema:
        named = [value for value in (known.get(name), known.get(f"{name}{_NUMBER}")) if not isinstance(value, list)]
        yield from (
            value[: schema.get("maxLength")] if isinstance(value, str) else value
            for value in named
            if value is not None
        )


def _unmeasured(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield values that say nothing: null, what means unknown in an enumeration, and empty or smallest values."""
    yield None
    values = [schema["const"]] if "const" in schema else schema.get("enum", ())
    yield from sorted(values, key=lambda value: str(value).lower() not in _UNKNOWN)
    if schema.get("format") in _FORMATS:
        yield _FORMATS[schema["format"]]
    yield from _TEXTS
    yield "-" * schema.get("minLength", 0)
    bounds, step = [schema[name] for name in _BOUNDS if name in schema], schema.get("multipleOf", 1)
    yield from (0, *bounds, *(math.ceil(bound / step + add) * step for bound in bounds for add in (0, 1, -1)))
    yield from (sum(bounds) / 2, False)
