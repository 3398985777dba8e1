"""Overhead of the package over the raw openai client with a local model, and time until its engine is ready.

Both are measured with the real llama.cpp (xllamacpp) and random weights: the start with the smallest files possible,
and the overhead with a text model that has the dimensions of the smallest useful model, SmolVLM-256M, for answers of
20 tokens.

Run: python -m tests.benchmarks.local_overhead
"""

import base64
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from openai import DefaultHttpxClient, OpenAI
from PIL import Image

import vision_nb as vn
from tests.tiny_models import write_mmproj, write_model, write_pair

ROUNDS = 30
STARTS = 5
LIMIT = 0.02  # of the time of a 20-token answer
READY_LIMIT = 1.0  # seconds
PROMPT = "What is this?"
WORDS = {str(token): 30 for token in range(259, 279)}  # whole words, so that all 20 tokens are generated
SETTINGS: dict[str, Any] = {"max_tokens": 20, "logit_bias": {**WORDS, "2": -100}}


def timed(*calls):
    """Return the seconds of each call, alternating and in changing order, so that load affects all calls alike."""
    times = [[] for _ in calls]
    for turn in range(ROUNDS + 5):
        for place in range(len(calls)) if turn % 2 else reversed(range(len(calls))):
            started = time.perf_counter()
            calls[place]()
            if turn >= 5:
                times[place].append(time.perf_counter() - started)
    return times


def quarter(times):
    """Return the first quartile, which other load on the machine hardly affects."""
    return statistics.quantiles(times, n=4)[0]


ENGINE = """
import sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.mmproj.path, params.n_ctx = sys.argv[1], sys.argv[2], 4096
params.api_keys, params.cors_origins, params.ui = ["key"], "", False
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
threading.Event().wait()
"""


def bare_start(model, mmproj):
    """Return the seconds until the engine is ready if it is started without the package, with the same settings."""
    started = time.perf_counter()
    command = [sys.executable, "-c", ENGINE, str(model), str(mmproj)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        return time.perf_counter() - started
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def our_start(model, mmproj):
    started = time.perf_counter()
    with vn.serve(model, mmproj, progress=False):
        return time.perf_counter() - started


def main():
    with tempfile.TemporaryDirectory() as folder:
        pair = write_pair(Path(folder))
        bare, ours = [], []
        for _ in range(STARTS):
            bare.append(bare_start(*pair))
            ours.append(our_start(*pair))
        delay = statistics.median(ours) - statistics.median(bare)
        print(f"ready: engine {statistics.median(bare):.2f} s, ours {statistics.median(ours):.2f} s, {delay:+.2f} s")
        # SmolVLM-256M: 30 blocks of 576 dimensions, with 1,536 in between, and 49,280 tokens.
        model, mmproj = Path(folder, "large.gguf"), Path(folder, "large-mmproj.gguf")
        write_model(model, embedding=576, blocks=30, feed_forward=1536, vocabulary=49_280)
        write_mmproj(mmproj, embedding=576)
        with vn.serve(model, mmproj, name="llava", n_threads=1, progress=False) as llm:
            ratios = overheads(llm)
    worst = max(ratios)
    print(f"limits: at most {LIMIT:.0%} overhead, and ready at most {READY_LIMIT:.0f} s later")
    sys.exit(worst > LIMIT or delay > READY_LIMIT)


def overheads(llm):
    """Return the relative overhead without an image, and with one that is already prepared."""
    raw = OpenAI(api_key=llm.engine.api_key, base_url=llm.api_base, http_client=DefaultHttpxClient(trust_env=False))
    buffer = io.BytesIO()
    Image.effect_mandelbrot((336, 336), (-2, -1.5, 1, 1.5), 60).convert("RGB").save(buffer, "JPEG")
    document = vn.ImageDocument.of(buffer.getvalue())
    ready = llm.outgoing(document).prepared
    assert ready is not None
    url = f"data:{ready.mimetype};base64,{base64.b64encode(ready.data).decode()}"
    text = {"type": "text", "text": PROMPT}
    contents = {
        "text": (PROMPT, ()),
        "image": ([text, {"type": "image_url", "image_url": {"url": url}}], (document,)),
    }
    ratios = []
    for name, (content, images) in contents.items():
        messages: Any = [{"role": "user", "content": content}]

        def bare_call(messages=messages):
            return raw.chat.completions.create(model="llava", messages=messages, **SETTINGS)

        def our_call(images=images):
            return llm.complete(PROMPT, images, **SETTINGS)

        assert bare_call().usage.completion_tokens == our_call().usage.output_tokens == 20
        before, after = timed(bare_call, our_call)
        raw_time, our_time = map(quarter, (before, after))
        ratios.append(our_time / raw_time - 1)
        print(f"{name:8} raw {raw_time * 1000:6.1f} ms, ours {our_time * 1000:6.1f} ms, added {ratios[-1]:+.2%}")
    return ratios


if __name__ == "__main__":
    main()
