"""Take the screenshots of the README and the guide from the notebooks, in a real JupyterLab and browser.

Those of the README's first screen are saved for light and for dark pages.

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

from tests.lab import browser_page, open_notebook, run_all, running_lab, set_theme
from tests.panel_lab import KERNEL
from tests.save_notebooks import NOTEBOOKS

PICTURES = NOTEBOOKS / "pictures"
SHOTS = {  # name: (notebook, text in the input of the first cell, maximum height in pixels, number of cells)
    "extract": ("07_pictures_to_data.ipynb", "extraction = vn.extract(folder, Receipt, model=models", 620, 1),
    "score": ("07_pictures_to_data.ipynb", "score = extraction.score(", 980, 2),
    "tiles": ("04_vision_guide.ipynb", "vn.show_tiles(label", 640, 1),
    "gallery": ("03_replicate_compare_label.ipynb", "comparison = vn.compare(", 620, 1),
    "labels": ("03_replicate_compare_label.ipynb", "comparison.label(", 620, 1),
    "panel": ("05_chat_panel.ipynb", "panel = vn.ChatPanel(models", 740, 1),
}
STREAMED = (
    "%load_ext vision_nb\nimport vision_nb as vn\nfrom vision_nb.demo import shared_server\n\n"
    "shared_server().tokens_per_second = 30",
    'night = vn.ImageDocument.of(vn.samples.path("night_scene"))\nnight',
    "%%vision demo -i night\nWhat are the main colors, and where are they?",
)
THEMES = {"": "JupyterLab Light", "_dark": "JupyterLab Dark"}  # by the end of the file's name
IN_BOTH_THEMES = ("start", "extract", "score")
SECONDS, FRAMES_A_SECOND = 10, 8


def shoot(page, address, name):
    """Save screenshots of one cell, after its notebook has run."""
    notebook, words, height, count = SHOTS[name]
    run_all(page, address, notebook)
    page.keyboard.press("Control+b")
    page.set_viewport_size({"width": 1200, "height": 1400})  # the tallest picture fits above the status bar
    for ending in themes_of(name):
        set_theme(page, THEMES[ending])
        page.wait_for_timeout(3000)
        cells = page.locator(".jp-CodeCell")
        first = next(place for place, cell in enumerate(cells.all()) if words in cell.inner_text())
        cells.nth(first).locator(".vnb-list").evaluate_all("lists => lists.forEach((list) => list.scrollTop = 0)")
        with Image.open(
            io.BytesIO(screenshot_of(page, cells.nth(first), cells.nth(first + count - 1), height))
        ) as shot:
            colors = shot.convert("RGB").quantize(256, dither=Image.Dither.NONE)
            colors.save(PICTURES / f"{name}{ending}.png", optimize=True)


def themes_of(name):
    """Return the ends of the names of a picture's files, one for each theme."""
    return [ending for ending in THEMES if not ending or name in IN_BOTH_THEMES]


def film(page, address, root, ending):
    """Save an animation of a magic cell, from running it until its answer is complete."""
    cells = [nbformat.v4.new_code_cell(source) for source in STREAMED]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), root / "film.ipynb")
    open_notebook(page, address, "film.ipynb")
    set_theme(page, THEMES[ending])
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
    path = PICTURES / f"start{ending}.webp"
    images[0].save(path, save_all=True, append_images=images[1:], duration=times, loop=0, quality=60)


def screenshot_of(page, first, last, height):
    """Return a range of cells as PNG, cropped to a height in pixels, below a table's row if there is one."""
    first.evaluate("element => element.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(800)
    box, end = first.bounding_box(), last.bounding_box()
    whole = end["y"] + end["height"] - box["y"]
    if whole > height:
        rows = last.locator("tr").evaluate_all("rows => rows.map((row) => row.getBoundingClientRect().bottom)")
        height = max((row - box["y"] + 1 for row in rows if row - box["y"] < height), default=height)
    return page.screenshot(clip={**box, "height": min(whole, height)})


def main():
    PICTURES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or ["start", *SHOTS]:
        is_film = name == "start"
        for ending in themes_of(name) if is_film else [""]:
            work = Path(tempfile.mkdtemp())
            os.environ["XDG_CACHE_HOME"] = str(work / "cache")  # an empty store: a stored answer is not streamed
            root = work if is_film else NOTEBOOKS
            with running_lab(root, work) as address, browser_page(device_scale_factor=1 if is_film else 1.5) as page:
                film(page, address, root, ending) if is_film else shoot(page, address, name)
        for path in sorted(PICTURES.glob(f"{name}*")):
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
