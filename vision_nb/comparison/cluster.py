"""Calls that are made by the workers of a Dask cluster.

Budgets, ledger, rate limits and store stay in this process: a worker asks before it sends a request.
"""

from __future__ import annotations

import asyncio
import pickle
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from vision_nb.comparison.calls import Calls, LocalCalls, size_of
from vision_nb.comparison.cluster_connection import check_workers, connect_client, forget_events, on_client, versions
from vision_nb.comparison.cluster_messages import (
    REPLY,
    Inspection,
    Measurement,
    Outcome,
    Question,
    Reservation,
    RunId,
    Settlement,
    Setup,
    portable_error,
)
from vision_nb.comparison.cluster_tasks import ClusterTasks, Job, Message
from vision_nb.comparison.grid import Grid
from vision_nb.cost.accounting import CallAccounting
from vision_nb.cost.request_gate import aadmit_again, active_gate, note_sent, take_note
from vision_nb.errors import ClusterError, SettingsError, VisionError
from vision_nb.images.decode import Size
from vision_nb.images.document import ImageDocument
from vision_nb.images.worker_document import file_of, is_in_memory, worker_document
from vision_nb.privacy.redaction import redact
from vision_nb.privacy.transfer import dumps_with_secrets
from vision_nb.providers.base import MultiModalLLM
from vision_nb.responses import CompletionResponse, Response, Usage
from vision_nb.storage.claims import finish
from vision_nb.storage.image_digests import KnownFile, part_digest
from vision_nb.store import Store
from vision_nb.user_warnings import to_thread

T = TypeVar("T")
_Reader: TypeAlias = Callable[[Sequence[ImageDocument]], Awaitable[Sequence[T | VisionError]]]

_IN_A_TASK = 20  # images whose digests or sizes are read
_END_SECONDS = 10.0  # to tell the workers that the run has ended
_DELIVERIES = 10  # attempts to send a reply to a worker that is part of the cluster
_DELIVERY_PAUSE = 1.0  # seconds between them
_MOST_EVENTS = 200  # on the scheduler, which otherwise keeps the last 1,000, with the answers in them


_runs: WeakValueDictionary[str, ClusterCalls] = WeakValueDictionary()


class ClusterCalls(Calls):
    """Reads the images and makes the calls on the workers of a cluster.

    Args:
        cluster: A ``dask.distributed.Client``, a cluster object, or the scheduler's address.
        grid: The models, with the schema of the answers.
        store: Keeps the digests of files.
    """

    def __init__(self, cluster: Any, grid: Grid, store: Store) -> None:
        self._cluster, self._grid, self._store = cluster, grid, store
        self._local = LocalCalls(grid, store)
        self._run_id = uuid.uuid4().hex
        self._outboxes: dict[str, list[tuple[str, Any]]] = {}  # by worker: replies to send
        self._sending: dict[str, asyncio.Task[None]] = {}  # by worker
        self._workers: set[str] = set()
        self._events = 0
        self._forgetting: asyncio.Task[None] | None = None
        self._setup = b""
        self._known: dict[ImageDocument, KnownFile] = {}  # the files that were looked up

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect to the cluster, and check its workers; at the end, cancel all calls.

        Raises:
            ClusterError: Dask is not installed, the scheduler cannot be reached, or the workers have other versions.
            SettingsError: This is not a cluster, or a model cannot be sent to the workers.
        """
        self._loop = asyncio.get_running_loop()
        self._client, is_own = await connect_client(self._cluster)
        self._topic = f"vision_nb-{self._client.id}"
        self._tasks = ClusterTasks(self._client, RunId(self._run_id, self._topic, versions()))
        try:
            self._setup = await to_thread(self._pickled_setup)
            await to_thread(lambda: [llm.price(Usage(1, 1)) for llm in self._grid.models])  # loads the price list
            await check_workers(self._client, self._grid.models)
            _runs[self._run_id] = self
            self._client.subscribe_topic(self._topic, _receive)
            yield
        finally:
            _runs.pop(self._run_id, None)
            await finish(self._end(is_own))

    def _pickled_setup(self) -> bytes:
        try:
            return dumps_with_secrets(Setup.of(self._grid))[0]
        except VisionError:
            raise
        except Exception as error:
            raise SettingsError(
                f"The models or the schema cannot be sent to the workers ({type(error).__name__}: {error!s:.100}): "
                "omit what cannot be pickled, or cluster=."
            ) from error

    async def _end(self, is_own: bool) -> None:
        tasks = [*self._sending.values(), *([] if self._forgetting is None else [self._forgetting])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self._tasks.close(), return_exceptions=True)
        self._setup = b""
        with suppress(OSError, ClusterError):
            async with asyncio.timeout(_END_SECONDS):
                await on_client(self._client, self._end_sessions())
        if is_own:
            with suppress(OSError):  # it takes too long to close
                await to_thread(self._client.close)

    async def _end_sessions(self) -> None:
        """End the run on the workers. Runs on the client's event loop."""
        if self._client.status == "running":
            alive = self._workers & set(await self._client.scheduler.ncores())
            await self._broadcast(None, sorted(alive))
            await forget_events(self._client, self._topic)

    async def digests(self, documents: Sequence[ImageDocument]) -> Sequence[str | VisionError]:
        """Return the digest of each image, read on the workers, or the error; see `Calls`.

        Raises:
            ClusterError: The connection to the cluster was lost.
        """
        parts = {document: file_of(document) for document in documents}
        files = [document for document in documents if _is_on_workers(parts[document][0])]
        others = [document for document in documents if not _is_on_workers(parts[document][0])]
        results = dict(zip(others, await self._local.digests(others), strict=True))
        read = await self._in_batches(self._digests, [parts[document][0] for document in files])
        for document, digest in zip(files, read, strict=True):
            results[document] = digest if isinstance(digest, VisionError) else part_digest(digest, parts[document][1])
        return [results[document] for document in documents]

    async def sizes(self, documents: Sequence[ImageDocument]) -> Sequence[Size | VisionError]:
        """Return the size of each image, read from its header on the workers, or the error that reading it raised.

        Args:
            documents: The images.

        Raises:
            ClusterError: The connection to the cluster was lost.
        """
        files = [document for document in documents if _is_on_workers(file_of(document)[0])]
        others = [document for document in documents if not _is_on_workers(file_of(document)[0])]
        results = dict(zip(others, await to_thread(lambda: [*map(size_of, others)]), strict=True))
        results.update(zip(files, await self._in_batches(self._sizes, files), strict=True))
        return [results[document] for document in documents]

    async def _in_batches(self, read: _Reader[T], documents: Sequence[ImageDocument]) -> list[T | VisionError]:
        """Read images on the workers, several in a task."""
        starts = range(0, len(documents), _IN_A_TASK)
        batches = [self._each(read, documents[start : start + _IN_A_TASK]) for start in starts]
        return [result for batch in await asyncio.gather(*batches) for result in batch]

    async def _each(self, read: _Reader[T], documents: Sequence[ImageDocument]) -> Sequence[T | VisionError]:
        """Read images on a worker, and return an error for those that cannot be read."""
        try:
            return await read(documents)
        except ClusterError as error:
            if error.is_lost:
                raise
            if len(documents) == 1:
                return [error]
            return [(await self._each(read, [document]))[0] for document in documents]  # perhaps one kills a worker
        except VisionError as error:
            return [error] * len(documents)

    async def _sizes(self, documents: Sequence[ImageDocument]) -> Sequence[Size | VisionError]:
        job = await Job.of(Measurement(), [worker_document(document) for document in documents])
        found: Sequence[Size | VisionError] = await self._tasks.result(job)
        return found

    async def _digests(self, files: Sequence[ImageDocument]) -> Sequence[str | VisionError]:
        """Return the digests of some files, and keep them in the store."""
        known = await to_thread(self._store.file_versions, files)
        job = await Job.of(Inspection(known), [worker_document(file) for file in files])
        found: Sequence[KnownFile | VisionError] = await self._tasks.result(job)
        read = {file: one for file, one in zip(files, found, strict=True) if not isinstance(one, VisionError)}
        await to_thread(self._store.put_file_versions, read)
        self._known.update(read)
        return [one if isinstance(one, VisionError) else one[2] for one in found]

    async def ask(self, model: int, prompt: str, image: ImageDocument) -> Response:
        """Ask a model about an image on a worker; see `Calls`."""
        llm = self._grid.models[model]
        question = Question(model, prompt, self._known.get(file_of(image)[0]))
        job = await Job.of(question, [worker_document(image)])
        accounts = _Accounts(llm)
        serving = asyncio.create_task(self._serve(job, accounts))
        try:
            outcome: Outcome = await self._tasks.result(job)
            accounts.settle(outcome.settlements)
        finally:
            serving.cancel()
            try:
                await asyncio.gather(serving, return_exceptions=True)
            finally:  # another interrupt has canceled it again
                accounts.settle(())
        if outcome.error is not None:
            if outcome.error.response is not None:
                outcome.error.response = self._restored(outcome.error.response, llm, image)
            raise outcome.error
        assert outcome.response is not None
        response, schema = self._restored(outcome.response, llm, image), self._grid.schema
        return response if schema is None else replace(response, parsed=schema.parse(response.text))

    def _restored(self, response: Response, llm: MultiModalLLM, document: ImageDocument) -> Response:
        """Return a response with what `portable` left out."""
        return replace(response.priced_by(llm.pricing), images=(document,), schema=self._grid.schema)

    async def _broadcast(self, replies: bytes | None, workers: Sequence[str]) -> set[str]:
        """Send a message to workers, and return those that have received it. Runs on the client's event loop."""
        message = {"op": REPLY, "run": self._run_id, "replies": replies}
        return {*await self._client.scheduler.broadcast(msg=message, workers=workers, on_error="ignore")}

    async def _deliver(self, replies: bytes, worker: str) -> None:
        """Send replies to a worker, which takes each once, until it has them or has gone. See `_broadcast`."""
        for _ in range(_DELIVERIES):
            if worker in await self._broadcast(replies, [worker]):
                return
            if worker not in await self._client.scheduler.ncores():
                return  # its calls are repeated elsewhere
            await asyncio.sleep(_DELIVERY_PAUSE)

    async def _serve(self, job: Job, accounts: _Accounts) -> None:
        """Answer the requests of a call one after the other, in the context of its row."""
        session, handling = "", asyncio.create_task(asyncio.sleep(0))
        try:
            while True:
                message = await job.messages.get()
                if message.session != session:
                    handling.cancel()  # its worker has died: the call begins again
                await asyncio.gather(handling, return_exceptions=True)
                session, handling = message.session, asyncio.create_task(self._handle(message, accounts))
        finally:
            handling.cancel()
            await asyncio.gather(handling, return_exceptions=True)

    async def _handle(self, message: Message, accounts: _Accounts) -> None:
        """Answer a request of a call."""
        gate = active_gate.get()
        if message.kind in ("sent", "reports"):
            take_note(gate, message.kind, message.data)
        else:
            reply: Any
            try:
                await (accounts.reserve(message.data) if message.kind == "reserve" else aadmit_again())
                note_sent()  # the worker's own message, which is more exact, may be lost
                reply = gate is not None and gate.is_limited
            except VisionError as error:
                reply = portable_error(error)
            except Exception as error:  # the worker must not wait for ever
                reply = ClusterError(f"The call could not be made ({redact(f'{type(error).__name__}: {error}'):.160}).")
            self._reply(message, reply)

    def receive(self, event: dict[str, Any]) -> None:
        """Take a worker's messages."""
        self._workers.add(event["worker"])
        self._events += 1
        if self._events % _MOST_EVENTS == 0 and (self._forgetting is None or self._forgetting.done()):
            self._forgetting = asyncio.create_task(self._forget_events())
        for kind, key, reply, data in pickle.loads(event["messages"]):
            message = Message(kind, reply, pickle.loads(data), event["worker"], event["session"])
            job = self._tasks.find(key)
            if kind == "setup":
                self._reply(message, self._setup)
            elif job is None:  # Dask repeats a task whose worker died before it ended
                if reply:
                    self._reply(message, ClusterError("The call has ended."))
            elif kind == "images":
                self._reply(message, job.images)
            elif kind == "result":
                job.result.set_result(message.data)
            else:
                job.messages.put_nowait(message)

    async def _forget_events(self) -> None:
        with suppress(OSError, ClusterError):  # the cluster is lost
            await on_client(self._client, forget_events(self._client, self._topic))

    def _reply(self, message: Message, reply: Any) -> None:
        """Send a reply, together with others to the same worker."""
        worker = message.worker
        self._outboxes.setdefault(worker, []).append((message.reply, reply))
        if worker not in self._sending:
            self._sending[worker] = asyncio.create_task(self._send(worker))

    async def _send(self, worker: str) -> None:
        try:
            while replies := self._outboxes.pop(worker, None):
                with suppress(OSError, ClusterError):  # the cluster is lost
                    await on_client(self._client, self._deliver(pickle.dumps(replies), worker))
        finally:
            del self._sending[worker]


class _Accounts:
    """The accounting of a call's requests.

    Args:
        llm: The model.
    """

    def __init__(self, llm: MultiModalLLM) -> None:
        self._llm = llm
        self._open: list[CallAccounting] = []

    async def reserve(self, wanted: Reservation) -> None:
        """Wait until a request may be sent; its earlier ones have ended."""
        self.settle(wanted.settlements)
        accounting = CallAccounting(
            str(self._llm),
            self._llm.pricing,
            wanted.tokens,
            longest_answer=wanted.longest_answer,
            service_tier=wanted.service_tier,
        )
        await accounting.areserve()
        self._open.append(accounting)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Record how requests ended; those of a worker that died may be billed."""
        unknown = Settlement(True, CompletionResponse(model=self._llm.model))
        for place, accounting in enumerate(self._open):
            settlement = settlements[place] if place < len(settlements) else unknown
            if settlement.may_be_billed:
                accounting.note_accepted()
            accounting.settle(settlement.response)
        self._open.clear()


def _receive(event: tuple[float, dict[str, Any]]) -> None:
    """Take a worker's message, on the event loop of Dask's client."""
    run = _runs.get(event[1]["run"])
    if run is not None:
        with suppress(RuntimeError):  # the run's event loop has ended
            run._loop.call_soon_threadsafe(run.receive, event[1])


def _is_on_workers(file: ImageDocument) -> bool:
    """Return whether workers read a file; others are in memory or at a URL."""
    return not is_in_memory(file) and not file.is_remote
