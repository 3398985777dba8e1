"""Throughput of `compare` against the openai client, its faster arrangements, and aiohttp alone.

The server runs in a process of its own, and answers after a fixed time. Reported for each arrangement, in one run: the
ideal time (calls * seconds / concurrency) as a share of its time, and the processor time of a call in this process.

Run: python -m tests.benchmarks.throughput [--calls 1000] [--seconds 0.2] [--concurrency 50] [--only NAME ...]
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import openai
from openai.types.chat import ChatCompletion
from PIL import Image

import vision_nb as vn

SERVER = """
import asyncio, sys

BODY = (
    b'{"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [{"index": 0, '
    b'"finish_reason": "stop", "message": {"role": "assistant", "content": "An answer."}}], '
    b'"usage": {"prompt_tokens": 300, "completion_tokens": 5, "total_tokens": 305}}'
)
ANSWER = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n%s" % (len(BODY), BODY)
SECONDS = float(sys.argv[1])


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.received = transport, b""

    def data_received(self, data):
        self.received += data
        while (end := self.received.find(b"\\r\\n\\r\\n")) >= 0:
            head = self.received[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\\r\\n")[0] or 0)
            if len(self.received) < end + 4 + length:
                break
            self.received = self.received[end + 4 + length :]
            asyncio.get_running_loop().call_later(SECONDS, self.answer)

    def answer(self):
        if not self.transport.is_closing():
            self.transport.write(ANSWER)


async def main():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=1000)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""

PROMPTS = 50


@contextlib.contextmanager
def slow_server(seconds):
    """Run the server in another process, so that it does not use the client's processor time."""
    child = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield child.stdout.readline().strip()
    finally:
        child.stdin.close()
        child.wait(10)


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


def compare(base, folder, calls, concurrency):
    images = sorted(folder.iterdir())
    prompts = [f"question {number}?" for number in range(calls // len(images))]
    with tempfile.TemporaryDirectory() as store, vn.OpenAIMultiModal("gpt-4o", "k", base) as llm:
        result = vn.compare(
            llm, prompts, images, store=Path(store) / "a.sqlite3", concurrency=concurrency, progress=False
        )
    assert len(result) == calls and not result.errors


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--only", nargs="*", help="the arrangements to measure; default: all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, slow_server(options.seconds) as base:
        folder = Path(work)
        for number in range(20):
            Image.new("RGB", (64, 48), (number, 50, 90)).save(folder / f"{number}.png")
        uri = vn.ImageDocument.of(folder / "0.png").data_uri()
        compare(base, folder, 20, 4)  # imports, and connects once
        arrangements: dict[str, Any] = {
            "compare": lambda *size: compare(base, folder, *size),
            "openai client": lambda *size: asyncio.run(with_client(base, uri, *size)),
            "openai client on aiohttp": lambda *size: asyncio.run(with_client(base, uri, *size, is_aiohttp=True)),
            "client.post on aiohttp": lambda *size: asyncio.run(
                with_client(base, uri, *size, is_aiohttp=True, is_post=True)
            ),
            "aiohttp": lambda *size: asyncio.run(with_aiohttp(base, uri, *size)),
        }
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
                started, cpu = time.perf_counter(), time.process_time()
                run(options.calls, concurrency)
                seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
                print(
                    f"  {name:26s}{seconds:7.2f} s  {ideal / seconds:4.0%} of ideal  "
                    f"{cpu / options.calls * 1000:5.2f} ms of CPU a call",
                    flush=True,
                )


if __name__ == "__main__":
    main()
