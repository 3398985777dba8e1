"""Bytes that a long streamed answer sends to the notebook, and the longest time without a change on the page.

Run: python -m tests.benchmarks.stream_updates [TOKENS TOKENS_PER_SECOND]
"""

import json
import sys
import time
from itertools import pairwise
from typing import Any

from jupyter_client.manager import start_new_kernel

LIMITS = {"bytes": 10.0, "pause": 2.0}  # times the length of the answer; seconds


def main() -> int:
    """Stream an answer of 10,000 tokens at 100 tokens a second in a real kernel; return 1 if a limit is exceeded."""
    tokens, rate = (int(value) for value in (sys.argv[1:] or ["10000", "100"]))
    text = "".join(
        f"This is **sentence** {number} of the answer, with a few more words.\n\n" for number in range(tokens)
    )
    manager, client = start_new_kernel()
    failed = False
    try:
        setup = (
            "%load_ext vision_nb\nimport vision_nb as vn\nfrom vision_nb.demo import shared_server\n"
            f"shared_server().tokens_per_second = {rate}\nshared_server().answer_with({text[: 4 * tokens]!r})"
        )
        client.execute(setup, reply=True, timeout=180)
        codes = ("vn.display_stream(vn.connect('demo').stream_complete('What?'))", "%%vision demo\nWhat?")
        for code in codes:
            sent: list[tuple[float, dict[str, Any]]] = []

            def keep(message, sent=sent):
                if "data" in message["content"]:
                    sent.append((time.monotonic(), message["content"]))

            client.execute_interactive(code, output_hook=keep, timeout=60 + 3 * tokens / rate)
            ratio = sum(len(json.dumps(content).encode()) for _, content in sent) / (4 * tokens)
            pause = max(after - before for (before, _), (after, _) in pairwise(sent))
            sys.stdout.write(
                f"{code.split()[0][:20]:20} {ratio:4.1f} times the answer's length, longest pause {pause:.1f} s, "
                f"{sent[-1][0] - sent[0][0]:.0f} s in all\n"
            )
            failed = failed or ratio > LIMITS["bytes"] or pause > LIMITS["pause"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
