"""What each of the eight methods adds to the raw openai client's time for the same request on loopback.

Run: python -m tests.benchmarks.call_overhead
"""

import asyncio
import statistics
import time
from typing import Any

from openai import AsyncOpenAI, OpenAI

from vision_nb import ChatMessage, OpenAIMultiModal
from vision_nb.demo import DemoServer

ROUNDS = 150
PROMPT = "What is this?"
RAW: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": PROMPT}]}
STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


async def measured(raw, wrapped):
    """Median milliseconds of both, taken in turns so that the machine's moods hit both alike."""
    times = {raw: [], wrapped: []}
    for turn in range(ROUNDS + 10):
        for call in (raw, wrapped):
            started = time.perf_counter()
            await call()
            if turn >= 10:
                times[call].append((time.perf_counter() - started) * 1000)
    return statistics.median(times[raw]), statistics.median(times[wrapped])


def asynchronous(function):
    async def call():
        function()

    return call


async def main():
    with DemoServer(tokens_per_second=1_000_000) as server:
        server.answer_with("A short answer of eight words, no more.")
        options: dict[str, Any] = {"api_key": "k", "base_url": server.openai_base}
        raw, araw = OpenAI(**options), AsyncOpenAI(**options)
        llm = OpenAIMultiModal("demo", "k", server.openai_base)
        messages = [ChatMessage("user", PROMPT)]

        async def araw_call():
            await araw.chat.completions.create(**RAW)

        async def araw_stream():
            async for _ in await araw.chat.completions.create(**RAW, **STREAM):
                pass

        async def astream(method, argument):
            async for _ in await method(argument):
                pass

        raw_call = asynchronous(lambda: raw.chat.completions.create(**RAW))
        raw_stream = asynchronous(lambda: list(raw.chat.completions.create(**RAW, **STREAM)))
        pairs = {
            "complete": (raw_call, asynchronous(lambda: llm.complete(PROMPT))),
            "chat": (raw_call, asynchronous(lambda: llm.chat(messages))),
            "stream_complete": (raw_stream, asynchronous(lambda: list(llm.stream_complete(PROMPT)))),
            "stream_chat": (raw_stream, asynchronous(lambda: list(llm.stream_chat(messages)))),
            "acomplete": (araw_call, lambda: llm.acomplete(PROMPT)),
            "achat": (araw_call, lambda: llm.achat(messages)),
            "astream_complete": (araw_stream, lambda: astream(llm.astream_complete, PROMPT)),
            "astream_chat": (araw_stream, lambda: astream(llm.astream_chat, messages)),
        }
        print(f"{'method':18} {'raw':>8} {'ours':>8} {'added':>8}   (wanted: under 2 ms added)")
        for name, (bare, wrapped) in pairs.items():
            before, after = await measured(bare, wrapped)
            print(f"{name:18} {before:6.2f} ms {after:5.2f} ms {after - before:+6.2f} ms   ratio {after / before:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
