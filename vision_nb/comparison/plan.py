"""What a comparison would ask and cost, before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from vision_nb.comparison.grid import Grid, row_key
from vision_nb.cost.accounting import longest_answer
from vision_nb.cost.estimate import EXPECTED_OUTPUT, input_tokens
from vision_nb.errors import ImageError, SettingsError
from vision_nb.rendering import html
from vision_nb.rendering.format import format_count, format_price
from vision_nb.responses import Usage
from vision_nb.store import Store


@dataclass(frozen=True)
class PlannedModel:
    """What one model would be asked.

    Attributes:
        model: The model.
        calls: Calls that would be made.
        finished: Answers that the store already has.
        unreadable: Calls that would fail as their picture cannot be read.
        input_tokens: Of all calls, or None where the model's image rule is not known.
        output_tokens: At most, of all calls.
        usd: At most, for all calls; None where it is not known.
    """

    model: str
    calls: int
    finished: int
    unreadable: int
    input_tokens: int | None
    output_tokens: int
    usd: Decimal | None


@dataclass(frozen=True)
class Plan:
    """What a comparison would ask and cost; a table in a notebook.

    Attributes:
        models: A `PlannedModel` for each model, in order.
    """

    models: tuple[PlannedModel, ...]

    @property
    def calls(self) -> int:
        """Calls that would be made to all models."""
        return sum(planned.calls for planned in self.models)

    @property
    def usd(self) -> Decimal | None:
        """The price at most; None where a part of it is not known."""
        prices = [planned.usd for planned in self.models]
        return None if None in prices else sum((price for price in prices if price is not None), Decimal(0))

    def _repr_markdown_(self) -> str:
        rows = [
            (
                planned.model,
                f"{planned.calls:,}",
                f"{planned.finished:,}",
                f"{planned.unreadable:,}",
                format_count(planned.input_tokens),
                f"{planned.output_tokens:,}",
                format_price(planned.usd),
            )
            for planned in self.models
        ]
        head = ("model", "calls", "already there", "unreadable", "tokens in", "tokens out at most", "price at most")
        price = format_price(self.usd)
        return f"{html.markdown_table(head, rows)}\n\n**{self.calls:,} calls, {price}.** Nothing was sent.\n"

    def __str__(self) -> str:
        lines = [f"{one.model}: {one.calls:,} calls, {format_price(one.usd)}" for one in self.models]
        return "\n".join([*lines, f"{self.calls:,} calls, {format_price(self.usd)}. Nothing was sent."])


def make_plan(grid: Grid, store: Store, *, resume: bool) -> Plan:
    """Count what would be asked; pictures are read no further than their header, and for their digest."""
    return Plan(tuple(_planned(grid, store, place, resume) for place in range(len(grid.models))))


def _planned(grid: Grid, store: Store, place: int, resume: bool) -> PlannedModel:
    llm, finished, unreadable, tokens = grid.models[place], 0, 0, list[int | None]()
    for document in grid.documents:
        try:
            digest, size = store.digest(document), document.size
        except ImageError:
            unreadable += len(grid.prompts)
            continue
        keys = {row_key(llm, prompt, digest, document.detail): prompt for prompt in grid.prompts}
        found = store.get_many(keys) if resume else {}
        finished += len(found)
        for key, prompt in keys.items():
            if key not in found:
                tokens.append(_counted(prompt, size, llm.counted_model, document.detail or llm.image_detail))
    known = [count for count in tokens if count is not None]
    total = sum(known) if len(known) == len(tokens) else None
    output = len(tokens) * longest_answer(llm.settings(), EXPECTED_OUTPUT)
    usd = llm.price(Usage(total, output)) if tokens else Decimal(0)
    return PlannedModel(str(llm), len(tokens), finished, unreadable, total, output, usd)


def _counted(prompt: str, size: tuple[int, int], model: str, detail: str | None) -> int | None:
    try:
        return input_tokens(prompt, size, model, detail)
    except (ImageError, SettingsError):
        return None
