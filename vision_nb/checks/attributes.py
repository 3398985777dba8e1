"""Errors for assignments to attributes that do not exist or cannot be set, which say what to do instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, ClassVar, TypeVar

from vision_nb.checks.arguments import REQUEST_PARAMETERS
from vision_nb.checks.spelling import closest
from vision_nb.errors import ReadOnlyAttributeError, UnknownAttributeError

T = TypeVar("T")


class FixedAttributes:
    """A base of public classes: assigning to an attribute that the class does not have raises UnknownAttributeError.

    Names with an underscore, and classes that a user derives, may have any attributes.
    """

    __slots__ = ()
    _advice: ClassVar[Mapping[str, str]] = {}
    """What to write instead of some attributes that users may expect."""

    def __setattr__(self, name: str, value: Any) -> None:
        kind: Any = type(self)
        if not name.startswith("_") and kind.__module__.startswith("vision_nb.") and name not in _attributes(kind):
            known = _attributes(kind) & set(dir(self))
            settable = [one for one in known if _is_settable(inspect.getattr_static(kind, one, None))]
            raise unknown_attribute(kind.__name__, name, settable, self._advice)
        try:
            super().__setattr__(name, value)
        except AttributeError:
            if _is_settable(inspect.getattr_static(kind, name, None)):
                raise
            raise ReadOnlyAttributeError(f"{kind.__name__}.{name} cannot be set.") from None


def read_only(**advice: str) -> Callable[[type[T]], type[T]]:
    """Decorate a frozen dataclass: assigning to an attribute raises ReadOnlyAttributeError.

    Args:
        **advice: What to do instead, for some attributes; for other fields, it is `dataclasses.replace`.
    """

    def decorate(kind: Any) -> Any:
        names = [one.name for one in fields(kind) if one.init]

        def refuse(self: Any, name: str, value: Any) -> None:
            if name not in _attributes(kind):
                raise unknown_attribute(kind.__name__, name, names, advice)
            copy = f": dataclasses.replace(VALUE, {name}=...) returns a changed copy" if name in names else ""
            hint = f": {advice[name]}" if name in advice else copy
            raise ReadOnlyAttributeError(f"{kind.__name__}.{name} cannot be set{hint}.")

        kind.__setattr__ = refuse  # instead of that of the dataclass
        return kind

    return decorate


def _is_settable(attribute: object) -> bool:
    """Return whether what a class has under a name is neither a method nor a property that cannot be set."""
    return not inspect.isfunction(attribute) and not (isinstance(attribute, property) and attribute.fset is None)


def unknown_attribute(
    owner: str, name: str, known: Collection[str], advice: Mapping[str, str]
) -> UnknownAttributeError:
    """Return the error for an attribute that does not exist.

    Args:
        owner: What was to have the attribute.
        name: The attribute.
        known: The attributes that exist.
        advice: What to write instead, for some attributes.
    """
    guess = closest(name, known)
    if name in advice:
        hint = f": {advice[name]}."
    elif guess is not None:
        hint = f": did you mean {guess}?"
    elif name in REQUEST_PARAMETERS and "additional_kwargs" in known:
        hint = f": set additional_kwargs[{name!r}], or pass it to a call."
    else:
        hint = "."
    return UnknownAttributeError(f"{owner} has no attribute {name!r:.80}{hint}")


@cache
def _attributes(kind: Any) -> frozenset[str]:
    """Return the public attributes of a class: those that it defines or annotates, and the arguments it keeps."""
    names: set[str] = set()
    for base in kind.__mro__:
        names.update(vars(base), vars(base).get("__annotations__", ()))
        if base.__module__.startswith("vision_nb.") and "__init__" in vars(base):
            parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            names.update(one.name for one in parameters if one.kind is not one.VAR_KEYWORD)
    return frozenset(name for name in names - {"self", *kind._advice} if not name.startswith("_"))
