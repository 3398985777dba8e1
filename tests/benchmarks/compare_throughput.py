"""Throughput of `compare` with 1,000 calls to a server that takes 200 ms, against plain asyncio and a sequential loop.

Also measured: the time that the store adds per row, and the time to resume a grid of 10,000 finished rows.

Run: python -m tests.benchmarks.compare_throughput
"""

import asyncio
import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from PIL import Image

import vision_nb as vn
from vision_nb.comparison.grid import row_keys
from vision_nb.store import Store

CALLS, SECONDS, CONCURRENCY, SEQUENTIAL = 1000, 0.2, 50, 15
IDEAL = CALLS * SECONDS / CONCURRENCY

SERVER = """
import sys
from vision_nb.demo import DemoServer, Fault
with DemoServer(tokens_per_second=1_000_000, keep=1) as server:
    server.fail(Fault(delay=float(sys.argv[1]), status=200, body={
        "id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": sys.argv[2]}}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 5, "total_tokens": 305},
    }), times=100_000)
    print(server.openai_base, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def slow_server(seconds=SECONDS, answer="An answer."):
    """Run a server in another process, so that it does not use the client's processor time."""
    child = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(seconds), answer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield child.stdout.readline().strip()
    finally:
        child.stdin.close()
        child.wait(10)


def memory_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_grid(folder, images, prompts):
    for number in range(images):
        Image.new("RGB", (64, 48), (number % 256, number // 256, 90)).save(folder / f"{number}.png")
    return [f"question {number}?" for number in range(prompts)]


async def plain_asyncio(base, uri):
    gate = asyncio.Semaphore(CONCURRENCY)

    async def ask(number):
        parts: Any = [{"type": "text", "text": f"question {number}"}, {"type": "image_url", "image_url": {"url": uri}}]
        async with gate:
            await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": parts}])

    async with AsyncOpenAI(api_key="k", base_url=base) as client:
        await asyncio.gather(*(ask(number) for number in range(CALLS)))


def main():
    work = Path(tempfile.mkdtemp())
    folder = work / "images"
    folder.mkdir()
    prompts = make_grid(folder, 20, 50)
    with slow_server() as base:
        llm = vn.OpenAIMultiModal("gpt-4o", "k", base)
        _ = llm.complete("warm up", folder / "0.png").cost

        started = time.perf_counter()
        asyncio.run(plain_asyncio(base, vn.ImageDocument.of(folder / "0.png").data_uri()))
        peer = time.perf_counter() - started

        before = memory_mb()
        started = time.perf_counter()
        comparison = vn.compare(llm, prompts, folder, store=work / "a.sqlite3", concurrency=CONCURRENCY, progress=False)
        ours = time.perf_counter() - started
        assert len(comparison) == CALLS and not comparison.errors

        started = time.perf_counter()
        for number in range(SEQUENTIAL):
            llm.complete(prompts[number], folder / "0.png")
        sequential = (time.perf_counter() - started) / SEQUENTIAL * CALLS

        print(f"{CALLS} calls of {SECONDS * 1000:.0f} ms, {CONCURRENCY} concurrent; ideal {IDEAL:.2f} s")
        print(f"compare         {ours:7.2f} s   {IDEAL / ours:.0%} of the ideal throughput (limit: at least 90 %)")
        print(f"plain asyncio   {peer:7.2f} s   ratio {ours / peer:.2f}, with the same requests and without a store")
        print(f"sequential loop {sequential:7.2f} s   ratio 1/{sequential / ours:.0f} (extrapolated from {SEQUENTIAL})")
        print(f"peak memory     {memory_mb():.0f} MB, {memory_mb() - before:+.0f} MB in the run")

    store, answer = Store(work / "b.sqlite3"), vn.CompletionResponse("x" * 500, usage=vn.Usage(10, 5))
    started = time.perf_counter()
    for number in range(3000):
        store.put(str(number), "m", answer)
    print(f"the store adds {(time.perf_counter() - started) / 3:.3f} ms per row (limit 1 ms)")

    many = work / "many"
    many.mkdir()
    prompts = make_grid(many, 1000, 10)
    filled = vn.DemoMultiModal(api_base="http://127.0.0.1:9/v1", max_retries=0)
    kept = Store(work / "c.sqlite3")
    for path in many.iterdir():
        digest = kept.digest(vn.ImageDocument.of(path))
        for prompt in prompts:
            kept.put(row_keys(filled, prompt)([digest]), "demo", answer)
    started = time.perf_counter()
    resumed = vn.compare(filled, prompts, many, store=kept, progress=False)
    seconds = time.perf_counter() - started
    assert len(resumed) == 10_000 and all(row.from_store for row in resumed)
    print(f"a grid of 10,000 finished rows is resumed in {seconds:.2f} s, {seconds / 2:.2f} of the limit of 2 s")


if __name__ == "__main__":
    main()
