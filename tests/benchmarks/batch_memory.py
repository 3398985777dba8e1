"""Memory of submitting a batch whose input files are much larger, and of collecting it.

Run: python -m tests.benchmarks.batch_memory
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

import vision_nb as vn
from tests.benchmarks.compare_throughput import memory_mb

IMAGES, LIMIT_MB = 600, 300  # the cache of prepared images alone may have 128 MB

SERVER = """
import sys
from vision_nb.demo import DemoServer
with DemoServer(keep=1) as server:
    server.batch_seconds = 0
    server.answer_with("Noise.")
    print(server.openai_base, flush=True)
    sys.stdin.read()
"""


def main():
    folder = Path(tempfile.mkdtemp())
    images = [folder / f"{number}.jpg" for number in range(IMAGES)]
    noise = Image.effect_noise((1000, 768), 100).convert("RGB")
    for number, path in enumerate(images):
        noise.putpixel((number, 0), (0, 0, 0))
        noise.save(path, quality=90)
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        llm = vn.OpenAIMultiModal("gpt-4o", "k", server.stdout.readline().strip())
        llm.complete("What is this?", images[0])  # loads all packages
        before, started = memory_mb(), time.perf_counter()
        comparison = vn.compare(llm, "What is this?", images, store=folder / "s.sqlite3", progress=False, batch=True)
        submitted = time.perf_counter() - started
        sizes = [file.bytes for file in llm.client.files.list(purpose="batch")]
        comparison.wait(progress=False)
        growth, total = memory_mb() - before, sum(sizes) / 1e6
    finally:
        server.communicate()
    assert comparison.rows.answered == IMAGES, comparison
    print(f"{IMAGES} images, {len(sizes)} input files of {total:.0f} MB together, submitted in {submitted:.0f} s")
    print(f"memory grew by {growth:.0f} MB (limit {LIMIT_MB} MB, ratio {growth / LIMIT_MB:.2f})")


if __name__ == "__main__":
    main()
