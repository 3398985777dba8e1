"""Which argument of a call that failed does not have the type of its annotation."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from vision_nb.errors import ArgumentError
from vision_nb.rendering.format import type_name, with_article

_WORDS = {bool: "True or False", str: "a string", int: "an integer", float: "a number", NoneType: "None"}
_ALSO: Mapping[Any, Any] = {Path: os.PathLike, int: Integral, float: (Real, Decimal), Decimal: (Real, Decimal)}


def wrong_type(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> ArgumentError | None:
    """Return the error for the first argument whose type is not one of its annotation, or None if there is none.

    Args:
        function: A function whose arguments have these names.
        args: The arguments by position.
        kwargs: The arguments by name.
    """
    signature = inspect.signature(function)
    for name, value in signature.bind(*args, **kwargs).arguments.items():
        parameter = signature.parameters[name]
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        annotation = parameter.annotation
        try:
            kinds = eval(annotation, function.__globals__)  # of this package
        except (NameError, TypeError):  # a class that only type checkers import, or no annotation
            continue
        members = get_args(kinds) if get_origin(kinds) in (Union, UnionType) else [kinds]
        if not any(_is_a(value, kind) for kind in members):
            return ArgumentError(f"{name} must be {' or '.join(map(_words, members))}, not {type_name(value)}.")
    return None


def _words(kind: Any) -> str:
    """Return what a value of a type is called."""
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return _WORDS.get(kind) or with_article((get_origin(kind) or kind).__name__)


def _is_a(value: Any, kind: Any) -> bool:
    """Return whether a value may be meant as one of a type; whether it is a valid one is checked elsewhere."""
    try:
        if kind is bool:
            return bool(value) in (True, False)
        if get_origin(kind) is Literal:
            return isinstance(value, str)
        kind = get_origin(kind) or kind
        return kind is Any or isinstance(value, _ALSO.get(kind, kind))
    except (TypeError, ValueError):  # the truth of an array is ambiguous; anything may have the type of a protocol
        return kind is not bool
