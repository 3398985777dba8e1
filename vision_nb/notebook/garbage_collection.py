"""Fewer searches for garbage, where almost nothing that is created is garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLD = 20_000
"""New objects before a search for garbage during many calls; Python's own threshold is 700."""


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Do not search for garbage in a ``with`` block that imports a large package.

    Almost everything that an import creates is kept. Searching it again and again took 110 of the 700 ms that the
    openai package takes to import (openai 3.57, November 2026).
    """
    if not gc.isenabled():  # by the user, or by this function in another thread
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # else the user froze objects, which must stay frozen
            gc.freeze()
            gc.unfreeze()  # now all objects are old, and the next searches leave them out
        gc.enable()


@contextmanager
def fewer_garbage_collections() -> Iterator[None]:
    """Search for garbage less often in a ``with`` block that makes many calls.

    Hundreds of calls at once hold thousands of objects that are in use: searching them again and again took a fifth of
    the processor time of a call (November 2026, 200 calls at once).
    """
    first, *others = gc.get_threshold()
    if not 0 < first < THRESHOLD:  # set by the user, or by this function for another run
        yield
        return
    gc.set_threshold(THRESHOLD, *others)
    try:
        yield
    finally:
        gc.set_threshold(first, *others)
