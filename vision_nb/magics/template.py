r"""Insert the values of ``{{expressions}}`` into a text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import CodeType
from typing import Any

from vision_nb.checks.spelling import closest
from vision_nb.magics.usage_errors import UsageError, describe, truncate
from vision_nb.rendering.sanitize import replace_surrogates

_OPENING = re.compile(r"(\\?)\{\{")
_MAX_SHOWN = 60  # characters of an expression in an error message


def insert_values(text: str, variables: Mapping[str, Any]) -> str:
    r"""Replace each ``{{expression}}`` with its value.

    Everything else is unchanged: single braces, ``$``, backslashes, and ``{{`` without a ``}}`` after it. Only lone
    surrogates, which cannot be sent, are replaced.

    Args:
        text: The text as typed.
        variables: The notebook's variables.

    Raises:
        UsageError: An expression is not valid Python, or raises an error.

    >>> insert_values(r"{a} is {{a + 1}}, \\alpha is \{{b}}", {"a": 1})
    '{a} is 2, \\\\alpha is {{b}}'
    """
    pieces, position = [], 0
    while (opening := _OPENING.search(text, position)) is not None:
        pieces.append(text[position : opening.start()])
        if opening[1] or "}}" not in text[opening.end() :]:
            pieces.append("{{")
            position = opening.end()
            continue
        expression, code, position = _compile(text, opening.end())
        pieces.append(_evaluate(expression, code, variables))
    return replace_surrogates("".join([*pieces, text[position:]]))


def _compile(text: str, start: int) -> tuple[str, CodeType, int]:
    """Return the expression that starts at a position, its code, and its end."""
    end, first_error, first_end = start, None, None
    while (end := text.find("}}", end)) != -1:
        while text[end : end + 3] == "}}}":
            end += 1  # the last two braces close the insertion; the others belong to the expression
        expression = text[start:end].strip()
        try:
            return expression, compile(expression, "{{...}}", "eval"), end + 2
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            first_error, first_end = first_error or error, first_end or end
        end += 1
    shown = _in_braces(text[start:first_end].strip())
    reason = getattr(first_error, "msg", None) or first_error
    raise UsageError(f"{shown} is not a valid Python expression ({reason}). To send literal braces, write \\{{{{.")


def _evaluate(expression: str, code: CodeType, variables: Mapping[str, Any]) -> str:
    try:
        return str(eval(code, {**variables}))
    except NameError as error:
        guess = closest(str(error.name or ""), [name for name in variables if not name.startswith("_")])
        hint = f"did you mean {guess}?" if guess else "run the cell that defines it."
        raise UsageError(
            f"{_in_braces(expression)}: {error.name} is not defined: {hint} To send literal braces, write \\{{{{."
        ) from error
    except Exception as error:
        raise UsageError(f"{_in_braces(expression)} raised {describe(error)}. Nothing was sent.") from error


def evaluate_argument(expression: str, variables: Mapping[str, Any], *, option: str) -> Any:
    """Return the value of an expression that an option has, with the rules of ``{{expression}}``.

    Args:
        expression: The expression.
        variables: The notebook's variables.
        option: The option, for the error message.

    Raises:
        UsageError: The expression is not valid Python, or raises an error.
    """
    shown = f"{option} {truncate(expression)}"
    try:
        return eval(compile(expression, shown, "eval"), {**variables})
    except SyntaxError as error:
        raise UsageError(f"{shown}: this is not a valid Python expression ({error.msg}).") from error
    except (LookupError, AttributeError) as error:
        raise UsageError(f"{shown}: there is no such item ({describe(error)}).") from error
    except NameError as error:
        raise UsageError(f"{shown}: {error.name} is not defined: run the cell that defines it.") from error
    except Exception as error:  # the code of any class can run
        raise UsageError(f"{shown} raised {describe(error)}. Nothing was sent.") from error


def _in_braces(expression: str) -> str:
    return f"{{{{{truncate(expression, _MAX_SHOWN)}}}}}"
