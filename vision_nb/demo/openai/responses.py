"""Write the answers of OpenAI's Responses API as JSON. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vision_nb.demo.faults import merged
from vision_nb.demo.openai.completions import Reply

_ECHOED: Mapping[str, Any] = {  # the request's settings that an answer repeats, with their defaults
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def response(reply: Reply, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a complete answer to a request; `ProtocolHandler.send_json` changes the fields that the fault names."""
    complete = reply.choices[0].finish_reason != "length"
    return {
        **_envelope(reply, body),
        "status": "completed" if complete else "incomplete",
        "incomplete_details": None if complete else {"reason": "max_output_tokens"},
        "output": [] if reply.fault.empty_choices else [_item(reply, reply.choices[0].text, done=True)],
        "usage": None if reply.fault.no_usage else _usage(reply),
    }


def events(reply: Reply, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of a streamed answer, the last of which contains the complete answer."""
    for number, (kind, fields) in enumerate(_events(reply, body)):
        yield {"type": f"response.{kind}", "sequence_number": number, **fields}


def _events(reply: Reply, body: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    choice = reply.choices[0]
    started = {**_envelope(reply, body), "status": "in_progress", "output": [], "usage": None}
    yield "created", {"response": started}
    yield "in_progress", {"response": started}
    if not reply.fault.empty_choices:
        yield "output_item.added", {"output_index": 0, "item": _item(reply, "", done=False)}
        item = {"item_id": _item_id(reply), "output_index": 0}
        if choice.tool:
            for piece in choice.pieces:
                yield "function_call_arguments.delta", {**item, "delta": piece}
            yield "function_call_arguments.done", {**item, "name": choice.tool, "arguments": choice.text}
        else:
            place = {**item, "content_index": 0}
            yield "content_part.added", {**place, "part": _part("")}
            for piece in choice.pieces:
                yield "output_text.delta", {**place, "delta": piece, "logprobs": []}
            yield "output_text.done", {**place, "text": choice.text, "logprobs": []}
            yield "content_part.done", {**place, "part": _part(choice.text)}
        yield "output_item.done", {"output_index": 0, "item": _item(reply, choice.text, done=True)}
    finished = merged(response(reply, body), reply.fault.answer)
    yield finished["status"], {"response": finished}


def _envelope(reply: Reply, body: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: default if body.get(name) is None else body[name] for name, default in _ECHOED.items()}
    if "format" not in settings["text"]:
        settings["text"] = {**settings["text"], "format": {"type": "text"}}
    return {
        "id": f"resp_{reply.id}",
        "object": "response",
        "created_at": reply.created,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": reply.model,
        "output": [],
        "previous_response_id": None,
        "service_tier": reply.service_tier,
        **settings,
        "usage": None,
    }


def _item_id(reply: Reply) -> str:
    return f"{'fc' if reply.choices[0].tool else 'msg'}_{reply.id}"


def _item(reply: Reply, text: str, *, done: bool) -> dict[str, Any]:
    """Return the output: a message, or the call of a tool."""
    choice = reply.choices[0]
    complete = choice.finish_reason != "length"
    status = "in_progress" if not done else "completed" if complete else "incomplete"
    item = {"id": _item_id(reply), "status": status}
    if choice.tool:
        call = {"call_id": f"call_{reply.id[:20]}", "name": choice.tool, "arguments": text}
        return {**item, "type": "function_call", **call}
    return {**item, "type": "message", "role": "assistant", "content": [_part(text)] if done else []}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(reply: Reply) -> dict[str, Any]:
    return {
        "input_tokens": reply.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": reply.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
    }
