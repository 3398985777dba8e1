"""How fast the workers of a cluster prepare photographs, against twice the speed of one worker, and their memory.

Two workers with one thread each read, decode and resize photographs of 12 megapixels, and ask about them. Limit: within
15 % of twice the speed of one worker that only prepares them. This process and the server use the same processor, so
that the figure needs more than two cores. The memory of this process and of the workers must not grow: it is shown
after the first photographs and at the end.

Run: python -m tests.benchmarks.cluster_preparation [10000]
"""

import io
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from distributed import Client, LocalCluster
from PIL import Image

import vision_nb as vn
from tests.benchmarks.compare_throughput import slow_server

SIZE, CHUNK, ALONE, CONCURRENCY = (4000, 3000), 100, 40, 16


def photograph():
    """A JPEG of 12 megapixels with the detail and noise of a camera's, of about 3 MB."""
    generator = np.random.default_rng(0)
    scene = Image.fromarray(generator.integers(0, 255, (45, 60, 3), dtype=np.uint8)).resize(SIZE, 3)
    noise = generator.normal(0, 4, (SIZE[1], SIZE[0], 1)).astype(np.int16)
    pixels = np.clip(np.asarray(scene, dtype=np.int16) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def write_photographs(folder, data, numbers):
    """Write copies with different comments, each of which is a different image that is decoded again."""
    folder.mkdir()
    for number in numbers:
        comment = f"image {number}".encode()
        marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folder / f"{number}.jpg").write_bytes(data[:2] + marker + data[2:])


def prepare_alone(folder):
    """Prepare photographs one after the other in a worker, and return how many it prepares in a second."""
    llm, documents = vn.OpenAIMultiModal("gpt-4o", "k"), vn.load_images(folder)
    started = time.perf_counter()
    for document in documents:
        llm.outgoing(document)
    return len(documents) / (time.perf_counter() - started)


def memory_mb(client):
    pids = [os.getpid(), *client.run(os.getpid).values()]
    return " + ".join(f"{psutil.Process(pid).memory_info().rss / 1e6:.0f}" for pid in pids)


def main():
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    work, data = Path(tempfile.mkdtemp()), photograph()
    print(f"{total:,} photographs of {len(data) / 1e6:.1f} MB, {os.cpu_count()} cores")
    with (
        slow_server(seconds=0) as base,
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        llm = vn.OpenAIMultiModal("gpt-4o", "k", base)
        write_photographs(work / "alone", data, range(-ALONE, 0))
        alone = client.submit(prepare_alone, work / "alone").result()
        spent = 0.0
        for start in range(0, total, CHUNK):
            folder = work / str(start)
            write_photographs(folder, data, range(start, min(start + CHUNK, total)))
            started = time.perf_counter()
            comparison = vn.compare(
                llm,
                "What is this?",
                folder,
                store=work / "store.sqlite3",
                cluster=client,
                concurrency=CONCURRENCY,
                progress=False,
            )
            spent += time.perf_counter() - started
            assert not comparison.errors and not comparison.incomplete
            shutil.rmtree(folder)
            if start in (0, CHUNK * 5):
                print(f"memory of this process and the workers after {start + CHUNK:,}: {memory_mb(client)} MB")
        print(f"memory of this process and the workers at the end: {memory_mb(client)} MB")
    together = total / spent
    print(f"one worker alone: {alone:.2f} photographs a second; two with their calls: {together:.2f}")
    print(f"ratio to twice one worker {together / (2 * alone):.2f} (wanted: at least 0.85)")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
