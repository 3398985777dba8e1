"""Extractions with given answers, without asking a model."""

import datetime
import enum
import json
from decimal import Decimal

from pydantic import BaseModel, Field

import vision_nb as vn
from tests.conftest import picture
from vision_nb.comparison.budget import run_budget
from vision_nb.comparison.extraction import Extraction
from vision_nb.comparison.grid import make_grid
from vision_nb.comparison.result import Comparison
from vision_nb.comparison.rows import Rows
from vision_nb.comparison.run_options import RunOptions
from vision_nb.errors import SchemaError
from vision_nb.schema.schema import Schema
from vision_nb.store import Store


class Payment(enum.Enum):
    CASH = "cash"
    CARD = "card"


class Item(BaseModel):
    name: str
    price: Decimal
    count: int = 1


class Total(BaseModel):
    amount: Decimal
    currency: str | None = None


class Receipt(BaseModel):
    shop: str = Field(description="As printed at the top")
    note: str | None = None
    day: datetime.date | None = None
    printed_at: datetime.datetime | None = None
    payment: Payment | None = None
    is_paid: bool | None = None
    total: Total
    items: list[Item]
    tags: list[str] | None = None


RECEIPT = {
    "shop": "Corner Shop",
    "note": None,
    "day": "2026-03-01",
    "printed_at": "2026-03-01T17:30:00+01:00",
    "payment": "card",
    "is_paid": True,
    "total": {"amount": "12.50", "currency": "EUR"},
    "items": [{"name": "Tea", "price": "2.50", "count": 1}, {"name": "Bread", "price": "10", "count": 2}],
    "tags": None,
}
"""JSON data of a receipt."""


def receipt(**changes):
    """Return the JSON data of a receipt with some fields changed."""
    return {**RECEIPT, **changes}


def make_extraction(folder, answers, schema=Receipt, *, images=None, repaired=()):
    """Return an extraction of drawn images.

    Args:
        folder: Where the store and the images are; they are kept from an earlier call.
        answers: For each image, the JSON data of each model's answer, or the error of a failed one; None for a
            SchemaError.
        schema: The schema.
        images: The images; None draws one for each list of answers.
        repaired: The indices of rows that needed a second attempt.
    """
    if images is None:
        images = []
        for number in range(len(answers)):
            images.append(folder / f"receipt{number:04}.png")
            if not images[-1].exists():
                picture(60, 80, seed=number).save(images[-1])
    models = [vn.DemoMultiModal(f"gpt-4o-{number}") for number in range(len(answers[0]))]
    grid = make_grid(models, "x?", images, schema=schema)
    compiled = Schema.of(schema)
    rows = []
    for index, row in enumerate(Rows(grid, folder / "answers.sqlite3")):
        data = answers[index // len(models)][index % len(models)]
        if data is None or isinstance(data, Exception):
            rows.append(row.with_error(data or SchemaError("The answer has no JSON.", text="<b>?")))
            continue
        response = vn.CompletionResponse(
            json.dumps(data), usage=vn.Usage(10, 5), parsed=compiled.validate(data), attempts=1 + (index in repaired)
        )
        rows.append(row.with_answer(response, from_store=False))
    store, budget = Store(folder / "answers.sqlite3"), run_budget(grid.models, None)
    comparison = Comparison(rows, grid=grid, store=store, budget=budget, options=RunOptions())
    return Extraction(comparison)
