"""Script of the child process: run llama.cpp's server until the parent process ends.

It is run as a script, imports nothing from vision_nb, and its standard input is a pipe to which nothing is written.
The pipe closes when the parent ends for any reason, including SIGKILL.
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
_POLL_INTERVAL = 1.0  # seconds


def watch(parent: int) -> NoReturn:
    """End this process when its standard input closes or its parent has changed."""
    while True:
        if sys.platform == "win32":  # select does not support pipes there; read returns when the pipe closes
            readable = True
        else:
            readable = bool(select.select([0], [], [], _POLL_INTERVAL)[0])
        if (readable and not os.read(0, 1)) or os.getppid() != parent:
            os._exit(0)


def clear_settings() -> None:
    """Remove environment variables that the server would read as options, such as PORT, HOST or API_KEY."""
    from llama_cpp.server.settings import ConfigFileSettings, ModelSettings, ServerSettings

    names = {name for kind in (ServerSettings, ModelSettings, ConfigFileSettings) for name in kind.model_fields}
    for variable in list(os.environ):
        if variable.lower() in {*names, "config_file"}:
            del os.environ[variable]


class RefuseWebPages:
    """ASGI middleware that rejects requests from web pages; replaces the server's CORS middleware.

    A browser sends the origin of the page in the header Origin, which no other client does.

    Args:
        inner: The server.
        **settings: The settings of the CORS middleware; ignored.
    """

    def __init__(self, inner: Application, **settings: Any) -> None:
        self._inner = inner

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Answer a page's request with 403, and pass on all others."""
        if scope["type"] == "http" and any(name == b"origin" for name, _ in scope["headers"]):
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"Requests from web pages are not allowed."})
        else:
            await self._inner(scope, receive, send)


def refuse_web_pages() -> None:
    """Make the server reject web pages: it would answer any of them, and open file:// URLs for them."""
    from llama_cpp.server import app

    # A name that the module imports; any ASGI middleware can replace it.
    app.CORSMiddleware = RefuseWebPages  # type: ignore[attr-defined, assignment, unused-ignore]


if __name__ == "__main__":
    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()
    module = sys.argv.pop(1)
    clear_settings()
    refuse_web_pages()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
