"""Interrupts during garbage collection, in which Python ignores every exception."""

from __future__ import annotations

import _thread
import signal
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial, wraps
from typing import ParamSpec, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
P = ParamSpec("P")

_PAUSE = 0.01  # seconds; garbage collection has ended by then


def keep_interrupts(function: Callable[P, object]) -> Callable[P, None]:
    """Wrap a function that garbage collection invokes, so that an interrupt in it is raised soon afterwards.

    Garbage collection may run in the middle of any call, and Python ignores the exceptions of finalizers and of
    ``__del__``: without this, an interrupt at that moment would be lost, and the cell would continue.

    Args:
        function: The function of a finalizer, or a ``__del__`` method.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            with suppress(RuntimeError):  # Python is exiting
                # Not a threading.Thread: starting one takes a lock that the interrupted code may hold.
                _thread.start_new_thread(_interrupt_soon, ())

    return run


def keep_weakly(references: dict[K, weakref.ref[V]], key: K, value: V) -> None:
    """Keep a weak reference to a value in a dictionary until the value is freed.

    A ``WeakValueDictionary`` or ``WeakSet`` runs Python code when a value is freed, and an interrupt that arrives just
    before would be raised, and ignored, in that code. Here, no Python code runs.

    Args:
        references: The dictionary.
        key: The key.
        value: The value.
    """
    references[key] = weakref.ref(value, partial(references.pop, key))


def _interrupt_soon() -> None:
    time.sleep(_PAUSE)
    if hasattr(signal, "pthread_kill"):  # also wakes the main thread if it is waiting
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
