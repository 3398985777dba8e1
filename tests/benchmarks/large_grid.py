"""Time and memory of a grid of 1,000,000 rows: its plan, its answers from the store, and its tables.

The grid has 100,000 images, five prompts and two models. After the plan, all answers are put into the store.

Run: python -m tests.benchmarks.large_grid [IMAGES]
"""

import contextlib
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

import vision_nb as vn
from tests.benchmarks.compare_throughput import memory_mb
from vision_nb.comparison.grid import image_key, make_grid, row_keys
from vision_nb.storage.answers import NewAnswer, insert_answers
from vision_nb.store import Store

PROMPTS = [f"Question {number}?" for number in range(5)]
LIMIT_MB = 1500
PLAN_LIMIT, RESUME_LIMIT = 60.0, 15.0  # seconds for 1,000,000 rows; 100,000 rows are to be resumed in 1.5


def write_images(folder, count):
    """Write JPEG files that differ in a comment."""
    folder.mkdir()
    Image.effect_noise((64, 48), 60).convert("RGB").save(folder / "base.jpg")
    data = (folder / "base.jpg").read_bytes()
    (folder / "base.jpg").unlink()
    for number in range(count):
        comment = f"image {number}".encode()
        marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folder / f"{number:07}.jpg").write_bytes(data[:2] + marker + data[2:])


def fill(store, grid, answer):
    """Write an answer for each row into the store."""
    keys = [row_keys(llm, prompt) for llm in grid.models for prompt in grid.prompts]
    for batch in grid.batches():
        digests = store.digests([grid.documents[place] for place in batch])
        with store._transaction() as connection:
            for digest in digests:
                new = [NewAnswer(made([image_key(digest, None)]), "demo", answer) for made in keys]
                insert_answers(connection, new)


@contextlib.contextmanager
def measured(what, limit=None):
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    ratio = "" if limit is None else f", {seconds / limit:.2f} of the limit of {limit:.1f} s"
    print(
        f"{what}: {seconds:.1f} s{ratio}; peak memory {memory_mb():.0f} MB, {memory_mb() / LIMIT_MB:.2f} of the limit"
    )


def main():
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    work = Path(tempfile.mkdtemp())
    write_images(work / "images", images)
    models = [vn.DemoMultiModal(name, api_base="http://127.0.0.1:9/v1", max_retries=0) for name in ("demo", "second")]
    store = Store(work / "answers.sqlite3")
    rows = images * len(PROMPTS) * len(models)
    share = rows / 1_000_000
    print(f"{rows:,} rows of {images:,} images; limit of the memory {LIMIT_MB} MB")
    with measured("plan", PLAN_LIMIT * share):
        plan = vn.compare(models, PROMPTS, work / "images", store=store, dry_run=True)
    assert plan.calls == rows
    fill(store, make_grid(models, PROMPTS, work / "images"), vn.CompletionResponse("x" * 300, usage=vn.Usage(300, 90)))
    with measured("answers from the store", RESUME_LIMIT * share):
        comparison = vn.compare(models, PROMPTS, work / "images", store=store, progress=False)
    assert comparison.rows.from_store == rows
    with measured("HTML"):
        assert len(comparison._repr_html_()) < 300_000
    with measured("iteration"):
        assert sum(row.finished for row in comparison) == rows
    with measured("to_dataframe(columns=...)"):
        assert len(comparison.to_dataframe(columns=["image", "model", "usd"])) == rows
    with measured("to_parquet"):
        comparison.to_parquet(work / "table.parquet")
    print(f"{(work / 'table.parquet').stat().st_size / 1e6:.0f} MB of Parquet")


if __name__ == "__main__":
    main()
