"""Measure a saved notebook that shows 40 photographs in five views: a list, cards, an answer, a table and a chat.

Run: python -m tests.benchmarks.notebook_size
"""

import tempfile
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from PIL import Image
from sklearn.datasets import load_sample_images

COUNT, WIDTH, HEIGHT = 40, 1600, 1200
LIMIT = 400_000  # bytes
VIEWS = {
    "a list": "images = vn.load_images('photos')\nimages",
    "cards": "vn.show(images)",
    "an answer": "vn.connect('demo').complete('What are they?', images)",
    "a table": "vn.compare('demo', 'What is it?', images, store='answers.sqlite3', progress=False)",
    "a chat": "panel = vn.ChatPanel('demo', images, store=False)\ndisplay(panel)\nawait panel.ask('What are they?')\nNone",
}


def photographs():
    """Return scaled parts of the two photographs that come with scikit-learn."""
    random = np.random.default_rng(0)
    for number in range(COUNT):
        whole = Image.fromarray(load_sample_images().images[number % 2])
        width, height = whole.size
        left, top = int(random.uniform(0, 0.4) * width), int(random.uniform(0, 0.4) * height)
        box = (left, top, left + int(0.6 * width), top + int(0.6 * height))
        yield whole.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box)


def main():
    folder = Path(tempfile.mkdtemp())
    (folder / "photos").mkdir()
    for number, photograph in enumerate(photographs()):
        photograph.save(folder / "photos" / f"{number:02}.jpg", quality=90)
    cells = [nbformat.v4.new_code_cell(source) for source in ("import vision_nb as vn", *VIEWS.values())]
    notebook = nbformat.v4.new_notebook(cells=cells)
    options = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, resources=options, timeout=600, store_widget_state=False).execute()
    for name, cell in zip(VIEWS, notebook.cells[1:], strict=True):
        print(f"{name}: {len(nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))) / 1000:.0f} kB")
    size = len(nbformat.writes(notebook).encode())
    print(f"the saved notebook: {size / 1000:.0f} kB (limit {LIMIT / 1000:.0f} kB, ratio {size / LIMIT:.2f})")


if __name__ == "__main__":
    main()
