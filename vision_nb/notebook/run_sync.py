"""Asynchronous work from a synchronous call, whether or not an event loop is already running."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


def run_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and give its result.

    With no loop running, it gets one. In a notebook the kernel's loop is running, and is patched to run
    nested work. A loop that cannot be patched (uvloop) is left alone: the work gets a loop in a thread.

    An interrupt cancels the work, lets it clean up, and is raised again.
    """
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    if isinstance(running, asyncio.BaseEventLoop):
        return _run_nested(running, work)
    return _run_in_thread(work)


def _run_nested(running: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    import nest_asyncio2

    nest_asyncio2.apply(running)
    task = running.create_task(work)
    try:
        return running.run_until_complete(task)
    except KeyboardInterrupt:
        task.cancel()
        with suppress(asyncio.CancelledError):
            running.run_until_complete(task)
        raise


def _run_in_thread(work: Coroutine[Any, Any, T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)

    def run() -> None:
        try:
            results.append(loop.run_until_complete(task))
        except BaseException as error:  # handed over to the caller's thread
            errors.append(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    thread = threading.Thread(target=run, name="vision_nb work", daemon=True)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        with suppress(RuntimeError):  # the loop may have closed in this moment
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
        raise
    if errors:
        raise errors[0]
    return results[0]
