"""How fast several photographs are prepared for one call, against one after the other.

Limit: 8 photographs of 24 megapixels are prepared at least 1.7 times faster on two cores. The machine must be idle: the
second ratio, of hashing that needs no lock, shows what its cores can give.

Run: python -m tests.benchmarks.prepare_many
"""

import hashlib
import os
import statistics
import threading
import time

from tests.benchmarks.prepare_speed import photograph
from vision_nb.cost.image_rules import sent_size
from vision_nb.images.prepare import prepare
from vision_nb.user_warnings import map_in_threads

IMAGES = 8
ROUNDS = 7


def ours(data):
    # Not through ImageDocument, which remembers what it has prepared.
    return prepare(data, name="the photograph", fit=lambda size: sent_size(size, "gpt-4o", "high")).data


def hashed(data):
    return hashlib.sha256(data).digest()


def seconds(run):
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure(function, values):
    """Return the median seconds in turn and on all cores, measured alternately."""
    times = [
        (
            seconds(lambda: [function(value) for value in values]),
            seconds(lambda: map_in_threads(function, values)),
        )
        for _ in range(ROUNDS)
    ]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def main():
    files = [photograph()] * IMAGES
    serial, parallel = measure(ours, files)
    print(f"{IMAGES} photographs, {os.cpu_count()} cores: {serial:.2f} s in turn, {parallel:.2f} s on all cores")
    serial_hash, parallel_hash = measure(hashed, files)
    print(
        f"ratio {serial / parallel:.2f} (wanted: at least 1.7 on two cores), hashing {serial_hash / parallel_hash:.2f}"
    )
    done = threading.Event()
    busy = threading.Thread(target=lambda: [sum(range(1000)) for _ in iter(done.is_set, True)])
    busy.start()
    try:
        median = statistics.median(seconds(lambda: ours(files[0])) for _ in range(ROUNDS))
    finally:
        done.set()
        busy.join()
    print(f"one photograph while another Python thread is busy: {median * 1000:.0f} ms")


if __name__ == "__main__":
    main()
