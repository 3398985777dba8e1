"""Where a run's images are read and its calls are made."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any

from vision_nb.comparison.grid import Grid
from vision_nb.errors import ImageChangedError, ImageError, VisionError
from vision_nb.images.decode import Size
from vision_nb.images.document import ImageDocument
from vision_nb.providers.outgoing_image import ReadyImage
from vision_nb.providers.request_process import RequestProcess
from vision_nb.responses import Response
from vision_nb.store import Store
from vision_nb.user_warnings import submit, to_thread

MANY_CALLS = 100
"""The calls from which connections that need less processor time repay their import."""
_THREADS = 4 + (os.cpu_count() or 1)
"""The images that are prepared at the same time: some of them are being downloaded, or read from a slow disk."""
_MAX_CHANGES = 10
"""The times that an image is prepared anew because its file has changed meanwhile."""


class Calls(ABC):
    """Reads the images of a run and makes its calls.

    A `Run` activates its budget and the model's gate around each call, and writes the answers to the store.
    """

    def running(self) -> AbstractAsyncContextManager[Any]:
        """Return the context in which calls are made; when it ends, so do they."""
        return nullcontext()

    def prepare(self, model: int, document: ImageDocument) -> Future[ReadyImage] | None:
        """Begin to prepare an image for a call.

        Args:
            model: The model's index in the grid.
            document: The image.

        Returns:
            The future of the image for `ask`; None if the images are not prepared in this process.
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

    @abstractmethod
    async def ask(self, model: int, prompt: str, image: ImageDocument) -> Response:
        """Ask a model about an image, as `MultiModalLLM.acomplete` does.

        Args:
            model: The model's index in the grid.
            prompt: The question.
            image: The image; a `ReadyImage` if it was prepared for the model.
        """


class LocalCalls(Calls):
    """Reads the images and makes the calls in this process.

    Args:
        grid: The models, with the schema of the answers.
        store: Keeps the digests of files.
    """

    def __init__(self, grid: Grid, store: Store) -> None:
        self._grid, self._store = grid, store
        self._executor: ThreadPoolExecutor | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Prepare images ahead of their calls in this context, and open its connections; see `Calls`."""
        self._executor = executor = ThreadPoolExecutor(_THREADS, "vision_nb images")
        try:
            async with AsyncExitStack() as stack:
                if len(self._grid) >= MANY_CALLS:
                    models = self._grid.models
                    many = [llm for llm in models if await stack.enter_async_context(llm.for_many_calls())]
                    many = [llm for llm in many if not llm.is_demo]  # whose server is in this process
                    await stack.enter_async_context(RequestProcess(many).running())
                yield
        finally:
            self._executor = None
            executor.shutdown(wait=False, cancel_futures=True)

    def prepare(self, model: int, document: ImageDocument) -> Future[ReadyImage] | None:
        """Begin to prepare an image, and find the digest of just what is sent; see `Calls`."""
        return None if self._executor is None else submit(self._executor, self._prepare, model, document)

    def _prepare(self, model: int, document: ImageDocument) -> ReadyImage:
        digest = self._store.file_digest(document)
        for _ in range(_MAX_CHANGES):
            outgoing, before = self._grid.models[model].outgoing(document), digest
            digest = self._store.file_digest(document)
            if digest == before:
                return ReadyImage.from_outgoing(outgoing, digest)
        raise ImageChangedError(
            f"{document.title:.80} changes each time it is read: run the cell again when it is complete."
        )

    async def digests(self, documents: Sequence[ImageDocument]) -> Sequence[str | VisionError]:
        """Return the digest of each image, or the error that reading it raised; see `Calls`."""
        return await to_thread(self._store.digests, documents)

    async def ask(self, model: int, prompt: str, image: ImageDocument) -> Response:
        """Ask a model about an image; see `Calls`."""
        grid, llm = self._grid, self._grid.models[model]
        return await llm.acomplete(prompt, image, schema=grid.schema, max_repairs=grid.max_repairs)


def image_changed(document: ImageDocument) -> ImageChangedError:
    """Return the error that an image is not the one that was looked up.

    Args:
        document: The image.
    """
    return ImageChangedError(
        f"{document.title:.80} changed during the run, so the question was not sent: run the cell again."
    )


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
