"""Time to count the tokens of 10,000 local files by their headers, and of 1,000,000 sizes.

Run: python -m tests.benchmarks.count_tokens
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import vision_nb as vn

FILES, FILE_LIMIT = 10_000, 2.0
SIZES, SIZE_LIMIT = 1_000_000, 3.0


def main():
    folder = Path(tempfile.mkdtemp())
    generator = np.random.default_rng(0)
    shapes = generator.integers(200, 2000, (20, 2))
    files = [Image.new("RGB", (int(width), int(height)), "navy") for width, height in shapes]
    for number in range(FILES):
        if number < len(files):
            files[number].save(folder / f"{number}.jpg")
        else:
            (folder / f"{number}.jpg").write_bytes((folder / f"{number % len(files)}.jpg").read_bytes())
    paths = list(folder.iterdir())
    vn.image_tokens(paths[:1])
    started = time.perf_counter()
    counts = vn.image_tokens(paths, "gpt-5.4", "high")
    seconds = time.perf_counter() - started
    assert all(count.tokens for count in counts)
    print(f"{FILES:,} local images: {seconds:.2f} s, {seconds / FILE_LIMIT:.2f} of the limit of {FILE_LIMIT} s")

    widths, heights = generator.integers(1, 20_001, (2, SIZES))
    for model in ("gpt-4o", "gpt-5.4"):
        started = time.perf_counter()
        vn.image_tokens_array(widths, heights, model, "high")
        seconds = time.perf_counter() - started
        print(f"{SIZES:,} sizes, {model}: {seconds:.2f} s, {seconds / SIZE_LIMIT:.2f} of the limit of {SIZE_LIMIT} s")


if __name__ == "__main__":
    main()
