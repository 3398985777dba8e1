"""What a demo server is told and remembers, without its sockets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vision_nb.demo.faults import Fault
from vision_nb.errors import SettingsError

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class RecordedRequest:
    """A request as it reached the server.

    Attributes:
        method: Such as "POST".
        path: Without the query.
        query: The last value of each parameter.
        headers: By lower-case name.
        body: The JSON value; None where there is none.
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
    """What a client asks, whichever protocol it speaks.

    Attributes:
        model: As the client named it.
        prompt: The user's latest words.
        images: Every picture of the conversation, decoded.
        history: The user's earlier words.
        body: The JSON body of the request.
    """

    model: str
    prompt: str
    images: Sequence[Image.Image] = ()
    history: Sequence[str] = ()
    body: Any = None


class DemoState:
    """The settings of a demo server, the faults to come, the requests so far, and the function that answers.

    Args:
        tokens_per_second: The pace of streamed answers; may be infinite.
        keep: How many requests to remember; None for all of them.

    Attributes:
        tokens_per_second: As given; may be changed at any time.
        requests: The requests so far, oldest first.
        disconnects: How many clients closed the connection before their answer was complete.
        require_key: The only API key that is accepted; None accepts every client.
        models: The models and deployments that exist; None accepts every name.
        replicate_models: More models under Replicate's protocol: "owner/name" to an ``openapi_schema``.
        cancellations: How many predictions were canceled before they ended.

    Raises:
        SettingsError: ``tokens_per_second`` is not positive.
    """

    def __init__(self, tokens_per_second: float = 200.0, *, keep: int | None = None) -> None:
        if not tokens_per_second > 0:
            raise SettingsError(f"tokens_per_second must be more than 0, not {tokens_per_second}.")
        self.tokens_per_second = tokens_per_second
        self.requests: list[RecordedRequest] = []
        self.disconnects = 0
        self.require_key: str | None = None
        self.models: Sequence[str] | None = None
        self.replicate_models: dict[str, dict[str, Any]] = {}
        self.cancellations = 0
        self._keep = keep
        self._faults: deque[Fault] = deque()
        self._script: Callable[[Question], str] | None = None

    def fail(self, fault: Fault, times: int = 1) -> None:
        """Let the next ``times`` requests fail; faults are used in the order in which they were added."""
        self._faults.extend([fault] * times)

    def answer_with(self, script: Callable[[Question], str] | str | None) -> None:
        """Script the answers: a function of the question, or one text for all; None returns to the demo model.

        The function runs in a worker thread; an exception in it reaches the client as status 500.
        """
        self._script = (lambda _: script) if isinstance(script, str) else script

    def answer(self, question: Question) -> str:
        """Answer a question, from the script or the demo model. This can be slow: call it in a thread."""
        if self._script is not None:
            return self._script(question)
        from vision_nb.demo.answers.answer import answer  # imports numpy, which a scripted server does not need

        return answer(question.prompt, question.images, question.history)

    def record(self, request: RecordedRequest) -> Fault:
        """Record a request, and return the fault to apply to it; called by the protocol handlers."""
        self.requests.append(request)
        if self._keep is not None:
            del self.requests[: max(0, len(self.requests) - self._keep)]
        return self._faults.popleft() if self._faults else Fault()
