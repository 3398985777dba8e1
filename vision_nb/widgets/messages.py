"""Widgets that receive messages from the page; a message can have any content."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anywidget

from vision_nb.checks.public_object import PublicWidget
from vision_nb.notebook.ipython import in_notebook
from vision_nb.rendering.sanitize import replace_surrogates


def how_to_use(cell: str, code: str) -> str:
    """Return what to do with a panel that is shown as text.

    Args:
        cell: What its cell is for, in a notebook.
        code: What does the same where no panel can be shown.
    """
    return f"run its cell to {cell}" if in_notebook() else f"a notebook shows the panel; here, use {code}"


class PageWidget(PublicWidget, anywidget.AnyWidget):
    """A widget that receives the page's messages on the thread that created the widget.

    With recent JupyterLab versions and ipykernel 7, messages arrive on another thread (a "subshell"), even while a
    cell is running. Handling them there could change the conversation in the middle of a statement of the cell, and
    would use asyncio tasks from a thread other than their own.

    Args:
        **traits: The initial values of traits.
    """

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._thread = threading.current_thread()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:  # outside a kernel, messages do not come from other threads
            self._loop = None
        self.on_msg(self._on_message)

    def _receive(self, message: dict[str, Any], buffers: list[Any]) -> None:
        """Handle a message from the page. Its texts can be encoded; apart from that, it can have any content.

        Args:
            message: The message.
            buffers: Its binary buffers.
        """
        raise NotImplementedError

    def call_soon(self, function: Callable[[], None]) -> None:
        """Call a function on the widget's event loop; without one, or when Python exits, do nothing.

        Args:
            function: The function. This method may be called on any thread.
        """
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(function)

    def set_state(self, sync_data: Any) -> None:
        """Ignore changes of traits by the page, which only displays them.

        Args:
            sync_data: The new values.
        """

    def _on_message(self, _: Any, message: Any, buffers: list[Any]) -> None:
        if not isinstance(message, dict):
            return
        message = {name: replace_surrogates(one) if isinstance(one, str) else one for name, one in message.items()}
        if self._loop is None or threading.current_thread() is self._thread:
            self._receive(message, buffers)
        else:
            self._loop.call_soon_threadsafe(self._receive, message, buffers)
