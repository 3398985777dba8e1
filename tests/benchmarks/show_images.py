"""Measure the time until `vn.show` displays its first page and another page of 1,000 photographs.

The time of a matplotlib figure is measured for comparison.

matplotlib draws the 20 images of one page, as `display_image_uris` does.

Run: python -m tests.benchmarks.show_images
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import vision_nb as vn
from vision_nb.images.cards import PAGE, image_cards
from vision_nb.notebook.figures import figure_png

COUNT, SIDE, LIMIT_S, LIMIT_PAGE_S = 1_000, (2400, 1800), 1.0, 1.0


def write_photos(folder):
    """Write photographs, each with different noise."""
    smooth = Image.linear_gradient("L").resize(SIDE).convert("RGB")
    noise = np.random.default_rng(0).normal(0, 8, (SIDE[1], SIDE[0], 3))
    Image.fromarray((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8)).save(folder / "0.jpg", quality=88)
    data = (folder / "0.jpg").read_bytes()
    for number in range(1, COUNT):
        (folder / f"{number}.jpg").write_bytes(data)


def main():
    folder = Path(tempfile.mkdtemp())
    write_photos(folder)
    vn.show(folder / "0.jpg")  # imports the packages
    figure_png(vn.display_image_uris([folder / "0.jpg"]))

    started = time.perf_counter()
    browser = vn.show(folder)
    html = image_cards(browser.images)
    first = time.perf_counter() - started
    assert len(browser.images) == COUNT and html.count("<img") == PAGE

    started = time.perf_counter()
    browser._pages.get(browser.page_count - 1)
    page = time.perf_counter() - started

    started = time.perf_counter()
    figure_png(vn.display_image_uris(browser.images[:PAGE], image_matrix=(4, 5)))
    peer = time.perf_counter() - started

    print(
        f"first page of {COUNT:,} photographs: {first:.2f} s, {len(html) / 1000:.0f} kB; ratio to the limit of {LIMIT_S} s: {first / LIMIT_S:.2f}"
    )
    print(f"another page: {page:.2f} s; ratio to the limit of {LIMIT_PAGE_S} s: {page / LIMIT_PAGE_S:.2f}")
    print(f"a matplotlib figure of {PAGE} of them: {peer:.2f} s; ratio of the first page to it: {first / peer:.2f}")


if __name__ == "__main__":
    main()
