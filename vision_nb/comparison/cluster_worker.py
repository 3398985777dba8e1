"""What the workers of a cluster do for a run: read images, and make calls.

An image is read, decoded and resized in one of the worker's threads, of which Dask has as many as the worker has cores.
The task, which asks several questions, then makes room for another one, and waits for the calls, which run on one event
loop for all calls of the run.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from vision_nb.comparison.calls import image_changed
from vision_nb.comparison.cluster_connection import check_versions, versions
from vision_nb.comparison.cluster_messages import (
    REPLY,
    Inspection,
    Order,
    Outcome,
    Question,
    Reservation,
    RunId,
    Settlement,
    portable,
    portable_error,
)
from vision_nb.comparison.cluster_session import Session
from vision_nb.cost.accounting import CallAccounting, active_accounting
from vision_nb.cost.request_gate import RemoteGate, active_gate
from vision_nb.errors import ClusterError, ImageError, ImageNotFoundError, UnsupportedImageError, VisionError
from vision_nb.images.decode import Size
from vision_nb.images.document import ImageDocument
from vision_nb.images.worker_document import file_of
from vision_nb.notebook.wait_line import hidden_waits
from vision_nb.paths import file_version, shown_path
from vision_nb.privacy.redaction import redact
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.outgoing_image import ReadyImage
from vision_nb.providers.retries import without_rate_limit_retries
from vision_nb.responses import Response
from vision_nb.storage.image_digests import KnownFile

_sessions: dict[str, Session] = {}
_sessions_lock = threading.Lock()


def _session(run: RunId) -> Session:
    """Return the session of a run on this worker, whose first message makes the notebook end it."""
    from distributed import get_worker

    with _sessions_lock:
        session = _sessions.get(run.run)
        if session is None or not session.use():
            worker = get_worker()
            check_versions(worker.address, versions(), run.versions)
            worker.handlers[REPLY] = receive
            session = _sessions[run.run] = Session(run, worker, _forget)
        return session


def _forget(session: Session) -> None:
    """Remove a session that is being closed."""
    with _sessions_lock:
        if _sessions.get(session.run) is session:
            del _sessions[session.run]


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
        session.close()
        return
    for number, reply in pickle.loads(replies):
        session.receive(number, reply)


class _Call(RemoteGate):
    """A call in progress; it is the gate that its requests pass."""

    def __init__(self, session: Session, call: str) -> None:
        super().__init__(partial(session.tell, call=call))
        self._session, self._call = session, call
        self.settlements: list[Settlement] = []

    async def ask(self, kind: str, data: Any = None) -> None:
        """Wait for the notebook's permission to send a request; its errors are raised here."""
        self._has_limit = await asyncio.wrap_future(self._session.ask(kind, self._call, data))

    async def aadmit_again(self) -> None:
        """Wait until the last request may be sent once more."""
        await self.ask("again")


class _Accounting(CallAccounting):
    """Reports to the notebook, whose budgets, ledger and rate limits apply."""

    def __init__(self, call: _Call, model: str, pricing: Any, tokens: Any, *, longest_answer: int, **tier: Any) -> None:
        super().__init__(model, pricing, tokens, longest_answer=longest_answer, **tier)
        self._call, self._longest_answer = call, longest_answer

    async def areserve(self) -> None:
        """Wait until the request may be sent."""
        settlements, self._call.settlements = self._call.settlements, []
        reservation = Reservation(self.tokens, self._longest_answer, self.service_tier, tuple(settlements))
        await self._call.ask("reserve", reservation)

    def settle(self, response: Response) -> None:
        """Keep how the request ended, for the next message."""
        if not self._is_settled:
            self._is_settled = True
            self._call.settlements.append(Settlement(self._may_be_billed, portable(response)))


class _Slot:
    """A task's place among those that its worker runs at the same time, which the last prepared image leaves.

    Args:
        session: The run's session.
        task: The key of the task.
        images: The number of images.
    """

    def __init__(self, session: Session, task: str, images: int) -> None:
        self._session, self.task, self._images = session, task, images

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Prepare an image in this context."""
        try:
            yield
        finally:
            self._images -= 1
            if not self._images:
                self._session.secede(self.task)


async def perform(task: str, orders: Sequence[Order], *, run: RunId) -> None:
    """Do jobs and send each result to the notebook, as a task of Dask, whose own result comes later.

    Args:
        task: The key of the task.
        orders: The jobs.
        run: The run.

    Raises:
        ClusterError: The worker has other versions than the notebook, or the run has ended.
    """
    session = _session(run)
    slot = _Slot(session, task, len(orders))
    ended = await asyncio.gather(*(_perform(session, slot, order) for order in orders), return_exceptions=True)
    for error in ended:
        if error is not None:
            raise error


async def _perform(session: Session, slot: _Slot, order: Order) -> None:
    result: Any
    if isinstance(order.work, Question):
        result = await _answer(session, slot, order, order.work)
    elif isinstance(order.work, Inspection):
        result = await session.in_thread(_digests, session.address, order.work, await _images(session, slot, order))
    else:
        result = await session.in_thread(_sizes, session.address, await _images(session, slot, order))
    session.tell("result", result, order.key)


async def _images(session: Session, slot: _Slot, order: Order) -> bytes:
    if order.images is not None:
        return order.images
    requested: concurrent.futures.Future[bytes] = session.ask("images", order.key, None)
    return await session.wait(requested, slot.task)


async def _answer(session: Session, slot: _Slot, order: Order, question: Question) -> Outcome:
    """Ask a model about an image; errors are part of the outcome."""
    call = _Call(session, order.key)
    try:
        return Outcome(portable(await _response(session, slot, order, question, call)), None, call.settlements)
    except VisionError as error:
        return Outcome(None, portable_error(error), call.settlements)
    except asyncio.CancelledError:  # the worker is being closed
        raise
    except BaseException as error:
        failed = ClusterError(f"The call failed on a worker: {redact(f'{type(error).__name__}: {error}')}")
        return Outcome(None, failed, call.settlements)


async def _response(session: Session, slot: _Slot, order: Order, question: Question, call: _Call) -> Response:
    with slot.preparing():
        images = await _images(session, slot, order)
        setup = await session.setup(slot.task)
        llm = setup.models[question.model]
        image = await session.in_thread(_prepared, llm, question, images, session.address)

    async def complete() -> Response:
        active_gate.set(call)
        active_accounting.set(partial(_Accounting, call))
        with without_rate_limit_retries(), hidden_waits():
            return await llm.acomplete(question.prompt, image, schema=setup.schema, max_repairs=setup.max_repairs)

    return await session.complete(complete(), slot.task)


def _prepared(llm: MultiModalLLM, question: Question, images: bytes, address: str) -> ReadyImage:
    """Return an image ready to be sent, if what was read is what was looked up."""
    [image] = pickle.loads(images)
    with _naming_worker(address, image):
        outgoing = llm.outgoing(image)
        if question.known is not None:
            read = _version(file_of(image)[0], question.known, address)
            if isinstance(read, VisionError):
                raise read
            if read[2] != question.known[2]:
                raise image_changed(image)
    return ReadyImage.from_outgoing(outgoing, digest=None)


def _digests(address: str, work: Inspection, images: bytes) -> list[KnownFile | VisionError]:
    """Return the digest of each image, or the error that reading it raised."""
    return [_version(image, known, address) for image, known in zip(pickle.loads(images), work.known, strict=True)]


def _sizes(address: str, images: bytes) -> list[Size | VisionError]:
    """Return the size of each image, or the error that reading its header or end raised."""
    return [_size(image, address) for image in pickle.loads(images)]


def _size(image: ImageDocument, address: str) -> Size | VisionError:
    try:
        with _naming_worker(address, image):
            image.check_end()
            return image.size
    except ImageError as error:
        return portable_error(error)
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> ClusterError:
    return ClusterError(f"The image could not be read on a worker: {redact(f'{type(error).__name__}: {error}')}")


def _version(image: ImageDocument, known: KnownFile | None, address: str) -> KnownFile | VisionError:
    try:
        with _naming_worker(address, image):
            version = 0, 0
            if image.image_path is not None:
                with suppress(OSError, ValueError):
                    version = file_version(Path(image.image_path))
            if known is not None and known[:2] == version:
                return known
            return *version, sha256(image.read()).hexdigest()
    except ImageError as error:
        return portable_error(error)
    except Exception as error:
        return _unexpected(error)


@contextmanager
def _naming_worker(address: str, image: ImageDocument) -> Iterator[None]:
    """Name the worker in the error if it cannot read a file."""
    try:
        yield
    except (ImageNotFoundError, UnsupportedImageError) as error:
        if image.image_path is None or Path(image.image_path).is_file():
            raise
        raise type(error)(
            f"The worker {address} cannot read {shown_path(Path(image.image_path))}: use a file system that all "
            "workers share, an object store such as s3://, or pass the image's bytes."
        ) from None
