"""`Turn`: a question and its answer."""

from __future__ import annotations

from dataclasses import dataclass

from vision_nb.messages import ChatMessage
from vision_nb.responses import ChatResponse


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Attributes:
        question: The question, with its images.
        answer: The answer; while it is streaming, the part received so far.
        dropped_images: How many images of earlier questions were not sent again with this question.
    """

    question: ChatMessage
    answer: ChatResponse
    dropped_images: int = 0
