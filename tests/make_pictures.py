"""Take the README's screenshots from the notebooks, in a real JupyterLab and browser.

Run: python -m tests.make_pictures [NAME ...]
"""

import io
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from PIL import Image

from tests.lab import browser_page, open_notebook, run_all, running_lab
from tests.panel_lab import KERNEL
from tests.save_notebooks import NOTEBOOKS

PICTURES = NOTEBOOKS / "pictures"
SHOTS = {  # name: (notebook, text in the cell's input, maximum height in pixels)
    "tiles": ("04_vision_guide_and_cost.ipynb", "vn.show_tiles(receipt", 640),
    "gallery": ("03_replicate_compare_label.ipynb", "comparison = vn.compare(", 620),
    "labels": ("03_replicate_compare_label.ipynb", "comparison.label(", 620),
    "panel": ("05_chat_panel.ipynb", "panel = vn.ChatPanel(models", 740),
}
STREAMED = (
    "%load_ext vision_nb\nimport vision_nb as vn\nfrom vision_nb.demo import shared_server\n\n"
    "shared_server().tokens_per_second = 30",
    'night = vn.ImageDocument.of(vn.samples.path("night_scene"))\nnight',
    "%%vision demo -i night\nWhat are the main colors, and where are they?",
)
SECONDS, FRAMES_A_SECOND = 10, 8


def shoot(page, address, name):
    """Save a screenshot of one cell, after its notebook has run."""
    notebook, words, height = SHOTS[name]
    run_all(page, address, notebook)
    page.keyboard.press("Control+b")
    page.wait_for_timeout(3000)
    cell = page.locator(".jp-CodeCell", has_text=words).first
    cell.locator(".vnb-list").evaluate_all("lists => lists.forEach((list) => { list.scrollTop = 0; })")
    with Image.open(io.BytesIO(screenshot_of(page, cell, height))) as shot:
        shot.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)


def film(page, address, root):
    """Save an animation of a magic cell, from running it until its answer is complete."""
    cells = [nbformat.v4.new_code_cell(source) for source in STREAMED]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), root / "film.ipynb")
    open_notebook(page, address, "film.ipynb")
    page.keyboard.press("Control+b")
    cells = page.locator(".jp-CodeCell")
    cells.last.locator(".cm-content").click()
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-above')")
    page.wait_for_timeout(3000)
    cells.nth(1).evaluate("cell => cell.scrollIntoView({block: 'start'})")
    page.add_style_tag(content=".jp-cell-toolbar { visibility: hidden; }")
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    clip = {**cells.nth(1).bounding_box(), "height": 700}
    frames, began = [page.screenshot(clip=clip)], time.monotonic()
    page.keyboard.press("Control+Enter")
    for number in range(1, round(SECONDS * FRAMES_A_SECOND)):
        page.wait_for_timeout(max(1, 1000 * (began + number / FRAMES_A_SECOND - time.monotonic())))
        frames.append(page.screenshot(clip=clip))
    end = cells.last.bounding_box()
    high = round(end["y"] + end["height"] - clip["y"])
    images = [Image.open(io.BytesIO(frame)).convert("RGB").crop((0, 0, round(clip["width"]), high)) for frame in frames]
    times = [1200, *[1000 // FRAMES_A_SECOND] * (len(images) - 2), 4000]  # milliseconds
    images[0].save(PICTURES / "start.webp", save_all=True, append_images=images[1:], duration=times, loop=0, quality=60)


def screenshot_of(page, cell, height):
    """Return a cell as PNG, cropped to a height in pixels."""
    cell.evaluate("element => element.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(800)
    box = cell.bounding_box()
    return page.screenshot(clip={**box, "height": min(box["height"], height)})


def main():
    PICTURES.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp())
    os.environ["XDG_CACHE_HOME"] = str(work / "cache")  # an empty store
    names = sys.argv[1:] or ["start", *SHOTS]
    for name in names:
        is_film = name == "start"
        root = work if is_film else NOTEBOOKS
        with running_lab(root, work) as address, browser_page(device_scale_factor=1 if is_film else 1.5) as page:
            film(page, address, root) if is_film else shoot(page, address, name)
        path = next(PICTURES.glob(f"{name}.*"))
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
