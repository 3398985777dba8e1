"""What a question would cost, before it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Protocol, overload, runtime_checkable

from vision_nb.cost.image_rules import view_of
from vision_nb.cost.image_tokens import ImageTokens, image_tokens, is_size, total_tokens
from vision_nb.cost.prices import price
from vision_nb.cost.text_tokens import TextTokens, text_tokens
from vision_nb.errors import SettingsError
from vision_nb.images.decode import Size
from vision_nb.messages import as_images
from vision_nb.rendering import html
from vision_nb.rendering.format import format_count, format_usd
from vision_nb.responses import Usage

EXPECTED_OUTPUT = 300
"""Tokens of an answer where no limit is set: the walkthroughs' own limit, and an assumption."""


@runtime_checkable
class PricedModel(Protocol):
    """What an estimate needs of a model object; the providers' classes have it."""

    provider: ClassVar[str]
    max_new_tokens: int | None
    image_detail: Any

    @property
    def counted_model(self) -> str:
        """The model whose token rule and price apply."""
        ...

    def price(self, usage: Usage) -> Decimal | None:
        """The price of some usage."""
        ...

    def count_input_tokens(self, prompt: str, image_documents: Any = ()) -> int:
        """The provider's own count of a question, without asking it."""
        ...


@dataclass(frozen=True)
class Estimate:
    """What one question to one model would cost.

    Attributes:
        model: The model.
        text: The tokens of the prompt.
        images: The tokens of each image.
        max_new_tokens: The most tokens of the answer.
        tokens: Input tokens in all, or None where a part of them is not known.
        usd_low: US dollars with an answer of one token, or None where the price is not known.
        usd: US dollars with the longest answer, or None where the price is not known.
        is_exact: Whether the input tokens are the provider's own count.
    """

    model: str
    text: TextTokens
    images: tuple[ImageTokens, ...]
    max_new_tokens: int
    tokens: int | None
    usd_low: Decimal | None
    usd: Decimal | None
    is_exact: bool = False

    def _repr_markdown_(self) -> str:
        text = f"prompt{' (estimated)' if self.text.is_estimate else ''}"
        rows = [(text, "", "", f"{self.text.tokens:,}")]
        for place, image in enumerate(self.images, 1):
            size = "unreadable" if image.size is None else f"{image.size[0]} x {image.size[1]}"
            seen = "" if image.seen_size is None else f"{image.seen_size[0]} x {image.seen_size[1]}"
            rows.append(
                (f"image {place}, detail {image.detail}", size, seen, image.error or format_count(image.tokens))
            )
        total = "input, the provider's own count" if self.is_exact else "input"
        rows.append((total, "", "", format_count(self.tokens)))
        rows.append(("answer", "", "", f"1 to {self.max_new_tokens:,}"))
        table = html.markdown_table((self.model, "pixels", "seen as", "tokens"), rows)
        return f"{table}\n\n**{_range(self)}**\n"

    def __str__(self) -> str:
        return f"{self.model}: {format_count(self.tokens)} tokens in, 1 to {self.max_new_tokens:,} out, {_range(self)}"


class Estimates(Sequence[Estimate]):
    """The same question to several models, the cheapest first; those without a known price come last."""

    def __init__(self, estimates: Iterable[Estimate]) -> None:
        self._estimates = sorted(estimates, key=lambda one: (one.usd is None, one.usd or 0))

    def __getitem__(self, place: Any) -> Any:
        return self._estimates[place]

    def __len__(self) -> int:
        return len(self._estimates)

    def _repr_markdown_(self) -> str:
        rows = [
            (
                one.model,
                format_count(one.text.tokens),
                format_count(total_tokens(one.images)),
                format_count(one.tokens),
                _range(one),
            )
            for one in self._estimates
        ]
        return html.markdown_table(("model", "prompt", "images", "tokens in", "price"), rows)

    def __repr__(self) -> str:
        return "\n".join(map(str, self._estimates))


@overload
def estimate_cost(
    prompt: str = "",
    images: Any = (),
    *,
    models: Sequence[Any],
    detail: str | None = None,
    max_new_tokens: int | None = None,
    exact: bool = False,
) -> Estimates: ...
@overload
def estimate_cost(
    prompt: str = "",
    images: Any = (),
    model: Any = "gpt-4o",
    *,
    detail: str | None = None,
    max_new_tokens: int | None = None,
    exact: bool = False,
) -> Estimate: ...
def estimate_cost(
    prompt: str = "",
    images: Any = (),
    model: Any = "gpt-4o",
    *,
    models: Sequence[Any] | None = None,
    detail: str | None = None,
    max_new_tokens: int | None = None,
    exact: bool = False,
) -> Estimate | Estimates:
    """Work out what a question about pictures would cost, without sending it.

    Args:
        prompt: The question.
        images: Sizes (width, height) or sources of pictures, which are read no further than their header.
        model: A model's name, "provider:model", or a model object.
        models: Several of these, to be compared; the result is sorted by price.
        detail: The detail level; None takes each document's own, or the model's, or auto.
        max_new_tokens: The most tokens of the answer; None takes the model's own, or 300.
        exact: Ask OpenAI's own counter for the input tokens: the pictures are sent to be counted, which is
            free. It takes a model object.

    Raises:
        SettingsError: A size or detail level makes no sense, or an exact count is not to be had.

    >>> estimate_cost("What is this?", [(1024, 1024)], "gpt-4o", detail="high", max_new_tokens=100).usd
    Decimal('0.0029425')
    """
    sources = [images] if is_size(images) else as_images(images)
    options = {"detail": detail, "max_new_tokens": max_new_tokens, "exact": exact}
    if models is not None:
        return Estimates(_estimate(prompt, sources, one, **options) for one in models)
    return _estimate(prompt, sources, model, **options)


def _estimate(prompt: str, sources: list[Any], model: Any, *, detail: Any, max_new_tokens: Any, exact: Any) -> Estimate:
    if isinstance(model, str):
        provider, colon, name = model.partition(":")
        if not colon or provider == "ft":
            provider, name = "openai", model
        longest = EXPECTED_OUTPUT
    else:
        provider, name = model.provider, model.counted_model
        longest = model.max_new_tokens or EXPECTED_OUTPUT
        detail = detail or model.image_detail
    longest = longest if max_new_tokens is None else max_new_tokens
    if longest < 1:
        raise SettingsError(f"An answer has at least one token, and max_new_tokens is {longest}.")
    text, counts = text_tokens(prompt, name), tuple(image_tokens(sources, name, detail))
    of_images = total_tokens(counts)
    tokens = None if of_images is None else text.tokens + of_images
    if exact:
        tokens = _exact_count(model, prompt, sources)

    def priced(output: int) -> Decimal | None:
        usage = Usage(tokens, output)
        return price(usage, provider=provider, model=name) if isinstance(model, str) else model.price(usage)

    return Estimate(str(model), text, counts, longest, tokens, priced(1), priced(longest), is_exact=exact)


def _exact_count(model: Any, prompt: str, sources: list[Any]) -> int:
    if not isinstance(model, PricedModel):
        raise SettingsError("An exact count asks the provider: pass a model object, such as vn.OpenAIMultiModal(...).")
    if any(is_size(source) for source in sources):
        raise SettingsError("An exact count needs the pictures themselves, not their sizes.")
    return model.count_input_tokens(prompt, sources)


def input_tokens(prompt: str, size: Size, model: str, detail: str | None) -> int | None:
    """The tokens of a question about one picture, about; None where the model's image rule is not known."""
    view = view_of(size, model, detail)
    return None if view is None else text_tokens(prompt, model).tokens + view.tokens


def _range(estimate: Estimate) -> str:
    if estimate.usd is None or estimate.usd_low is None:
        return "price unknown"
    if estimate.usd == 0:
        return "free"
    return f"{estimate.usd_low:.6f} to {format_usd(estimate.usd, decimals=6)}"
