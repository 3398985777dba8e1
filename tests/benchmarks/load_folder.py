"""Measure `vn.load_images` on a folder of 50,000 files.

Listing the folder and reading the first kilobyte of each file, without anything else, is measured for comparison: the
types of images come from their bytes, so this much must be read.

Run: python -m tests.benchmarks.load_folder
"""

import os
import tempfile
import time
from pathlib import Path

import vision_nb as vn
from vision_nb.images.containers import HEAD_BYTES

COUNT, RUNS, LIMIT = 50_000, 3, 6.0


def read_heads(folder):
    """Read the first bytes of each file in a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with open(entry.path, "rb", buffering=0) as file:  # noqa: PTH123 - as fast as possible
                file.read(HEAD_BYTES)


def seconds(function, *arguments):
    """Return how long a call takes."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def main():
    with tempfile.TemporaryDirectory() as folder:
        data = Path(vn.samples.path("chart")).read_bytes()[:2000]
        for number in range(COUNT):
            (Path(folder) / f"{number}.png").write_bytes(data)
        assert len(vn.load_images(folder)) == COUNT
        peer, ours = (min(seconds(function, folder) for _ in range(RUNS)) for function in (read_heads, vn.load_images))
    print(f"{COUNT:,} files: {ours:.2f} s; listing and first bytes: {peer:.2f} s")
    print(
        f"ratio to listing and first bytes: {ours / peer:.1f}; limit {LIMIT}: {'ok' if ours / peer < LIMIT else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
