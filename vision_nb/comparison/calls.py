"""Where a run's images are read and its calls are made."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from vision_nb.comparison.grid import Grid
from vision_nb.errors import ImageError, VisionError
from vision_nb.images.decode import Size
from vision_nb.images.document import ImageDocument
from vision_nb.responses import Response
from vision_nb.store import Store
from vision_nb.user_warnings import submit, to_thread

MANY_CALLS = 100
"""The calls from which connections that need less processor time repay their import."""
_CLOCK_DIFFERENCE = 60.0
"""The seconds by which the clock of a file server may be behind ours."""


class Calls(ABC):
    """Reads the images of a run and makes its calls.

    A `Run` activates its budget and the model's gate around each call, and writes the answers to the store.
    """

    def running(self) -> AbstractAsyncContextManager[Any]:
        """Return the context in which calls are made; when it ends, so do they."""
        return nullcontext()

    def prepare(self, model: int, document: ImageDocument) -> Future[int] | None:
        """Begin to prepare an image ahead of a call, and return the future of its length in bytes.

        An error is not reported: the call has it again.

        Args:
            model: The model's index in the grid.
            document: The image.

        Returns:
            The future; None if the images are not prepared in this process.
        """
        return None

    @abstractmethod
    async def digests(self, documents: Sequence[ImageDocument]) -> Sequence[str | VisionError]:
        """Return the digest of each image, or the error that reading it raised.

        Args:
            documents: The images.

        Raises:
            ClusterError: The connection to the cluster was lost.
        """

    async def current_digest(self, document: ImageDocument) -> str | None:
        """Return the digest of an image whose file may have changed since `digests`; otherwise None.

        Args:
            document: The image.
        """
        return None

    @abstractmethod
    async def ask(self, model: int, prompt: str, document: ImageDocument) -> Response:
        """Ask a model about an image, as `MultiModalLLM.acomplete` does.

        Args:
            model: The model's index in the grid.
            prompt: The question.
            document: The image.
        """


class LocalCalls(Calls):
    """Reads the images and makes the calls in this process.

    Args:
        grid: The models, with the schema of the answers.
        store: Keeps the digests of files.
    """

    def __init__(self, grid: Grid, store: Store) -> None:
        self._grid, self._store = grid, store
        self._unchanged_before = time.time() - _CLOCK_DIFFERENCE
        self._executor: ThreadPoolExecutor | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Prepare images ahead of their calls in this context, and open its connections; see `Calls`."""
        self._executor = executor = ThreadPoolExecutor(os.cpu_count() or 1, "vision_nb images")
        try:
            async with AsyncExitStack() as stack:
                if len(self._grid) >= MANY_CALLS:
                    for model in self._grid.models:
                        await stack.enter_async_context(model.for_many_calls())
                yield
        finally:
            self._executor = None
            executor.shutdown(wait=False, cancel_futures=True)

    def prepare(self, model: int, document: ImageDocument) -> Future[int] | None:
        """Begin to prepare an image, which then waits in the cache of prepared images; see `Calls`."""
        return None if self._executor is None else submit(self._executor, self._prepare, model, document)

    def _prepare(self, model: int, document: ImageDocument) -> int:
        prepared = self._grid.models[model].outgoing(document)
        return 0 if prepared is None else len(prepared.data)

    async def digests(self, documents: Sequence[ImageDocument]) -> Sequence[str | VisionError]:
        """Return the digest of each image, or the error that reading it raised; see `Calls`."""
        return await to_thread(self._store.digests, documents)

    async def current_digest(self, document: ImageDocument) -> str | None:
        """Return the digest of an image in a file that has changed and can be read; otherwise None. See `Calls`."""
        if not _may_have_changed(document, self._unchanged_before):
            return None
        (digest,) = await self.digests([document])
        return None if isinstance(digest, VisionError) else digest

    async def ask(self, model: int, prompt: str, document: ImageDocument) -> Response:
        """Ask a model about an image; see `Calls`."""
        grid, llm = self._grid, self._grid.models[model]
        return await llm.acomplete(prompt, [document], schema=grid.schema, max_repairs=grid.max_repairs)


def _may_have_changed(document: ImageDocument, since: float) -> bool:
    """Return whether an image is in a file that may have been written or replaced since a time.

    Args:
        document: The image.
        since: The time, in seconds since 1970.
    """
    if document.part_of is not None:
        return True
    if document.image_path is None:
        return False
    try:
        state = Path(document.image_path).stat()
    except (OSError, ValueError):
        return True
    return max(state.st_mtime, state.st_ctime) >= since  # a copy can keep the first, not the second


def size_of(document: ImageDocument) -> Size | VisionError:
    """Return an image's size, or the error that reading it raised; only a file without an end marker is decoded.

    Args:
        document: The image.
    """
    try:
        document.check_end()
        return document.size
    except ImageError as error:
        return error
