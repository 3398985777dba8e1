"""What a cell asks, as a value: the model, the conversation so far, the prompt and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

from vision_nb.conversation.chat import Chat
from vision_nb.cost.estimate import Estimate, estimate_cost
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage, user_message
from vision_nb.providers.base import MultiModalLLM
from vision_nb.responses import ChatResponse, CompletionResponse, Response
from vision_nb.store import Store, answer_key

R = TypeVar("R", bound=Response)


@dataclass(frozen=True)
class Question:
    """One question to one model.

    Attributes:
        llm: The model.
        chat: What was said before, and the system message.
        prompt: The question.
        images: Its pictures; those of the conversation are in ``chat``.
    """

    llm: MultiModalLLM
    chat: Chat
    prompt: str
    images: Sequence[ImageDocument] = ()

    @property
    def message(self) -> ChatMessage:
        """The question as a message."""
        return user_message(self.prompt, self.images)

    @property
    def messages(self) -> list[ChatMessage]:
        """All that is sent."""
        return [*self.chat.to_messages(), self.message]

    @property
    def all_images(self) -> list[ImageDocument]:
        """The pictures of the whole conversation."""
        return [document for message in self.messages for document in message.image_documents]

    def key(self, store: Store) -> str:
        """The key of the answer in a store: all that decides it.

        Where there is one picture and no conversation, it is the key that `compare` uses.
        """
        identity = {**self.llm.identity}
        parameters = identity.pop("parameters")
        return answer_key(
            model=repr(sorted(identity.items())),
            parameters=parameters,
            prompt=self.prompt,
            image_digests=_digests(self.images, store),
            system=self.chat.system,
            history=[
                (message.role.value, message.text, _digests(message.image_documents, store))
                for message in self.chat.history
            ],
        )

    def estimate(self) -> Estimate:
        """What it would cost, about."""
        texts = "\n".join(message.text for message in self.messages)
        return estimate_cost(texts, self.all_images, self.llm)


def stored(question: Question, store: Store) -> ChatResponse | None:
    """The answer that a store has to a question, or None."""
    found = store.get(question.key(store))
    return None if found is None else _as(ChatResponse, replace(found, pricing=question.llm.price))


def completion(response: Response) -> CompletionResponse:
    """An answer as the value of a cell: its ``str`` is the text alone."""
    return _as(CompletionResponse, response)


def _as(kind: type[R], response: Response) -> R:
    return kind(**{one.name: getattr(response, one.name) for one in fields(Response)})


def _digests(documents: Sequence[ImageDocument], store: Store) -> list[str]:
    return [store.digest(document) + (f" {document.detail}" if document.detail else "") for document in documents]
