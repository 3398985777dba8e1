"""Interrupts during garbage collection, in which Python ignores every exception."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import ParamSpec

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


def _interrupt_soon() -> None:
    time.sleep(_PAUSE)
    if hasattr(signal, "pthread_kill"):  # also wakes the main thread if it is waiting
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()
