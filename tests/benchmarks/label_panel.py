"""Time of a key press in the label panel with 100, 1,000 and 10,000 answers.

Between key presses the panel prepares the next answer; the benchmark waits for that, as a person would.

Run: python -m tests.benchmarks.label_panel
"""

import statistics
import tempfile
import time
from pathlib import Path

from PIL import Image

import vision_nb as vn
from vision_nb.comparison.grid import row_keys
from vision_nb.store import Store

SIZES, LIMIT_MS = (100, 1_000, 10_000), 20
PROMPTS = [f"question {number}?" for number in range(10)]
KEYS = [{"action": "score", "value": 4}, {"action": "score", "value": 5}] * 40 + [{"action": "undo"}] * 20


def comparison_of(answers, folder):
    """Return a comparison whose answers all come from the store."""
    folder.mkdir()
    llm = vn.DemoMultiModal(api_base="http://127.0.0.1:9/v1", max_retries=0)
    store = Store(folder / "answers.sqlite3")
    answer = vn.CompletionResponse("An **answer** with some text. " * 20, usage=vn.Usage(10, 5))
    images = folder / "images"
    images.mkdir()
    for number in range(answers // len(PROMPTS)):
        path = images / f"{number}.png"
        Image.new("RGB", (640, 480), (number % 256, number // 256, 90)).save(path)
        digest = store.digest(vn.ImageDocument.of(path))
        for prompt in PROMPTS:
            store.put(row_keys(llm, prompt)([digest]), "demo", answer)
    return vn.compare(llm, PROMPTS, images, store=store, progress=False)


def main():
    work = Path(tempfile.mkdtemp())
    for answers in SIZES:
        comparison = comparison_of(answers, work / str(answers))
        started = time.perf_counter()
        panel = comparison.label(annotator="ann", seed=0)
        opening = time.perf_counter() - started
        times = []
        for message in KEYS:
            started = time.perf_counter()
            panel._receive(message, [])
            times.append(1000 * (time.perf_counter() - started))
            panel._content.wait()
        assert panel.labeled == 30
        median, longest = statistics.median(times), max(times)
        print(
            f"{answers:>6,} answers: a key press takes {median:.1f} ms, at most {longest:.1f} ms; "
            f"ratio to the limit of {LIMIT_MS} ms: {median / LIMIT_MS:.2f}; the panel opens in {opening:.2f} s"
        )


if __name__ == "__main__":
    main()
