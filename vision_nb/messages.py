"""Messages: who says what, with which pictures, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from vision_nb.errors import SettingsError
from vision_nb.images.document import ImageDocument, ImageSource

Part: TypeAlias = str | ImageDocument


class MessageRole(str, Enum):  # noqa: UP042 - print(role) shows MessageRole.USER, as in the walkthroughs
    """Who speaks.

    >>> vn.MessageRole("user") is vn.MessageRole.USER
    True
    """

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True)
class ChatMessage:
    """One turn of a conversation.

    Args:
        role: "system", "developer", "user" or "assistant", or a `MessageRole`.
        content: A text, or texts and pictures in the order in which the model is to read them. Pictures may
            be documents or the ``{"type": "image_url", ...}`` parts of OpenAI's protocol.

    Raises:
        SettingsError: The role does not exist, or a part is neither text nor picture.

    >>> ChatMessage("user", "What is this?").text
    'What is this?'
    """

    role: MessageRole
    content: str | tuple[Part, ...]

    def __init__(self, role: str | MessageRole = MessageRole.USER, content: Any = "") -> None:
        object.__setattr__(self, "role", _role(role))
        content = content if isinstance(content, str) else tuple(_part(part) for part in _as_sequence(content))
        object.__setattr__(self, "content", content)

    @classmethod
    def of(cls, message: ChatMessage | Mapping[str, Any]) -> ChatMessage:
        """Take a message as it is, or make one from a ``{"role": ..., "content": ...}`` mapping.

        Args:
            message: The message or mapping.

        Raises:
            SettingsError: It is neither, or its role or content cannot be used.
        """
        if isinstance(message, ChatMessage):
            return message
        if isinstance(message, Mapping) and "role" in message:
            return cls(message["role"], message.get("content") or "")
        raise SettingsError(
            f"A {type(message).__name__} is no message: use ChatMessage(role=..., content=...), or a mapping "
            "with role and content."
        )

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as a tuple, also where it is a single text."""
        return (self.content,) if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """The texts of the message, a line each."""
        return "\n".join(part for part in self.parts if isinstance(part, str))

    @property
    def image_documents(self) -> tuple[ImageDocument, ...]:
        """The pictures of the message, in order."""
        return tuple(part for part in self.parts if isinstance(part, ImageDocument))

    def __str__(self) -> str:
        shown = "".join(f" [{document.name}]" for document in self.image_documents)
        return f"{self.role.value}: {self.text}{shown}"


def generate_openai_multi_modal_chat_message(
    prompt: str,
    role: str | MessageRole = MessageRole.USER,
    image_documents: Sequence[ImageSource] | None = None,
) -> ChatMessage:
    """Make a message from a text and pictures.

    Args:
        prompt: The text.
        role: Who speaks.
        image_documents: Documents or other sources of pictures, placed after the text.

    Raises:
        SettingsError: The role does not exist, or the prompt is no text.

    >>> message = vn.generate_openai_multi_modal_chat_message("What is this?", image_documents=["photos/1.jpg"])
    >>> message.role, message.text, len(message.image_documents)
    (<MessageRole.USER: 'user'>, 'What is this?', 1)
    """
    return user_message(prompt, image_documents or (), role=role)


def user_message(
    prompt: str,
    images: ImageSource | Iterable[ImageSource] = (),
    *,
    role: str | MessageRole = MessageRole.USER,
) -> ChatMessage:
    """Make a message of a text followed by pictures, from one source or several."""
    if not isinstance(prompt, str):
        raise SettingsError(f"A prompt is a text, and a {type(prompt).__name__} was given.")
    documents = [ImageDocument.of(image) for image in as_images(images)]
    return ChatMessage(role, (prompt, *documents) if documents else prompt)


def as_images(images: ImageSource | Iterable[ImageSource] | None) -> list[ImageSource]:
    """A list of image sources from one source or several: a lone picture needs no brackets."""
    if images is None:
        return []
    return list(images) if isinstance(images, (list, tuple, set, frozenset)) or _is_lazy(images) else [images]


def _is_lazy(images: Any) -> bool:
    return hasattr(images, "__next__") and not hasattr(images, "read")


def _role(role: str | MessageRole) -> MessageRole:
    try:
        return MessageRole(role)
    except ValueError as error:
        known = ", ".join(one.value for one in MessageRole)
        raise SettingsError(f"There is no role {role!r}: it is one of {known}.") from error


def _as_sequence(content: Any) -> Sequence[Any]:
    if isinstance(content, (list, tuple)):
        return content
    return [content]


def _part(part: Any) -> Part:
    if isinstance(part, (str, ImageDocument)):
        return part
    if isinstance(part, Mapping):
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            return str(part["text"])
        if part.get("type") == "image_url":
            image_url = part.get("image_url")
            url, detail = (
                (image_url.get("url"), image_url.get("detail")) if isinstance(image_url, Mapping) else (image_url, None)
            )
            return ImageDocument(image_url=url, detail=detail)
        raise SettingsError(f"A part of type {part.get('type')!r} cannot be sent: use 'text' or 'image_url'.")
    return ImageDocument.of(part)
