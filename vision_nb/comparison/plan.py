"""The plan of a comparison: its calls, tokens and price, without sending anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from vision_nb.comparison.grid import Grid, row_key
from vision_nb.comparison.rate_limit import RateLimit
from vision_nb.cost.accounting import InputTokens, longest_answer
from vision_nb.cost.estimate import EXPECTED_OUTPUT
from vision_nb.cost.image_rules import view_of
from vision_nb.cost.prices import BATCH_TIER
from vision_nb.cost.rule_kinds import View
from vision_nb.cost.text_tokens import text_tokens
from vision_nb.errors import ImageError, SettingsError
from vision_nb.images.decode import Size
from vision_nb.images.detail import Detail
from vision_nb.images.document import ImageDocument
from vision_nb.images.prepare import fit_within
from vision_nb.providers.base import MultiModalLLM
from vision_nb.rendering import html
from vision_nb.rendering.format import format_count, format_duration, format_price, total_price
from vision_nb.rendering.terminal import Report, TerminalPart, TextTable
from vision_nb.responses import Usage
from vision_nb.store import Store


@dataclass(frozen=True, repr=False)
class PlannedModel:
    """The planned calls to one model.

    Attributes:
        model: The model's name; "... (demo)" if the demo would answer.
        calls: The number of calls to make.
        finished: The number of answers that are already in the store.
        unreadable: The number of calls that would fail because their image cannot be read.
        input_tokens: The input tokens of all calls, or None if the model's image rule is not known.
        output_tokens: The maximum output tokens of all calls.
        usd: The maximum price of all calls in US dollars, or None if it is not known.
        is_demo: Whether the demo would answer, at no cost.
        is_estimate: Whether the tokens of images, and so the price, are estimates.
        min_seconds: The seconds that the calls take at least because of the rate limit; 0 if it delays none.
        limit: The rate limit from which that follows, such as "500 requests a minute"; None without a rate limit.
        waiting: The number of questions that wait in a batch, and are not asked.
        batch_usd: The maximum price of all calls as a batch, or None if it is not known.
    """

    model: str
    calls: int
    finished: int
    unreadable: int
    input_tokens: int | None
    output_tokens: int
    usd: Decimal | None
    is_demo: bool = False
    is_estimate: bool = False
    min_seconds: float = 0.0
    limit: str | None = None
    waiting: int = 0
    batch_usd: Decimal | None = None

    def __repr__(self) -> str:
        duration = f", {self.min_duration}" if self.min_duration else ""
        return f"PlannedModel({self.model}: {self.calls:,} calls, {self.price}{duration})"

    @property
    def min_duration(self) -> str:
        """How long the calls take at least, as text; "" if the rate limit delays none."""
        return f"at least {format_duration(self.min_seconds)} at {self.limit}" if self.min_seconds else ""

    @property
    def price(self) -> str:
        """The maximum price as text."""
        return format_price(self.usd, is_demo=self.is_demo, is_estimate=self.is_estimate)

    @property
    def batch_price(self) -> str:
        """The maximum price as a batch as text."""
        return format_price(self.batch_usd, is_demo=self.is_demo, is_estimate=self.is_estimate)


@dataclass(frozen=True, repr=False)
class Plan(Report):
    """The planned calls of a comparison; displays as a table.

    Attributes:
        models: A `PlannedModel` for each model, in order.
        notes: Notes about duplicates among the images and prompts.
        is_batch: Whether the calls would be submitted as batches, so that the price of a batch is shown too.
    """

    models: tuple[PlannedModel, ...]
    notes: tuple[str, ...] = ()
    is_batch: bool = False

    @property
    def calls(self) -> int:
        """The number of calls to make to all models."""
        return sum(planned.calls for planned in self.models)

    @property
    def usd(self) -> Decimal | None:
        """The maximum price in US dollars, or None if any part of it is unknown."""
        return total_price(planned.usd for planned in self.models)

    @property
    def batch_usd(self) -> Decimal | None:
        """The maximum price as batches in US dollars, or None if any part of it is unknown."""
        return total_price(planned.batch_usd for planned in self.models)

    @property
    def waiting(self) -> int:
        """The number of questions that wait in batches."""
        return sum(planned.waiting for planned in self.models)

    @property
    def is_estimate(self) -> bool:
        """Whether the tokens of images, and so the price, are estimates."""
        return any(planned.is_estimate for planned in self.models)

    @property
    def _price(self) -> str:
        is_demo = all(planned.is_demo for planned in self.models if planned.usd)
        direct = format_price(self.usd, is_demo=is_demo, is_estimate=self.is_estimate)
        if not self.is_batch:
            return direct
        batch = format_price(self.batch_usd, is_demo=is_demo, is_estimate=self.is_estimate)
        return f"{batch} as a batch, {direct} directly"

    def _table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        rows = [
            (
                planned.model,
                f"{planned.calls:,}",
                f"{planned.finished:,}",
                f"{planned.unreadable:,}",
                format_count(planned.input_tokens, is_estimate=planned.is_estimate),
                f"{planned.output_tokens:,}",
                planned.price,
                *([planned.batch_price] if self.is_batch else []),
            )
            for planned in self.models
        ]
        head = ("model", "calls", "in the store", "unreadable", "input tokens", "max. output tokens", "max. price")
        return (*head, *(["max. batch price"] if self.is_batch else [])), rows

    @property
    def _summary(self) -> str:
        return f"{'1 call' if self.calls == 1 else f'{self.calls:,} calls'}, {self._price}."

    def _repr_markdown_(self) -> str:
        return f"{html.markdown_table(*self._table())}\n\n**{self._summary}** {self._below}\n"

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        return [TextTable(*self._table(), numbers_from=1), f"{self._summary} {self._below}"]

    @property
    def _below(self) -> str:
        waiting = "1 question waits" if self.waiting == 1 else f"{self.waiting:,} questions wait"
        notes = [f"{planned.model}: {planned.min_duration}" for planned in self.models if planned.min_duration]
        notes += [*self.notes, *([f"{waiting} in batches and would not be asked"] if self.waiting else [])]
        return " ".join([*(f"{note}." for note in notes), "Nothing was sent."])


def make_plan(grid: Grid, store: Store, *, resume: bool, batch: bool | None = None) -> Plan:
    """Plan the calls of a grid.

    Only image headers are decoded; files that are new to the store are read to compute their digest.

    Args:
        grid: The models, prompts and images.
        store: The store of answers.
        resume: Use the answers in the store.
        batch: As for `compare`.
    """
    for llm in grid.models if batch else ():
        _ = llm.batches  # raises an error if the model does not take batches
    models = tuple(
        _plan_model(grid, llm, store, None if batch else limit, resume=resume, batch=batch)
        for llm, limit in zip(grid.models, grid.rate_limits, strict=True)
    )
    notes = grid.duplicate_notes([_image_key(store, document) for document in grid.documents])
    return Plan(models, tuple(notes), is_batch=bool(batch))


def _image_key(store: Store, document: ImageDocument) -> str:
    """Return a key that is the same for equal images with the same detail level; "" if unreadable."""
    try:
        return f"{store.digest(document)} {document.detail}"
    except ImageError:
        return ""


def _plan_model(
    grid: Grid, llm: MultiModalLLM, store: Store, limit: RateLimit | None, *, resume: bool, batch: bool | None
) -> PlannedModel:
    schema = json.dumps(grid.schema.json_schema) if grid.schema else ""  # sent with every question
    texts = [text_tokens(prompt + schema, llm.counted_model).tokens for prompt in grid.prompts]
    finished, unreadable, waiting, counts, is_estimate = 0, 0, 0, list[int | None](), False
    planned: set[str] = set()
    for document in grid.documents:
        try:
            digest, size = store.digest(document), document.size
        except ImageError:
            unreadable += len(grid.prompts)
            continue
        view = _view(size, llm, document.detail)
        image = None if view is None else view.tokens
        keys = [row_key(llm, prompt, digest, document.detail, grid.schema) for prompt in grid.prompts]
        stored = store.get_many(keys) if resume else {}
        in_batches = {} if batch is False else store.questions_in_batches({*keys} - {*stored})
        done = {*stored, *in_batches, *planned}
        planned.update(keys)
        finished += len(stored)
        waiting += len(in_batches)
        new = [InputTokens(text, [image]).total for key, text in zip(keys, texts, strict=True) if key not in done]
        counts += new
        is_estimate |= bool(new) and view is not None and view.is_estimate
    total = InputTokens(0, counts).total
    output = len(counts) * longest_answer(llm.settings(), EXPECTED_OUTPUT)
    usd = llm.price(Usage(total, output)) if counts else Decimal(0)
    is_demo = llm.is_demo
    seconds, limit_name = (0.0, None) if limit is None else limit.shortest_run(len(counts), total)
    batch_usd = llm.pricing(Usage(total, output), service_tier=BATCH_TIER) if counts else Decimal(0)
    return PlannedModel(
        llm.label,
        len(counts),
        finished,
        unreadable,
        total,
        output,
        usd,
        is_demo,
        is_estimate,
        min_seconds=seconds,
        limit=limit_name,
        waiting=waiting,
        batch_usd=batch_usd if batch else None,
    )


def _view(size: Size, llm: MultiModalLLM, detail: Detail | None) -> View | None:
    if llm.max_side is not None:
        size = fit_within(size, llm.max_side)
    try:
        return view_of(size, llm.counted_model, detail or llm.image_detail)
    except (ImageError, SettingsError):
        return None  # the call is planned, and will fail
