"""The plan of a comparison: its calls, tokens and price, without sending anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import TYPE_CHECKING

from vision_nb.checks.attributes import read_only
from vision_nb.comparison.calls import size_of
from vision_nb.comparison.cluster import ClusterCalls
from vision_nb.comparison.grid import Grid
from vision_nb.comparison.rows import Rows
from vision_nb.comparison.run_options import RunOptions
from vision_nb.cost.accounting import InputTokens, longest_answer
from vision_nb.cost.estimate import EXPECTED_OUTPUT
from vision_nb.cost.image_rules import view_of
from vision_nb.cost.model_reference import misspelling
from vision_nb.cost.prices import BATCH_TIER
from vision_nb.cost.rate_limit import RateLimit
from vision_nb.cost.rule_kinds import View
from vision_nb.cost.text_tokens import text_tokens
from vision_nb.errors import ImageError, SettingsError, VisionError
from vision_nb.images.decode import Size
from vision_nb.images.detail import Detail
from vision_nb.images.prepare import fit_within
from vision_nb.notebook.run_sync import run_sync
from vision_nb.providers.base import MultiModalLLM
from vision_nb.rendering import html
from vision_nb.rendering.data_frame import without_formulas
from vision_nb.rendering.format import format_count, format_duration, format_price, pluralize, total_price
from vision_nb.rendering.terminal import Report, TerminalPart, TextTable
from vision_nb.responses import Usage
from vision_nb.store import Store
from vision_nb.user_warnings import to_thread

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class PlannedModel:
    """The planned calls to one model.

    Attributes:
        model: The model's name; "... (demo)" if the demo would answer.
        calls: The number of calls to make.
        finished: The number of answers that are already in the store.
        unreadable: The number of calls that would fail because their image cannot be read: its header is damaged,
            or it is cut off.
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
        return f"PlannedModel({self.model}: {pluralize(self.calls, 'call')}, {self.price}{duration})"

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


@read_only()
@dataclass(frozen=True, repr=False)
class Plan(Report):
    """The planned calls of a comparison; displays as a table.

    Attributes:
        models: A `PlannedModel` for each model, in order.
        notes: Notes about duplicates among the images and prompts, and about names that may be misspelled.
        is_batch: Whether the calls would be submitted as batches, so that the price of a batch is shown too.

    >>> plan = vn.compare("demo", "How large is it?", [vn.samples.path("chart")], dry_run=True)
    >>> plan.to_dataframe()[["model", "calls", "usd"]].values.tolist()
    [['demo', 1, 0.0]]
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

    def to_dataframe(self) -> pd.DataFrame:
        """Return a pandas DataFrame with a row per model; its columns are the attributes of `PlannedModel`.

        Unknown tokens and prices are missing values, as in the tables of comparisons.
        """
        import pandas as pd

        records = [vars(planned) for planned in self.models]
        table = pd.DataFrame.from_records(records, columns=[field.name for field in fields(PlannedModel)])
        return without_formulas(table.astype({"input_tokens": "Int64", "usd": "float64", "batch_usd": "float64"}))

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
        return f"{pluralize(self.calls, 'call')}, {self._price}."

    def _repr_markdown_(self) -> str:
        return f"{html.markdown_table(*self._table())}\n\n**{self._summary}** {self._below}\n"

    def _terminal_parts(self) -> Iterable[TerminalPart]:
        return [TextTable(*self._table(), numbers_from=1), f"{self._summary} {self._below}"]

    @property
    def _below(self) -> str:
        waiting = pluralize(self.waiting, "question waits", "questions wait")
        notes = [f"{planned.model}: {planned.min_duration}" for planned in self.models if planned.min_duration]
        notes += [*self.notes, *([f"{waiting} in batches and would not be asked"] if self.waiting else [])]
        return " ".join([*(f"{note}." for note in notes), "Nothing was sent."])


def make_plan(grid: Grid, store: Store, options: RunOptions) -> Plan:
    """Plan the calls of a grid; an interrupt ends it.

    Only image headers, and files without an end marker, are decoded; files that are new to the store are read to
    compute their digest. With a cluster, its workers do both.

    Args:
        grid: The models, prompts and images.
        store: The store of answers.
        options: How the calls would be made.

    Raises:
        ClusterError: The cluster cannot be used, or the connection was lost.
    """
    if grid.cluster is not None:
        return run_sync(amake_plan(grid, store, options))
    planning = _Planning(grid, store, options)
    for places in grid.batches():
        documents = [grid.documents[place] for place in places]
        planning.add(places, store.digests(documents), [size_of(document) for document in documents])
    return planning.plan()


async def amake_plan(grid: Grid, store: Store, options: RunOptions) -> Plan:
    """Plan the calls of a grid; see `make_plan`."""
    if grid.cluster is None:
        return await to_thread(make_plan, grid, store, options)
    planning = _Planning(grid, store, options)
    calls = ClusterCalls(grid.cluster, grid, store)
    async with calls.running():
        for places in grid.batches():
            documents = [grid.documents[place] for place in places]
            digests, sizes = await calls.digests(documents), await calls.sizes(documents)
            await to_thread(planning.add, places, digests, sizes)
    return planning.plan()


class _Planning:
    """The calls of a grid, counted image by image."""

    def __init__(self, grid: Grid, store: Store, options: RunOptions) -> None:
        for llm in grid.models if options.batch else ():
            _ = llm.batches  # raises an error if the model does not take batches
        self._grid, self._store, self._options = grid, store, options
        self._rows = Rows(grid, store.path)
        limits = zip(grid.models, grid.rate_limits, strict=True)
        self._counts = [_ModelCounts(grid, llm, None if options.batch else limit) for llm, limit in limits]
        self._contents: set[bytes] = set()

    def add(self, places: range, digests: Sequence[str | VisionError], found: Sequence[Size | VisionError]) -> None:
        """Count the calls about some images."""
        grid, rows = self._grid, self._rows
        sizes, new = self._identify(places, digests, found)
        for model, counted in enumerate(self._counts):
            counted.unreadable += (len(places) - len(sizes)) * len(grid.prompts)
            readable = list(rows.places(model, sizes))
            keys = rows.keys_of(model, readable)
            stored = self._store.known(keys.values()) if self._options.resume else set()
            in_batches = (
                {} if self._options.batch is False else self._store.questions_in_batches({*keys.values()} - stored)
            )
            for row, prompt, place in readable:
                if keys[row] in stored:
                    counted.finished += 1
                elif keys[row] in in_batches:
                    counted.waiting += 1
                elif place in new:  # other questions about an equal image are not asked again
                    counted.add(prompt, sizes[place], grid.documents[place].detail)

    def _identify(
        self, places: range, digests: Sequence[str | VisionError], found: Sequence[Size | VisionError]
    ) -> tuple[dict[int, Size], set[int]]:
        """Return the sizes of the images that can be read, and those of them that differ from all earlier ones."""
        sizes: dict[int, Size] = {}
        new: set[int] = set()
        for place, digest, size in zip(places, digests, found, strict=True):
            if isinstance(digest, VisionError):
                continue
            self._rows.identify(place, digest)
            content = self._rows.content(place)
            if not isinstance(size, VisionError):
                sizes[place] = size
                if content not in self._contents:
                    self._contents.add(content)
                    new.add(place)
        return sizes, new

    def plan(self) -> Plan:
        """Return the plan."""
        planned = tuple(one.planned(in_batches=bool(self._options.batch)) for one in self._counts)
        unpriced = [llm for llm, one in zip(self._grid.models, planned, strict=True) if one.usd is None]
        misspelled = filter(None, (misspelling(llm.provider, llm.counted_model) for llm in unpriced))
        return Plan(planned, (*self._rows.notes(), *misspelled), is_batch=bool(self._options.batch))


class _ModelCounts:
    """Counts the calls to one model."""

    def __init__(self, grid: Grid, llm: MultiModalLLM, limit: RateLimit | None) -> None:
        schema = json.dumps(grid.schema.json_schema) if grid.schema else ""  # sent with every question
        self._texts = [text_tokens(prompt + schema, llm.counted_model).tokens for prompt in grid.prompts]
        self._llm, self._limit = llm, limit
        self._views: dict[tuple[Size, Detail | None], View | None] = {}
        self.calls = self.finished = self.unreadable = self.waiting = 0
        self._tokens: int | None = 0
        self._is_estimate = False

    def add(self, prompt: int, size: Size, detail: Detail | None) -> None:
        """Count a call about an image of some size."""
        if (size, detail) not in self._views:
            self._views[size, detail] = _view(size, self._llm, detail)
        view = self._views[size, detail]
        tokens = InputTokens(self._texts[prompt], [None if view is None else view.tokens]).total
        self.calls += 1
        self._tokens = None if self._tokens is None or tokens is None else self._tokens + tokens
        self._is_estimate |= view is not None and view.is_estimate

    def planned(self, *, in_batches: bool) -> PlannedModel:
        """Return the counts, with their price, and that in batches if they are to be asked in batches."""
        llm = self._llm
        output = self.calls * longest_answer(llm.settings(), EXPECTED_OUTPUT)
        usd = llm.price(Usage(self._tokens, output)) if self.calls else Decimal(0)
        seconds, limit = (0.0, None) if self._limit is None else self._limit.shortest_run(self.calls, self._tokens)
        usage = Usage(self._tokens, output)
        batch_usd = llm.pricing(usage, service_tier=BATCH_TIER) if self.calls else Decimal(0)
        return PlannedModel(
            llm.label,
            self.calls,
            self.finished,
            self.unreadable,
            self._tokens,
            output,
            usd,
            llm.is_demo,
            self._is_estimate,
            min_seconds=seconds,
            limit=limit,
            waiting=self.waiting,
            batch_usd=batch_usd if in_batches else None,
        )


def _view(size: Size, llm: MultiModalLLM, detail: Detail | None) -> View | None:
    if llm.max_side is not None:
        size = fit_within(size, llm.max_side)
    try:
        return view_of(size, llm.counted_model, detail or llm.image_detail)
    except (ImageError, SettingsError):
        return None  # the call is planned, and will fail
