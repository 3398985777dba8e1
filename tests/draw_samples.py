"""Draw the sample images again: ``python tests/draw_samples.py [FOLDER]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from sample_drawing.chart import chart
from sample_drawing.label import label
from sample_drawing.night import night_scene
from sample_drawing.street import street_sign

from vision_nb import samples


def draw(folder: Path) -> tuple[Path, ...]:
    """Draw all four pictures; every run gives the same.

    Args:
        folder: Where the files go. It is made where it does not exist.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for picture in (chart, street_sign, label):
        files.append(folder / f"{picture.__name__}.png")
        # A table of colours makes the file a third as large; the means keep gradients smooth.
        few = picture().quantize(256, Image.Quantize.MEDIANCUT, kmeans=4)
        few.save(files[-1], optimize=True)
    files.append(folder / "night_scene.jpg")
    night_scene().save(files[-1], quality=66, optimize=True, progressive=True)
    return tuple(files)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw into the folder that the command line names, or replace the files in the package."""
    given = sys.argv[1:] if arguments is None else arguments
    for file in draw(Path(given[0]) if given else samples.path("chart").parent):
        sys.stdout.write(f"{file}: {file.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
