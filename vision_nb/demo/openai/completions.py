"""Write the answers of OpenAI's Chat Completions API as JSON. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from vision_nb.demo.faults import Fault, merged
from vision_nb.demo.openai.tokens import split_tokens

_FILTERS = {key: {"filtered": False, "severity": "safe"} for key in ("hate", "self_harm", "sexual", "violence")}
_PROMPT_FILTERS = [{"prompt_index": 0, "content_filter_results": _FILTERS}]


@dataclass(frozen=True)
class Choice:
    """One of the answers to a request.

    Attributes:
        pieces: The text, or the arguments of a tool, split into tokens.
        finish_reason: Such as "stop".
        tool: The name of the tool that is called; empty if the answer is a text.
    """

    pieces: tuple[str, ...]
    finish_reason: str
    tool: str = ""

    @property
    def text(self) -> str:
        """The pieces in one string."""
        return "".join(self.pieces)


@dataclass(frozen=True)
class Reply:
    """The data from which an answer is built.

    Attributes:
        id: Random, with the demo's mark if the demo model answers.
        created: Seconds since the epoch.
        model: The model name that the answer contains.
        choices: The answers; the Responses API has exactly one.
        prompt_tokens: The tokens of the request.
        service_tier: Such as "default".
        fault: The fault to apply to the answer.
        azure: Whether to include the results of Azure's content filter.
        cost: The price in US dollars that the usage states, or None.
    """

    id: str
    created: int
    model: str
    choices: tuple[Choice, ...]
    prompt_tokens: int
    service_tier: str
    fault: Fault
    azure: bool = False
    cost: float | None = None

    @property
    def completion_tokens(self) -> int:
        """The tokens of all choices."""
        return sum(len(choice.pieces) for choice in self.choices)


def completion(reply: Reply) -> dict[str, Any]:
    """Return a complete answer; `ProtocolHandler.send_json` changes the fields that the fault names."""
    fault = reply.fault
    choices = []
    for index, choice in enumerate(reply.choices):
        message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None, "annotations": []}
        if choice.tool:
            message |= {"content": None, "tool_calls": [_tool_call(reply, index, choice.text)]}
        value = {"index": index, "message": {**message, **fault.message}, "logprobs": None}
        value["finish_reason"] = choice.finish_reason
        if reply.azure:
            value["content_filter_results"] = _FILTERS
        choices.append(merged(value, fault.choice))
    return {
        **_envelope(reply, "chat.completion"),
        "choices": [] if fault.empty_choices else choices,
        **({} if fault.no_usage else {"usage": _usage(reply)}),
        **({"prompt_filter_results": _PROMPT_FILTERS} if reply.azure else {}),
    }


def chunks(reply: Reply, *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """Yield the events of a streamed answer: the role, the pieces, the finish reason, and the usage on request."""
    fault = reply.fault
    everywhere = {name: value for name, value in fault.answer.items() if name not in ("usage", "error")}
    only = {name: {name: fault.answer[name]} for name in ("usage", "error") if name in fault.answer}
    envelope = _envelope(reply, "chat.completion.chunk")
    with_usage = include_usage and not fault.no_usage
    if with_usage:
        envelope["usage"] = None
    if reply.azure:  # Azure's first event has no choices
        yield merged({**envelope, "choices": [], "prompt_filter_results": _PROMPT_FILTERS}, everywhere)
    per_choice = [_deltas(reply, index) for index in range(len(reply.choices))]
    for deltas in zip_longest(*per_choice):  # the server works on all choices at the same time
        for index, delta in enumerate(deltas):
            if delta is not None:
                choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
                yield merged({**envelope, "choices": [] if fault.empty_choices else [choice]}, everywhere)
    for index, made in enumerate(reply.choices):
        choice = {"index": index, "delta": {}, "logprobs": None, "finish_reason": made.finish_reason}
        last = {**envelope, "choices": [] if fault.empty_choices else [merged(choice, fault.choice)]}
        yield merged(last, everywhere | only.get("error", {}))
    if with_usage:
        yield merged({**envelope, "choices": [], "usage": _usage(reply)}, everywhere | only.get("usage", {}))


def _deltas(reply: Reply, index: int) -> Iterator[dict[str, Any]]:
    """Yield the deltas of a choice, those of its content last."""
    choice, message = reply.choices[index], reply.fault.message
    if choice.tool:
        yield {"role": "assistant", "content": None, "refusal": None}
        yield {"tool_calls": [{"index": 0, **_tool_call(reply, index, "")}]}
        for piece in choice.pieces:
            yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
        return
    yield {"role": "assistant", "content": "", "refusal": None}
    fields: dict[str, Any] = {name: value for name, value in message.items() if name != "content"}
    fields["content"] = message.get("content", choice.pieces)
    for name, value in fields.items():
        for piece in _pieces(value):
            yield {name: piece}


def _pieces(value: Any) -> Sequence[Any]:
    if isinstance(value, str):
        return split_tokens(value)
    return value if isinstance(value, tuple) else [value]


def _tool_call(reply: Reply, index: int, arguments: str) -> dict[str, Any]:
    function = {"name": reply.choices[index].tool, "arguments": arguments}
    return {"id": f"call_{reply.id[:20]}{index}", "type": "function", "function": function}


def _envelope(reply: Reply, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{reply.id}",
        "object": kind,
        "created": reply.created,
        "model": reply.model,
        "service_tier": reply.service_tier,
        "system_fingerprint": "fp_vision_nb_demo",
    }


def _usage(reply: Reply) -> dict[str, Any]:
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        **({} if reply.cost is None else {"cost": reply.cost}),
    }


def model_object(name: str) -> dict[str, Any]:
    """Return a model as it appears in the list of models."""
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "vision_nb"}
