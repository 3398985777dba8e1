"""The ``typing.TypedDict`` of Python 3.11, which pydantic does not accept."""

from __future__ import annotations

import sys
import types
import typing
from typing import Any

_PARTS = (typing.Required, typing.NotRequired)


def with_extensions(source: Any) -> Any:
    """Replace each ``typing.TypedDict`` in a type with its ``typing_extensions`` equivalent before Python 3.12.

    Args:
        source: A type. Other types, such as the fields of dataclasses, are not searched.

    Raises:
        NameError: The type of a field is not defined.
    """
    return source if sys.version_info >= (3, 12) else _replaced(source, {})


def _replaced(source: Any, known: dict[Any, Any]) -> Any:
    """Return the replacement of a type; ``known`` has those of the classes so far, which may be recursive."""
    if typing.is_typeddict(source) and type(source).__module__ == "typing":
        return known[source] if source in known else _converted(source, known)
    arguments = typing.get_args(source)
    if not arguments or typing.get_origin(source) is typing.Literal:
        return source
    if hasattr(source, "__metadata__"):  # Annotated
        replaced: Any = typing.Annotated[(_replaced(arguments[0], known), *source.__metadata__)]
        return replaced
    changed = tuple(_replaced(argument, known) for argument in arguments)
    if changed == arguments:
        return source
    origin = typing.get_origin(source)
    return typing.Union[changed] if origin is types.UnionType else _rebuilt(source, changed)  # noqa: UP007


def _rebuilt(source: Any, arguments: tuple[Any, ...]) -> Any:
    origin: Any = typing.get_origin(source)
    if isinstance(source, types.GenericAlias):
        return origin[arguments]
    return source.copy_with(arguments)


def _converted(source: Any, known: dict[Any, Any]) -> Any:
    import typing_extensions  # pydantic needs it too

    created: Any = typing_extensions.TypedDict(source.__name__, {}, total=source.__total__)  # type: ignore[misc]
    known[source] = created
    hints = typing.get_type_hints(source, include_extras=True)
    required = set()
    for name, hint in hints.items():
        qualifier = typing.get_origin(hint)
        is_required = qualifier is typing.Required or (
            qualifier is not typing.NotRequired and name in source.__required_keys__
        )
        hint = typing.get_args(hint)[0] if qualifier in _PARTS else hint
        created.__annotations__[name] = _replaced(hint, known)
        if is_required:
            required.add(name)
    created.__required_keys__, created.__optional_keys__ = frozenset(required), frozenset(hints) - required
    for name in ("__doc__", "__module__", "__qualname__", "__pydantic_config__"):
        if hasattr(source, name):
            setattr(created, name, getattr(source, name))
    return created
