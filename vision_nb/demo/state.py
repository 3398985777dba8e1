"""The settings, faults, answers and recorded requests of a demo server, without its sockets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vision_nb.demo.answers.answer import answer
from vision_nb.demo.faults import BatchFault, Fault
from vision_nb.demo.quota import Meter, Quota
from vision_nb.errors import SettingsError
from vision_nb.services.table import Service

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class RecordedRequest:
    """A request that the server received.

    Attributes:
        method: Such as "POST".
        path: Without the query.
        query: The last value of each parameter.
        headers: By lower-case name.
        body: The JSON value; None if the body is not JSON.
        time: Seconds since the epoch.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Question:
    """A client's question, in any of the protocols.

    Attributes:
        model: The model name in the request.
        prompt: The user's latest text.
        images: All images of the conversation, decoded.
        history: The user's earlier texts.
        body: The JSON body of the request.
        schema: The JSON schema that the answer must follow; an empty one allows any JSON object, and None any text.
    """

    model: str
    prompt: str
    images: Sequence[Image.Image] = ()
    history: Sequence[str] = ()
    body: Any = None
    schema: Mapping[str, Any] | None = None


class DemoState:
    """The settings of a demo server, its pending faults, its recorded requests and its answers.

    Args:
        tokens_per_second: The speed of streamed answers; may be infinite.
        keep: How many requests to record; None for all.
        quota: The rate limits that the server enforces and reports; None for none.

    Attributes:
        tokens_per_second: As given; may be changed at any time.
        requests: The recorded requests, oldest first.
        disconnects: How many clients closed the connection before their answer was complete.
        require_key: The only API key that is accepted; None accepts every client.
        models: The models and deployments that exist; None accepts every name.
        deployments: The OpenAI model behind each Azure deployment, such as ``{"my-vision": "o3"}``; any other
            deployment is named after its model. It decides which parameters are allowed, and answers name it.
        strict: Whether requests to OpenAI's protocol are refused if OpenAI would refuse them: unknown parameters, wrong
            types and combinations, and parameters that the model does not have. None, the default, is strict for the
            names of OpenAI's own models, the demo model, and Azure, because servers such as vLLM and LocalAI accept
            parameters that OpenAI does not.
        service: The service whose dialect of OpenAI's protocol the server uses: what it refuses, and the form of its
            errors and prices. None for OpenAI and Azure.
        quota: As given; may be changed at any time. It applies to OpenAI's protocol.
        replicate_models: Additional Replicate models: "owner/name" to an ``openapi_schema``.
        cancellations: How many predictions were canceled before they ended.
        batch_seconds: How long a batch takes; may be changed while it runs, and may be infinite.

    Raises:
        SettingsError: ``tokens_per_second`` is not positive.
    """

    def __init__(
        self, tokens_per_second: float = 200.0, *, keep: int | None = None, quota: Quota | None = None
    ) -> None:
        if not tokens_per_second > 0:
            raise SettingsError(f"tokens_per_second must be more than 0, not {tokens_per_second}.")
        self.tokens_per_second = tokens_per_second
        self.requests: list[RecordedRequest] = []
        self.disconnects = 0
        self.require_key: str | None = None
        self.models: Sequence[str] | None = None
        self.deployments: dict[str, str] = {}
        self.strict: bool | None = None
        self.service: Service | None = None
        self.replicate_models: dict[str, dict[str, Any]] = {}
        self.cancellations = 0
        self.batch_seconds = 2.0
        self.quota = quota
        self._meters: dict[tuple[Quota, str], Meter] = {}
        self._keep = keep
        self._faults: deque[Fault] = deque()
        self._batch_faults: deque[BatchFault] = deque()
        self._script: Callable[[Question], str] | None = None

    def fail(self, fault: Fault, times: int = 1) -> None:
        """Make the next ``times`` requests fail; faults are applied in the order in which they were added."""
        self._faults.extend([fault] * times)

    def fail_batch(self, fault: BatchFault) -> None:
        """Make the next batch that is created go wrong; faults are applied in the order in which they were added."""
        self._batch_faults.append(fault)

    def next_batch_fault(self) -> BatchFault:
        """Return the fault to apply to a new batch; the handler of batches calls this."""
        return self._batch_faults.popleft() if self._batch_faults else BatchFault()

    def answer_with(self, script: Callable[[Question], str] | str | None) -> None:
        """Replace the demo model's answers with a function of the question or a fixed text; None restores them.

        The function runs in a worker thread. If it raises, the client receives status 500.
        """
        self._script = (lambda _: script) if isinstance(script, str) else script

    @property
    def is_scripted(self) -> bool:
        """Whether a script answers in place of the demo model."""
        return self._script is not None

    def answer(self, question: Question) -> str:
        """Answer a question with the script, or else with the demo model. This can be slow: call it in a thread."""
        if self._script is not None:
            try:
                return self._script(question)
            except StopIteration as error:  # asyncio cannot pass it on from a thread: the request would never end
                raise RuntimeError("The script raised StopIteration.") from error
        return answer(question.prompt, question.images, question.schema, model=question.model)

    def meter(self, model: str) -> Meter | None:
        """Return what counts the requests to a model, or None without a quota."""
        quota, service = self.quota, self.service
        if quota is None:
            return None
        per_day = service is not None and service.requests_are_per_day
        return self._meters.setdefault((quota, model), Meter(quota, requests_per_day=per_day))

    def record(self, request: RecordedRequest) -> Fault:
        """Record a request and return the fault to apply to it; the protocols' handlers call this."""
        self.requests.append(request)
        if self._keep is not None:
            del self.requests[: max(0, len(self.requests) - self._keep)]
        return self._faults.popleft() if self._faults else Fault()
