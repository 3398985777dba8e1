"""Structured answers: request a schema, check the answers, and ask for repairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic

from vision_nb.checks.arguments import check_request_parameters
from vision_nb.checks.numbers import plain_number
from vision_nb.errors import SchemaError, SettingsError, VisionError
from vision_nb.images.document import ImageDocument
from vision_nb.messages import ChatMessage, MessageRole
from vision_nb.privacy.api_keys import hide_headers
from vision_nb.providers.call import NO_ANSWER, GetMessages, Overrides, check_messages
from vision_nb.providers.retries import with_rate_limit_retries
from vision_nb.providers.streaming import R
from vision_nb.rendering.format import as_sentence
from vision_nb.responses import ChatResponse, Response, SumOfAttempts
from vision_nb.schema.prompts import instructions, repair_request

if TYPE_CHECKING:
    from vision_nb.schema.schema import Schema

_MAX_QUOTED = 20_000  # characters of an unusable answer to show to the model
_CUT_OFF = ("model_length", "max_tokens")  # "length" as Mistral and Anthropic call it (read 2026-11)


def check_max_repairs(max_repairs: Any) -> None:
    """Raise SettingsError unless ``max_repairs`` is an integer of at least 0."""
    if type(plain_number(max_repairs)) is not int or max_repairs < 0:
        raise SettingsError(f"max_repairs must be an integer of at least 0: got {max_repairs!r:.80}.")


class Question(Generic[R]):
    """A question with the attempts to answer it; without a schema, the first answer is the last.

    Args:
        kind: The class of the response.
        get_messages: Returns the messages; making them may encode images.
        overrides: The call's keyword arguments.
        schema: The schema of the answer, or what `Schema.of` accepts; None for any text.
        max_repairs: How many times the model is asked to correct its answer.
        is_ready: Whether all of its images are ready, and its schema is compiled.

    Attributes:
        is_ready: As given.
        lacks_json: Whether the last answer contained no JSON at all, as if the server had ignored the schema.

    Raises:
        SettingsError: max_repairs is not an integer of at least 0, or an override is misspelled.
    """

    def __init__(
        self,
        kind: type[R],
        get_messages: GetMessages,
        overrides: Overrides,
        schema: Any = None,
        max_repairs: int = 1,
        *,
        is_ready: bool = False,
    ) -> None:
        hide_headers(overrides)
        subject = ("messages",) if issubclass(kind, ChatResponse) else ("prompt", "image_documents")
        check_request_parameters(overrides, (*subject, "schema", "max_repairs"))
        check_max_repairs(max_repairs)
        self.kind, self.overrides, self.is_ready = kind, overrides, is_ready
        self.is_structured = schema is not None
        self.lacks_json = False
        self._get_messages, self._source, self._max_repairs = get_messages, schema, max_repairs
        self._asked: list[ChatMessage] = []
        self._repair: list[ChatMessage] = []
        self._so_far: R | None = None

    @cached_property
    def schema(self) -> Schema | None:
        """The schema; compiling it may be slow."""
        if not self.is_structured:
            return None
        from vision_nb.schema.schema import Schema  # not needed for answers in text

        return Schema.of(self._source)

    def messages(self) -> list[ChatMessage]:
        """Return the messages of the next request: the question, and what the model is asked to repair."""
        if not self._asked:
            self._asked = check_messages(self._get_messages(), self.overrides)
        return [*self._asked, *self._repair]

    @property
    def images(self) -> tuple[ImageDocument, ...]:
        """The images of the last message of the question, after `messages` was called."""
        return self._asked[-1].image_documents

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Add the last response to an error; repeat a repair that is rate limited, because its answer is paid for."""
        try:
            if self._so_far is None:
                yield
            else:
                with with_rate_limit_retries():
                    yield
        except VisionError as error:
            error.response = self._so_far
            raise

    def accept(self, response: R) -> R | None:
        """Return the response with its value, or None if the model has to be asked for a repair.

        Args:
            response: The response of one request.

        Raises:
            SchemaError: The answer cannot be used, and no repair is left or would help.
        """
        schema = self.schema
        if schema is None:
            return response
        self._so_far = response = with_earlier(response, self._so_far)
        try:
            _check_finished(response)
            return replace(response, parsed=schema.parse(response.text))
        except SchemaError as error:
            if not error.may_repair or response.attempts > self._max_repairs:
                raise
            self.lacks_json = bool(response.text.strip()) and not error.errors
            answer = response.text.strip()[:_MAX_QUOTED] or NO_ANSWER
            words = repair_request(error.errors, f"{str(error).partition(':')[0].rstrip('.')}.")
            self._repair = [ChatMessage(MessageRole.ASSISTANT, answer), ChatMessage(MessageRole.USER, words)]
        return None


def with_earlier(response: R, earlier: R | None) -> R:
    """Return a response with the usage, price and latency of all attempts.

    Args:
        response: The last attempts.
        earlier: The attempts before these, or None.
    """
    if earlier is None:
        return response
    usage, cost = earlier.usage, earlier.reported_cost
    return replace(
        response,
        usage=None if usage is None or response.usage is None else usage + response.usage,
        reported_cost=None if cost is None or response.reported_cost is None else cost + response.reported_cost,
        latency=(earlier.latency or 0.0) + (response.latency or 0.0),
        pricing=SumOfAttempts(tuple(replace(attempt, raw=None, images=()) for attempt in (earlier, response))),
        sent_tokens=(earlier.sent_tokens or 0) + (response.sent_tokens or 0),
        attempts=earlier.attempts + response.attempts,
    )


def _check_finished(response: Response) -> None:
    """Raise SchemaError if an answer was refused, cut off or only reasoned about; only the last may be repaired."""
    remark = response.choices[0].remark
    if response.is_refusal or response.finish_reason == "refusal":
        words = as_sentence((" ".join(response.text.split()) or "it gave no reason")[:160])
        message = f"The model refused to answer: {words} Change the question or the image."
    elif remark or response.finish_reason in _CUT_OFF:
        message = remark or "The answer was cut off at the length limit: raise max_new_tokens for more."
    else:
        return
    raise SchemaError(
        message, text=response.text, may_repair=response.finish_reason == "stop" and not response.is_refusal
    )


def ask_for(
    schema: Schema, messages: list[ChatMessage], settings: Mapping[str, Any], *, in_prompt: bool
) -> tuple[list[ChatMessage], dict[str, Any]]:
    """Return the messages and settings of a request for a structured answer.

    Args:
        schema: The schema.
        messages: The messages.
        settings: The settings of the call.
        in_prompt: Whether the last message describes the schema; otherwise, it is a request parameter.

    Raises:
        SettingsError: The settings already contain a response format.
    """
    extra = settings.get("extra_body")
    if "response_format" in settings or (isinstance(extra, Mapping) and "response_format" in extra):
        raise SettingsError("response_format= cannot be combined with schema=, which sets it: omit one of them.")
    if in_prompt:
        return _with_instructions(messages, instructions(schema.json_schema)), dict(settings)
    described = {"name": schema.name, "schema": schema.json_schema, "strict": True}
    return messages, {**settings, "response_format": {"type": "json_schema", "json_schema": described}}


def _with_instructions(messages: list[ChatMessage], text: str) -> list[ChatMessage]:
    """Return messages with a text appended to the text of the last one."""
    *earlier, last = messages
    parts = list(last.parts)
    index = max((index for index, part in enumerate(parts) if isinstance(part, str)), default=None)
    if index is None:
        parts.append(text)
    else:
        parts[index] = f"{parts[index]}\n\n{text}".lstrip()
    return [*earlier, ChatMessage(last.role, parts[0] if len(parts) == 1 else parts)]
