"""Runs in the child process: llama.cpp's server, which ends when the process that started it does.

It is started as a file of its own, imports nothing of vision_nb, and its standard input is a pipe that nobody writes
to. The pipe closes when the parent ends, however that happens: by itself, by SIGKILL, or by the operating system.
"""

from __future__ import annotations

import os
import runpy
import select
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

Application = Callable[..., Awaitable[None]]
_LOOK_EVERY = 1.0  # seconds


def watch(parent: int) -> NoReturn:
    """End this process when the pipe on its standard input closes, or its parent is another one."""
    while True:
        if sys.platform == "win32":  # select takes no pipe there; the read returns when the pipe closes
            readable = True
        else:
            readable = bool(select.select([0], [], [], _LOOK_EVERY)[0])
        if (readable and not os.read(0, 1)) or os.getppid() != parent:
            os._exit(0)


def forget_settings() -> None:
    """Drop environment variables that the server would take for its options, such as PORT, HOST or API_KEY."""
    from llama_cpp.server.settings import ConfigFileSettings, ModelSettings, ServerSettings

    names = {name for kind in (ServerSettings, ModelSettings, ConfigFileSettings) for name in kind.model_fields}
    for variable in list(os.environ):
        if variable.lower() in {*names, "config_file"}:
            del os.environ[variable]


class NoWebPages:
    """Stands where the server would allow every web page to ask it: none may, as none of ours does.

    A browser names the page that asks in the header Origin, which no other client sends.

    Args:
        inner: The server.
        **settings: What the server allows pages; none of it is taken over.
    """

    def __init__(self, inner: Application, **settings: Any) -> None:
        self._inner = inner

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Answer a page's request with 403, and pass all others on."""
        if scope["type"] == "http" and any(name == b"origin" for name, _ in scope["headers"]):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"no web page may ask"})
        else:
            await self._inner(scope, receive, send)


def refuse_browsers() -> None:
    """Have the server refuse web pages: it would answer any of them, and open file:// addresses for it."""
    from llama_cpp.server import app

    # The name is the module's own import, and any ASGI middleware does in its place.
    app.CORSMiddleware = NoWebPages  # type: ignore[attr-defined, assignment, unused-ignore]


if __name__ == "__main__":
    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()
    module = sys.argv.pop(1)
    forget_settings()
    refuse_browsers()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
