"""Measure the chat panel's box in a real browser, with 200 turns and 50 attached images, each with its limit.

Run: python -m tests.benchmarks.composer
"""

import asyncio
import tempfile
import time
from pathlib import Path

import vision_nb as vn
from tests.benchmarks.chat_panel import LONG, typing
from tests.conftest import picture
from tests.lab import browser_page, running_lab
from tests.panel_lab import open_panel

ATTACHED = (
    "panel.add(*(vn.ImageDocument(image=one.image, image_name=f'photo {n}.png') for n, one in enumerate(images)))"
)
CARDS = "() => document.querySelectorAll('.vnb-attachments img[src]').length === 50"
KEYS = 40


def measure_page():
    """Measure typing, its messages, and a moved image in JupyterLab."""
    root, work = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    with running_lab(root, work) as address, browser_page() as page:
        sent = []
        page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(_text(frame))))
        panel = open_panel(page, address, root, "composer", LONG)
        page.wait_for_function("() => document.querySelectorAll('.vnb-turn').length === 200", timeout=60_000)
        panel.run(ATTACHED)
        page.wait_for_function(CARDS, timeout=60_000)
        page.wait_for_timeout(3000)
        sent.clear()
        median, worst = typing(page, panel)
        page.wait_for_timeout(1000)
        drafts = sum('"draft"' in frame for frame in sent)
        print(
            f"typing, 200 turns and 50 attached images: median {median:.0f} ms, worst {worst:.0f} ms (limit 50 ms, ratio {median / 50:.2f})"
        )
        print(f"messages for {KEYS} keys: {drafts} (limit {KEYS // 4}, ratio {drafts / (KEYS // 4):.2f})")
        print(f"price: {page.locator('.vnb-price').inner_text()}")
        wait = page.evaluate(
            """() => new Promise((resolve) => { const begun = performance.now();
            new MutationObserver(() => resolve(performance.now() - begun)).observe(document.querySelector('.vnb-attachments'), { childList: true });
            document.querySelector("[title='Move right: photo 0.png']").click(); })"""
        )
        print(f"from the key to the moved image: {wait:.0f} ms (limit 200 ms, ratio {wait / 200:.2f})")


async def measure_price():
    """Measure how long the price of 200 turns and 100 images takes, and how long it blocks the event loop."""
    llm = vn.OpenAIMultiModal("gpt-4o", "sk-not-used")
    images = [vn.ImageDocument(image=picture(400, 300, seed=seed), image_name=f"{seed}.png") for seed in range(100)]
    chat = vn.Chat(llm)
    for number in range(200):
        question = vn.ChatMessage("user", [f"Question {number}?", *([images[number // 4]] if number % 4 == 0 else [])])
        chat.add(question, vn.ChatResponse(f"Answer {number}. " + "words " * 80, model="gpt-4o"))
    panel = vn.ChatPanel(chat=chat, images=images[50:], store=False)
    write = panel._composer._handle_custom_msg
    write({"do": "draft", "text": "load the price list"}, [])
    await panel._composer._price.wait()
    await panel._thumbnails.wait()
    gaps, is_done = [0.0], asyncio.Event()

    async def heartbeat():
        last = time.perf_counter()
        while not is_done.is_set():
            await asyncio.sleep(0)
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()

    beating = asyncio.create_task(heartbeat())
    seconds = []
    for number in range(20):
        begun = time.perf_counter()
        write({"do": "draft", "text": f"What is in image {number}?"}, [])
        await panel._composer._price.wait()
        seconds.append(time.perf_counter() - begun)
    is_done.set()
    await beating
    worst, blocked = 1000 * max(seconds), 1000 * max(gaps)
    print(f"price of 200 turns and 100 images: worst {worst:.0f} ms (limit 200 ms, ratio {worst / 200:.2f})")
    print(f"event loop blocked: worst {blocked:.0f} ms (limit 50 ms, ratio {blocked / 50:.2f})")
    panel.close()


def _text(frame):
    return frame if isinstance(frame, str) else frame.decode("utf-8", "replace")


def main():
    asyncio.run(measure_price())
    measure_page()


if __name__ == "__main__":
    main()
