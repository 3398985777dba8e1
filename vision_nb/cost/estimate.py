"""The cost of a prompt about images, estimated without sending it: as one call, or as a call per image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, overload

from vision_nb.checks.arguments import checks_arguments
from vision_nb.checks.indices import Items, item_at
from vision_nb.checks.numbers import check_count
from vision_nb.cost.accounting import InputTokens, longest_answer, pricing_of
from vision_nb.cost.image_tokens import ImageTokens, as_size, count_images
from vision_nb.cost.model_reference import PricedModel, as_models, counted_model, misspelling
from vision_nb.cost.text_tokens import TextTokens, text_tokens
from vision_nb.errors import SettingsError
from vision_nb.messages import as_images, check_prompt
from vision_nb.rendering import html
from vision_nb.rendering.data_frame import without_formulas
from vision_nb.rendering.format import format_count, format_usd_range, total_price
from vision_nb.rendering.terminal import TerminalDisplay, TerminalPart, TextTable
from vision_nb.responses import Usage

if TYPE_CHECKING:
    import pandas as pd

EXPECTED_OUTPUT = 300
"""Tokens assumed for an answer without a limit: the limit that the walkthroughs set."""


@dataclass(frozen=True, repr=False)
class Estimate(TerminalDisplay):
    """The cost of one prompt to one model, with all images in one call or a call per image.

    Attributes:
        model: The model's name.
        text: The tokens of the prompt.
        images: The tokens of each image.
        max_new_tokens: The maximum tokens of an answer.
        tokens: The input tokens of all calls, or None if any of them are unknown.
        usd_low: US dollars of all calls with answers of one token, or None if the price is not known.
        usd: US dollars of all calls with the longest answers, or None if the price is not known.
        is_exact: Whether the input tokens are the provider's own count.
        calls: The number of calls: 1, or the number of images if each is sent on its own.
        remark: A remark about a model's name that may be misspelled, or "".
        alternative: The estimate of the other way to send several images; None for fewer, and with ``is_exact``.
    """

    model: str
    text: TextTokens
    images: tuple[ImageTokens, ...]
    max_new_tokens: int
    tokens: int | None
    usd_low: Decimal | None
    usd: Decimal | None
    is_exact: bool = False
    calls: int = 1
    remark: str = ""
    alternative: Estimate | None = None

    @property
    def is_estimate(self) -> bool:
        """Whether the tokens of an image, and so the price, are an estimate."""
        return not self.is_exact and any(image.is_estimate for image in self.images)

    @property
    def way(self) -> str:
        """How the images are sent, such as "1 call with 30 images"; empty for fewer than two images."""
        if len(self.images) < 2:
            return ""
        return f"1 call with {len(self.images):,} images" if self.calls == 1 else f"{self.calls:,} calls, one per image"

    @property
    def _error(self) -> str:
        """The error of the first image whose tokens cannot be counted, or the remark, or ""."""
        return next((image.error for image in self.images if image.error), self.remark)

    def _table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        text = f"prompt{' (estimated)' if self.text.is_estimate else ''}"
        times = f"{self.calls:,} x " if self.calls > 1 else ""
        rows = [(text, "", "", f"{times}{self.text.tokens:,}")]
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
        rows.append(("answers" if times else "answer", "", "", f"{times}1 to {self.max_new_tokens:,}"))
        return (self.model, "pixels", "seen as", "tokens"), rows

    def _prices(self) -> tuple[str, str]:
        """Return the price, and the price of the other way to send the images, or ""."""
        other = self.alternative
        price = f"{self.way}: {_range(self)}" if self.way else _range(self)
        price += f". {self.remark}." if self.remark else ""
        return price, "" if other is None else f"As {other.way}: {_range(other)}"

    def _repr_markdown_(self) -> str:
        price, other = self._prices()
        return "\n\n".join([html.markdown_table(*self._table()), f"**{price}**", *([other] if other else [])]) + "\n"

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        return [TextTable(*self._table(), numbers_from=1), "", *filter(None, self._prices())]

    def __str__(self) -> str:
        tokens = format_count(self.tokens, is_estimate=self.is_estimate)
        way = f"{self.way}, " if self.way else ""
        low, high = self.calls, self.calls * self.max_new_tokens
        error = f" ({self._error})" if self._error else ""
        return f"{self.model}: {way}{tokens} tokens in, {low:,} to {high:,} out, {_range(self)}{error}"

    def __repr__(self) -> str:
        return f"Estimate({self})"


class Estimates(TerminalDisplay, Items[Estimate]):
    """The cost of one prompt to several models, cheapest first; unknown prices come last."""

    def __init__(self, estimates: Iterable[Estimate]) -> None:
        self._estimates = sorted(estimates, key=lambda one: (one.usd is None, one.usd or 0))

    def __getitem__(self, index: Any) -> Any:
        return item_at(self._estimates, index, "estimate")

    def __len__(self) -> int:
        return len(self._estimates)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas DataFrame with a row per model; ``output_tokens`` and ``usd`` are those of longest answers.

        The columns are model, calls, input_tokens, output_tokens, usd_low, usd and is_estimate. Unknown tokens and
        prices are missing values.
        """
        import pandas as pd

        names = ("model", "calls", "input_tokens", "output_tokens", "usd_low", "usd", "is_estimate")
        records = [
            (one.model, one.calls, one.tokens, one.calls * one.max_new_tokens, one.usd_low, one.usd, one.is_estimate)
            for one in self._estimates
        ]
        table = pd.DataFrame.from_records(records, columns=names)
        return without_formulas(table.astype({"input_tokens": "Int64", "usd_low": "float64", "usd": "float64"}))

    def _table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        rows = [
            (
                one.model,
                format_count(one.text.tokens),
                format_count(_total(0, one.images), is_estimate=one.is_estimate),
                format_count(one.tokens, is_estimate=one.is_estimate),
                _range(one),
                *([_range(one.alternative)] if one.alternative else []),
            )
            for one in self._estimates
        ]
        first = self._estimates[0] if self._estimates else None
        ways = [(first.way if first else "") or "price"]
        if first is not None and first.alternative is not None:
            ways.append(first.alternative.way)
        return ("model", "prompt tokens", "image tokens", "tokens in", *ways), rows

    @property
    def _errors(self) -> list[str]:
        """Why tokens of images cannot be counted, to show below the table."""
        return list(dict.fromkeys(one._error for one in self._estimates if one._error))

    def _repr_markdown_(self) -> str:
        return "\n\n".join([html.markdown_table(*self._table()), *map(html.markdown_text, self._errors)])

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        return [TextTable(*self._table(), numbers_from=1), *self._errors]

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
    per_image: bool = False,
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
    per_image: bool = False,
) -> Estimate: ...
@checks_arguments
def estimate_cost(
    prompt: str = "",
    images: Any = (),
    model: Any = "gpt-4o",
    *,
    models: Any = None,
    detail: str | None = None,
    max_new_tokens: int | None = None,
    exact: bool = False,
    per_image: bool = False,
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
        per_image: Whether each image is sent in a call of its own, with the whole prompt, as `compare` and `extract`
            do; otherwise, one call sends all images. For several images, the result shows the price of both.

    Raises:
        SettingsError: A size or detail level is invalid, the model's name is misspelled, or an exact count is not
            available.

    >>> vn.estimate_cost("What is this?", [(1024, 1024)], "gpt-4o", detail="high", max_new_tokens=100).usd
    Decimal('0.0029425')
    """
    check_prompt(prompt, images)
    sources = as_images(images) if as_size(images) is None else [images]

    def estimate(model: Any) -> Estimate:
        counted = _count(sources, model, detail)
        options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "exact": exact}
        estimated = _estimate(prompt, sources, counted, model, per_image=per_image, **options)
        if len(sources) < 2 or exact:
            return estimated
        other_way = _estimate(prompt, sources, counted, model, per_image=not per_image, **options)
        return replace(estimated, alternative=other_way)

    return estimate(model) if models is None else Estimates(map(estimate, as_models(models)))


def _settings(model: Any) -> Mapping[str, Any]:
    return model.settings() if isinstance(model, PricedModel) else {}


def _count(sources: list[Any], model: Any, detail: str | None) -> tuple[ImageTokens, ...]:
    """Count the tokens of each image for a model."""
    default, max_side = _settings(model).get("image_detail"), getattr(model, "max_side", None)
    return tuple(count_images(sources, counted_model(model).model, detail, default_detail=default, max_side=max_side))


def _estimate(
    prompt: str,
    sources: list[Any],
    images: tuple[ImageTokens, ...],
    model: Any,
    *,
    max_new_tokens: int | None,
    exact: bool,
    per_image: bool,
) -> Estimate:
    found, price = counted_model(model), pricing_of(model)
    name = found.model
    expected = longest_answer(_settings(model), EXPECTED_OUTPUT)
    longest = check_count(max_new_tokens, "max_new_tokens") or expected
    text = text_tokens(prompt, name)
    places = [[place] for place in range(len(images))] if per_image and images else [range(len(images))]
    counts = [
        _exact_count(model, prompt, [sources[place] for place in call])
        if exact
        else _total(text.tokens, [images[place] for place in call])
        for call in places
    ]
    low, high = (_price_of_calls(price, counts, output) for output in (1, longest))
    return Estimate(
        getattr(model, "label", str(model)),
        text,
        images,
        longest,
        InputTokens(0, counts).total,
        low,
        high,
        is_exact=exact,
        calls=len(places),
        remark=misspelling(found.provider, name) if high is None else "",
    )


def _total(text: int, images: Iterable[ImageTokens]) -> int | None:
    return InputTokens(text, [image.tokens for image in images]).total


def _price_of_calls(
    price: Callable[[Usage], Decimal | None], counts: Sequence[int | None], output: int
) -> Decimal | None:
    """Return the price of some calls; equal ones, of which there may be a million, are priced once."""
    prices = {tokens: price(Usage(tokens, output)) for tokens in set(counts)}
    return total_price(prices[tokens] for tokens in counts)


def _exact_count(model: Any, prompt: str, sources: list[Any]) -> int:
    if not isinstance(model, PricedModel):
        raise SettingsError(
            "exact=True asks the provider for the count: pass a model object, such as vn.OpenAIMultiModal(...)."
        )
    if any(as_size(source) is not None for source in sources):
        raise SettingsError("exact=True needs the images themselves: pass image sources, not sizes.")
    return model.count_input_tokens(prompt, sources)


def _range(estimate: Estimate) -> str:
    if estimate.usd is None or estimate.usd_low is None:
        return "price unknown"
    if estimate.usd == 0:
        return "free"
    about = "about " if estimate.is_estimate else ""
    return f"{about}{format_usd_range(estimate.usd_low, estimate.usd)}"
