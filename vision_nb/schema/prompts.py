"""What a model is told about a schema: its fields, and the errors of an answer, which error messages repeat."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vision_nb.rendering.format import type_name
from vision_nb.rendering.sanitize import replace_surrogates

_MAX_ERRORS = 20
_MAX_VALUE_LENGTH = 60


def instructions(json_schema: Mapping[str, Any]) -> str:
    """Return the part of a prompt that describes the format of the answer.

    Args:
        json_schema: The schema that the answer must follow.
    """
    schema = replace_surrogates(json.dumps(json_schema, ensure_ascii=False))
    return f"Answer with a single JSON object that follows this JSON schema, and with nothing else:\n{schema}"


def repair_request(errors: Mapping[str, str], reason: str) -> str:
    """Return the message that asks for a corrected answer.

    Args:
        errors: One sentence by field path; an empty path refers to the whole answer.
        reason: What is wrong if there are no errors, such as that the answer contains no JSON.
    """
    lines = [f"- {path}: {text}" if path else f"- {text}" for path, text in list(errors.items())[:_MAX_ERRORS]]
    what = "\n".join(["It has these errors:", *lines]) if lines else reason
    return (
        f"Your answer cannot be used. {what}\n"
        "Look at the images and the question again, and answer with the whole corrected JSON object and nothing else."
    )


def summary(errors: Mapping[str, str]) -> str:
    """Return the first errors on one line, for an error message.

    >>> summary({"total": "should be a number", "date": "is missing"})
    'total should be a number; date is missing'
    """
    parts = [f"{path[:60]} {text}" if path else text for path, text in list(errors.items())[:3]]
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    return "; ".join(parts) + more


def shortened(value: Any) -> str:
    """Return a value as short text for an error message."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):  # more digits or levels than Python writes
        text = type_name(value)
    text = replace_surrogates(text)
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[: _MAX_VALUE_LENGTH - 3]}..."
