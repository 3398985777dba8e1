"""Completion of the results of calls that have not run yet: only the names that are made for users."""

from __future__ import annotations

import importlib
from typing import Any

from vision_nb.rendering.tab_completion import TabCompletion, hidden_names


def complete_result(completer: Any, text: str) -> list[tuple[str, str]]:
    """Return the public names of a result of this package, with their kinds; an empty list for other results.

    Jedi, which analyzes the code, does not know ``__dir__``.

    Args:
        completer: IPython's completer.
        text: Code that ends with the beginning of an attribute, as in "vn.extract(images, Receipt).to".
    """
    import jedi  # type: ignore[import-untyped]

    try:
        found = jedi.Interpreter(text, [completer.namespace, completer.global_namespace or {}]).complete()
    except Exception:  # it can fail on any code; IPython ignores that too
        return []
    kinds = {kind for name in found if (kind := _class_of(name)) is not None and issubclass(kind, TabCompletion)}
    results = [kind for kind in kinds if not any(kind in other.__mro__[1:] for other in kinds)]
    hidden = set[str]().union(*map(hidden_names, results))
    shown = [name for name in found if name.name not in hidden and not name.name.startswith("_")]
    return [(name.name, name.type) for name in shown] if results else []


def _class_of(name: Any) -> type | None:
    """Return the class of this package that defines a name, or None."""
    module = name.module_name or ""
    if module.partition(".")[0] != "vision_nb":
        return None
    path = (name.full_name or "").removeprefix(f"{module}.")
    kind = getattr(importlib.import_module(module), path.partition(".")[0], None)
    return kind if isinstance(kind, type) else None
