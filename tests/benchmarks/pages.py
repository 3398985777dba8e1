"""Measure the time and memory to load a PDF document of 500 pages, and to render all its pages.

Run: python -m tests.benchmarks.pages
"""

import gc
import tempfile
import time
import tracemalloc
from pathlib import Path

import psutil

import vision_nb as vn
from tests.drawn_files import pdf_of
from vision_nb.images.parts import RENDERED_PARTS
from vision_nb.images.renderer import renderer

PAGES = 500
LINES = 60
LINE = (
    b"BT /F1 9 Tf 50 %d Td (The quick brown fox jumps over the lazy dog, %d times on page %d of this report.) Tj ET\n"
)


def report():
    """Return a PDF document whose pages are full of text."""
    font = b"/Resources<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>"
    pages = (b"".join(LINE % (740 - 11 * line, line, page) for line in range(LINES)) for page in range(PAGES))
    return pdf_of(*[(612, 792, content, font) for content in pages])


def megabytes(process):
    return process.memory_info().rss / 1e6


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.pdf"
        path.write_bytes(report())
        vn.load_images(path, pages=1)[0].read()  # starts the process that renders, and imports Pillow
        gc.collect()
        kernel, child = psutil.Process(), psutil.Process(renderer()._process.pid)
        before, before_child = megabytes(kernel), megabytes(child)

        tracemalloc.start()
        started = time.perf_counter()
        documents = vn.load_images(path)
        loading = time.perf_counter() - started
        listed = tracemalloc.get_traced_memory()[0] / 1e6
        tracemalloc.stop()

        started = time.perf_counter()
        assert all(document.size == (1275, 1650) for document in documents)
        sizes = time.perf_counter() - started

        started = time.perf_counter()
        for document in documents:
            document.read()
        rendering = time.perf_counter() - started
    print(f"loading {PAGES} pages: {loading * 1000:.0f} ms; their sizes: {sizes:.2f} s; rendering: {rendering:.1f} s")
    print(f"ratio {rendering / loading:.0f}x (wanted: at least 100x)")
    print(f"memory of {PAGES} documents: {listed:.2f} MB (wanted: under 2 MB)")
    bitmaps = PAGES * 1275 * 1650 * 3 / 1e6
    print(
        f"after rendering: kernel +{megabytes(kernel) - before:.0f} MB, of which {RENDERED_PARTS._bytes / 1e6:.0f} MB "
        f"are cached pages (limit 64), child process +{megabytes(child) - before_child:.0f} MB "
        f"(wanted: both under 150 MB); all bitmaps would be {bitmaps:,.0f} MB"
    )


if __name__ == "__main__":
    main()
