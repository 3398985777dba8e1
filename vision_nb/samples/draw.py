"""Draw the sample pictures anew: ``python -m vision_nb.samples.draw [FOLDER]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from vision_nb.samples.draw_chart import chart
from vision_nb.samples.draw_label import label
from vision_nb.samples.draw_night import night_scene
from vision_nb.samples.draw_street import street_sign


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
    """Draw into the folder that the command line names, or over the files beside this one."""
    given = sys.argv[1:] if arguments is None else arguments
    for file in draw(Path(given[0]) if given else Path(__file__).parent):
        sys.stdout.write(f"{file}: {file.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
