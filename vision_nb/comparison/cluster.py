"""Calls that are made by the workers of a Dask cluster.

Each call is a task, which is submitted when the run would make it, so that nothing waits on the cluster; its result is
fetched and released as soon as it arrives, because a worker that dies takes its results with it. Budgets, ledger, rate
limits and store stay in this process: a worker asks before it sends a request.
"""

from __future__ import annotations

import asyncio
import pickle
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from vision_nb.comparison import cluster_worker
from vision_nb.comparison.calls import Calls, LocalCalls
from vision_nb.comparison.cluster_connection import check_workers, connect_client, lost_cluster, on_client, versions
from vision_nb.comparison.cluster_messages import REPLY, Outcome, Reservation, RunId, Settlement, Setup, portable_error
from vision_nb.comparison.grid import Grid
from vision_nb.cost.accounting import CallAccounting
from vision_nb.cost.request_gate import active_gate, admit_again, note_sent
from vision_nb.errors import ClusterError, SettingsError, VisionError
from vision_nb.images.document import ImageDocument
from vision_nb.images.worker_document import is_in_memory, worker_document
from vision_nb.privacy.redaction import redact
from vision_nb.privacy.transfer import dumps_with_secrets
from vision_nb.providers.base import MultiModalLLM
from vision_nb.responses import CompletionResponse, Response
from vision_nb.store import Store, part_digest
from vision_nb.user_warnings import to_thread

_DIGEST_BATCH = 20  # images in one task
_END_SECONDS = 10.0  # to tell the workers that the run has ended
_DELIVERIES = 10  # attempts to send a reply to a worker that is part of the cluster
_DELIVERY_PAUSE = 1.0  # seconds between them

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
        self._messages: dict[str, asyncio.Queue[dict[str, Any]]] = {}  # by call
        self._documents: dict[str, bytes] = {}  # by call or batch: those whose addresses contain secrets
        self._futures: dict[str, Any] = {}  # by task: Dask's futures
        self._outboxes: dict[str, list[tuple[str, Any]]] = {}  # by worker: replies to send
        self._sending: dict[str, asyncio.Task[None]] = {}  # by worker
        self._workers: set[str] = set()
        self._setup = b""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect to the cluster, and check its workers; at the end, cancel all calls.

        Raises:
            ClusterError: Dask is not installed, the scheduler cannot be reached, or the workers have other versions.
            SettingsError: This is not a cluster, or a model cannot be sent to the workers.
        """
        self._loop = asyncio.get_running_loop()
        self._client, is_own = await connect_client(self._cluster)
        try:
            self._setup = await to_thread(self._pickled_setup)
            topic = f"vision_nb-{self._client.id}"
            self._run = RunId(self._run_id, topic, versions())
            self._connection = self._client.scheduler_comm
            await check_workers(self._client, self._grid.models)
            _runs[self._run_id] = self
            self._client.subscribe_topic(topic, _receive)
            yield
        finally:
            _runs.pop(self._run_id, None)
            await _to_the_end(self._end(is_own))

    def _pickled_setup(self) -> bytes:
        try:
            return dumps_with_secrets(Setup.of(self._grid))[0]
        except VisionError:
            raise
        except Exception as error:
            raise SettingsError(
                f"The models or the schema cannot be sent to the workers ({type(error).__name__}: {error!s:.100})."
            ) from error

    async def _end(self, is_own: bool) -> None:
        tasks = list(self._sending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
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

    async def digests(self, documents: Sequence[ImageDocument]) -> Sequence[str | VisionError]:
        """Return the digest of each image, read on the workers, or the error; see `Calls`.

        Raises:
            ClusterError: The connection to the cluster was lost.
        """
        files = [_file_of(document) for document in documents]
        on_workers = [place for place, (file, _) in enumerate(files) if not is_in_memory(file) and not file.is_remote]
        local = sorted({*range(len(documents))} - {*on_workers})
        results: dict[int, str | VisionError] = dict(
            zip(local, await self._local.digests([documents[place] for place in local]), strict=True)
        )
        batches = [on_workers[start : start + _DIGEST_BATCH] for start in range(0, len(on_workers), _DIGEST_BATCH)]
        read = await asyncio.gather(*(self._digests([files[place][0] for place in batch]) for batch in batches))
        for batch, digests in zip(batches, read, strict=True):
            for place, digest in zip(batch, digests, strict=True):
                parts = files[place][1]
                results[place] = digest if isinstance(digest, VisionError) else part_digest(digest, parts)
        return [results[place] for place in range(len(documents))]

    async def _digests(self, files: Sequence[ImageDocument]) -> Sequence[str | VisionError]:
        """Return the digests of some files, and keep them in the store; see `digests`."""
        key = f"vision_nb-digests-{uuid.uuid4().hex}"
        try:
            known = await to_thread(self._store.file_versions, files)
            data = await to_thread(self._pickled, key, [worker_document(file) for file in files])
            raw = await self._result(cluster_worker.digests, self._run, data, key, known, key=key)
        except ClusterError as error:
            if error.is_lost:
                raise
            if len(files) == 1:
                return [error]
            return [(await self._digests([file]))[0] for file in files]  # perhaps only one of them kills a worker
        except VisionError as error:
            return [error] * len(files)
        finally:
            self._documents.pop(key, None)
        found = pickle.loads(raw)
        if isinstance(found, VisionError):
            return [found] * len(files)
        read = {file: one for file, one in zip(files, found, strict=True) if not isinstance(one, VisionError)}
        await to_thread(self._store.put_file_versions, read)
        return [one if isinstance(one, VisionError) else one[2] for one in found]

    def _pickled(self, key: str, value: Any) -> bytes | None:
        """Pickle images for a task; None if they have secrets, which the worker then requests."""
        data, has_secrets = dumps_with_secrets(value)
        if has_secrets:
            self._documents[key] = data
        return None if has_secrets else data

    async def ask(self, model: int, prompt: str, document: ImageDocument) -> Response:
        """Ask a model about an image on a worker; see `Calls`."""
        key, llm = f"vision_nb-answer-{uuid.uuid4().hex}", self._grid.models[model]
        accounts = _Accounts(llm)
        self._messages[key] = asyncio.Queue()
        serving = asyncio.create_task(self._serve(key, accounts))
        try:
            data = await to_thread(lambda: self._pickled(key, worker_document(document)))
            task = (cluster_worker.answer, self._run, key, model, prompt, data)
            outcome: Outcome = pickle.loads(await self._result(*task, key=key, priority=1))
            accounts.settle(outcome.settlements)
        finally:
            serving.cancel()
            try:
                await asyncio.gather(serving, return_exceptions=True)
            finally:  # another interrupt has canceled it again
                del self._messages[key]
                self._documents.pop(key, None)
                accounts.settle(())
        if outcome.error is not None:
            if outcome.error.response is not None:
                outcome.error.response = self._restored(outcome.error.response, llm, document)
            raise outcome.error
        assert outcome.response is not None
        response, schema = self._restored(outcome.response, llm, document), self._grid.schema
        return response if schema is None else replace(response, parsed=schema.parse(response.text))

    def _restored(self, response: Response, llm: MultiModalLLM, document: ImageDocument) -> Response:
        """Return a response with what `portable` left out."""
        return replace(response.priced_by(llm.pricing), images=(document,), schema=self._grid.schema)

    async def _result(self, function: Callable[..., bytes], *args: Any, key: str, priority: int = 0) -> bytes:
        """Run a task, and return its result.

        Raises:
            ClusterError: The task's workers died, or the cluster cannot be reached.
        """
        running = asyncio.ensure_future(
            on_client(self._client, self._run_task(function, *args, key=key, priority=priority))
        )
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await _to_the_end(self._abandon(key, running))
            raise

    async def _abandon(self, key: str, running: asyncio.Future[bytes]) -> None:
        """Cancel a task, and wait until `_run_task` has ended, which then happens by itself."""

        async def cancel() -> None:  # on the client's event loop, and so after the task was submitted
            if key in self._futures:
                await self._client.cancel([self._futures[key]], asynchronous=True)

        with suppress(ClusterError):
            await on_client(self._client, cancel())
        await asyncio.gather(running, return_exceptions=True)

    async def _run_task(self, function: Callable[..., bytes], *args: Any, key: str, priority: int) -> bytes:
        """Run a task; see `_result`. Runs on the client's event loop."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError, FuturesCancelledError

        if self._client.status != "running" or self._client.scheduler_comm is not self._connection:
            # A new connection does not receive the workers' messages.
            raise lost_cluster(ConnectionError("the client is closed, or has connected again"))
        future = self._client.submit(function, *args, key=key, pure=False, priority=priority)
        self._futures[key] = future
        try:
            result: bytes = await self._client.gather(future, asynchronous=True)
            return result
        except KilledWorker as error:
            raise ClusterError(
                f"Workers died while they worked on this image (attempts: {error.allowed_failures + 1}; the last "
                f"worker: {error.last_worker.address}): it may need more memory than they have."
            ) from None
        except (FutureCancelledError, FuturesCancelledError, OSError) as error:
            raise lost_cluster(error) from None
        except Exception as error:
            if self._client.status != "running":
                raise lost_cluster(error) from None
            said = redact(f"{type(error).__name__}: {error}")
            raise ClusterError(f"A worker failed ({said:.160}): install vision_nb on all workers.") from None
        finally:
            del self._futures[key]
            future.release()

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

    async def _serve(self, key: str, accounts: _Accounts) -> None:
        """Answer the requests of a call one after the other, in the context of its row."""
        session, handling = "", asyncio.create_task(asyncio.sleep(0))
        try:
            while True:
                message = await self._messages[key].get()
                if message["session"] != session:
                    handling.cancel()  # its worker has died: the call begins again
                await asyncio.gather(handling, return_exceptions=True)
                session, handling = message["session"], asyncio.create_task(self._handle(message, accounts))
        finally:
            handling.cancel()
            await asyncio.gather(handling, return_exceptions=True)

    async def _handle(self, message: dict[str, Any], accounts: _Accounts) -> None:
        """Answer a request of a call."""
        reply: Any = None
        try:
            if message["kind"] == "reserve":
                await accounts.reserve(pickle.loads(message["data"]))
                note_sent()  # the worker's own message, which is more exact, may be lost
            elif message["kind"] == "again":
                await admit_again()
                note_sent()
            elif message["kind"] == "sent":
                note_sent()
            elif (gate := active_gate.get()) is not None:
                reports, is_refused = pickle.loads(message["data"])
                gate.note_reports(reports, is_refused=is_refused)
        except VisionError as error:
            reply = portable_error(error)
        except Exception as error:  # the worker must not wait for ever
            reply = ClusterError(f"The call could not be made ({redact(f'{type(error).__name__}: {error}'):.160}).")
        if message["reply"]:
            self._reply(message, reply)

    def receive(self, message: dict[str, Any]) -> None:
        """Take a worker's message."""
        self._workers.add(message["worker"])
        if message["kind"] == "setup":
            self._reply(message, self._setup)
        elif message["kind"] == "document":
            self._reply(message, self._documents.get(message["call"]) or ClusterError("The call has ended."))
        elif message["call"] in self._messages:
            self._messages[message["call"]].put_nowait(message)
        elif message["reply"]:
            self._reply(message, ClusterError("The call has ended."))

    def _reply(self, message: dict[str, Any], reply: Any) -> None:
        """Send a reply, together with others to the same worker."""
        worker = message["worker"]
        self._outboxes.setdefault(worker, []).append((message["reply"], reply))
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
        accounting = await to_thread(
            CallAccounting,
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


def _file_of(document: ImageDocument) -> tuple[ImageDocument, list[str]]:
    """Return the file that an image is in, and what was chosen from it, from the inside out."""
    parts: list[str] = []
    while document.part_of is not None:
        document, part = document.part_of
        parts.insert(0, part)
    return document, parts


async def _to_the_end(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, even if this task is canceled meanwhile."""
    task, canceled = asyncio.ensure_future(coroutine), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            canceled = True
    if canceled:
        raise asyncio.CancelledError
    task.result()
