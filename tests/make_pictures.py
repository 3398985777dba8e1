"""Make the README's pictures from the notebooks, in a real JupyterLab and browser.

Run: python tests/make_pictures.py
"""

import tempfile
from pathlib import Path

from lab import browser_page, run_all, running_lab
from PIL import Image
from save_notebooks import NOTEBOOKS

PICTURES = NOTEBOOKS / "pictures"
SHOTS = {  # picture: (notebook, words in the cell's input, height in pixels at most)
    "start": ("00_start_here.ipynb", "What are the main colours, and where are they?", 420),
    "gallery": ("03_replicate_compare_label.ipynb", "comparison = vn.compare(", 620),
    "labels": ("03_replicate_compare_label.ipynb", "comparison.label(", 620),
}


def main():
    PICTURES.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp())
    with running_lab(NOTEBOOKS, work) as address, browser_page(device_scale_factor=1.5) as page:
        for name, (notebook, words, height) in SHOTS.items():
            run_all(page, address, notebook)
            page.keyboard.press("Control+b")
            page.wait_for_timeout(3000)
            cell = page.locator(".jp-CodeCell", has_text=words).first
            cell.evaluate("element => element.scrollIntoView({block: 'start'})")
            page.wait_for_timeout(800)
            path = PICTURES / f"{name}.png"
            box = cell.bounding_box()
            page.screenshot(path=path, clip={**box, "height": min(box["height"], height)})
            with Image.open(path) as shot:
                shot.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
