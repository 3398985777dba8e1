"""Save conversations to files: in formats for reading, or as JSON that can be loaded again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from vision_nb.conversation.export import notebook, page, transcript
from vision_nb.conversation.turn import Turn
from vision_nb.cost.answer_cost import answer_cost
from vision_nb.errors import ImageError, SettingsError
from vision_nb.images.boxes import SentImage
from vision_nb.images.document import ImageDocument
from vision_nb.images.prepare import fit_within
from vision_nb.images.remote import is_remote_file
from vision_nb.messages import ChatMessage, MessageRole, Part
from vision_nb.paths import shown_path, writable_path
from vision_nb.privacy.urls import public_url
from vision_nb.rendering.demo_badge import demo_label
from vision_nb.rendering.sanitize import replace_surrogates
from vision_nb.responses import ChatResponse, Usage

FORMAT = 1
"""The version of the JSON format; files of later versions are rejected."""

DAMAGE = (AttributeError, KeyError, TypeError, ValueError, ArithmeticError, RecursionError, ImageError)
"""What reading damaged data raises."""

_MAX_NUMBER = 1e15  # a larger number in a file is treated as damage
_MAX_SIDE = 2048  # pixels; most models scale images down to at most this size


@dataclass(frozen=True)
class SavedConversation:
    """The content of a saved conversation.

    Attributes:
        model: The model's name, as for `connect`.
        system: The system message; empty for none.
        keep_images: The maximum number of images to send; None for no limit.
        turns: The questions with their answers, oldest first.
    """

    model: str
    system: str
    keep_images: int | None
    turns: tuple[Turn, ...]


def write(conversation: SavedConversation, path: Path) -> None:
    """Write a conversation in the format that the path's suffix selects; see `Chat.export`."""
    with writable_path(path, *_FORMATS) as file:
        file.write_text(replace_surrogates(_FORMATS[path.suffix.lower()](conversation)), encoding="utf-8")


def read(path: Path) -> SavedConversation:
    """Read a conversation from a JSON file.

    Raises:
        SettingsError: The file cannot be read or is not a saved conversation.
    """
    if path.suffix.lower() in (".md", ".html", ".ipynb"):
        raise SettingsError(f"Cannot load {path.name}: export the conversation as .json to load it again.")
    shown = shown_path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"Cannot read {shown} ({error.strerror}): check the path.") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{shown} is not a saved conversation: it is not valid JSON.") from error
    version = content.get("vision_nb_chat") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise SettingsError(f"{shown} is not a saved conversation: use a .json file written by Chat.export.")
    if version > FORMAT:
        raise SettingsError(f"{shown} was written by a newer version of vision_nb: upgrade vision_nb.")
    try:
        turns = tuple(read_turn(turn) for turn in content["turns"])
        return SavedConversation(
            _string(content["model"]), _string(content["system"]), _count(content["keep_images"]), turns
        )
    except DAMAGE as error:
        raise SettingsError(
            f"{shown} is damaged: a value is missing or has the wrong type. Export the conversation again."
        ) from error


def _title(conversation: SavedConversation) -> str:
    turns = conversation.turns
    by_demo = bool(turns) and all(turn.answer.is_demo for turn in turns)
    return f"Conversation with {demo_label(conversation.model) if by_demo else conversation.model}"


def _to_markdown(conversation: SavedConversation) -> str:
    return transcript(conversation.system, conversation.turns)


def to_html(conversation: SavedConversation) -> str:
    """Return a conversation as a web page; see `Chat.export`."""
    return page(_title(conversation), conversation.system, conversation.turns)


def _to_notebook(conversation: SavedConversation) -> str:
    return _dump(notebook(_title(conversation), conversation.system, conversation.turns))


def _to_json(conversation: SavedConversation) -> str:
    return _dump(
        {
            "vision_nb_chat": FORMAT,
            "model": conversation.model,
            "system": conversation.system,
            "keep_images": conversation.keep_images,
            "turns": [turn_fields(turn) for turn in conversation.turns],
        }
    )


def _dump(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


_FORMATS: Mapping[str, Callable[[SavedConversation], str]] = {
    ".md": _to_markdown,
    ".html": to_html,
    ".ipynb": _to_notebook,
    ".json": _to_json,
}


def turn_fields(turn: Turn, *, question: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a turn as JSON data, with its images.

    Args:
        turn: The turn.
        question: The JSON data of its question; None to create them.

    Raises:
        SettingsError: An image cannot be read.
    """
    answer = turn.answer
    usage, usd = answer.usage, answer_cost(answer).usd
    return {
        "question": question_fields(turn.question) if question is None else question,
        "answer": {
            "text": answer.text,
            "reasoning": answer.reasoning,
            "reasoning_seconds": answer.reasoning_seconds,
            "model": answer.model,
            "finish_reason": answer.finish_reason,
            "latency": answer.latency,
            "usage": usage and [usage.input_tokens, usage.output_tokens, usage.cached_input_tokens],
            "expected_tokens": answer.expected_tokens,  # for an estimate if the answer was cut off
            "usd": None if usd is None else str(usd),
            "usd_is_reported": answer.reported_cost is not None,
            "is_demo": answer.is_demo,
            "sent_images": [asdict(image) for image in answer.sent_images],
        },
        "left_out": turn.dropped_images,
    }


def question_fields(question: ChatMessage) -> dict[str, Any]:
    """Return a question as JSON data, with its images.

    Raises:
        SettingsError: An image cannot be read.
    """
    return {"role": question.role.value, "parts": [_part_fields(part) for part in question.parts]}


def _part_fields(part: Part) -> dict[str, Any]:
    if isinstance(part, str):
        return {"text": part}
    if part.is_remote:
        return {"url": public_url(str(part.image_url)), "detail": part.detail}
    try:
        prepared = part.prepare(lambda size: fit_within(size, _MAX_SIDE))
    except ImageError as error:
        raise SettingsError(
            f"Cannot save the conversation, because one of its images cannot be read: {error}"
        ) from error
    return {"data": base64.b64encode(prepared.data).decode("ascii"), "name": part.title, "detail": part.detail}


def read_turn(fields: Mapping[str, Any]) -> Turn:
    """Return the turn that `turn_fields` turned into JSON data.

    Raises:
        Exception: One of `DAMAGE`, if the data are damaged.
    """
    answer = fields["answer"]
    usd = None if answer["usd"] is None else Decimal(_string(answer["usd"]))
    if usd is not None and not (usd.is_finite() and usd >= 0):
        raise ValueError(f"{usd} is not a price")
    return Turn(
        read_question(fields["question"]),
        ChatResponse(
            text=_string(answer["text"]),
            reasoning=_string(answer.get("reasoning", "")),  # files of earlier versions have none
            reasoning_seconds=_seconds(answer.get("reasoning_seconds")),
            model=_string(answer["model"]),
            finish_reason=None if answer["finish_reason"] is None else _string(answer["finish_reason"]),
            latency=_seconds(answer["latency"]),
            usage=_read_usage(answer["usage"]),
            expected_tokens=_count(answer.get("expected_tokens")),
            reported_cost=usd if answer.get("usd_is_reported") else None,
            is_demo=answer.get("is_demo") is True,
            sent_images=tuple(SentImage.from_fields(image) for image in answer.get("sent_images", ())),
            pricing=lambda *_, **__: usd,  # the price at the time, even if prices have changed since
        ),
        _count(fields["left_out"]) or 0,
    )


def read_question(fields: Mapping[str, Any]) -> ChatMessage:
    """Return the question that `question_fields` turned into JSON data; errors as `read_turn`."""
    return ChatMessage(MessageRole(fields["role"]), [_read_part(part) for part in fields["parts"]])


def _read_usage(counts: Any) -> Usage | None:
    if counts is None:
        return None
    if not isinstance(counts, list):
        raise TypeError(f"{type(counts).__name__} is not a list of token counts")
    input_tokens, output_tokens, cached = map(_count, counts)
    return Usage(input_tokens, output_tokens, cached or 0)


def _read_part(fields: Mapping[str, Any]) -> Part:
    if "text" in fields:
        return _string(fields["text"])
    if "url" in fields:
        url = _string(fields["url"])
        if is_remote_file(url):  # such images are saved as data; this would be read with the reader's login
            raise ValueError("an image in an object store is not saved as a URL")
        document = ImageDocument(image_url=url, detail=fields["detail"])
        document.show_as_link()
        return document
    data = base64.b64decode(_string(fields["data"]), validate=True)
    return ImageDocument(image=data, image_name=_string(fields["name"]), detail=fields["detail"])


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is not a string")
    return replace_surrogates(value)


def _count(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < _MAX_NUMBER):
        raise ValueError(f"{type(value).__name__} is not a count")
    return value


def _seconds(value: Any) -> float | None:
    if value is not None and (type(value) not in (int, float) or not 0 <= value < _MAX_NUMBER):  # also rejects NaN
        raise ValueError(f"{type(value).__name__} is not a number of seconds")
    return None if value is None else float(value)
