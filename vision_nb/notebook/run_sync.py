"""Running a coroutine from synchronous code, even inside a running event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to completion and return its result.

    Without a running event loop, a new one is used. In a notebook, the kernel's running loop is patched so that it
    can be run again. If it cannot be patched (uvloop), a new loop is run in a thread.

    An interrupt cancels the coroutine, waits until it has cleaned up, and is raised again.
    """
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    if isinstance(running, asyncio.BaseEventLoop):
        return _run_nested(running, coroutine)
    return _run_in_thread(coroutine)


def _run_nested(running: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    import nest_asyncio2

    nest_asyncio2.apply(running)
    task = running.create_task(coroutine)
    try:
        return running.run_until_complete(task)
    except KeyboardInterrupt:
        task.cancel()
        with suppress(asyncio.CancelledError):
            running.run_until_complete(task)
        raise


def _run_in_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []
    loop = asyncio.new_event_loop()
    task = loop.create_task(coroutine)
    finished = threading.Event()  # after an interrupt, Thread.join() returns at once in Python 3.11 and 3.12

    def run() -> None:
        try:
            results.append(loop.run_until_complete(task))
        except BaseException as error:  # raised again in the caller's thread
            errors.append(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
            finished.set()

    try:
        threading.Thread(target=run, name="vision_nb run_sync", daemon=True).start()
        finished.wait()
    except KeyboardInterrupt:
        with suppress(RuntimeError):  # the loop may have just been closed
            loop.call_soon_threadsafe(task.cancel)
        finished.wait()
        raise
    if errors:
        raise errors[0]
    return results[0]
