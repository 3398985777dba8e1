"""Throughput of `compare` against the openai client, its faster arrangements, and aiohttp alone.

The server runs in a process of its own, and answers after a fixed time. Reported for each arrangement, in one run: the
ideal time (calls * seconds / concurrency) as a share of its time, and the processor time of a call in this process and
in the second one that `compare` starts when a core is full.
With ``--workers``, `compare` also runs with the processes of a Dask cluster on this machine, which make the calls.

Run: python -m tests.benchmarks.throughput [--calls 1000] [--seconds 0.2] [--concurrency 50] [--workers 2] [--only NAME]
"""

import argparse
import asyncio
import contextlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import openai
from openai.types.chat import ChatCompletion
from PIL import Image

import vision_nb as vn
from tests.benchmarks.cluster_processes import running_cluster
from tests.benchmarks.light_server import light_server


def payload(uri, number):
    parts: Any = [{"type": "text", "text": f"question {number}?"}, {"type": "image_url", "image_url": {"url": uri}}]
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": parts}]}


async def at_once(ask, calls, concurrency):
    """Call ``ask(number)`` for each call, as many at once as allowed."""
    numbers = iter(range(calls))

    async def work():
        for number in numbers:
            await ask(number)

    await asyncio.gather(*(work() for _ in range(concurrency)))


async def with_client(base, uri, calls, concurrency, *, is_aiohttp=False, is_post=False):
    http: Any = openai.DefaultAioHttpClient() if is_aiohttp else None
    async with openai.AsyncOpenAI(api_key="k", base_url=base, http_client=http) as client:

        async def ask(number):
            if is_post:
                await client.post("/chat/completions", body=payload(uri, number), cast_to=ChatCompletion)
            else:
                await client.chat.completions.create(**payload(uri, number))

        await at_once(ask, calls, concurrency)


async def with_aiohttp(base, uri, calls, concurrency):
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(number):
            data = json.dumps(payload(uri, number)).encode()
            headers = {"content-type": "application/json", "authorization": "Bearer k"}
            async with session.post(f"{base}/chat/completions", data=data, headers=headers) as response:
                json.loads(await response.read())

        await at_once(ask, calls, concurrency)


def compare(base, folder, calls, concurrency, *, cluster=None):
    images = sorted(folder.iterdir())
    prompts = [f"question {number}?" for number in range(calls // len(images))]
    with tempfile.TemporaryDirectory() as store, vn.OpenAIMultiModal("gpt-4o", "k", base) as llm:
        result = vn.compare(
            llm,
            prompts,
            images,
            store=Path(store) / "a.sqlite3",
            concurrency=concurrency,
            cluster=cluster,
            progress=False,
        )
    assert len(result) == calls and not result.errors


@contextlib.contextmanager
def cluster_of(workers):
    """Run a cluster of some processes on this machine, and yield its client; without workers, yield None."""
    if not workers:
        yield None
        return
    with running_cluster(workers, threads=2) as (client, *_):
        yield client


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--workers", type=int, default=0, help="the processes of a cluster")
    parser.add_argument("--only", nargs="*", help="the arrangements to measure; default: all")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as work,
        light_server(options.seconds) as (base, _),
        cluster_of(options.workers) as client,
    ):
        folder = Path(work)
        for number in range(20):
            Image.new("RGB", (64, 48), (number, 50, 90)).save(folder / f"{number}.png")
        uri = vn.ImageDocument.of(folder / "0.png").data_uri()
        for cluster in dict.fromkeys((None, client)):
            compare(base, folder, 20, 4, cluster=cluster)  # imports, and connects once
        arrangements: dict[str, Any] = {
            "compare": lambda *size: compare(base, folder, *size),
            "openai client": lambda *size: asyncio.run(with_client(base, uri, *size)),
            "openai client on aiohttp": lambda *size: asyncio.run(with_client(base, uri, *size, is_aiohttp=True)),
            "client.post on aiohttp": lambda *size: asyncio.run(
                with_client(base, uri, *size, is_aiohttp=True, is_post=True)
            ),
            "aiohttp": lambda *size: asyncio.run(with_aiohttp(base, uri, *size)),
        }
        if client is not None:
            arrangements["compare on a cluster"] = lambda *size: compare(base, folder, *size, cluster=client)
        for concurrency in options.concurrency:
            ideal = options.calls * options.seconds / concurrency
            load = f"load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
            print(
                f"{options.calls:,} calls of {options.seconds * 1000:.0f} ms, {concurrency} at once: "
                f"ideal {ideal:.2f} s; {load}",
                flush=True,
            )
            for name, run in arrangements.items():
                if options.only and name not in options.only:
                    continue
                started, before = time.perf_counter(), os.times()
                run(options.calls, concurrency)
                seconds, after = time.perf_counter() - started, os.times()
                own = after.user + after.system - before.user - before.system
                second = after.children_user + after.children_system - before.children_user - before.children_system
                print(
                    f"  {name:26s}{seconds:7.2f} s  {ideal / seconds:4.0%} of ideal  "
                    f"{own / options.calls * 1000:5.2f} + {second / options.calls * 1000:4.2f} ms of CPU a call",
                    flush=True,
                )


if __name__ == "__main__":
    main()
