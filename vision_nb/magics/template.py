r"""Text that is sent as it is typed, but for ``{{expression}}``; ``\{{`` sends the braces themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import CodeType
from typing import Any

from vision_nb.magics.usage_errors import UsageError, nearest

_OPENING = re.compile(r"(\\?)\{\{")
_SHOWN = 60  # characters of an expression in an error


def insert(text: str, variables: Mapping[str, Any]) -> str:
    r"""Put the values of ``{{expressions}}`` in their places.

    Every other character stays: single braces, ``$``, backslashes, and ``{{`` without a ``}}`` after it.

    Args:
        text: The text as typed.
        variables: The notebook's variables.

    Raises:
        UsageError: An expression is no Python, or cannot be worked out.

    >>> insert(r"{a} is {{a + 1}}, \\alpha is \{{b}}", {"a": 1})
    '{a} is 2, \\\\alpha is {{b}}'
    """
    pieces, at = [], 0
    while (opening := _OPENING.search(text, at)) is not None:
        pieces.append(text[at : opening.start()])
        if opening[1]:
            pieces.append("{{")
            at = opening.end()
            continue
        if "}}" not in text[opening.end() :]:
            pieces.append("{{")
            at = opening.end()
            continue
        expression, code, at = _expression(text, opening.end())
        pieces.append(str(_value(expression, code, variables)))
    return "".join([*pieces, text[at:]])


def _expression(text: str, start: int) -> tuple[str, CodeType, int]:
    """An expression, compiled, and where the text goes on; it may hold braces of its own, as of a dict."""
    end, first_error, first_end = start, None, None
    while (end := text.find("}}", end)) != -1:
        while text[end : end + 3] == "}}}":
            end += 1  # the last two of several close the insertion: the others are the expression's
        expression = text[start:end].strip()
        try:
            return expression, compile(expression, "{{...}}", "eval"), end + 2
        except (SyntaxError, ValueError) as error:
            first_error, first_end = first_error or error, first_end or end
        end += 1
    shown = _shown(text[start:first_end].strip())
    reason = getattr(first_error, "msg", None) or first_error
    raise UsageError(f"{shown} is no Python expression ({reason}): to send the braces themselves, write \\{{{{.")


def _value(expression: str, code: CodeType, variables: Mapping[str, Any]) -> Any:
    try:
        return eval(code, {**variables})
    except NameError as error:
        guess = nearest(error.name or "", [name for name in variables if not name.startswith("_")])
        hint = f"did you mean {guess}?" if guess else "run the cell that sets it."
        raise UsageError(
            f"{_shown(expression)}: {error.name} is not defined: {hint} To send the braces, write \\{{{{."
        ) from error
    except Exception as error:
        raise UsageError(
            f"{_shown(expression)} cannot be worked out ({type(error).__name__}: {error}): nothing was sent."
        ) from error


def _shown(expression: str) -> str:
    cut = expression if len(expression) <= _SHOWN else f"{expression[:_SHOWN]}..."
    return f"{{{{{cut}}}}}"
