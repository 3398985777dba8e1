"""Time of a change of image in the review panel with 100, 1,000 and 5,000 images of 1,200 x 1,600 pixels.

A key press accepts the data and shows the next image. Between key presses the panel prepares the next image; the
benchmark waits for that, as a person would. "unprepared" is a jump to an image that nothing has prepared. The last line
is measured in the page of a real JupyterLab, from the key press until the next image is drawn beside its form.

Run: python -m tests.benchmarks.review_panel
"""

import statistics
import tempfile
import time
from pathlib import Path

import nbformat

from tests.conftest import encoded, picture
from tests.extractions import RECEIPT, make_extraction, receipt
from tests.lab import browser_page, run_all, running_lab
from tests.panel_lab import KERNEL

SIZES, LIMIT_MS, PRESSES = (100, 1_000, 5_000), 100, 60

CELL = """
import sys
from pathlib import Path
sys.path.insert(0, {repository!r})
from tests.benchmarks.review_panel import extraction_of
extraction_of({images}, Path("images")).review(reviewer="ann")
"""
PRESS = """() => new Promise((resolve) => {
  const [title, image] = [".vnb-review-title", ".vnb-viewer-image"].map((name) => document.querySelector(name));
  const [before, started] = [title.textContent, performance.now()];
  const check = () => {
    if (title.textContent !== before && image.complete) resolve(performance.now() - started);
    else requestAnimationFrame(check);
  };
  document.querySelector(".vnb-review textarea").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  check();
})"""


def extraction_of(images, folder):
    """Return an extraction with two models that disagree about every tenth image."""
    folder.mkdir()
    photo = encoded(picture(1200, 1600), "JPEG", quality=80)
    paths = []
    for number in range(images):
        paths.append(folder / f"{number:05}.jpg")
        paths[-1].write_bytes(photo + number.to_bytes(4))  # the same pixels with another digest
    answers = [[RECEIPT, receipt(shop="Other") if number % 10 == 0 else RECEIPT] for number in range(images)]
    return make_extraction(folder, answers, images=paths)


def timed(panel, action, **details):
    started = time.perf_counter()
    panel._receive({"action": action, "row": panel.row, "values": panel.card["values"], **details}, [])
    return 1000 * (time.perf_counter() - started)


def in_the_page(images, work):
    """Return the times in milliseconds from a key press to the drawn image."""
    root = work / "notebooks"
    root.mkdir()
    cell = CELL.format(repository=str(Path(__file__).parents[2]), images=images)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)], metadata=KERNEL)
    nbformat.write(notebook, root / "review.ipynb")
    with running_lab(root, work) as address, browser_page() as page:
        run_all(page, address, "review.ipynb")
        page.wait_for_function("() => document.querySelector('.vnb-review-title')?.textContent.startsWith('Image 1 ')")
        times = []
        for _ in range(PRESSES):
            page.wait_for_timeout(300)
            times.append(page.evaluate(PRESS))
        return times


def main():
    work = Path(tempfile.mkdtemp())
    for images in SIZES:
        extraction = extraction_of(images, work / str(images))
        started = time.perf_counter()
        panel = extraction.review(reviewer="ann")
        opening = time.perf_counter() - started
        accepted, unprepared = [], []
        for _ in range(PRESSES):
            panel._content.wait()
            accepted.append(timed(panel, "accept"))
        for _ in range(PRESSES // 3):
            unprepared.append(timed(panel, "move", by=1))
        assert panel.reviewed == PRESSES
        median, longest = statistics.median(accepted), max(accepted)
        print(
            f"{images:>5,} images: Enter shows the next one after {median:.1f} ms, at most {longest:.1f} ms "
            f"(unprepared {statistics.median(unprepared):.1f} ms); ratio to the limit of {LIMIT_MS} ms: "
            f"{median / LIMIT_MS:.2f}; the panel opens in {opening:.2f} s"
        )
    times = in_the_page(SIZES[-1], work)
    print(
        f"{SIZES[-1]:>5,} images, in the page: {statistics.median(times):.0f} ms, at most {max(times):.0f} ms; "
        f"ratio to the limit of {LIMIT_MS} ms: {statistics.median(times) / LIMIT_MS:.2f}"
    )


if __name__ == "__main__":
    main()
