"""The cost of a prompt, estimated without sending it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, overload

from vision_nb.cost.accounting import InputTokens, longest_answer, pricing_of
from vision_nb.cost.image_tokens import ImageTokens, count_images, is_size
from vision_nb.cost.model_reference import PricedModel, as_models, counted_model
from vision_nb.cost.text_tokens import TextTokens, text_tokens
from vision_nb.errors import SettingsError
from vision_nb.messages import as_images
from vision_nb.rendering import html
from vision_nb.rendering.format import format_count, format_usd
from vision_nb.responses import Usage

EXPECTED_OUTPUT = 300
"""Tokens assumed for an answer without a limit: the limit that the walkthroughs set."""


@dataclass(frozen=True)
class Estimate:
    """The cost of one prompt to one model.

    Attributes:
        model: The model's name.
        text: The tokens of the prompt.
        images: The tokens of each image.
        max_new_tokens: The maximum tokens of the answer.
        tokens: All input tokens, or None if any of them are unknown.
        usd_low: US dollars with an answer of one token, or None if the price is not known.
        usd: US dollars with the longest answer, or None if the price is not known.
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

    @property
    def is_estimate(self) -> bool:
        """Whether the tokens of an image, and so the price, are an estimate."""
        return not self.is_exact and any(image.is_estimate for image in self.images)

    def _repr_markdown_(self) -> str:
        text = f"prompt{' (estimated)' if self.text.is_estimate else ''}"
        rows = [(text, "", "", f"{self.text.tokens:,}")]
        for number, image in enumerate(self.images, 1):
            size = "unreadable" if image.size is None else f"{image.size[0]} x {image.size[1]}"
            seen = "" if image.seen_size is None else f"{image.seen_size[0]} x {image.seen_size[1]}"
            rows.append(
                (
                    f"image {number}, detail {image.detail}",
                    size,
                    seen,
                    image.error or format_count(image.tokens, is_estimate=image.is_estimate),
                )
            )
        total = "input (the provider's own count)" if self.is_exact else "input"
        rows.append((total, "", "", format_count(self.tokens, is_estimate=self.is_estimate)))
        rows.append(("answer", "", "", f"1 to {self.max_new_tokens:,}"))
        table = html.markdown_table((self.model, "pixels", "seen as", "tokens"), rows)
        return f"{table}\n\n**{_range(self)}**\n"

    def __str__(self) -> str:
        tokens = format_count(self.tokens, is_estimate=self.is_estimate)
        return f"{self.model}: {tokens} tokens in, 1 to {self.max_new_tokens:,} out, {_range(self)}"


class Estimates(Sequence[Estimate]):
    """The cost of one prompt to several models, cheapest first; unknown prices come last."""

    def __init__(self, estimates: Iterable[Estimate]) -> None:
        self._estimates = sorted(estimates, key=lambda one: (one.usd is None, one.usd or 0))

    def __getitem__(self, index: Any) -> Any:
        return self._estimates[index]

    def __len__(self) -> int:
        return len(self._estimates)

    def _repr_markdown_(self) -> str:
        rows = [
            (
                one.model,
                format_count(one.text.tokens),
                format_count(_total(0, one.images), is_estimate=one.is_estimate),
                format_count(one.tokens, is_estimate=one.is_estimate),
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
    models: Any,
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
    models: Any = None,
    detail: str | None = None,
    max_new_tokens: int | None = None,
    exact: bool = False,
) -> Estimate | Estimates:
    """Estimate the cost of a prompt with images, without sending it.

    Args:
        prompt: The prompt.
        images: Sizes (width, height) or image sources, of which only the headers are read.
        model: A model's name, such as "gpt-4o" or "provider:model", or a model object.
        models: One or several of these to compare; the result is sorted by price.
        detail: The detail level; None uses each document's own, then the model's, then "auto".
        max_new_tokens: The maximum tokens of the answer; None uses the model's own limit, or 300.
        exact: Get the input tokens from OpenAI's token counter: the images are uploaded to be counted, which
            is free. Needs a model object.

    Raises:
        SettingsError: A size or detail level is invalid, the model's name is misspelled, or an exact count is not
            available.

    >>> estimate_cost("What is this?", [(1024, 1024)], "gpt-4o", detail="high", max_new_tokens=100).usd
    Decimal('0.0029425')
    """
    sources = [images] if is_size(images) else as_images(images)

    def estimate(model: Any) -> Estimate:
        return _estimate(prompt, sources, model, detail=detail, max_new_tokens=max_new_tokens, exact=exact)

    return estimate(model) if models is None else Estimates(map(estimate, as_models(models)))


def _estimate(
    prompt: str, sources: list[Any], model: Any, *, detail: str | None, max_new_tokens: int | None, exact: bool
) -> Estimate:
    name, price = counted_model(model).model, pricing_of(model)
    settings = model.settings() if isinstance(model, PricedModel) else {}
    longest = longest_answer(settings, EXPECTED_OUTPUT) if max_new_tokens is None else max_new_tokens
    if longest < 1:
        raise SettingsError(f"max_new_tokens must be at least 1: got {longest}.")
    text = text_tokens(prompt, name)
    images = tuple(
        count_images(
            sources,
            name,
            detail,
            default_detail=settings.get("image_detail"),
            max_side=getattr(model, "max_side", None),
        )
    )
    tokens = _exact_count(model, prompt, sources) if exact else _total(text.tokens, images)
    label = getattr(model, "label", str(model))
    low, high = (price(Usage(tokens, output)) for output in (1, longest))
    return Estimate(label, text, images, longest, tokens, low, high, is_exact=exact)


def _total(text: int, images: Iterable[ImageTokens]) -> int | None:
    return InputTokens(text, [image.tokens for image in images]).total


def _exact_count(model: Any, prompt: str, sources: list[Any]) -> int:
    if not isinstance(model, PricedModel):
        raise SettingsError(
            "exact=True asks the provider for the count: pass a model object, such as vn.OpenAIMultiModal(...)."
        )
    if any(is_size(source) for source in sources):
        raise SettingsError("exact=True needs the images themselves: pass image sources, not sizes.")
    return model.count_input_tokens(prompt, sources)


def _range(estimate: Estimate) -> str:
    if estimate.usd is None or estimate.usd_low is None:
        return "price unknown"
    if estimate.usd == 0:
        return "free"
    about = "about " if estimate.is_estimate else ""
    return f"{about}{estimate.usd_low:.6f} to {format_usd(estimate.usd, decimals=6)}"
