"""The reference of a public name, for ``%vision help NAME``."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from vision_nb import errors
from vision_nb.rendering import html

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns):\n((?:[ ].*\n|\n)+)", re.MULTILINE)
_EXAMPLE = re.compile(r"^>>> .*\n(?:\S.*\n)*", re.MULTILINE)
_TITLES = {"Args": "Arguments"}


@dataclass(frozen=True)
class Reference:
    """The signature, docstring and members of a public name.

    Attributes:
        signature: The name with its parameters.
        doc: The docstring, in Google's style.
        members: The public methods and properties of a class, or the names of a module, each with the first line of
            its docstring.
    """

    signature: str
    doc: str
    members: tuple[tuple[str, str], ...] = ()

    def _repr_markdown_(self) -> str:
        parts = [f"```python\n{self.signature}\n```", docstring_markdown(self.doc)]
        if self.members:
            parts.append(html.markdown_table(("name", "description"), self.members, numbers_from=2))
        return "\n\n".join(parts) + "\n"

    def __repr__(self) -> str:
        width = max((len(name) for name, _ in self.members), default=0)
        members = [f"  {name:{width}}  {line}" for name, line in self.members]
        return "\n".join([self.signature, "", self.doc, *([""] if members else []), *members])


def public_names(package: ModuleType) -> list[str]:
    """Return the public names of a package, and the names of the errors."""
    return [*package.__all__, *(name for name, _ in _error_classes(errors))]


def reference(package: ModuleType, name: str) -> Reference | None:
    """Return the reference of a name such as ``vn.Chat.ask``, or None."""
    path = name.removesuffix("()").removeprefix("vn.").removeprefix("vision_nb.").removeprefix("errors.").split(".")
    if path[0] not in public_names(package) or any(part.startswith("_") for part in path):
        return None
    value: Any
    prefix, value = ("vn", package) if path[0] in package.__all__ else ("vn.errors", errors)
    for part in path:
        value = inspect.getattr_static(value, part, None) or getattr(value, part, None)
        if value is None:
            return None
    value = inspect.unwrap(value.__func__ if isinstance(value, (classmethod, staticmethod)) else value)
    signature = f"{prefix}.{'.'.join(path)}{_parameters(value)}"
    return Reference(signature, inspect.getdoc(value) or "", tuple(_members(value)))


def _parameters(value: Any) -> str:
    """Return the parameter list of a callable, without type annotations."""
    if not callable(value):
        return ""
    try:
        signature = inspect.signature(value)
    except ValueError:  # an exception without a constructor of its own
        return "(message)"
    parameters = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    if inspect.isfunction(value) and parameters and parameters[0].name in ("self", "cls"):
        del parameters[0]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def _members(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, ModuleType):
        found = [(name, getattr(value, name)) for name in getattr(value, "__all__", ())] or _error_classes(value)
    elif inspect.isclass(value):
        owners = [owner for owner in value.__mro__ if owner.__module__.startswith("vision_nb")]
        found = sorted({name: one for owner in reversed(owners) for name, one in vars(owner).items()}.items())
    else:
        return
    for name, one in found:
        doc = inspect.getdoc(one) if isinstance(one, (property, type, classmethod)) or inspect.isroutine(one) else None
        if doc and not name.startswith("_"):
            yield name, doc.partition("\n")[0]


def _error_classes(module: ModuleType) -> list[tuple[str, Any]]:
    return [(name, one) for name, one in vars(module).items() if inspect.isclass(one) and name.endswith("Error")]


def docstring_markdown(doc: str) -> str:
    """Convert a docstring in Google's style to Markdown."""
    doc = doc.replace("\n::\n", "")
    return _EXAMPLE.sub(
        lambda match: f"```python\n{match[0]}```\n", _SECTION.sub(_section_markdown, doc.rstrip() + "\n\n")
    ).rstrip()


def _section_markdown(match: re.Match[str]) -> str:
    listed = re.sub(r"^(\*{0,2}\w[\w.]*): ", r"- `\1`: ", textwrap.dedent(match[2]), flags=re.MULTILINE)
    return f"**{_TITLES.get(match[1], match[1])}**\n\n{listed.strip()}\n\n"
