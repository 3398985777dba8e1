"""A call to a model before it is sent: its messages, settings and request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic

from vision_nb.checks.arguments import IMAGE_ARGUMENTS
from vision_nb.checks.numbers import plain_number
from vision_nb.cost.accounting import CallAccounting
from vision_nb.errors import SettingsError
from vision_nb.images.detail import check_detail
from vision_nb.images.document import ImageSource
from vision_nb.messages import ChatMessage, MessageRole
from vision_nb.providers.streaming import R, ResponseAccumulator
from vision_nb.rendering.format import type_name

Images = ImageSource | Iterable[ImageSource]
Messages = Iterable[ChatMessage | Mapping[str, Any]]
GetMessages = Callable[[], Messages]
Overrides = dict[str, Any]
Request = dict[str, Any]

NO_ANSWER = "(no answer)"
"""What is sent in place of an empty answer in a conversation."""


@dataclass(frozen=True)
class Call(Generic[R]):
    """A call that has been prepared.

    Attributes:
        request: The request's parameters.
        accounting: Reserves and records what the call costs.
        accumulator: Collects the answer.
        sends_schema: Whether a schema is one of the request's parameters.
    """

    request: Request
    accounting: CallAccounting
    accumulator: ResponseAccumulator[R]
    sends_schema: bool = False

    def settle(self) -> R:
        """Record the cost of the call, and return the part of the answer that has arrived."""
        self.accounting.settle(self.accumulator.response)
        return self.accumulator.response


def check_messages(messages: Messages, overrides: Mapping[str, Any]) -> list[ChatMessage]:
    """Return the messages of a call as `ChatMessage` objects.

    Args:
        messages: `ChatMessage` objects or mappings.
        overrides: The call's keyword arguments.

    Raises:
        SettingsError: There are no messages, one cannot be used, or an argument belongs to another method.
    """
    if not IMAGE_ARGUMENTS.isdisjoint(overrides):
        raise SettingsError(
            "chat methods take images as part of the messages: use "
            "generate_openai_multi_modal_chat_message(prompt=..., image_documents=...)."
        )
    if "stream" in overrides:
        raise SettingsError("stream= is not supported: use stream_complete() or stream_chat().")
    if isinstance(messages, (str, bytes, ChatMessage, Mapping)) or not isinstance(messages, Iterable):
        raise SettingsError("chat methods take a list of messages: for a single prompt, use complete().")
    checked = [ChatMessage.of(message) for message in messages]
    if not checked:
        raise SettingsError("The list of messages is empty: pass at least one message.")
    if any(message.role is MessageRole.ASSISTANT and message.image_documents for message in checked):
        raise SettingsError("An assistant message cannot contain images: put them in the next user message.")
    return [_with_text(message) for message in checked]


def _with_text(message: ChatMessage) -> ChatMessage:
    """Return a message that is not an empty answer, which many servers refuse."""
    is_empty = message.role is MessageRole.ASSISTANT and not message.text.strip()
    return ChatMessage(MessageRole.ASSISTANT, NO_ANSWER) if is_empty else message


def as_parameters(value: Any) -> dict[str, Any]:
    """Return the request parameters of a model's ``additional_kwargs``.

    Raises:
        SettingsError: They are not a mapping.
    """
    if value is not None and not isinstance(value, Mapping):
        raise SettingsError(f"additional_kwargs must be a dict of request parameters, not {type_name(value)}.")
    return dict(value or {})


def merge_settings(*layers: Mapping[str, Any], length_limits: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings of a call; later layers override earlier ones.

    Settings that are None are left out.

    Args:
        *layers: The model's own settings, its additional_kwargs and the call's arguments.
        length_limits: The names of the one parameter that limits the answer's length: a layer that sets one of
            them replaces all of them.

    Raises:
        SettingsError: The detail level does not exist.
    """
    settings: dict[str, Any] = {}
    for layer in layers:
        replaced = length_limits if any(name in layer for name in length_limits) else ()
        settings = {**{name: value for name, value in settings.items() if name not in replaced}, **layer}
    settings = {name: plain_number(value) for name, value in settings.items() if value is not None}
    check_detail(settings.get("image_detail"))
    return settings
