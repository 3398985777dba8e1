"""Draw the sample images again: ``python -m tests.draw_samples [FOLDER]``."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.sample_drawing.chart import chart
from tests.sample_drawing.label import label
from tests.sample_drawing.night import night_scene
from tests.sample_drawing.photos import photo, pictures
from tests.sample_drawing.receipts import RECEIPTS
from tests.sample_drawing.street import street_sign
from vision_nb import samples


def draw(folder: Path) -> tuple[Path, ...]:
    """Draw the four images and the receipts, always in the same way.

    Args:
        folder: The folder for the files; it is created if necessary.

    Returns:
        The paths of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for function in (chart, street_sign, label):
        files.append(folder / f"{function.__name__}.png")
        # A palette makes the file a third as large; k-means keeps gradients smooth.
        function().quantize(256, Image.Quantize.MEDIANCUT, kmeans=4).save(files[-1], optimize=True)
    files.append(folder / "night_scene.jpg")
    night_scene().save(files[-1], quality=66, optimize=True, progressive=True)
    return (*files, *draw_receipts(folder))


def draw_receipts(folder: Path) -> tuple[Path, ...]:
    """Draw twelve receipts, a menu and a truncated file, and write what is printed on the receipts to a CSV file.

    Args:
        folder: The folder for the CSV file and for the images' folder "receipts", which is created if necessary.

    Returns:
        The paths of the files.
    """
    (folder / "receipts").mkdir(parents=True, exist_ok=True)
    files = []
    for name, image in pictures():
        files.append(folder / "receipts" / name)
        if files[-1].suffix == ".png":
            image.quantize(16).save(files[-1], optimize=True)
        else:
            image.save(files[-1], quality=60, optimize=True)
    whole, broken = io.BytesIO(), folder / "receipts" / "receipt_14.jpg"
    photo(0).save(whole, "JPEG", quality=60)
    broken.write_bytes(whole.getvalue()[:9_000])
    truth = folder / "receipts_truth.csv"
    with truth.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["image", "shop", "date", "currency", "total", "tax", "payment", "items"])
        for path, one in zip(files, RECEIPTS, strict=False):
            items = json.dumps([{"name": name, "price": float(price)} for name, price in one.items])
            table.writerow([path.name, one.shop, one.date, one.currency, one.total, one.tax, one.payment, items])
        table.writerow([files[-1].name, *[""] * 7])  # nothing was bought
    return (*files, broken, truth)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw into the folder in the arguments, or else replace the files in the package."""
    if arguments is None:
        arguments = sys.argv[1:]
    for file in draw(Path(arguments[0]) if arguments else samples.path("chart").parent):
        sys.stdout.write(f"{file}: {file.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
