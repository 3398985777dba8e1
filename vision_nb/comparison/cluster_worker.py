"""What the workers of a cluster do for a run: read images, and make calls.

An image is read, decoded and resized in the worker's thread, of which Dask runs as many as the worker has cores. The
task then leaves Dask's thread pool, and waits for the call, which runs on one event loop for all calls of the run.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import threading
import time
import uuid
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from vision_nb.comparison.cluster_connection import check_versions, versions
from vision_nb.comparison.cluster_messages import (
    REPLY,
    Outcome,
    Reservation,
    RunId,
    Settlement,
    Setup,
    portable,
    portable_error,
)
from vision_nb.cost.accounting import CallAccounting, active_accounting
from vision_nb.cost.request_gate import LimitReport, active_gate
from vision_nb.errors import ClusterError, ImageError, ImageNotFoundError, UnsupportedImageError, VisionError
from vision_nb.images.document import ImageDocument
from vision_nb.privacy.redaction import redact
from vision_nb.providers.retries import without_rate_limit_retries
from vision_nb.responses import Response
from vision_nb.store import KnownFile

T = TypeVar("T")

_IDLE_SECONDS = 600.0  # after which a run's models and keys are forgotten; the notebook may have been killed
_CHECK_SECONDS = 1.0  # between checks whether a call is still wanted


class Session:
    """One run on this worker: its models, its event loop, and what the notebook is asked.

    Args:
        run: The run.
        worker: Dask's worker.
    """

    def __init__(self, run: RunId, worker: Any) -> None:
        self._run, self._worker = run, worker
        self._replies: dict[str, concurrent.futures.Future[Any]] = {}
        self._calls: set[concurrent.futures.Future[Any]] = set()
        self._last_used = time.monotonic()
        self._setup: Setup | None = None
        self._setup_lock = threading.Lock()
        self._lock = threading.Lock()
        self._is_closed = False
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self._run_loop, name="vision_nb calls", daemon=True).start()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    @property
    def address(self) -> str:
        """The worker's address."""
        return str(self._worker.address)

    @property
    def is_idle(self) -> bool:
        """Whether no call was made for a long time."""
        return not self._calls and time.monotonic() - self._last_used > _IDLE_SECONDS

    def wait(self, future: concurrent.futures.Future[T], key: str) -> T:
        """Return a future's result, or cancel it when the task is no longer wanted.

        Args:
            future: The future.
            key: The key of Dask's task.

        Raises:
            ClusterError: It was canceled: the run has ended, or the notebook is gone.
        """
        try:
            while True:
                try:
                    return future.result(_CHECK_SECONDS)
                except concurrent.futures.TimeoutError:
                    if future.done():
                        raise  # the call's own
                    task = self._worker.state.tasks.get(key)
                    if task is None or task.state == "cancelled":
                        future.cancel()
        except concurrent.futures.CancelledError:
            raise ClusterError("The call was canceled.") from None

    def setup(self, key: str) -> Setup:
        """Return the models; they are requested from the notebook once.

        Args:
            key: The key of Dask's task.

        Raises:
            ClusterError: They cannot be used here, or the run has ended.
        """
        with self._setup_lock:
            if self._setup is None:
                data = self.wait(self.ask("setup", "", None), key)
                try:
                    self._setup = pickle.loads(data)
                except Exception as error:
                    said = redact(f"{type(error).__name__}: {error}")
                    raise ClusterError(
                        f"The worker {self.address} cannot load the models or the schema ({said:.120}): install the "
                        "modules that they need on all workers."
                    ) from None
            return self._setup

    def tell(self, kind: str, call: str, data: Any, number: str = "") -> None:
        """Send a message to the notebook.

        Args:
            kind: What it is about.
            call: The call's ID.
            data: More about it, which is pickled.
            number: The ID of the reply that is expected.
        """
        message = {"run": self._run.run, "kind": kind, "call": call, "worker": self.address, "reply": number}
        self._worker.log_event(self._run.topic, {**message, "data": pickle.dumps(data)})

    def ask(self, kind: str, call: str, data: Any) -> concurrent.futures.Future[Any]:
        """Send a request to the notebook, and return the future of its reply; see `tell`."""
        number, reply = uuid.uuid4().hex, concurrent.futures.Future[Any]()
        with self._lock:
            if self._is_closed:
                raise ClusterError("The run has ended.")
            self._replies[number] = reply
        self.tell(kind, call, data, number)
        return reply

    def receive(self, number: str, reply: Any) -> None:
        """Take the notebook's reply to a request."""
        future = self._replies.pop(number, None)
        if future is not None and future.set_running_or_notify_cancel():
            if isinstance(reply, BaseException):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    def complete(self, coroutine: Coroutine[Any, Any, Response], key: str) -> Response:
        """Run a call on the event loop, until it ends or its task is no longer wanted.

        Args:
            coroutine: The call.
            key: The key of Dask's task.
        """
        with self._lock:
            if self._is_closed:
                coroutine.close()
                raise ClusterError("The run has ended.")
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
            self._calls.add(future)
        try:
            return self.wait(future, key)
        finally:
            self._calls.discard(future)
            self._last_used = time.monotonic()

    def close(self) -> None:
        """Cancel all calls, close the models' connections, and forget the keys."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        for future in [*self._calls, *self._replies.values()]:
            future.cancel()
        asyncio.run_coroutine_threadsafe(self._close(), self.loop)

    async def _close(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.gather(*others, return_exceptions=True)  # they are canceled, and clean up
        models, self._setup = () if self._setup is None else self._setup.models, None
        for llm in models:
            with suppress(Exception):
                await llm.aclose()
        self.loop.stop()


_sessions: dict[str, Session] = {}
_sessions_lock = threading.Lock()


def _checked_worker(run: RunId) -> Any:
    """Return Dask's worker; raise ClusterError if it has other versions than the notebook."""
    from distributed import get_worker

    worker = get_worker()
    check_versions(worker.address, versions(), run.versions)
    return worker


def _session(run: RunId) -> Session:
    """Return the session of a run on this worker, whose first message makes the notebook end it.

    A new session closes those that nobody uses any more.
    """
    worker = _checked_worker(run)
    with _sessions_lock:
        for name, idle in list(_sessions.items()):
            if idle.is_idle:
                del _sessions[name]
                idle.close()
        if run.run not in _sessions:
            worker.handlers[REPLY] = receive
            _sessions[run.run] = Session(run, worker)
        return _sessions[run.run]


def receive(run: str, replies: bytes | None) -> None:
    """Take replies of the notebook, as a handler of Dask's worker.

    Args:
        run: The run's ID.
        replies: Pickled pairs of a request's ID and its reply; None if the run has ended.
    """
    session = _sessions.get(run)
    if session is None:
        return
    if replies is None:
        with _sessions_lock:
            _sessions.pop(run, None)
        session.close()
        return
    for number, reply in pickle.loads(replies):
        session.receive(number, reply)


class _Call:
    """A call in progress; it is the gate that its requests pass."""

    def __init__(self, session: Session, call: str) -> None:
        self._session, self._call = session, call
        self.settlements: list[Settlement] = []

    async def ask(self, kind: str, data: Any = None) -> None:
        """Wait for the notebook's permission; its errors are raised here."""
        await asyncio.wrap_future(self._session.ask(kind, self._call, data))

    async def admit(self, input_tokens: int | None, output_tokens: int) -> None:
        """Return at once: `_Accounting` has asked for the permission."""

    async def admit_again(self) -> None:
        """Wait until the last request may be sent once more."""
        await self.ask("again")

    def note_sent(self) -> None:
        """Tell the notebook that the last request is sent now."""
        self._session.tell("sent", self._call, None)

    def note_reports(self, reports: Sequence[LimitReport], *, is_refused: bool) -> None:
        """Pass on the rate limits that the server reported."""
        if reports or is_refused:
            self._session.tell("reports", self._call, (list(reports), is_refused))

    def correct(self, input_tokens: int, output_tokens: int) -> None:
        """Return at once: the notebook knows the tokens from the settlement."""


class _Accounting(CallAccounting):
    """Reports to the notebook, whose budgets, ledger and rate limits apply."""

    def __init__(self, call: _Call, model: str, pricing: Any, tokens: Any, *, longest_answer: int, **tier: Any) -> None:
        super().__init__(model, pricing, tokens, longest_answer=longest_answer, **tier)
        self._call, self._longest_answer = call, longest_answer

    async def areserve(self) -> None:
        """Wait until the request may be sent."""
        settlements, self._call.settlements = self._call.settlements, []
        await self._call.ask(
            "reserve", Reservation(self.tokens, self._longest_answer, self.service_tier, tuple(settlements))
        )

    def settle(self, response: Response) -> None:
        """Keep how the request ended, for the next message."""
        if not self._is_settled:
            self._is_settled = True
            self._call.settlements.append(Settlement(self._may_be_billed, portable(response)))


def answer(run: RunId, call: str, model: int, prompt: str, document: bytes | None) -> bytes:
    """Ask a model about an image, as a task of Dask; errors are part of the outcome.

    Args:
        run: The run.
        call: The call's ID, which is the key of the task too.
        model: The model's index.
        prompt: The question.
        document: The pickled image; None to request it from the notebook, because its address contains a secret.

    Returns:
        A pickled `Outcome`.
    """
    settlements: list[Settlement] = []
    try:
        outcome = Outcome(_answer(run, call, model, prompt, document, settlements), None, settlements)
    except VisionError as error:
        outcome = Outcome(None, portable_error(error), settlements)
    except BaseException as error:
        failed = ClusterError(f"The call failed on a worker: {redact(f'{type(error).__name__}: {error}')}")
        outcome = Outcome(None, failed, settlements)
    return pickle.dumps(outcome)


def _answer(
    run: RunId, key: str, model: int, prompt: str, document: bytes | None, settlements: list[Settlement]
) -> Response:
    from distributed import secede

    session = _session(run)
    setup = session.setup(key)
    if document is None:
        document = session.wait(session.ask("document", key, None), key)
    image: ImageDocument = pickle.loads(document)
    llm = setup.models[model]
    with _naming_worker(session.address, image):
        llm.outgoing(image)  # the call uses it from the cache
    secede()
    call = _Call(session, key)

    async def complete() -> Response:
        active_gate.set(call)
        active_accounting.set(partial(_Accounting, call))
        with without_rate_limit_retries():
            return await llm.acomplete(prompt, [image], schema=setup.schema, max_repairs=setup.max_repairs)

    try:
        return portable(session.complete(complete(), key))
    finally:
        settlements += call.settlements


def digests(run: RunId, documents: bytes | None, key: str, known: Sequence[KnownFile | None]) -> bytes:
    """Return the digests of images, as a task of Dask.

    Args:
        run: The run.
        documents: The pickled images; None to request them from the notebook.
        key: The key of the task.
        known: For each image in a file, what is known of it.

    Returns:
        A pickled list with a `KnownFile` or an error for each image.
    """
    try:
        address = str(_checked_worker(run).address)
        if documents is None:
            session = _session(run)
            documents = session.wait(session.ask("document", key, None), key)
        images: list[ImageDocument] = pickle.loads(documents)
        found = [_version(image, version, address) for image, version in zip(images, known, strict=True)]
    except VisionError as error:
        return pickle.dumps(portable_error(error))
    except BaseException as error:
        said = redact(f"{type(error).__name__}: {error}")
        return pickle.dumps(ClusterError(f"The images could not be read on a worker: {said}"))
    return pickle.dumps(found)


def _version(image: ImageDocument, known: KnownFile | None, address: str) -> KnownFile | VisionError:
    try:
        with _naming_worker(address, image):
            size = modified = 0
            if image.image_path is not None:
                with suppress(OSError, ValueError):
                    state = Path(image.image_path).stat()
                    size, modified = state.st_size, state.st_mtime_ns
            if known is not None and known[:2] == (size, modified):
                return known
            return size, modified, sha256(image.read()).hexdigest()
    except ImageError as error:
        return portable_error(error)


@contextmanager
def _naming_worker(address: str, image: ImageDocument) -> Iterator[None]:
    """Name the worker in the error if it cannot read a file."""
    try:
        yield
    except (ImageNotFoundError, UnsupportedImageError) as error:
        if image.image_path is None or Path(image.image_path).is_file():
            raise
        raise type(error)(
            f"The worker {address} cannot read {image.image_path}: use a file system that all workers share, an object "
            "store such as s3://, or pass the image's bytes."
        ) from None
