"""The arguments of the chat panel: checks and conversions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from vision_nb.checks.numbers import plain_number
from vision_nb.conversation.chat import Chat
from vision_nb.errors import SettingsError
from vision_nb.images.document import ImageDocument, ImageSource
from vision_nb.images.loading import load_images
from vision_nb.rendering.format import type_name
from vision_nb.widgets.model_picker import ModelPicker


def check_types(name: object, chat: object) -> None:
    """Check ``name=`` and ``chat=``.

    Raises:
        SettingsError: One of them has the wrong type.
    """
    if name is not None and (not isinstance(name, str) or not name):
        raise SettingsError(f"name= must be a non-empty string, not {name!r:.80}.")
    if chat is not None and not isinstance(chat, Chat):
        raise SettingsError(f"chat= must be a Chat, not {type_name(chat)}.")


def configured_chat(
    chat: Chat | None, models: ModelPicker, llm: object, system: str | None, keep_images: int | None
) -> Chat:
    """Apply settings to a conversation, or to a new one; if a setting is invalid, the conversation is not changed."""
    first = models.get(models.names[0])
    configured = Chat(first) if chat is None else chat.fork()
    if llm is not None:
        configured.llm = first
    if system is not None:
        configured.system = system
    if keep_images is not None:
        configured.keep_images = keep_images
    if chat is None:
        return configured
    chat.llm, chat.system, chat.keep_images = configured.llm, configured.system, configured.keep_images
    return chat


def css_length(height: object) -> str:
    """Return a height as a CSS length; numbers are pixels."""
    height = plain_number(height)
    if isinstance(height, (int, float)) and not isinstance(height, bool) and 0 < height < math.inf:
        return f"{height}px"
    if isinstance(height, str) and re.fullmatch(r"[\w.,%()+*/ -]+", height):
        return height
    raise SettingsError(f"height={height!r} is not a length: use pixels, such as 480, or CSS, such as '30em'.")


def checked_documents(images: ImageSource | Iterable[ImageSource] | None) -> list[ImageDocument]:
    """Convert images to documents, and read the header of those that need no download to detect errors early.

    Args:
        images: Images, folders or patterns, as for `load_images`.
    """
    documents = load_images(() if images is None else images)
    for document in documents:
        if not document.is_remote:
            _ = document.size
    return documents
