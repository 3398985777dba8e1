"""The tasks of Dask in which the workers of a cluster do a run's work.

A task is submitted when its result is wanted, so that nothing waits on the cluster; several that are wanted at the same
moment are submitted together. The worker sends the result to this process in a message as soon as it has it, because a
worker that dies takes along what it has.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pickle import UnpicklingError
from typing import Any

from vision_nb.comparison import cluster_worker
from vision_nb.comparison.cluster_connection import lost_cluster, on_client
from vision_nb.comparison.cluster_messages import Question, RunId, Work
from vision_nb.errors import ClusterError, VisionError
from vision_nb.images.document import ImageDocument
from vision_nb.images.worker_document import is_in_memory
from vision_nb.privacy.redaction import redact
from vision_nb.privacy.transfer import dumps_with_secrets
from vision_nb.storage.claims import finish
from vision_nb.user_warnings import to_thread

_MOST_BYTES = 5_000_000  # of images in tasks that are submitted together; Dask warns of more than 10 MB


@dataclass(frozen=True)
class Message:
    """A worker's message about a task.

    Attributes:
        kind: What it is about.
        reply: The ID of the reply that is expected, or "".
        data: More about it.
        worker: The worker's address.
        session: The ID of the worker's session.
    """

    kind: str
    reply: str
    data: Any
    worker: str
    session: str


@dataclass(eq=False)
class Task:
    """A task.

    Attributes:
        work: What it does.
        images: The pickled images.
        has_secrets: Whether their addresses contain secrets, so that the worker requests them.
        key: Its key.
        messages: The worker's messages that are to be handled one after the other.
        result: What the worker has sent.
        future: Dask's future; None before it is submitted.
    """

    work: Work
    images: bytes
    has_secrets: bool
    key: str
    messages: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    result: Any = None
    future: Any = None

    @classmethod
    async def of(cls, work: Work, images: Sequence[ImageDocument]) -> Task:
        """Return a task for some images."""
        name = "answer" if isinstance(work, Question) else "images"
        if any(map(is_in_memory, images)):
            data, has_secrets = await to_thread(dumps_with_secrets, images)
        else:  # faster than a thread
            data, has_secrets = dumps_with_secrets(images)
        return cls(work, data, has_secrets, f"vision_nb-{name}-{uuid.uuid4().hex}")


class ClusterTasks:
    """The tasks of a run.

    Args:
        client: Dask's client.
        run: The run.
    """

    def __init__(self, client: Any, run: RunId) -> None:
        self._client, self._run = client, run
        self._connection = client.scheduler_comm
        self._tasks: dict[str, Task] = {}  # by key
        self._waiting: dict[Task, asyncio.Future[None]] = {}  # to be submitted: futures of the client's event loop

    def find(self, key: str) -> Task | None:
        """Return a task that has not ended."""
        return self._tasks.get(key)

    async def result(self, task: Task) -> Any:
        """Run a task, and return its result.

        Args:
            task: The task.

        Raises:
            ClusterError: The task's workers died, or the cluster cannot be reached.
        """
        self._tasks[task.key] = task
        running = asyncio.ensure_future(on_client(self._client, self._execute(task)))
        try:
            await asyncio.shield(running)
        except ClusterError:
            if task.result is None:  # otherwise, the cluster was lost after it had arrived
                raise
        except asyncio.CancelledError:
            await finish(self._abandon(task, running))
            raise
        finally:
            del self._tasks[task.key]
        return task.result

    async def _abandon(self, task: Task, running: asyncio.Future[None]) -> None:
        """Cancel a task, and wait until `_execute` has ended, which then happens by itself."""

        async def cancel() -> None:  # on the client's event loop, and so after `_execute` has begun
            if (submitted := self._waiting.pop(task, None)) is not None:
                submitted.cancel()
            elif task.future is not None:
                await self._client.cancel([task.future], asynchronous=True)

        await asyncio.sleep(0)  # `running` may not have begun
        with suppress(ClusterError):
            await on_client(self._client, cancel())
        await asyncio.gather(running, return_exceptions=True)

    async def _execute(self, task: Task) -> None:
        """Run a task; see `result`. Runs on the client's event loop."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError, FuturesCancelledError

        if self._client.status != "running" or self._client.scheduler_comm is not self._connection:
            # A new connection does not receive the workers' messages.
            raise lost_cluster(ConnectionError("the client is closed, or has connected again"))
        loop = asyncio.get_running_loop()
        submitted = self._waiting[task] = loop.create_future()
        if len(self._waiting) == 1:
            loop.call_soon(self._submit)
        try:
            await submitted
            await task.future._state.wait()  # the result has arrived before, in a message
            if task.future.status != "finished":
                await self._client.gather(task.future, asynchronous=True)  # raises the error
        except KilledWorker as error:
            raise ClusterError(
                f"Workers died while they worked on this image (attempts: {error.allowed_failures + 1}; the last "
                f"worker: {error.last_worker.address}): it may need more memory than they have."
            ) from None
        except (FutureCancelledError, FuturesCancelledError, OSError) as error:
            raise lost_cluster(error) from None
        except VisionError:
            raise
        except Exception as error:
            if self._client.status != "running":
                raise lost_cluster(error) from None
            raise _failed(error) from None
        finally:
            if task.future is not None:
                task.future.release()

    def _submit(self) -> None:
        """Submit the tasks that wait. Runs on the client's event loop."""
        while self._waiting:
            tasks = _first_of_a_kind(self._waiting)
            submitted = [self._waiting.pop(task) for task in tasks]
            perform: Callable[..., Any] = cluster_worker.perform
            try:
                futures = self._client.map(
                    perform,
                    [task.key for task in tasks],
                    [task.work for task in tasks],
                    [None if task.has_secrets else task.images for task in tasks],
                    run=self._run,
                    key=[task.key for task in tasks],
                    pure=False,
                    priority=1 if isinstance(tasks[0].work, Question) else 0,
                )
            except Exception as error:  # the client is being closed
                for one in submitted:
                    one.set_exception(error)
                continue
            for task, one, future in zip(tasks, submitted, futures, strict=True):
                task.future = future
                one.set_result(None)


def _failed(error: Exception) -> ClusterError:
    """Return the error for a task that the scheduler or a worker could not load, or that failed."""
    cause = error.__cause__ or error  # Dask's own words only say that it could not be loaded
    if isinstance(cause, (ImportError, AttributeError, UnpicklingError)):
        said = redact(f"{type(cause).__name__}: {cause}")
        return ClusterError(
            f"The Dask scheduler or a worker cannot load vision_nb ({said:.120}): install the same version on all."
        )
    said = redact(f"{type(error).__name__}: {error}")
    return ClusterError(f"A worker failed ({said:.120}): run the cell again, and see its log if this repeats.")


def _first_of_a_kind(waiting: dict[Task, asyncio.Future[None]]) -> list[Task]:
    """Return the tasks that can be submitted together with the first one."""
    tasks: list[Task] = []
    number_of_bytes = 0
    for task in waiting:
        number_of_bytes += len(task.images)
        if tasks and (type(task.work) is not type(tasks[0].work) or number_of_bytes > _MOST_BYTES):
            break
        tasks.append(task)
    return tasks
