"""Chat messages: a role, and text and images in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.attributes import read_only
from vision_nb.errors import SettingsError
from vision_nb.images.columns import elements_of
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.images.expansion import names_image
from vision_nb.images.loading import with_parts
from vision_nb.rendering.format import type_name
from vision_nb.rendering.terminal import TerminalDisplay, TerminalPart, short_text

Part: TypeAlias = str | ImageDocument


class MessageRole(str, Enum):  # noqa: UP042 - print(role) shows MessageRole.USER, as in the walkthroughs
    """The author of a message.

    >>> vn.MessageRole("user") is vn.MessageRole.USER
    True
    """

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"


@checks_arguments
@read_only()
@dataclass(frozen=True, repr=False)
class ChatMessage(TerminalDisplay):
    """A message of a conversation.

    Args:
        role: "system", "developer", "user" or "assistant", or a `MessageRole`.
        content: A string, or strings and images in the order in which the model reads them. Images may be
            documents, other image sources, or ``{"type": "image_url", ...}`` parts of OpenAI's protocol.

    Raises:
        SettingsError: The role does not exist, or a part is neither text nor an image.

    >>> vn.ChatMessage("user", "What is this?").text
    'What is this?'
    """

    role: MessageRole
    content: str | tuple[Part, ...]

    def __init__(self, role: str | MessageRole = MessageRole.USER, content: Any = "") -> None:
        if isinstance(role, str) and role not in set(MessageRole) and isinstance(content, str) and not content:
            raise SettingsError(f"{role!r:.80} is not a role: write ChatMessage('user', {role!r:.80}).")
        object.__setattr__(self, "role", _role(role))
        if not isinstance(content, str):
            content = tuple(map(_part, content if isinstance(content, (list, tuple)) else [content]))
        object.__setattr__(self, "content", content)

    @classmethod
    def of(cls, message: ChatMessage | Mapping[str, Any]) -> ChatMessage:
        """Create a message from a ``{"role": ..., "content": ...}`` mapping.

        A `ChatMessage` is returned unchanged.

        Args:
            message: The message or mapping.

        Raises:
            SettingsError: The argument is neither, or its role or content cannot be used.
        """
        if isinstance(message, ChatMessage):
            return message
        if isinstance(message, Mapping) and "role" in message:
            content = message.get("content")
            is_empty = content is None or (isinstance(content, (str, list, tuple)) and not content)
            return cls(message["role"], "" if is_empty else content)
        raise SettingsError(
            f"{type_name(message, 'A')} is not a message: pass ChatMessage(role=..., content=...), or a mapping "
            "with role and content."
        )

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as a tuple, even if it is a single string."""
        return (self.content,) if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """The texts of the message, joined by newlines."""
        return "\n".join(part for part in self.parts if isinstance(part, str))

    @property
    def image_documents(self) -> tuple[ImageDocument, ...]:
        """The images of the message, in order."""
        return tuple(part for part in self.parts if isinstance(part, ImageDocument))

    def __repr__(self) -> str:
        parts = [repr(short_text(self.text)) if self.text else "", *(repr(one) for one in self.image_documents)]
        return f"ChatMessage({self.role.value}: {', '.join(filter(None, parts))})"

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        return [str(self)]

    def __str__(self) -> str:
        images = "".join(f" [{document.name}]" for document in self.image_documents)
        return f"{self.role.value}: {self.text}{images}"


@checks_arguments
def generate_openai_multi_modal_chat_message(
    prompt: str,
    role: str | MessageRole = MessageRole.USER,
    image_documents: Sequence[ImageSource] | None = None,
) -> ChatMessage:
    """Create a message from a text and images.

    Args:
        prompt: The text.
        role: The author of the message.
        image_documents: Documents or other image sources, which are placed after the text.

    Raises:
        SettingsError: The role does not exist, or the prompt is not a string.

    >>> message = vn.generate_openai_multi_modal_chat_message("What is this?", image_documents=["photos/1.jpg"])
    >>> message.role, message.text, len(message.image_documents)
    (<MessageRole.USER: 'user'>, 'What is this?', 1)
    """
    return user_message(prompt, () if image_documents is None else image_documents, role=role)


def user_message(
    prompt: str,
    images: ImageSource | Iterable[ImageSource] = (),
    *,
    role: str | MessageRole = MessageRole.USER,
) -> ChatMessage:
    """Create a message of a text followed by one or several images."""
    check_prompt(prompt, images)
    documents = [ImageDocument.of(image) for image in as_images(images)]
    return ChatMessage(role, (prompt, *documents) if documents else prompt)


def check_prompt(prompt: Any, images: Any) -> None:
    """Raise SettingsError unless a prompt is a string, and if it was swapped with the images."""
    if not isinstance(prompt, str):
        raise SettingsError(
            f"A prompt must be a string, not {type_name(prompt)}: the prompt comes first, and then the images."
        )
    if isinstance(images, str) and names_image(prompt) and not names_image(images):
        raise SettingsError(
            f"The prompt {prompt!r:.80} and the image {images!r:.80} look swapped: the prompt comes first, and then "
            "the images."
        )


def as_images(images: ImageSource | Iterable[ImageSource] | None) -> list[ImageSource]:
    """Return a list of image sources from one source, several, or None.

    A PDF document, TIFF file or video is replaced by documents of its pages or frames.

    Raises:
        ImageError: A PDF document or video cannot be read, or an element of a column is missing.
    """
    if images is None:
        return []
    elements = elements_of(images)
    sources = [images] if elements is None else elements
    return [part for source in sources for part in with_parts(source)]


def _role(role: str | MessageRole) -> MessageRole:
    try:
        return MessageRole(role)
    except ValueError as error:
        known = ", ".join(known_role.value for known_role in MessageRole)
        raise SettingsError(f"Unknown role {role!r:.80}: use one of {known}.") from error


def _part(part: Any) -> Part:
    if isinstance(part, (str, ImageDocument)):
        return part
    if isinstance(part, Mapping) and ("type" in part or not ("bytes" in part or "path" in part)):
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            return str(part["text"])
        if part.get("type") == "image_url":
            image_url = part.get("image_url")
            if isinstance(image_url, Mapping):
                return ImageDocument(image_url=image_url.get("url"), detail=image_url.get("detail"))
            return ImageDocument(image_url=image_url)
        raise SettingsError(f"Parts of type {part.get('type')!r:.80} are not supported: use 'text' or 'image_url'.")
    return ImageDocument.of(part)
