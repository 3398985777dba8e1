"""Time from running a `%%vision` cell to its request, and the redraws per second of a long answer.

Run: python -m tests.benchmarks.magic_latency
"""

import os
import statistics
import tempfile
import time

from jupyter_client.manager import start_new_kernel

from vision_nb import samples
from vision_nb.demo import DemoServer

ROUNDS = 40
TOKENS = 10_000


def execute(client, code):
    """Run a cell, and return the times at which its output was drawn, and the last text."""
    drawn, text = [], ""

    def hook(message):
        nonlocal text
        if message["msg_type"] in ("display_data", "update_display_data"):
            drawn.append(time.time())
            text = message["content"]["data"].get("text/plain", "")

    reply = client.execute_interactive(code, timeout=120, output_hook=hook)
    assert reply["content"]["status"] == "ok", reply["content"]
    return drawn, text


def main():
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
    manager, client = start_new_kernel()
    try:
        with DemoServer(tokens_per_second=1_000_000) as server:
            server.answer_with("A short answer of eight words, no more.")
            execute(client, "%load_ext vision_nb\nimport vision_nb as vn\nnight = vn.samples.path('night_scene')")
            execute(client, f"%config VisionMagics.api_base = {server.openai_base!r}")
            print(f"{'from Enter to the request':42} {'first':>9} {'median':>9} {'worst':>9}   (limit: 30 ms)")
            for name, words in (("text alone", ""), (f"{samples.path('night_scene').name}, 1,024 x 640", "-i night")):
                times = []
                for number in range(ROUNDS):
                    started = time.time()
                    execute(client, f"%%vision demo {words}\nWhat is number {number}?")
                    times.append((server.requests[-1].time - started) * 1000)
                median, worst = statistics.median(times[1:]), max(times[1:])
                print(f"{name:42} {times[0]:6.0f} ms {median:6.1f} ms {worst:6.1f} ms")
            server.tokens_per_second = 2_000
            server.answer_with("word " * TOKENS)
            drawn, text = execute(client, "%%vision demo\nA long answer?")
            seconds = drawn[-1] - drawn[0]
            rate = (len(drawn) - 1) / seconds
            print(f"{TOKENS:,} tokens in {seconds:.1f} s: {len(drawn)} redraws, {rate:.1f} per second   (limit: 12)")
            print(f"the text is shown once: {text.count('word') == TOKENS}")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
