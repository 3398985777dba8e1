"""Measure the chat panel in a real browser: typing latency, redraws, traffic and Stop, each with its limit.

Run: python -m tests.benchmarks.chat_panel
"""

import re
import tempfile
from pathlib import Path

from tests.lab import browser_page, running_lab
from tests.panel_lab import open_panel

LONG = """
from PIL import Image
import numpy as np
images = [vn.ImageDocument(image=Image.fromarray(np.random.default_rng(n).integers(0, 255, (300, 400, 3), "uint8")))
            for n in range(50)]
chat = vn.Chat(llm)
for n in range(200):
    chat.add(vn.ChatMessage("user", [f"Question {n}?", *([images[n // 4]] if n % 4 == 0 else [])]),
             vn.ChatResponse(f"Answer {n}.\\n\\n" + "| a | b |\\n|---|---|\\n| 1 | 2 |\\n\\n" + "words " * 80, model="gpt-4o"))
panel = vn.ChatPanel(chat=chat)
panel
"""
TOKENS, PACE = 4000, 200


def typing(page, panel):
    """Return the median and the maximum time from a key press to the next frame, in milliseconds."""
    page.evaluate(
        """() => { window.waits = []; document.querySelector('.vnb-composer textarea').addEventListener('keydown', () => {
        const begun = performance.now(); requestAnimationFrame(() => setTimeout(() => window.waits.push(performance.now() - begun)));
        }, true); }"""
    )
    panel.box.press_sequentially("what is in these images of a long talk???"[:40], delay=40)
    page.wait_for_timeout(300)
    waits = sorted(page.evaluate("() => window.waits"))
    return waits[len(waits) // 2], waits[-1]


def main():
    root, work = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    with running_lab(root, work) as address, browser_page() as page:
        frames = []
        page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))
        panel = open_panel(page, address, root, "long", LONG, speed=PACE)
        page.wait_for_function("() => document.querySelectorAll('.vnb-turn').length === 200", timeout=60_000)
        page.wait_for_timeout(3000)
        median, worst = typing(page, panel)
        print(
            f"typing, 200 turns with 50 images: median {median:.0f} ms, worst {worst:.0f} ms (limit 50 ms, ratio {median / 50:.2f})"
        )

        panel.run(f"server.answer_with(' '.join(f'word{{n % 10}}' for n in range({TOKENS})))")
        page.evaluate(
            """() => { window.draws = 0; new MutationObserver(() => { window.draws += 1; })
            .observe(document.querySelectorAll('.vnb-transcript')[0], { childList: true, characterData: true, subtree: true }); }"""
        )
        frames.clear()
        panel.say("Go on for long.")
        panel.wait("answering", timeout=20_000)
        begun = page.evaluate("() => [performance.now(), window.draws = 0][0]")
        page.wait_for_function(
            "() => document.querySelector('.vnb-turn:last-child').dataset.state === 'done'", timeout=90_000
        )
        seconds = (page.evaluate("() => performance.now()") - begun) / 1000
        draws = page.evaluate("() => window.draws")
        updates = [frame for frame in frames if _is_answer_update(frame)]
        traffic = sum(len(frame) for frame in updates)
        print(f"an answer of {TOKENS} tokens at {PACE} a second took {seconds:.1f} s")
        print(f"redraws a second: {draws / seconds:.1f} (limit 12, ratio {draws / seconds / 12:.2f})")
        print(
            f"traffic of answer updates: {traffic / TOKENS:.0f} bytes a token (limit 200, ratio {traffic / TOKENS / 200:.2f})"
        )
        every = sum(len(frame) for frame in frames)
        print(f"all traffic, including the static transcript at the end: {every / TOKENS:.0f} bytes a token")

        panel.run("server.tokens_per_second = 60")
        panel.say("Once more.")
        panel.wait("answering", timeout=20_000)
        page.wait_for_timeout(1000)
        wait = page.evaluate(
            """() => new Promise((resolve) => { const begun = performance.now();
            const turn = document.querySelector('.vnb-turn:last-child');
            new MutationObserver(() => { if (turn.dataset.state === 'stopped') resolve(performance.now() - begun); })
              .observe(turn, { attributes: true });
            [...document.querySelectorAll('.vnb-composer button')].find((one) => one.textContent === 'Stop').click(); })"""
        )
        print(f"from Stop to a stopped answer: {wait:.0f} ms (limit 200 ms, ratio {wait / 200:.2f})")


def _is_answer_update(frame):
    text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
    return re.search(r'"op": ?"update"', text) is not None and '"html"' in text


if __name__ == "__main__":
    main()
