"""Time and memory of a grid of 1,000,000 rows: its plan, its answers from the store, and its tables.

By default, the grid has 100,000 images, five prompts and two models. After the plan, all answers are put into the
store. Other shapes have few images with many prompts, or many images with one:

    python -m tests.benchmarks.large_grid [--images 100000] [--prompts 5] [--models 2]
    python -m tests.benchmarks.large_grid --images 20 --prompts 50000 --models 1
    python -m tests.benchmarks.large_grid --images 1000 --prompts 1000 --models 1
    python -m tests.benchmarks.large_grid --images 1000000 --prompts 1 --models 1  # needs 4 GB of disk
"""

import argparse
import contextlib
import gc
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

from PIL import Image

import vision_nb as vn
from tests.benchmarks.compare_throughput import memory_mb
from vision_nb.comparison.grid import image_key, make_grid, row_keys
from vision_nb.storage.answers import NewAnswer, insert_answers
from vision_nb.store import Store

LIMIT_MB = 1500
PLAN_LIMIT, RESUME_LIMIT = 60.0, 15.0  # seconds for 1,000,000 rows; 100,000 rows are to be resumed in 1.5
HTML_LIMIT = 1.0  # seconds, whatever the number of rows
DOCUMENT_LIMIT = 600  # bytes for each image of a folder, which leaves 900 MB for everything else
_SAMPLE = 5_000  # images in each folder whose bytes are counted


def write_images(folder, numbers):
    """Write JPEG files with numbers as names, which differ in a comment."""
    folder.mkdir()
    Image.effect_noise((64, 48), 60).convert("RGB").save(folder / "base.jpg")
    data = (folder / "base.jpg").read_bytes()
    (folder / "base.jpg").unlink()
    for number in numbers:
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
    """Print the time of a ``with`` block, and the largest memory of the process so far.

    The limit is compared with the CPU time, which other programs on the machine hardly change.
    """
    started, processor = time.perf_counter(), time.process_time()
    yield
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    ratio = "" if limit is None else f", {processor / limit:.2f} of the limit of {limit:.1f} s"
    memory = f"peak memory {memory_mb():.0f} MB, {memory_mb() / LIMIT_MB:.2f} of the limit"
    print(f"{what}: {seconds:.1f} s ({processor:.1f} s of CPU time){ratio}; {memory}", flush=True)


def measure_documents(*folders):
    """Print the bytes that an `ImageDocument` of a folder takes.

    Python's own table of file names doubles now and then, by 1.9 MB at this size (Python 3.11). It does not do so for
    both folders, so the smaller result is the size of the documents.
    """
    tracemalloc.start()
    kept, sizes = [vn.load_images(*(sorted(folders[0].iterdir())[:1]))], []  # imports what loading needs
    for folder in folders:
        before = tracemalloc.get_traced_memory()[0]
        kept.append(vn.load_images(folder))
        gc.collect()
        sizes.append((tracemalloc.get_traced_memory()[0] - before) / len(kept[-1]))
    tracemalloc.stop()
    size = min(sizes)
    print(f"a document: {size:.0f} bytes, {size / DOCUMENT_LIMIT:.2f} of the limit of {DOCUMENT_LIMIT} bytes")


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--prompts", type=int, default=5)
    parser.add_argument("--models", type=int, default=2)
    return parser.parse_args(sys.argv[1:])


def main():
    chosen = options()
    prompts = [f"Question {number}?" for number in range(chosen.prompts)]
    models = [
        vn.DemoMultiModal(f"demo-{number}", api_base="http://127.0.0.1:9/v1", max_retries=0)
        for number in range(chosen.models)
    ]
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        samples = [work / "first sample", work / "second sample"]
        for index, folder in enumerate(samples):  # with other file names
            write_images(folder, range(index * _SAMPLE, (index + 1) * _SAMPLE))
        measure_documents(*samples)
        write_images(work / "images", range(chosen.images))
        measure(models, prompts, work, rows=chosen.images * len(prompts) * len(models))


def measure(models, prompts, work, *, rows):
    images, store, share = work / "images", Store(work / "answers.sqlite3"), rows / 1_000_000
    print(f"{rows:,} rows; limit of the memory {LIMIT_MB} MB", flush=True)
    with measured("plan", PLAN_LIMIT * share):
        plan = vn.compare(models, prompts, images, store=store, dry_run=True)
    assert plan.calls == rows
    fill(store, make_grid(models, prompts, images), vn.CompletionResponse("x" * 300, usage=vn.Usage(300, 90)))
    with measured("plan with all answers in the store", PLAN_LIMIT * share):
        plan = vn.compare(models, prompts, images, store=store, dry_run=True)
    assert plan.calls == 0
    with measured("answers from the store", RESUME_LIMIT * share):
        comparison = vn.compare(models, prompts, images, store=store, progress=False)
    assert comparison.rows.from_store == rows
    for what in ("HTML", "HTML again, with all packages imported"):
        with measured(what, HTML_LIMIT):
            assert len(comparison._repr_html_()) < 300_000
    with measured("iteration"):
        assert sum(row.finished for row in comparison) == rows
    with measured("to_dataframe(columns=...)"):
        assert len(comparison.to_dataframe(columns=["image", "model", "usd"])) == rows
    with measured("to_parquet"):
        comparison.to_parquet(work / "table.parquet")
    print(f"{(work / 'table.parquet').stat().st_size / 1e6:.0f} MB of Parquet")
    store.close()


if __name__ == "__main__":
    main()
