"""Validate JSON against the openai package's own parameter types, with error messages like those of OpenAI's API."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, NoReturn, NotRequired, Required, Union, get_args, get_origin

from vision_nb.demo.faults import Refusal, error_body

_TAGS = ("type", "role")  # the keys that say which of several kinds of object one is
_OPTIONAL = {  # fields that the openai package's types require, but the API does not
    "ResponseInputImageParam": ("detail",),
    "ResponseOutputTextParam": ("annotations",),
    "ResponseOutputMessageParam": ("id", "status"),
    "FunctionToolParam": ("parameters", "strict"),
}
_ACCEPTED = {  # fields that answers contain and requests may repeat, but that the types do not have
    "ChatCompletionAssistantMessageParam": ("annotations",),
}
_KINDS: tuple[tuple[type | tuple[type, ...], str, str], ...] = (  # bool is an int to Python, so it comes first
    (bool, "a boolean", "boolean"),
    (int, "an integer", "integer"),
    (float, "a decimal", "decimal"),
    (str, "a string", "string"),
    (dict, "an object", "object"),
    (list, "an array", "array"),
    (type(None), "null", "null"),
)


def refuse(message: str, param: str | None = None, code: str | None = None) -> NoReturn:
    """Refuse the request with status 400."""
    raise Refusal(400, error_body(message, param=param, code=code))


def validate(value: Any, annotation: Any, param: str) -> None:
    """Refuse a JSON value that a type annotation does not allow.

    Args:
        value: The JSON value.
        annotation: A TypedDict, or any type that is used in the fields of one.
        param: The value's place in the request, for error messages; empty for the whole body.

    Raises:
        Refusal: With status 400, and a message and code like the API's.
    """
    options = _options(annotation)
    if Any in options or object in options:
        return
    fitting = [option for option in options if _fits(value, option)]
    if not fitting:
        _refuse_type(value, options, param)
    objects = [option for option in fitting if _is_typed_dict(option)]
    if objects:
        _validate_object(value, objects, param)
        return
    if all(get_origin(option) is Literal for option in fitting):
        allowed = [name for option in fitting for name in get_args(option)]
        if value not in allowed:
            _refuse_value(value, allowed, param)
    for option in fitting:
        arguments = get_args(option)
        if isinstance(value, list) and arguments:
            for index, item in enumerate(value):
                validate(item, arguments[0], f"{param}[{index}]")
        elif isinstance(value, dict) and len(arguments) == 2:
            for name, item in value.items():
                validate(item, arguments[1], _join(param, name))


@cache
def fields_of(typed_dict: Any) -> Mapping[str, tuple[Any, bool]]:
    """Return the type of each field of a TypedDict, and whether the field is required."""
    fields: dict[str, tuple[Any, bool]] = {}
    for name, hint in typing.get_type_hints(typed_dict, include_extras=True).items():
        if name in _OPTIONAL.get(typed_dict.__name__, ()):
            hint = NotRequired[hint]
        required = get_origin(hint) is Required or (get_origin(hint) is not NotRequired and typed_dict.__total__)
        fields[name] = (hint, required)
    return fields | dict.fromkeys(_ACCEPTED.get(typed_dict.__name__, ()), (Any, False))


def _options(annotation: Any) -> list[Any]:
    """Return the members of a union, or the one type that the annotation is."""
    origin = get_origin(annotation)
    if origin in (Required, NotRequired, typing.Annotated):
        return _options(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [option for member in get_args(annotation) for option in _options(member)]
    return [annotation]


def _is_typed_dict(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, dict) and hasattr(annotation, "__total__")


def _fits(value: Any, option: Any) -> bool:
    """Return whether a value is of the right kind: one of several objects, say, but not which."""
    origin = get_origin(option) or option
    if origin is Literal:
        return any(type(value) is type(allowed) for allowed in get_args(option))
    if isinstance(value, (bool, str)) or value is None:
        return origin is type(value)
    if isinstance(value, list):
        return isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, (str, Mapping))
    if isinstance(value, dict):
        return isinstance(origin, type) and issubclass(origin, Mapping)
    return isinstance(value, (int, float) if origin is float else origin)


def _validate_object(value: dict[str, Any], options: list[Any], param: str) -> None:
    """Refuse an object unless it is one of several TypedDicts."""
    for tag in _TAGS:
        tagged = [option for option in options if tag in fields_of(option)]
        if not tagged or len(tagged) < len(options):
            continue
        allowed = {option: _literals(fields_of(option)[tag][0]) for option in options}
        if tag not in value:
            options = [option for option in options if not fields_of(option)[tag][1]]
            if not options:
                _refuse_missing(_join(param, tag))
        elif all(allowed.values()):
            matching = [option for option in options if value[tag] in allowed[option]]
            if not matching:
                _refuse_value(value[tag], [name for names in allowed.values() for name in names], _join(param, tag))
            options = matching
    refusals = []
    for option in options:
        try:
            _validate_fields(value, option, param)
            return
        except Refusal as refusal:
            refusals.append(refusal)
    raise refusals[0]


def _literals(annotation: Any) -> list[Any]:
    return [value for option in _options(annotation) for value in get_args(option) if get_origin(option) is Literal]


def _validate_fields(value: dict[str, Any], typed_dict: Any, param: str) -> None:
    fields = fields_of(typed_dict)
    for name, (_, required) in fields.items():
        if required and name not in value:
            _refuse_missing(_join(param, name))
    for name, item in value.items():
        place = _join(param, name)
        if name not in fields:
            refuse(f"Unknown parameter: '{place}'.", place, "unknown_parameter")
        validate(item, fields[name][0], place)


def _join(param: str, name: str) -> str:
    return f"{param}.{name}" if param else name


def kind_of(value: Any, *, article: bool = True) -> str:
    """Return what JSON calls a value's type, such as "an integer"."""
    return next(named if article else bare for kind, named, bare in _KINDS if isinstance(value, kind))


def _expected(option: Any) -> str:
    origin = get_origin(option) or option
    if origin is Literal:
        return kind_of(get_args(option)[0], article=False)
    for kind, _, name in _KINDS:
        if origin is kind:
            return name
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "object"
    inner = {_expected(member) for member in _options(get_args(option)[0])} if get_args(option) else set()
    return f"array of {inner.pop()}s" if len(inner) == 1 else "array"


def _refuse_type(value: Any, options: list[Any], param: str) -> NoReturn:
    expected = list(dict.fromkeys(_expected(option) for option in options if option is not type(None)))
    article = "an" if expected[0][0] in "aeio" else "a"
    wanted = f"{article} {expected[0]}" if len(expected) == 1 else f"one of {article} {' or '.join(expected)}"
    refuse(f"Invalid type for '{param}': expected {wanted}, but got {kind_of(value)} instead.", param, "invalid_type")


def _refuse_missing(param: str) -> NoReturn:
    refuse(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def _refuse_value(value: Any, allowed: list[Any], param: str) -> NoReturn:
    if not isinstance(value, str):
        _refuse_type(value, [str], param)
    names = ", ".join(f"'{name}'" for name in dict.fromkeys(allowed))
    refuse(f"Invalid value: '{value}'. Supported values are: {names}.", param, "invalid_value")
