"""Conversations in files: written to be read, or to be loaded again."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

from vision_nb.conversation.chat import Chat, Turn
from vision_nb.conversation.export import notebook, page, thumbnail, transcript
from vision_nb.errors import ImageError, SettingsError
from vision_nb.images.document import ImageDocument
from vision_nb.images.prepare import fit_within
from vision_nb.messages import ChatMessage, MessageRole, Part
from vision_nb.providers.base import MultiModalLLM
from vision_nb.providers.catalog import DEMO, known_models
from vision_nb.providers.connect import connect
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.responses import ChatResponse, Usage

FORMAT = 1
"""The version of the JSON file; a file of a later one is refused."""

_LARGEST = 1e15  # of any number in a file: a count beyond it is none
_SIDE = 2048  # pixels of a picture that is to be asked about again: what most models see of it


def write(chat: Chat, path: Path) -> Path:
    """Write a conversation in the form that the path's ending names; see `Chat.export`."""
    if path.suffix.lower() not in _FORMS:
        raise SettingsError(f"{path.name!r} does not say what to write: it ends in {', '.join(_FORMS)}.")
    text = _FORMS[path.suffix.lower()](chat)
    partial = path.with_name(f".{secrets.token_hex(8)}.part")  # which is short enough, however long the name is
    try:
        partial.write_text(replace_surrogates(text), encoding="utf-8")
        partial.replace(path)  # a reader finds the old file or the new one, and never half of it
    except OSError as error:
        raise SettingsError(f"{path} cannot be written ({error.strerror}): name another file.") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return path


def _as_json(chat: Chat) -> str:
    turns = [
        {"question": _question(turn.question), "answer": _answer(turn.answer), "left_out": turn.dropped_images}
        for turn in chat.turns
    ]
    content = {
        "vision_nb_chat": FORMAT,
        "model": str(chat.llm),
        "system": chat.system,
        "keep_images": chat.keep_images,
        "turns": turns,
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


_FORMS: Mapping[str, Callable[[Chat], str]] = {
    ".md": lambda chat: transcript(chat, thumbnail),
    ".html": page,
    ".ipynb": lambda chat: json.dumps(notebook(chat), ensure_ascii=False, indent=1) + "\n",
    ".json": _as_json,
}


def _question(question: ChatMessage) -> dict[str, Any]:
    return {"role": question.role.value, "parts": [_part(part) for part in question.parts]}


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"text": part}
    if part.is_remote:
        return {"url": part.image_url, "detail": part.detail}
    try:
        ready = part.prepare(lambda size: fit_within(size, _SIDE))
    except ImageError as error:
        raise SettingsError(f"The conversation cannot be written, as a picture of it is gone: {error}") from error
    return {"data": base64.b64encode(ready.data).decode("ascii"), "name": part.title, "detail": part.detail}


def _answer(answer: ChatResponse) -> dict[str, Any]:
    usage = answer.usage
    return {
        "text": answer.text,
        "model": answer.model,
        "finish_reason": answer.finish_reason,
        "latency": answer.latency,
        "usage": usage and [usage.input_tokens, usage.output_tokens, usage.cached_input_tokens],
        "usd": None if answer.cost is None else str(answer.cost),
    }


def read(path: Path, llm: MultiModalLLM | None) -> Chat:
    """Read a conversation from a JSON file; see `Chat.load`."""
    if path.suffix.lower() in (".md", ".html", ".ipynb"):
        raise SettingsError(f"{path.name} is to be read by people: export the conversation as .json to load it again.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} holds no conversation: it is no JSON file.") from error
    version = content.get("vision_nb_chat") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise SettingsError(f"{path} holds no conversation: Chat.export writes those that can be loaded.")
    if version > FORMAT:
        raise SettingsError(f"{path} was written by a later version of vision_nb: update this one.")
    try:
        turns = [_turn(turn) for turn in content["turns"]]
        model, system, keep_images = _text(content["model"]), _text(content["system"]), _count(content["keep_images"])
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError, ImageError, SettingsError) as error:
        raise SettingsError(f"{path} is damaged: a part is missing or of the wrong kind.") from error
    chat = Chat(llm or _named(model, path), system=system, keep_images=keep_images)
    chat.replace(turns)
    return chat


def _named(model: str, path: Path) -> MultiModalLLM:
    """The model that a file names, unless that would send pictures to whom the file's writer chose."""
    if model not in known_models() and model.partition(":")[0] not in ("openai", "local", DEMO):
        raise SettingsError(f"{path.name} names the model {model!r}: pass llm=vn.connect({model!r}) to go on with it.")
    return connect(model)


def _turn(turn: Mapping[str, Any]) -> Turn:
    question, answer = turn["question"], turn["answer"]
    usd = None if answer["usd"] is None else Decimal(_text(answer["usd"]))
    if usd is not None and not (usd.is_finite() and usd >= 0):
        raise ValueError(f"{usd} in the place of a price")
    return Turn(
        ChatMessage(MessageRole(question["role"]), [_document(part) for part in question["parts"]]),
        ChatResponse(
            text=_text(answer["text"]),
            model=_text(answer["model"]),
            finish_reason=None if answer["finish_reason"] is None else _text(answer["finish_reason"]),
            latency=_seconds(answer["latency"]),
            usage=_usage(answer["usage"]),
            pricing=lambda _: usd,  # what it cost then, whatever it costs now
        ),
        _count(turn["left_out"]) or 0,
    )


def _usage(counts: Any) -> Usage | None:
    if counts is None:
        return None
    if not isinstance(counts, list):
        raise TypeError(f"{type(counts).__name__} in the place of tokens")
    sent, received, cached = map(_count, counts)
    return Usage(sent, received, cached or 0)


def _document(part: Mapping[str, Any]) -> Part:
    if "text" in part:
        return _text(part["text"])
    if "url" in part:
        document = ImageDocument(image_url=_text(part["url"]), detail=part["detail"])
        document.show_as_link()
        return document
    data = base64.b64decode(_text(part["data"]), validate=True)
    return ImageDocument(image=data, image_name=_text(part["name"]), detail=part["detail"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in the place of a text")
    return replace_surrogates(value)


def _count(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < _LARGEST):
        raise ValueError("something else in the place of a count")
    return value


def _seconds(value: Any) -> float | None:
    if value is not None and (type(value) not in (int, float) or not 0 <= value < _LARGEST):  # NaN is not either
        raise ValueError("something else in the place of a time")
    return None if value is None else float(value)
