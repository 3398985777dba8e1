"""Throughput of `extract` over 1,000 images with calls of 50 ms, against `compare` without a schema on the same server.

Also measured: the time to validate one answer.

Run: python -m tests.benchmarks.extract_throughput
"""

import datetime
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel

import vision_nb as vn
from tests.benchmarks.compare_throughput import slow_server
from vision_nb.schema.schema import Schema

IMAGES, SECONDS, CONCURRENCY, ROUNDS = 1000, 0.05, 50, 3
ANSWER = json.dumps(
    {
        "shop": "Corner Shop",
        "day": "2026-03-01",
        "currency": "EUR",
        "total": 12.5,
        "items": [{"name": f"Article {number}", "price": 1.25} for number in range(10)],
    }
)


class Item(BaseModel):
    name: str
    price: float


class Receipt(BaseModel):
    shop: str
    day: datetime.date | None
    currency: Literal["EUR", "USD"]
    total: float
    items: list[Item]


def main():
    work = Path(tempfile.mkdtemp())
    folder = work / "images"
    folder.mkdir()
    for number in range(IMAGES):
        Image.new("RGB", (64, 48), (number % 256, number // 256, 90)).save(folder / f"{number}.png")
    plain, structured = list[float](), list[float]()
    with slow_server(SECONDS, ANSWER) as base:
        llm = vn.OpenAIMultiModal("gpt-4o", "k", base)
        _ = llm.complete("warm up", folder / "0.png", schema=Receipt).cost
        for turn in range(ROUNDS):  # in turns, so that other load on the machine affects both
            options: Any = {"store": work / f"{turn}.sqlite3", "concurrency": CONCURRENCY, "progress": False}
            started = time.perf_counter()
            assert not vn.compare(llm, "What does it say?", folder, **options).errors
            plain.append(time.perf_counter() - started)
            started = time.perf_counter()
            assert not vn.extract(folder, Receipt, model=llm, **options).failed
            structured.append(time.perf_counter() - started)
    compared, extracted = statistics.median(plain), statistics.median(structured)
    print(f"{IMAGES:,} images, {SECONDS * 1000:.0f} ms a call, {CONCURRENCY} concurrent, median of {ROUNDS}")
    print(f"compare {compared:.2f} s, extract {extracted:.2f} s: ratio {extracted / compared:.2f} (limit 1.10)")

    schema = Schema.of(Receipt)
    started = time.perf_counter()
    for _ in range(IMAGES):
        schema.dump(schema.parse(ANSWER))
    each = (time.perf_counter() - started) / IMAGES * 1000
    print(f"validating an answer and writing it as JSON data: {each:.3f} ms, {each / 0.3:.2f} of the limit of 0.3 ms")


if __name__ == "__main__":
    main()
