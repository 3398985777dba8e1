"""`Renderer`: a child process that renders pages of PDF documents and frames of videos."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from vision_nb.errors import (
    CorruptImageError,
    ImageError,
    ImageNotFoundError,
    ImageTooLargeError,
    UnsupportedImageError,
)
from vision_nb.images.containers import HEAD_BYTES, container_kind, video_format
from vision_nb.images.content import FileContent, ImageContent
from vision_nb.images.decode import Size
from vision_nb.images.formats import describe_data
from vision_nb.images.prepare import Prepared
from vision_nb.privacy.api_keys import Secret

MAX_SECONDS = 60.0
"""The longest time that the rendering of a page or frame may take."""

_INHERITED = re.compile(
    "PATH|HOME|USERPROFILE|LANG|LANGUAGE|LC_.*|TZ|TMPDIR|TEMP|TMP|SYSTEMROOT|SYSTEMDRIVE|WINDIR"
    "|LD_LIBRARY_PATH|DYLD_(?:FALLBACK_)?LIBRARY_PATH|__PYVENV_LAUNCHER__"
    "|PYTHON(?:HOME|PATH|PLATLIBDIR|USERBASE|NOUSERSITE|UTF8|IOENCODING|DONTWRITEBYTECODE|PYCACHEPREFIX)"
)
"""The environment variables that Python and the libraries of the child process need."""

_CHILD = Path(__file__).with_name("render_child.py")
_MAX_PIXELS = 1 << 31  # where Pillow's limit has been switched off
_NAMES = {"pdf": "PDF document", "video": "video"}
_PACKAGES = {"pdf": "pypdfium2", "video": "av"}


class Renderer:
    """A child process that renders pages and frames, one at a time.

    It starts with the first request. A request that takes too long or too much memory ends the process, and the next
    one starts another. It is thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._held: Any = None  # the fingerprint of the file in memory that the process holds

    def ask(
        self, content: ImageContent, kind: str, do: str, *, name: str, **request: Any
    ) -> tuple[dict[str, Any], bytes]:
        """Return an answer about a file: its fields and an image, or no bytes.

        Args:
            content: The file.
            kind: "pdf" or "video".
            do: "describe", "size" or "render".
            name: The name of the file or its part, for errors.
            **request: What else the child process needs to know.

        Raises:
            ImageError: The file cannot be found, read or rendered, or takes too long, or a package is missing.
        """
        check_package(kind, name)
        with content.open() as file:  # raises an error if it cannot be read
            head = file.read(HEAD_BYTES)
            is_file = isinstance(content, FileContent)
            path, data = (str(Path(file.name).absolute()), None) if is_file else (None, content.read())
        if container_kind(head) != kind:
            raise UnsupportedImageError(f"{name} is not a {_NAMES[kind]}: {describe_data(head)}.")
        request |= {"kind": kind, "do": do, "path": path, "format": video_format(head)}
        request |= {"max_pixels": _max_pixels(), "limit": MAX_SECONDS + 5}
        with self._lock:
            fields, image = self._exchange(request, data, content, name)
        if "failure" in fields:
            raise _error(fields["failure"], str(fields["details"]), kind, name)
        return fields, image

    def _exchange(
        self, request: dict[str, Any], data: bytes | None, content: ImageContent, name: str
    ) -> tuple[dict[str, Any], bytes]:
        held = None if data is None else content.fingerprint()
        process, started = self._running(), time.monotonic()
        timer = threading.Timer(MAX_SECONDS, process.kill)
        timer.daemon = True
        timer.start()
        try:
            is_new = data is not None and held != self._held
            answer = _answer(process, request, data if is_new else None)
            self._held = held if is_new else self._held
            return answer
        except (OSError, ValueError, KeyError, TypeError) as error:  # the process has ended
            self.close()
            if time.monotonic() - started >= MAX_SECONDS:
                raise ImageTooLargeError(
                    f"{name} takes more than {MAX_SECONDS:.0f} seconds to render: it may be damaged or made to block "
                    "programs. If you trust it, convert it to images with another program."
                ) from None
            raise CorruptImageError(
                f"{name} cannot be rendered: it needs more than 3 GB of memory, or is damaged. Convert it to images "
                "with another program."
            ) from error
        except BaseException:  # interrupted: the answer would be taken for that of the next request
            self.close()
            raise
        finally:
            timer.cancel()

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the process, started if necessary."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        # In its own process group, so that interrupting a cell does not reach it.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process, self._held = self._process, None, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        process.wait()


def _answer(
    process: subprocess.Popen[bytes], request: dict[str, Any], data: bytes | None
) -> tuple[dict[str, Any], bytes]:
    """Send a request to the process, with a file in memory if there is one, and return the answer."""
    assert process.stdin is not None and process.stdout is not None
    size = None if data is None else len(data)
    line = json.dumps({**request, "bytes": size}, default=Secret.reveal).encode()
    process.stdin.write(line + b"\n" + (data or b""))
    process.stdin.flush()
    fields = json.loads(process.stdout.readline())
    image = process.stdout.read(fields["bytes"])
    if len(image) < fields["bytes"]:
        raise ValueError("the image is incomplete")
    return fields, image


def _environment() -> dict[str, str]:
    """Return the environment of the child process: a damaged or hostile file must find no API key there."""
    return {name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name.upper())}


@lru_cache(maxsize=1)
def renderer() -> Renderer:
    """Return the renderer of this process."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renderer.cache_clear)  # a fork must not read its parent's answers
    made = Renderer()
    atexit.register(made.close)
    return made


def size_in(fields: Mapping[str, Any]) -> Size:
    """Return the width and height in the fields of an answer."""
    width, height = map(int, fields["size"])
    return width, height


def rendered(fields: Mapping[str, Any], data: bytes) -> Prepared:
    """Return the image in an answer."""
    size = size_in(fields)
    return Prepared(data, str(fields["type"]), size, original_size=size)


def check_package(kind: str, name: str) -> None:
    """Raise UnsupportedImageError if the package that reads PDF documents or videos is missing."""
    package = _PACKAGES[kind]
    try:
        is_installed = importlib.util.find_spec(package) is not None
    except ValueError:  # it has been replaced or blocked
        is_installed = package in sys.modules and sys.modules[package] is not None
    if not is_installed:
        other = "its pages as images" if kind == "pdf" else "its frames as images"
        raise UnsupportedImageError(
            f'{name} is a {_NAMES[kind]}: pip install "vision-nb[{kind}]" to read it, or pass {other}.'
        )


def _max_pixels() -> int:
    from PIL import Image

    return _MAX_PIXELS if Image.MAX_IMAGE_PIXELS is None else int(Image.MAX_IMAGE_PIXELS)


def _error(failure: str, details: str, kind: str, name: str) -> ImageError:
    said = f" ({details[:100]})" if details else ""
    what = _NAMES[kind]
    if failure == "password":
        return UnsupportedImageError(
            f"{name} is encrypted: pass the right password, as in load_images(..., password=...)."
        )
    if failure == "large":
        lower = "pass a lower dpi" if kind == "pdf" else "scale the video down first"
        return ImageTooLargeError(
            f"{name} would have {details}, more than the {_max_pixels():,} that are decoded: {lower}, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust the file."
        )
    if failure == "memory":
        return ImageTooLargeError(f"{name} needs more than 3 GB of memory: convert it to images with another program.")
    if failure == "missing":
        return ImageNotFoundError(f"There is no {name}{said}.")
    if failure == "unsupported":
        return UnsupportedImageError(f"{name} cannot be used{said}: pass another file.")
    return CorruptImageError(f"{name} is a damaged {what}{said}: save or download it again.")
