"""The tasks of Dask in which the workers of a cluster do a run's jobs.

A job is submitted when its result is wanted, so that nothing waits on the cluster. Several questions that are wanted at
the same moment are one task, because most of what a call costs is what a task costs. The worker sends each result to
this process in a message as soon as it has it, because a worker that dies takes along what it has.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from pickle import UnpicklingError
from typing import Any

from vision_nb.comparison import cluster_worker
from vision_nb.comparison.cluster_connection import lost_cluster, on_client
from vision_nb.comparison.cluster_messages import Order, Question, RunId, Work
from vision_nb.errors import ClusterError, VisionError
from vision_nb.images.document import ImageDocument
from vision_nb.images.worker_document import is_in_memory
from vision_nb.privacy.redaction import redact
from vision_nb.privacy.transfer import dumps_with_secrets
from vision_nb.user_warnings import to_thread

_MOST_QUESTIONS = 4  # in a task: more save little, and wait for each other's images
_MOST_BYTES = 5_000_000  # of images in tasks that are submitted together; Dask warns of more than 10 MB
_COUNT_SECONDS = 1.0  # between counts of the workers


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
class Job:
    """Some work whose result is wanted.

    Attributes:
        work: The work.
        images: The pickled images.
        has_secrets: Whether their addresses contain secrets, so that the worker requests them.
        key: Its key.
        messages: The worker's messages that are to be handled one after the other.
        result: The future of what the worker sends.
    """

    work: Work
    images: bytes
    has_secrets: bool
    key: str
    messages: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    result: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @classmethod
    async def of(cls, work: Work, images: Sequence[ImageDocument]) -> Job:
        """Return a job about some images."""
        if any(map(is_in_memory, images)):
            data, has_secrets = await to_thread(dumps_with_secrets, images)
        else:  # faster than a thread
            data, has_secrets = dumps_with_secrets(images)
        return cls(work, data, has_secrets, uuid.uuid4().hex)

    @property
    def order(self) -> Order:
        """What the worker is told."""
        return Order(self.key, self.work, None if self.has_secrets else self.images)


class ClusterTasks:
    """The jobs of a run, and the tasks that do them.

    Args:
        client: Dask's client.
        run: The run.
    """

    def __init__(self, client: Any, run: RunId) -> None:
        self._client, self._run = client, run
        self._connection = client.scheduler_comm
        self._jobs: dict[str, Job] = {}  # by key
        self._waiting: list[Job] = []  # to be submitted
        self._running: set[asyncio.Task[None]] = set()
        self._workers, self._counted = 1, float("-inf")

    def find(self, key: str) -> Job | None:
        """Return a job whose result is still wanted."""
        job = self._jobs.get(key)
        return None if job is None or job.result.done() else job

    async def result(self, job: Job) -> Any:
        """Do a job, and return its result.

        Args:
            job: The job.

        Raises:
            ClusterError: The job's workers died, or the cluster cannot be reached.
        """
        self._jobs[job.key] = job
        self._waiting.append(job)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._submit_waiting)
        try:
            return await job.result
        finally:
            del self._jobs[job.key]

    async def close(self) -> None:
        """Cancel the tasks that have not ended."""
        running = [*self._running]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for job in self._jobs.values():
            job.result.cancel()

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _submit_waiting(self) -> None:
        """Submit the jobs that are wanted at this moment."""
        waiting, self._waiting = [job for job in self._waiting if not job.result.done()], []
        for jobs in _of_a_kind(waiting):
            self._begin(self._submit(jobs))

    async def _submit(self, jobs: Sequence[Job]) -> None:
        """Submit jobs of the same kind."""
        try:
            submitted = await on_client(self._client, self._map(jobs))
        except VisionError as error:
            _fail(jobs, error)
        except Exception as error:  # the client is being closed
            _fail(jobs, lost_cluster(error))
        else:
            for group, future in submitted:
                self._begin(self._finish(group, future))

    async def _map(self, jobs: Sequence[Job]) -> list[tuple[Sequence[Job], Any]]:
        """Divide jobs into tasks, and return the jobs and the future of each. Runs on the client's event loop."""
        if self._client.status != "running" or self._client.scheduler_comm is not self._connection:
            # A new connection does not receive the workers' messages.
            raise lost_cluster(ConnectionError("the client is closed, or has connected again"))
        name, size, priority = "images", 1, 0
        if isinstance(jobs[0].work, Question):  # each worker gets some
            name, size, priority = "answers", min(_MOST_QUESTIONS, ceil(len(jobs) / await self._number_of_workers())), 1
        groups = [jobs[start : start + size] for start in range(0, len(jobs), size)]
        perform: Callable[..., Any] = cluster_worker.perform
        keys = [f"vision_nb-{name}-{uuid.uuid4().hex}" for _ in groups]
        orders = [[job.order for job in group] for group in groups]
        futures = self._client.map(perform, keys, orders, run=self._run, key=keys, pure=False, priority=priority)
        return [*zip(groups, futures, strict=True)]

    async def _number_of_workers(self) -> int:
        """Return the number of workers, which may be a second old. Runs on the client's event loop."""
        if time.monotonic() - self._counted > _COUNT_SECONDS:
            self._workers = max(1, len(await self._client.scheduler.ncores()))
            self._counted = time.monotonic()
        return self._workers

    async def _finish(self, jobs: Sequence[Job], future: Any) -> None:
        """Wait until a task has ended; jobs without a result get its error."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError, FuturesCancelledError

        try:
            await on_client(self._client, self._wait(future))
            failure: VisionError = ClusterError("A worker did not send its answers: run the cell again.")
        except KilledWorker as error:
            if len(jobs) > 1:  # perhaps one image kills the workers
                await self._one_by_one(jobs)
                return
            failure = ClusterError(
                f"Workers died while they worked on this image (attempts: {error.allowed_failures + 1}; the last "
                f"worker: {error.last_worker.address}): it may need more memory than they have."
            )
        except (FutureCancelledError, FuturesCancelledError, OSError) as error:
            failure = lost_cluster(error)
        except VisionError as error:
            failure = error
        except Exception as error:
            failure = _failed(error)
        _fail(jobs, failure)

    async def _one_by_one(self, jobs: Sequence[Job]) -> None:
        """Do jobs one after the other, so that each fails only by itself."""
        for job in jobs:
            if not job.result.done():
                await self._submit([job])
                await asyncio.wait([job.result])

    async def _wait(self, future: Any) -> None:
        """Wait until a task has ended, and raise its error. Runs on the client's event loop."""
        try:
            await future._state.wait()
            if future.status != "finished":
                await self._client.gather(future, asynchronous=True)
        finally:
            future.release()  # which cancels it, if it has not ended


def _fail(jobs: Sequence[Job], error: VisionError) -> None:
    """Give an error to the jobs that have no result."""
    for job in jobs:
        if not job.result.done():
            job.result.set_exception(error)


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


def _of_a_kind(jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
    """Yield jobs that can be submitted together."""
    begin = number_of_bytes = 0
    for place, job in enumerate(jobs):
        number_of_bytes += len(job.images)
        if place > begin and (type(job.work) is not type(jobs[begin].work) or number_of_bytes > _MOST_BYTES):
            yield jobs[begin:place]
            begin, number_of_bytes = place, len(job.images)
    if jobs:
        yield jobs[begin:]
