"""Responses and token usage: frozen values that are displayed as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Any, Protocol, Self

from vision_nb.checks.attributes import read_only
from vision_nb.images.answer_strip import image_names, markdown_strip
from vision_nb.images.box_drawing import images_with_boxes
from vision_nb.images.boxes import Box, SentImage
from vision_nb.images.document import ImageDocument
from vision_nb.images.sources import ImageSource
from vision_nb.messages import ChatMessage, MessageRole, as_images
from vision_nb.notebook.ipython import DisplayOnce
from vision_nb.rendering.answer import response_facts, response_markdown, response_parts, response_repr
from vision_nb.rendering.demo_badge import demo_label
from vision_nb.rendering.format import format_count
from vision_nb.rendering.terminal import TerminalDisplay, TerminalPart

UNFINISHED = ("interrupted", "incomplete")
"""The finish reasons of an answer that was stopped or cut off. Such an answer is shown, but never parsed or stored."""


@read_only()
@dataclass(frozen=True, repr=False)
class Usage(TerminalDisplay):
    """Token counts of one or more calls; add them with ``+`` or ``sum(usages)``.

    Attributes:
        input_tokens: Tokens of the request, images included, or None if the server did not report them.
        output_tokens: Tokens of the answer, reasoning included, or None if the server did not report them.
        cached_input_tokens: The part of the input tokens that the server read from its cache.

    >>> sum([vn.Usage(765, 40), vn.Usage(85, 12)]).total_tokens
    902
    >>> (vn.Usage(765, 40) + vn.Usage(None, 12)).input_tokens is None  # None: unknown
    True
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int = 0

    @property
    def total_tokens(self) -> int | None:
        """Input and output tokens together; None if either is unknown."""
        return _plus(self.input_tokens, self.output_tokens)

    def __repr__(self) -> str:
        cached = f", cached_input_tokens={self.cached_input_tokens}" if self.cached_input_tokens else ""
        return f"Usage(input_tokens={self.input_tokens}, output_tokens={self.output_tokens}{cached})"

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        cached = f" ({self.cached_input_tokens:,} of them cached)" if self.cached_input_tokens else ""
        yield f"{format_count(self.input_tokens)} tokens in{cached}, {format_count(self.output_tokens)} out"

    def __add__(self, other: object) -> Usage:
        if other == 0:  # the start value of sum()
            return self
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(
            _plus(self.input_tokens, other.input_tokens),
            _plus(self.output_tokens, other.output_tokens),
            self.cached_input_tokens + other.cached_input_tokens,
        )

    __radd__ = __add__


def is_implausible(reported: int | None, sent: int | None) -> bool:
    """Return whether a reported count of input tokens is smaller than what was certainly sent.

    Args:
        reported: The reported count, or None.
        sent: A lower bound on the tokens that were sent, by our own count; None if it is unknown.
    """
    return reported is not None and sent is not None and reported < sent


def _plus(first: int | None, second: int | None) -> int | None:
    """Add token counts; the sum is unknown if either is."""
    return None if first is None or second is None else first + second


class AnswerSchema(Protocol):
    """What a structured answer must look like: `vision_nb.schema.schema.Schema`."""

    def partial(self, text: str) -> Any:
        """Return the part of the value that has arrived so far, or None."""

    def dump(self, value: Any) -> dict[str, Any]:
        """Return a value as JSON data."""


class Pricing(Protocol):
    """Prices the tokens of an answer."""

    def __call__(self, usage: Usage, *, model: str = "", service_tier: str | None = None) -> Decimal | None:
        """Return the price of some usage in US dollars, or None if it is unknown.

        Args:
            usage: The tokens.
            model: The model that answered, as the server calls it, or "" before the answer.
            service_tier: The service tier that answered or was asked for; None for the standard one.
        """


@dataclass(frozen=True)
class Choice:
    """One of several answers to the same request; ``str(choice)`` is its text.

    Attributes:
        text: The answer.
        finish_reason: Why it ended, as in `Response`.
        reasoning: The model's reasoning before it, if the server sends it.
    """

    text: str = ""
    finish_reason: str | None = None
    reasoning: str = field(default="", repr=False)

    @property
    def is_empty(self) -> bool:
        """Whether the model ended normally, but gave no answer."""
        return self.finish_reason == "stop" and not self.text.strip()

    @property
    def remark(self) -> str | None:
        """A note for the reader if the answer did not end normally, or None."""
        if self.finish_reason == "length" and not self.text:
            return "The reasoning used the whole length limit and left no answer: raise max_new_tokens."
        if self.is_empty:
            without = "The model ended after its reasoning and gave no answer. Ask again."
            return without if self.reasoning else "The answer is empty: ask again."
        return {
            "length": "The answer was cut off at the length limit: raise max_new_tokens for more.",
            "content_filter": "The answer was stopped by the server's content filter.",
            "interrupted": "The answer was interrupted.",
            "incomplete": "The answer was cut off before it was finished. Ask again.",
        }.get(self.finish_reason or "")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class SumOfAttempts:
    """Prices the attempts to answer one question: each by its own model, service tier or reported price.

    Attributes:
        attempts: The responses.
    """

    attempts: tuple[Response, ...]

    def __call__(self, usage: Usage, *, model: str = "", service_tier: str | None = None) -> Decimal | None:
        """Return the price of all attempts in US dollars, or None if one price is unknown."""
        costs = [response.cost for response in self.attempts]
        return None if None in costs else sum((cost for cost in costs if cost is not None), Decimal(0))

    def flattened(self) -> list[Response]:
        """Return the responses, each to a single request."""
        inner = [(one, one.pricing) for one in self.attempts]
        return [
            part
            for one, pricing in inner
            for part in (pricing.flattened() if isinstance(pricing, SumOfAttempts) else [one])
        ]


@dataclass(frozen=True, repr=False)
class Response(DisplayOnce, TerminalDisplay):
    """The base of `CompletionResponse` and `ChatResponse`.

    Attributes:
        text: The answer; while streaming, the part that has arrived.
        delta: The part that is new since the previous response of a stream.
        raw: The vendor client's response or last chunk.
        usage: The tokens that the server reported, or None.
        model: The model that answered, as the server calls it.
        finish_reason: Why the answer ended: "stop", "length" if it was cut off at the length limit, or
            "content_filter", "incomplete" if a stream was cut off, or "interrupted"; None while streaming.
        latency: Seconds from the request until this response.
        pricing: Prices the usage in US dollars.
        image_notes: How images were changed before they were sent: a note for each changed image, such as "scan.png:
            scaled from 4000 x 3000 pixels to 2048 x 1536".
        sent_images: Each image of the last question that has any: its name, and its size, originally and as the model
            saw it.
        images: The images of the last message, which are shown below the answer; not in a stored answer.
        sent_tokens: A lower bound on the input tokens, by our own count, or None.
        expected_tokens: The input tokens as counted or estimated before the call, or None.
        reasoning: The model's reasoning before its answer, if the server sends it; not part of ``text``.
        reasoning_delta: The new part of the reasoning since the previous response of a stream.
        reasoning_seconds: Seconds from the first part of the reasoning until the answer began, or until now; None
            if the answer was not streamed.
        parsed: The value of a structured answer, an instance of the class that was passed as ``schema``; None without a
            schema, and in all but the last response of a stream.
        attempts: The number of answers requested, including those that had to be repaired; ``usage``, ``cost`` and
            ``latency`` cover all of them.
        is_refusal: Whether the model refused to answer; ``text`` contains the refusal.
        schema: The schema of a structured answer; otherwise None.
        service_tier: The service tier that the server reports, such as "flex"; otherwise the requested one, or None.
        reported_cost: The price in US dollars that the service itself reported, as OpenRouter does, or None.
        other_choices: The answers after the first one, if the request asked for several with ``n=``.
        is_demo: Whether the demo answered, whatever the model's name: its price is what the model would cost.
    """

    text: str = ""
    delta: str = ""
    raw: Any = field(default=None, repr=False, compare=False)
    usage: Usage | None = None
    model: str = ""
    finish_reason: str | None = None
    latency: float | None = field(default=None, compare=False)
    pricing: Pricing | None = field(default=None, repr=False, compare=False)
    image_notes: tuple[str, ...] = field(default=(), repr=False, compare=False)
    sent_images: tuple[SentImage, ...] = field(default=(), repr=False, compare=False)
    images: tuple[ImageDocument, ...] = field(default=(), repr=False, compare=False)
    sent_tokens: int | None = field(default=None, repr=False, compare=False)
    expected_tokens: int | None = field(default=None, repr=False, compare=False)
    reasoning: str = field(default="", repr=False)
    reasoning_delta: str = field(default="", repr=False, compare=False)
    reasoning_seconds: float | None = field(default=None, repr=False, compare=False)
    parsed: Any = field(default=None, repr=False, compare=False)
    attempts: int = field(default=1, repr=False, compare=False)
    is_refusal: bool = field(default=False, repr=False, compare=False)
    schema: AnswerSchema | None = field(default=None, repr=False, compare=False)
    service_tier: str | None = field(default=None, repr=False)
    reported_cost: Decimal | None = field(default=None, repr=False)
    other_choices: tuple[Choice, ...] = field(default=(), repr=False)
    is_demo: bool = False

    @property
    def shown_model(self) -> str:
        """The model's name for display, such as "gpt-4o (demo)" if the demo answered; "" if it is not known."""
        return demo_label(self.model) if self.is_demo and self.model else self.model

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All answers to the request: this response's own, then the others if ``n`` is 2 or more."""
        return (Choice(self.text, self.finish_reason, self.reasoning), *self.other_choices)

    @cached_property
    def partial(self) -> Any:
        """The fields of a structured answer received so far, as unchecked JSON data, or None."""
        return None if self.schema is None else self.schema.partial(self.text)

    @property
    def usage_is_implausible(self) -> bool:
        """Whether the server reported fewer input tokens than were certainly sent.

        Some servers and proxies do not count images, or count them by another model's rule.
        """
        return self.usage is not None and is_implausible(self.usage.input_tokens, self.sent_tokens)

    @property
    def cost(self) -> Decimal | None:
        """The price in US dollars, or None.

        This is the price that the service reported, if any. Otherwise, it is computed from the usage; it is None if the
        usage is unknown or implausible, or if the price of the model or service tier is unknown.

        If only the usage is missing, the ledger contains an estimate.
        """
        if self.reported_cost is not None:
            return self.reported_cost
        if self.usage is None or self.pricing is None:
            return None
        usage = Usage() if self.usage_is_implausible else self.usage
        return self.pricing(usage, model=self.model, service_tier=self.service_tier)

    def priced_by(self, pricing: Pricing) -> Self:
        """Return the response with a pricing, which prices each attempt if there were several.

        Args:
            pricing: The model's pricing.
        """
        own = self.pricing
        if isinstance(own, SumOfAttempts):
            pricing = SumOfAttempts(tuple(attempt.priced_by(pricing) for attempt in own.attempts))
        return replace(self, pricing=pricing)

    @cached_property
    def shown_images(self) -> tuple[ImageDocument, ...]:
        """The images to show below the answer: `images`, or small copies with the boxes in the answer."""
        return tuple(images_with_boxes(self.images, self))

    def boxes(
        self,
        *,
        convention: str | None = None,
        image: int | None = None,
        images: ImageSource | Iterable[ImageSource] | None = None,
    ) -> list[Box]:
        r"""Return the boxes and points in the answer, in pixels of the original images.

        The conventions of Qwen-VL, GLM-V, Gemini, Claude and Molmo are known, in JSON or in the models' own notation.
        In JSON, boxes are under "bbox_2d", "box_2d", "bbox", "box" or "bounding_box", and points under "point_2d" or
        "point". If there are none, lists of four numbers are boxes, but only if the convention is known.
        Coordinates are rounded to tenths of a pixel. A box that extends beyond the image is clamped to it; one that is
        outside is left out, and so is a malformed one.

        Args:
            convention: How the model writes coordinates: "qwen2-vl", "qwen2.5-vl", "qwen3-vl", "glm-v", "gemini",
                "claude", "molmo" or "demo"; "thousandths", "percent" or "fractions" of the image's sides; "pixels" of
                the image as the model saw it, or of the "original". By default, the model's name decides, or a
                notation that only one family has.
            image: The index of the image that the boxes are on, if the question has several.
            images: The images of the question, if the answer does not know their sizes: only their URLs were sent, or
                the answer was saved by an earlier version. Pixels are then taken as those of the originals.

        Returns:
            The boxes, in the answer's order; a point is a box without width and height. Empty if there are none.

        Raises:
            SettingsError: The answer has boxes, but its convention, its images or their sizes are not known, or the
                question has several images and ``image`` is missing.

        >>> text = '```json\n[{"bbox_2d": [100, 200, 500, 600], "label": "cat"}]\n```'
        >>> vn.CompletionResponse(text).boxes(convention="qwen3-vl", images=vn.samples.path("chart"))
        [Box(left=100.0, top=120.0, right=500.0, bottom=360.0, label='cat', image=0)]
        """
        from vision_nb.images.box_answers import read_boxes  # most answers are not asked for boxes

        sent = self.sent_images
        if images is not None:
            documents = [ImageDocument.of(one) for one in as_images(images)]
            seen = [one.seen_size for one in sent] if len(sent) == len(documents) else [None] * len(documents)
            sent = tuple(SentImage(one.title, one.size, size) for one, size in zip(documents, seen, strict=True))
        model = "demo" if self.is_demo else self.model
        return read_boxes(self.text, model=model, images=sent, convention=convention, image=image)

    @property
    def remark(self) -> str | None:
        """A note for the reader if the answer, or another choice, did not end normally, or None."""
        first, *others = (choice.remark for choice in self.choices)
        more = [f"Choice {number}: {remark}" for number, remark in enumerate(others, 2) if remark]
        return " ".join([first, *more] if first else more) or None

    def _repr_markdown_(self) -> str:
        return response_markdown(self, below=markdown_strip(self.shown_images))

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        if self.is_displayed:
            return [response_facts(self)]
        return [*response_parts(self), *([f"({image_names(self.images)})"] if self.images else [])]

    def __repr__(self) -> str:
        return response_repr(type(self).__name__, self)


@read_only()
@dataclass(frozen=True, repr=False)
class CompletionResponse(Response):
    """The answer to a prompt; ``str(response)`` is its text.

    >>> response = vn.connect("demo").complete("How large is it?", [vn.samples.path("chart")])
    >>> str(response) == response.text, response.finish_reason, response.cost
    (True, 'stop', Decimal('0'))
    """

    def __str__(self) -> str:
        return self.text


@read_only()
@dataclass(frozen=True, repr=False)
class ChatResponse(Response):
    """The answer to a list of messages; ``str(response)`` is ``"assistant: ..."``.

    >>> response = vn.connect("demo").chat([{"role": "user", "content": "Is there a picture?"}])
    >>> print(response)
    assistant: This conversation has no image yet. ...
    >>> response.message.role.value  # to continue the conversation
    'assistant'
    """

    @property
    def message(self) -> ChatMessage:
        """The answer as a message, to append to the conversation."""
        return ChatMessage(MessageRole.ASSISTANT, self.text)

    def __str__(self) -> str:
        return f"{MessageRole.ASSISTANT.value}: {self.text}"
