"""`Question`: what a cell asks a model, as a value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from vision_nb.conversation.chat import Chat
from vision_nb.cost.accounting import longest_answer
from vision_nb.cost.estimate import EXPECTED_OUTPUT, Estimate, estimate_cost
from vision_nb.errors import SchemaError
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage, user_message
from vision_nb.providers.base import MultiModalLLM
from vision_nb.responses import ChatResponse, CompletionResponse, Response
from vision_nb.schema.schema import Schema
from vision_nb.storage.answer_keys import answer_key
from vision_nb.store import Store

R = TypeVar("R", bound=Response)


@dataclass(frozen=True)
class Question:
    """A question to a model.

    Attributes:
        llm: The model.
        chat: The earlier turns and the system message.
        prompt: The text of the question.
        images: The images of the question; those of earlier questions are in ``chat``.
        settings: Keyword arguments of the call, such as ``temperature``.
        schema: The schema of the answer, or None.
    """

    llm: MultiModalLLM
    chat: Chat
    prompt: str
    images: Sequence[ImageDocument] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    schema: Schema | None = None

    @property
    def call_options(self) -> dict[str, Any]:
        """The keyword arguments of the call."""
        return {**self.settings, "schema": self.schema}

    @property
    def message(self) -> ChatMessage:
        """The question as a message."""
        return user_message(self.prompt, self.images)

    @property
    def messages(self) -> list[ChatMessage]:
        """The messages that are sent."""
        return self.chat.messages_with(self.message)

    @property
    def parameters(self) -> dict[str, Any]:
        """The request's parameters."""
        return {**self.llm.settings(), **self.settings}

    def key(self, store: Store) -> str:
        """Return the key of the answer in a store.

        For a question with one image and no earlier turns, it is the key that `compare` uses.
        """
        identity = {name: value for name, value in self.llm.identity.items() if name != "parameters"}
        return answer_key(
            model=repr(sorted(identity.items())),
            parameters=self.parameters,
            prompt=self.prompt,
            image_digests=_digests(self.images, store),
            system=self.chat.system,
            history=[
                (message.role.value, message.text, _digests(message.image_documents, store))
                for message in self.chat.history
            ],
            schema=self.schema.digest if self.schema else "",
        )

    def as_answer(self, stored: Response) -> ChatResponse | None:
        """Return a stored answer as the model's own, or None if it no longer passes the schema's own checks."""
        try:
            parsed = self.schema.parse(stored.text) if self.schema else None
        except SchemaError:
            return None
        answer = replace(
            stored.priced_by(self.llm.pricing), schema=self.schema, parsed=parsed, images=self.message.image_documents
        )
        return _convert(answer, ChatResponse)

    @property
    def documents(self) -> list[ImageDocument]:
        """All images that are sent, each with its detail level."""
        detail = self.parameters.get("image_detail")
        return [
            ImageDocument.of(document, detail=document.detail or detail)
            for message in self.messages
            for document in message.image_documents
        ]

    def estimate(self) -> Estimate:
        """Estimate the tokens and the price."""
        schema = [json.dumps(self.schema.json_schema)] if self.schema else []
        return estimate_cost(
            "\n".join([*(message.text for message in self.messages), *schema]),
            self.documents,
            self.llm,
            max_new_tokens=longest_answer(self.parameters, EXPECTED_OUTPUT),
        )


def as_completion(response: Response) -> CompletionResponse:
    """Return a response as the value of a cell: its ``str`` is only the text."""
    return _convert(response, CompletionResponse)


def _convert(response: Response, kind: type[R]) -> R:
    return kind(**{one.name: getattr(response, one.name) for one in fields(Response)})


def _digests(documents: Sequence[ImageDocument], store: Store) -> list[str]:
    return [store.digest(document) + (f" {document.detail}" if document.detail else "") for document in documents]
