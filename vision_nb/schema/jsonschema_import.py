"""Import jsonschema without the grammar of IRIs, whose construction takes two seconds."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from types import ModuleType

_GRAMMAR = "rfc3987_syntax"


def import_jsonschema() -> ModuleType:
    """Return jsonschema. Where its optional grammar is installed, it is loaded only when an IRI is checked."""
    if "jsonschema" in sys.modules or _GRAMMAR in sys.modules or find_spec(_GRAMMAR) is None:
        return importlib.import_module("jsonschema")
    later = ModuleType(_GRAMMAR)
    later.is_valid_syntax = _is_valid_syntax  # type: ignore[attr-defined]  # the only name that jsonschema imports
    sys.modules[_GRAMMAR] = later
    try:
        return importlib.import_module("jsonschema")
    finally:
        del sys.modules[_GRAMMAR]


def _is_valid_syntax(term: str, value: str) -> bool:
    return bool(importlib.import_module(_GRAMMAR).is_valid_syntax(term, value))
