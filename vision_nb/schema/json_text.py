"""Find JSON in a model's answer: alone, in a code fence, after a sentence or after reasoning."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from vision_nb.rendering.sanitize import replace_surrogates

_START = re.compile(r"""\{(?=\s*(?:["'}]|\w+\s*:))|\[(?=\s*[\[{"\]\d-])""")  # also of an object in another notation
_END_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\]]', re.DOTALL)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _refuse_constant(digits[:20])  # Python reads 1e999 as infinite


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError as error:
        raise ValueError("a number has too many digits") from error


_NUMBERS: dict[str, Any] = {"parse_constant": _refuse_constant, "parse_float": _finite, "parse_int": _integer}
_STRICT_DECODER = json.JSONDecoder(**_NUMBERS)
_DECODER = json.JSONDecoder(strict=False, **_NUMBERS)  # line breaks in strings are accepted


def parse_json(text: str, *, strict: bool = False) -> Any:
    """Parse a text that contains only JSON.

    Args:
        text: The text.
        strict: Whether to refuse line breaks in strings.

    Raises:
        ValueError: It is not JSON, is nested too deeply, or has a number with too many digits.
    """
    try:
        return (_STRICT_DECODER if strict else _DECODER).decode(text)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def find_json(text: str) -> Iterator[Any]:
    """Yield the outermost JSON objects and lists in a text, in order; broken ones are skipped as a whole.

    Args:
        text: Any text.
    """
    position = 0
    while (start := _START.search(text, position)) is not None:
        try:
            value, position = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            position = _end_of(text, start.start())
        else:
            yield value


def _end_of(text: str, start: int) -> int:
    """Return where a broken JSON value ends, so that its parts are not treated as values."""
    depth = 0
    for found in _END_OR_STRING.finditer(text, start):
        if found[0] in "{[":
            depth += 1
        elif found[0] in "}]":
            depth -= 1
            if depth == 0:
                return found.end()
    return len(text)


def to_json(data: Any) -> str:
    """Return JSON data as compact text without lone surrogates.

    Raises:
        ValueError: It is nested too deeply, or is not JSON data.
    """
    try:
        return replace_surrogates(json.dumps(data, ensure_ascii=False, allow_nan=False))
    except (RecursionError, TypeError) as error:
        raise ValueError("the value is nested too deeply, or is not JSON data") from error


def partial_json(text: str) -> Any:
    """Return the part of a JSON object or list that has arrived, or None if none has begun.

    Args:
        text: The beginning of an answer.
    """
    from pydantic_core import from_json

    start = _START.search(text)
    if start is None:
        return None
    try:
        return from_json(
            replace_surrogates(text[start.start() :]), allow_inf_nan=False, allow_partial="trailing-strings"
        )
    except ValueError:  # broken, or followed by a sentence
        return next(find_json(text), None)
