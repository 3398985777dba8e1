"""What a model answered: frozen values that show themselves as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from vision_nb.messages import ChatMessage, MessageRole
from vision_nb.notebook.ipython import DisplayOnce
from vision_nb.rendering import html
from vision_nb.rendering.format import format_count
from vision_nb.rendering.markdown.blocks import safe_markdown


@dataclass(frozen=True)
class Usage:
    """Tokens of one or more calls; ``usage + usage`` and ``sum(usages)`` add them up.

    Attributes:
        input_tokens: Tokens of the request, images included, or None where the server did not say.
        output_tokens: Tokens of the answer, thinking included, or None where the server did not say.
        cached_input_tokens: Those of the input tokens that were read from the server's cache.

    >>> sum([vn.Usage(765, 40), vn.Usage(85, 12)]).total_tokens
    902
    >>> (vn.Usage(765, 40) + vn.Usage(None, 12)).input_tokens is None  # unknown is not zero
    True
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int = 0

    @property
    def total_tokens(self) -> int | None:
        """Input and output together; None where either is not known."""
        return _plus(self.input_tokens, self.output_tokens)

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


NONSENSE = 10
"""A server that reports fewer input tokens than a tenth of those it was sent did not count them."""


def is_implausible(reported: int | None, sent: int | None) -> bool:
    """Whether a reported count of input tokens cannot be one.

    Args:
        reported: The count, or None where there is none.
        sent: The tokens that were sent at least, by our own count; None where that is not known.
    """
    return reported is not None and sent is not None and reported * NONSENSE < sent


def _plus(one: int | None, other: int | None) -> int | None:
    """Add token counts; unknown is not zero."""
    return None if one is None or other is None else one + other


@dataclass(frozen=True)
class Response(DisplayOnce):
    """What `CompletionResponse` and `ChatResponse` have in common.

    Attributes:
        text: The answer; while streaming, all of it so far.
        delta: While streaming, the piece that is new.
        raw: The vendor client's own response or last chunk.
        usage: The tokens that the server reported, or None.
        model: The model that answered, as the server names it.
        finish_reason: Why the answer ended: "stop", "length" when it was cut off at the length limit,
            "content_filter" when a filter stopped it; None while streaming or where the server did not say.
        latency: Seconds from the request to this point.
        pricing: Works out the price in US dollars from the usage.
        sent_tokens: The input tokens at least, by our own count; None where they were not counted.
    """

    text: str = ""
    delta: str = ""
    raw: Any = field(default=None, repr=False, compare=False)
    usage: Usage | None = None
    model: str = ""
    finish_reason: str | None = None
    latency: float | None = field(default=None, compare=False)
    pricing: Callable[[Usage], Decimal | None] | None = field(default=None, repr=False, compare=False)
    sent_tokens: int | None = field(default=None, repr=False, compare=False)

    @property
    def usage_is_implausible(self) -> bool:
        """Whether the server reported fewer input tokens than it can have read: it counted no picture, or nothing."""
        return self.usage is not None and is_implausible(self.usage.input_tokens, self.sent_tokens)

    @property
    def cost(self) -> Decimal | None:
        """The price in US dollars, worked out when asked for; None where usage or price is not known.

        Nonsense is no usage: nothing is priced by it. The ledger has an estimate.
        """
        if self.usage is None or self.pricing is None:
            return None
        return self.pricing(Usage() if self.usage_is_implausible else self.usage)

    @property
    def remark(self) -> str | None:
        """What a reader should know about how the answer ended; None where it ended well."""
        return {
            "length": "The answer was cut off at the length limit: raise max_new_tokens for more.",
            "content_filter": "The answer was stopped by the server's content filter.",
            "interrupted": "The answer was interrupted.",
        }.get(self.finish_reason or "")

    def _repr_markdown_(self) -> str:
        return response_markdown(self)


@dataclass(frozen=True)
class CompletionResponse(Response):
    """The answer to a prompt; ``str(response)`` is its text.

    >>> response = vn.connect("demo").complete("How large is it?", [vn.samples.path("chart")])
    >>> str(response) == response.text, response.finish_reason, response.cost
    (True, 'stop', Decimal('0'))
    """

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ChatResponse(Response):
    """The answer to a list of messages; ``str(response)`` is ``"assistant: ..."``.

    >>> response = vn.connect("demo").chat([{"role": "user", "content": "Is there a picture?"}])
    >>> print(response)
    assistant: This conversation has no image yet. ...
    >>> response.message.role.value  # to go on with the conversation
    'assistant'
    """

    @property
    def message(self) -> ChatMessage:
        """The answer as a message, to be put at the end of the conversation."""
        return ChatMessage(MessageRole.ASSISTANT, self.text)

    def __str__(self) -> str:
        return f"{MessageRole.ASSISTANT.value}: {self.text}"


def response_markdown(response: Response) -> str:
    """A response as Markdown that is safe to show: the text, how it ended, and folded facts below."""
    remark = f"\n\n> **Note:** {response.remark}" if response.remark else ""
    return safe_markdown(response.text) + remark + html.footnote(response_details(response))


def response_details(response: Response) -> list[str]:
    """Model, tokens and time of a response, each in a few words."""
    found = [response.model] if response.model else []
    if response.usage is not None:
        usage = response.usage
        doubt = (
            f" (as reported, but at least {response.sent_tokens:,} were sent)" if response.usage_is_implausible else ""
        )
        found.append(f"{format_count(usage.input_tokens)} tokens in{doubt}, {format_count(usage.output_tokens)} out")
    if response.latency is not None:
        found.append(f"{response.latency:.1f} s")
    return found
