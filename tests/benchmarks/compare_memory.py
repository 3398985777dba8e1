"""Memory of a comparison over a folder of 10,000 images.

Run: python -m tests.benchmarks.compare_memory
"""

import resource
import tempfile
import time
from pathlib import Path

from PIL import Image

import vision_nb as vn
from tests.benchmarks.compare_throughput import memory_mb, slow_server

IMAGES, LIMIT_MB = 10_000, 500


def main():
    folder = Path(tempfile.mkdtemp())
    Image.effect_noise((1000, 800), 60).convert("RGB").save(folder / "0.jpg", quality=85)
    data = (folder / "0.jpg").read_bytes()
    for number in range(1, IMAGES):
        # A different comment makes each file a different image, which is decoded and encoded again.
        comment = f"image {number}".encode()
        marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folder / f"{number}.jpg").write_bytes(data[:2] + marker + data[2:])
    on_disk = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    before = memory_mb()
    with slow_server(seconds=0) as base:
        llm = vn.OpenAIMultiModal("gpt-4o", "k", base)
        started = time.perf_counter()
        comparison = vn.compare(
            llm, "What is this?", folder, store=folder.parent / f"{folder.name}.sqlite3", progress=False
        )
        seconds = time.perf_counter() - started
    assert len(comparison) == IMAGES and not comparison.errors
    print(f"{IMAGES:,} images, {on_disk:.0f} MB on disk, in {seconds:.0f} s")
    print(f"peak memory {memory_mb():.0f} MB (limit {LIMIT_MB} MB, ratio {memory_mb() / LIMIT_MB:.2f})", end="; ")
    print(
        f"{before:.0f} MB before the run, children {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB"
    )


if __name__ == "__main__":
    main()
