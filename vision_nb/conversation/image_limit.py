"""Drop the images of earlier questions when a request would contain too many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat

from vision_nb.conversation.turn import Turn
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage

_DROPPED_IMAGE_NOTE = "(Earlier image omitted.)"


def images_to_drop(turns: Iterable[Turn], question: ChatMessage, limit: int | None) -> list[ImageDocument]:
    """Return the oldest images of earlier turns that exceed a limit; the question's own images come first."""
    if limit is None:
        return []
    earlier = [document for turn in turns for document in turn.question.image_documents]
    kept = max(0, limit - len(question.image_documents))
    return earlier[: max(0, len(earlier) - kept)]


def omit_images(messages: Iterable[ChatMessage], count: int) -> Iterator[ChatMessage]:
    """Yield messages in which a note replaces each of the first ``count`` images."""
    notes = repeat(_DROPPED_IMAGE_NOTE, count)
    for message in messages:
        if message.image_documents:
            parts = [next(notes, part) if isinstance(part, ImageDocument) else part for part in message.parts]
            message = ChatMessage(message.role, parts)
        yield message
