"""How the preparation of photographs grows with the workers of a cluster, and how much memory it takes.

Workers with one thread each read, decode and resize photographs of 12 megapixels, and ask about them. The scheduler and
the server have processes of their own; the server discards the bodies of the requests. Reported for one worker and for
two, which take turns: photographs in a second, and the processor time of a photograph in each process. Also, how many
photographs one worker prepares in a second without calls.

Limits: two workers prepare at least 0.85 times twice the photographs of one worker, measured the same way. That needs
processor time that nothing else uses: two cores for the workers, and the share of a third one that is reported for the
other processes. On fewer cores, the processor time of a photograph in the workers must not grow by more than 15 %. The
memory of each process must not grow by more than 50 MB after the first 2,000 photographs, with which a worker's cache of
prepared images is full (128 MB).

Run: python -m tests.benchmarks.cluster_preparation [10000]
"""

import io
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

import vision_nb as vn
from tests.benchmarks.cluster_processes import processor_seconds, running_cluster
from tests.benchmarks.light_server import light_server

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


class Measured:
    """A cluster of some workers, and what its photographs have cost so far."""

    def __init__(self, client, named, llm, work, size):
        self.client, self.named, self.llm, self.work, self.size = client, named, llm, work, size
        self.photographs, self.seconds = 0, 0.0
        self.processor = defaultdict(float)

    def ask(self, data):
        """Ask about the next photographs."""
        folder = self.work / f"{self.size}-{self.photographs}"
        write_photographs(folder, data, range(self.photographs, self.photographs + CHUNK))
        before = {name: processor_seconds(process) for name, process in self.named.items()}
        started = time.perf_counter()
        comparison = vn.compare(
            self.llm,
            "What is this?",
            folder,
            store=self.work / f"{self.size}.sqlite3",
            cluster=self.client,
            concurrency=CONCURRENCY,
            progress=False,
        )
        self.seconds += time.perf_counter() - started
        for name, process in self.named.items():
            self.processor[name.rstrip("0123456789")] += processor_seconds(process) - before[name]
        assert not comparison.errors and not comparison.incomplete
        self.photographs += CHUNK
        shutil.rmtree(folder)

    @property
    def speed(self):
        return self.photographs / self.seconds

    def __str__(self):
        costs = ", ".join(f"{name} {spent / self.photographs * 1000:.1f}" for name, spent in self.processor.items())
        return f"{self.speed:.2f} photographs a second; ms of CPU a photograph: {costs}"

    def memory(self):
        return {name: process.memory_info().rss / 1e6 for name, process in self.named.items()}


def main():
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    work, data = Path(tempfile.mkdtemp()), photograph()
    print(f"{total:,} photographs of {len(data) / 1e6:.1f} MB, {os.cpu_count()} cores")
    with (
        light_server() as (base, server),
        running_cluster(workers=1, threads=1) as (one_client, one_scheduler, one_worker),
        running_cluster(workers=2, threads=1) as (client, scheduler, workers),
    ):
        llm = vn.OpenAIMultiModal("gpt-4o", "k", base)
        write_photographs(work / "first", data, [-ALONE - 1])
        write_photographs(work / "alone", data, range(-ALONE, 0))
        for folder in (work / "first", work / "alone"):  # the first one imports
            alone = one_client.submit(prepare_alone, folder).result()
        shared = {"notebook": psutil.Process(), "server": server}
        one = Measured(one_client, {"worker": one_worker[0], "scheduler": one_scheduler, **shared}, llm, work, 1)
        two = Measured(
            client,
            {
                **{f"worker{number}": process for number, process in enumerate(workers)},
                "scheduler": scheduler,
                **shared,
            },
            llm,
            work,
            2,
        )
        first = {}
        while two.photographs < total:
            if one.photographs < min(total, 400):
                one.ask(data)
            two.ask(data)
            if two.photographs in (100, 200, 400, 1000) or two.photographs % 2000 == 0 or two.photographs >= total:
                memory = two.memory()
                first = memory if two.photographs <= 2000 else first
                shown = ", ".join(f"{name} {size:.0f}" for name, size in memory.items())
                print(f"MB after {two.photographs:,} photographs: {shown}", flush=True)
        growth = max(size - first.get(name, size) for name, size in two.memory().items())
    workers_ms = [measured.processor["worker"] / measured.photographs for measured in (one, two)]
    print(f"one worker, without calls: {alone:.2f} photographs a second")
    print(f"one worker:  {one}")
    print(f"two workers: {two}")
    print(f"two workers to twice one worker: {two.speed / (2 * one.speed):.2f} (limit: at least 0.85)")
    print(f"two workers to twice one worker without calls: {two.speed / (2 * alone):.2f}")
    print(f"processor time of a photograph in two workers to one: {workers_ms[1] / workers_ms[0]:.2f} (limit: 1.15)")
    if total > 2000:
        print(f"memory: at most {growth:+.0f} MB after the first 2,000 photographs (limit: 50)")
    else:
        print("memory: its growth is measured only with more than 2,000 photographs")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
