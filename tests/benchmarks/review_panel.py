"""Time of a change of image in the review panel with 100, 1,000 and 5,000 images of 1,200 x 1,600 pixels.

A key press accepts the data and shows the next image. Between key presses the panel prepares the next image; the
benchmark waits for that, as a person would. "unprepared" is a jump to an image that nothing has prepared.

Run: python -m tests.benchmarks.review_panel
"""

import statistics
import tempfile
import time
from pathlib import Path

from tests.conftest import encoded, picture
from tests.extractions import RECEIPT, make_extraction, receipt

SIZES, LIMIT_MS, PRESSES = (100, 1_000, 5_000), 100, 60


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


if __name__ == "__main__":
    main()
