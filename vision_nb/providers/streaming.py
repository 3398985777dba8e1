"""Streamed answers, which can be iterated over and read at any time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Generic, Self, TypeVar

from vision_nb.errors import IncompleteResponseError, MalformedResponseError
from vision_nb.notebook.interrupts import keep_interrupts
from vision_nb.providers.reasoning import ReasoningSplitter
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.responses import Choice, Response, Usage

R = TypeVar("R", bound=Response)


@dataclass(frozen=True)
class Delta:
    """What one chunk of a stream adds to the answer, or a whole answer.

    Attributes:
        text: The text.
        usage: The tokens that it reports, or None.
        finish_reason: Why the answer ended, or None.
        model: The model that answered, or "".
        raw: The vendor client's own object.
        reasoning: The model's reasoning before its answer.
        is_refusal: Whether the text refuses to answer.
        is_complete: Whether the server marked the end of the stream, as some do without a finish reason.
        service_tier: The service tier that answers, or "".
        cost: The price in US dollars that the service reports, or None.
        others: The additions to the other choices of the answer, by their index from 1.
        is_demo: Whether the server says that it is the demo.
    """

    text: str = ""
    usage: Usage | None = None
    finish_reason: str | None = None
    model: str = ""
    raw: Any = None
    is_complete: bool = False
    reasoning: str = ""
    service_tier: str = ""
    cost: Decimal | None = None
    others: Mapping[int, Delta] = field(default_factory=dict)
    is_refusal: bool = False
    is_demo: bool = False


def merge_deltas(first: Delta, second: Delta) -> Delta:
    """Return two consecutive deltas of one choice as one."""
    return replace(
        second,
        text=first.text + second.text,
        reasoning=first.reasoning + second.reasoning,
        finish_reason=second.finish_reason or first.finish_reason,
        is_refusal=first.is_refusal or second.is_refusal,
    )


class AskAgainError(Exception):
    """The server refused the form of a request before answering: the question must be asked in another form."""


class ResponseAccumulator(Generic[R]):
    """Turn deltas into responses, each with all of the text so far.

    Args:
        empty: A response with everything that is known before the first delta.
        trim: The leading characters to strip and the endings to remove from the server's answers.
        may_be_demo: Whether to believe a server that says that it is the demo.
    """

    def __init__(self, empty: R, trim: tuple[str, tuple[str, ...]] = ("", ()), *, may_be_demo: bool = False) -> None:
        self.response, self._may_be_demo = empty, may_be_demo
        self._leading, self._endings = trim
        self._others: dict[int, ResponseAccumulator[Response]] = {}
        self._held_back = self._half_pair = ""
        self._splitter = ReasoningSplitter()
        self._reasoning_since: float | None = None
        self.start()

    def start(self) -> None:
        """Measure the latency from now on."""
        self._started = time.perf_counter()

    def add(self, delta: Delta, *, last: bool = False) -> R:
        """Add a delta and return the response so far."""
        last = last or delta.finish_reason is not None
        text, reasoning = self._splitter.split(self._join_surrogates(delta.text, last), last)
        text, reasoning = self._trim(text, last), replace_surrogates(delta.reasoning) + reasoning
        for index, other in delta.others.items():
            if index not in self._others:
                self._others[index] = ResponseAccumulator(Response(), (self._leading, self._endings))
            self._others[index].add(other, last=last)
        so_far, now = self.response, time.perf_counter()
        if reasoning and self._reasoning_since is None:
            self._reasoning_since = now
        reasoning_seconds = so_far.reasoning_seconds
        if self._reasoning_since is not None and not so_far.text:
            reasoning_seconds = now - self._reasoning_since or None  # 0 if the answer was not streamed
        self.response = replace(
            so_far,
            text=so_far.text + text,
            delta=text,
            reasoning=so_far.reasoning + reasoning,
            reasoning_delta=reasoning,
            reasoning_seconds=reasoning_seconds,
            raw=delta.raw if delta.raw is not None else so_far.raw,
            usage=delta.usage or so_far.usage,
            model=replace_surrogates(delta.model) or so_far.model,
            finish_reason=replace_surrogates(delta.finish_reason or "") or so_far.finish_reason,
            latency=now - self._started,
            service_tier=replace_surrogates(delta.service_tier) or so_far.service_tier,
            reported_cost=so_far.reported_cost if delta.cost is None else delta.cost,
            other_choices=self._other_choices() if delta.others else so_far.other_choices,
            is_refusal=delta.is_refusal or so_far.is_refusal,
            is_demo=(delta.is_demo and self._may_be_demo) or so_far.is_demo,
        )
        return self.response

    def _other_choices(self) -> tuple[Choice, ...]:
        answers = [self._others[index].response for index in sorted(self._others)]
        return tuple(Choice(answer.text, answer.finish_reason, answer.reasoning) for answer in answers)

    def end(self, finish_reason: str) -> R | None:
        """End the choices that have no finish reason yet; return None if there are none.

        Args:
            finish_reason: Why they ended.
        """
        end = Delta(finish_reason=finish_reason)
        others = {index: end for index, part in self._others.items() if part.response.finish_reason is None}
        if self.response.finish_reason is None:
            return self.add(replace(end, others=others))
        return self.add(Delta(others=others)) if others else None

    @property
    def has_held_back(self) -> bool:
        """Whether some text was held back because the next delta could have changed it."""
        return bool(self._held_back or self._half_pair or self._splitter.held_back)

    def _join_surrogates(self, text: str, last: bool) -> str:
        """Join surrogate pairs that are split between deltas; replace lone surrogates."""
        text, self._half_pair = self._half_pair + text, ""
        if not last and "\ud800" <= text[-1:] <= "\udbff":
            text, self._half_pair = text[:-1], text[-1]
        return replace_surrogates(text)

    def _trim(self, text: str, last: bool) -> str:
        """Trim the text, and hold back what may turn out to be the start of an ending."""
        if not self._leading and not self._endings:
            return text
        text, self._held_back = self._held_back + text, ""
        if not self.response.text:
            text = text.lstrip(self._leading)
        if last:
            for ending in self._endings:
                text = text.removesuffix(ending)
            return text
        for ending in self._endings:
            for length in range(min(len(ending), len(text)), 0, -1):
                if text.endswith(ending[:length]):
                    text, self._held_back = text[:-length], text[-length:]
                    return text
        return text


def _adds(delta: Delta) -> bool:
    return bool(delta.text or delta.reasoning or delta.usage or delta.finish_reason or delta.others)


class _Stream(Generic[R]):
    """The code that the synchronous and asynchronous streams share: all but the iteration.

    Args:
        source: The vendor client's stream.
        parse: Reads a chunk.
        accumulator: Collects the answer.
        map_error: Returns our exception for a vendor exception and the text so far.
        settle: Records the call with what has arrived; only its first call has an effect.
        finish: Returns the last response to a question with a schema, for the streamed answer or, if the question has
            to be asked again, for None; may make requests.
    """

    _iterate: Callable[[Any], Any]

    def __init__(
        self,
        source: Any,
        parse: Callable[[Any], Delta],
        accumulator: ResponseAccumulator[R],
        map_error: Callable[[Exception, str], Exception],
        settle: Callable[[R], None],
        finish: Callable[[R | None], Any] | None = None,
    ) -> None:
        self._source = source
        self._parse, self._accumulator, self._map_error, self._settle = parse, accumulator, map_error, settle
        self._finish = finish
        self._chunks = self._iterate(source)
        self._is_complete = self._is_finished = False

    @property
    def response(self) -> R:
        """The response so far."""
        return self._accumulator.response

    @property
    def text(self) -> str:
        """The text so far."""
        return self.response.text

    def __repr__(self) -> str:
        is_over = self._is_finished or self.response.finish_reason
        state = "ended" if is_over else "in progress" if self._has_begun else "not read yet"
        return f"{type(self).__name__}({state}: {self.text[:60]!r})"

    @property
    def _has_begun(self) -> bool:
        arrived = any(choice.text or choice.reasoning for choice in self.response.choices)
        return arrived or self._accumulator.has_held_back

    def _add(self, chunk: Any) -> R | None:
        """Add a chunk; return the response, or None if the chunk adds nothing."""
        delta = self._parse(chunk)
        self._is_complete = self._is_complete or delta.is_complete
        return self._accumulator.add(delta) if _adds(delta) else None

    def _add_rest(self) -> R | None:
        """Return the response with the text that was held back and a finish reason, or None at the very end.

        Raises:
            MalformedResponseError: There was no answer at all.
            IncompleteResponseError: The stream ended before the answer did.
        """
        if not (self._has_begun or self.response.finish_reason):
            raise MalformedResponseError("The stream ended without an answer: ask again, or ask without streaming.")
        if (ended := self._accumulator.end("stop" if self._is_complete else "incomplete")) is not None:
            return ended
        if self._accumulator.has_held_back:
            return self._accumulator.add(Delta(), last=True)
        if any(choice.finish_reason == "incomplete" for choice in self.response.choices):
            raise IncompleteResponseError(
                "The answer is incomplete: the connection ended before the server said that the answer was finished. "
                "Ask again; the text so far is in .partial_text.",
                partial_text=self.text,
            )
        return None

    def _take_finish(self) -> Callable[[R | None], Any] | None:
        """Return the function that finishes a structured answer, the first time that it is needed."""
        finish, self._finish = self._finish, None
        return finish

    def _finished(self, response: R) -> R:
        """Return the last response; its delta is empty unless nothing has been streamed."""
        if self.response.text or self.response.reasoning:
            response = replace(response, delta="", reasoning_delta="")
        self._accumulator.response = response
        return response

    def _failure(self, error: BaseException) -> BaseException:
        """Return the exception to raise for an error, and mark the response as interrupted or incomplete."""
        if not isinstance(error, Exception):
            self._accumulator.add(Delta(finish_reason="interrupted"))
            return error
        if self._has_begun:
            self._accumulator.end("incomplete")
        return self._map_error(error, self.text)


class ResponseStream(_Stream[R]):
    """A streamed answer: an iterator of responses.

    Each response's ``.text`` is the text so far, and its ``.delta`` the part that is new. The connection is closed at
    the end of the answer, on an error or interrupt, at the end of a ``with`` block, and by `close`, which ends the
    answer early. What has arrived stays in ``.text`` and ``.response``.
    """

    _iterate = staticmethod(iter)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        if self._is_finished:
            raise StopIteration
        try:
            for chunk in self._chunks:
                if (response := self._add(chunk)) is not None:
                    return response
            if (response := self._add_rest()) is not None:
                return response
            if (finish := self._take_finish()) is not None:
                self.close()
                return self._finished(finish(self.response))
        except BaseException as error:
            failure = self._failure(error)
            self.close()
            if isinstance(failure, AskAgainError) and (finish := self._take_finish()) is not None:
                return self._finished(finish(None))
            if failure is error:
                raise
            raise failure from error
        self.close()
        raise StopIteration

    def close(self) -> None:
        """Close the connection, and keep the part of the answer that has arrived; nothing more can be read."""
        self._is_finished = True
        self._settle(self.response)
        close = getattr(self._source, "close", None)
        if close is not None:
            close()

    @keep_interrupts
    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class AsyncResponseStream(_Stream[R]):
    """The asynchronous version of `ResponseStream`; ``await stream.aclose()`` ends the answer early."""

    _iterate = staticmethod(aiter)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        if self._is_finished:
            raise StopAsyncIteration
        try:
            async for chunk in self._chunks:
                if (response := self._add(chunk)) is not None:
                    return response
            if (response := self._add_rest()) is not None:
                return response
            if (finish := self._take_finish()) is not None:
                await self.aclose()
                return self._finished(await finish(self.response))
        except BaseException as error:
            failure = self._failure(error)
            await self.aclose()
            if isinstance(failure, AskAgainError) and (finish := self._take_finish()) is not None:
                return self._finished(await finish(None))
            if failure is error:
                raise
            raise failure from error
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the connection, and keep the part of the answer that has arrived; nothing more can be read."""
        self._is_finished = True
        self._settle(self.response)
        close = getattr(self._source, "aclose", None) or getattr(self._source, "close", None)
        if close is not None:
            await close()

    @keep_interrupts
    def __del__(self) -> None:
        # Closing the connection would have to be awaited; the vendor's client does it when it is collected.
        self._settle(self.response)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()
