"""What the notebook and the workers of a cluster send to each other.

A Dask task makes one or several calls. While it runs, the worker sends events to the notebook: it asks for the models,
and for the permission to send each request, which the notebook has then recorded even if the worker or the connection
is lost. If there are rate limits, it says when it sends the request. At a call's end, it sends the result. The
notebook's replies go to the worker's handler `REPLY`. Messages and replies that wait at the same moment are sent
together, and are pickled. Models are sent with their keys, but only in a reply, which Dask neither keeps nor shows;
arguments of tasks and events contain no keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from vision_nb.comparison.calls import MANY_CALLS
from vision_nb.comparison.grid import Grid
from vision_nb.cost.accounting import InputTokens
from vision_nb.errors import VisionError
from vision_nb.providers.base import MultiModalLLM
from vision_nb.responses import Response, SumOfAttempts
from vision_nb.schema.schema import Schema
from vision_nb.storage.image_digests import KnownFile

R = TypeVar("R", bound=Response)
E = TypeVar("E", bound=VisionError)

REPLY = "vision_nb_reply"
"""The name of the workers' handler that takes replies."""


@dataclass(frozen=True)
class RunId:
    """What each task says about its run.

    Attributes:
        run: The run's ID.
        topic: The topic of the events that the notebook receives.
        versions: The notebook's versions of vision_nb and Python.
    """

    run: str
    topic: str
    versions: tuple[str, str]


@dataclass(frozen=True, repr=False)
class Setup:
    """What a worker needs for all calls of a run.

    Attributes:
        models: The models, with their keys.
        schema: The schema of the answers, or None.
        max_repairs: How many times a model may correct an answer.
        is_large: Whether the run's calls repay connections that are made for many calls.
    """

    models: tuple[MultiModalLLM, ...]
    schema: Schema | None
    max_repairs: int
    is_large: bool

    @classmethod
    def of(cls, grid: Grid) -> Setup:
        """Return what the calls of a grid need."""
        return cls(grid.models, grid.schema, grid.max_repairs, len(grid) >= MANY_CALLS)


@dataclass(frozen=True)
class Question:
    """A call to make.

    Attributes:
        model: The model's index.
        prompt: The question.
        known: For an image in a file, what the file was when it was looked up.
    """

    model: int
    prompt: str
    known: KnownFile | None


@dataclass(frozen=True)
class Inspection:
    """Images whose digests are wanted.

    Attributes:
        known: For each image in a file, what is known of it.
    """

    known: Sequence[KnownFile | None]


@dataclass(frozen=True)
class Measurement:
    """Images whose sizes are wanted."""


Work: TypeAlias = Question | Inspection | Measurement
"""What a worker does with some images."""


@dataclass(frozen=True, repr=False)
class Order:
    """A job of a worker.

    Attributes:
        key: Its key, which is in all messages about it.
        work: What to do.
        images: The pickled images; None to request them from the notebook, because their addresses contain secrets.
    """

    key: str
    work: Work
    images: bytes | None


@dataclass(frozen=True)
class Settlement:
    """How a request ended, for its accounting.

    Attributes:
        may_be_billed: Whether it may be billed although no answer arrived.
        response: The part of the answer that arrived.
    """

    may_be_billed: bool
    response: Response


@dataclass(frozen=True)
class Reservation:
    """A request that is to be sent.

    Attributes:
        tokens: Its input tokens.
        longest_answer: The maximum number of output tokens.
        service_tier: The service tier that is asked for, or None.
        settlements: How the earlier requests of the same call ended.
    """

    tokens: InputTokens
    longest_answer: int
    service_tier: str | None
    settlements: Sequence[Settlement]


@dataclass(frozen=True, repr=False)
class Outcome:
    """The result of a call.

    Attributes:
        response: The answer, or None.
        error: The error, or None.
        settlements: How the requests ended that the notebook does not know about.
    """

    response: Response | None
    error: VisionError | None
    settlements: Sequence[Settlement] = ()


def portable(response: R) -> R:
    """Return a response without what the notebook adds again: the vendor's object, images, schema and value."""
    pricing: Any = response.pricing
    if isinstance(pricing, SumOfAttempts):
        pricing = SumOfAttempts(tuple(portable(attempt) for attempt in pricing.attempts))
    return replace(response, raw=None, images=(), parsed=None, schema=None, pricing=pricing)


def portable_error(error: E) -> E:
    """Return an error without what cannot be sent to the notebook."""
    error.__cause__ = error.__context__ = None
    if isinstance(error.response, Response):
        error.response = portable(error.response)
    return error.with_traceback(None)
