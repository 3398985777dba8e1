"""Write the answers of OpenAI's Responses API as JSON. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vision_nb.demo.faults import merged
from vision_nb.demo.openai.completions import Reply
from vision_nb.demo.openai.rules import is_reasoning_model
from vision_nb.demo.openai.tokens import split_tokens

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


_INCOMPLETE: Mapping[str, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why a response is incomplete, by the finish reason of a chat completion."""

_SUMMARY = ("**Measuring the images**\n\nTheir pixels are needed first.", "**Choosing the words**")


def response(reply: Reply, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a complete answer to a request; `ProtocolHandler.send_json` changes the fields that the fault names."""
    reason = _INCOMPLETE.get(reply.choices[0].finish_reason)
    return {
        **_envelope(reply, body),
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": [] if reply.fault.empty_choices else [item for item, _ in _items(reply, body)],
        "usage": None if reply.fault.no_usage else _usage(reply),
    }


def events(reply: Reply, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of a streamed answer, the last of which contains the complete answer."""
    for number, (kind, fields) in enumerate(_events(reply, body)):
        yield {"type": f"response.{kind}", "sequence_number": number, **fields}


def _events(reply: Reply, body: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    started = {**_envelope(reply, body), "status": "in_progress", "output": [], "usage": None}
    yield "created", {"response": started}
    yield "in_progress", {"response": started}
    for index, (item, pieces) in enumerate([] if reply.fault.empty_choices else _items(reply, body)):
        unfinished = {name: [] if isinstance(value, list) else value for name, value in item.items()}
        unfinished |= {"arguments": ""} if "arguments" in item else {}
        yield "output_item.added", {"output_index": index, "item": {**unfinished, "status": "in_progress"}}
        for kind, fields in _item_events(item, pieces):
            yield kind, {"item_id": item["id"], "output_index": index, **fields}
        yield "output_item.done", {"output_index": index, "item": item}
    finished = merged(response(reply, body), reply.fault.answer)
    yield finished["status"], {"response": finished}


def _item_events(item: Mapping[str, Any], pieces: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events between the beginning and the end of an output item."""
    if item["type"] == "function_call":
        for piece in pieces:
            yield "function_call_arguments.delta", {"delta": piece}
        yield "function_call_arguments.done", {"name": item["name"], "arguments": item["arguments"]}
    elif item["type"] == "reasoning":
        for index, part in enumerate(item["summary"]):
            place = {"summary_index": index}
            yield "reasoning_summary_part.added", {**place, "part": {**part, "text": ""}}
            for piece in split_tokens(part["text"]):
                yield "reasoning_summary_text.delta", {**place, "delta": piece}
            yield "reasoning_summary_text.done", {**place, "text": part["text"]}
            yield "reasoning_summary_part.done", {**place, "part": part}
    else:
        [part], place = item["content"], {"content_index": 0}
        kind = "text" if part["type"] == "output_text" else "refusal"
        name = part["type"]
        more: dict[str, Any] = {"logprobs": []} if kind == "text" else {}
        yield "content_part.added", {**place, "part": {**part, kind: ""}}
        for piece in pieces:
            yield f"{name}.delta", {**place, "delta": piece, **more}
        yield f"{name}.done", {**place, kind: part[kind], **more}
        yield "content_part.done", {**place, "part": part}


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


def _items(reply: Reply, body: Mapping[str, Any]) -> list[tuple[dict[str, Any], Sequence[str]]]:
    """Return the output: the reasoning of a reasoning model, and a message or the call of a tool; with its pieces."""
    choice, message = reply.choices[0], reply.fault.message
    items: list[tuple[dict[str, Any], Sequence[str]]] = []
    wanted = (body.get("reasoning") or {}).get("summary")
    summary = message.get("reasoning_content", _SUMMARY if wanted else ())
    if summary or is_reasoning_model(reply.model):
        texts = [summary] if isinstance(summary, str) else summary
        parts = [{"type": "summary_text", "text": text} for text in texts]
        items.append(({"id": f"rs_{reply.id}", "type": "reasoning", "summary": parts}, ()))
    status = "incomplete" if choice.finish_reason in _INCOMPLETE else "completed"
    if choice.tool:
        call = {"call_id": f"call_{reply.id[:20]}", "name": choice.tool, "arguments": choice.text}
        items.append(({"id": f"fc_{reply.id}", "status": status, "type": "function_call", **call}, choice.pieces))
        return items
    text = message.get("content")
    pieces: Sequence[str] = split_tokens(text) if isinstance(text, str) else choice.pieces
    part: dict[str, Any] = {"type": "output_text", "text": "".join(pieces), "annotations": [], "logprobs": []}
    if refusal := message.get("refusal"):
        pieces, part = split_tokens(refusal), {"type": "refusal", "refusal": refusal}
    answer = {"id": f"msg_{reply.id}", "status": status, "type": "message", "role": "assistant", "content": [part]}
    items.append((answer, pieces))
    return items


def _usage(reply: Reply) -> dict[str, Any]:
    return {
        "input_tokens": reply.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": reply.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
    }
