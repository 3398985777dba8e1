"""Messages from a widget's page."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anywidget


def on_page_message(widget: anywidget.AnyWidget, handle: Callable[[dict[str, Any], list[Any]], None]) -> None:
    """Call a function with each message from a widget's page, on the thread that created the widget.

    With recent JupyterLab versions and ipykernel 7, messages arrive on another thread (a "subshell"), even while a
    cell is running. Handling them there could change the conversation in the middle of a statement of the cell, and
    would use asyncio tasks from a thread other than their own.

    Args:
        widget: The widget, created on the current thread.
        handle: Called with the message and its binary buffers.
    """
    thread = threading.current_thread()
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # outside a kernel, messages do not come from other threads
        loop = None

    def receive(_: Any, message: Any, buffers: list[Any]) -> None:
        if not isinstance(message, dict):
            return
        if loop is None or threading.current_thread() is thread:
            handle(message, buffers)
        else:
            loop.call_soon_threadsafe(handle, message, buffers)

    widget.on_msg(receive)
