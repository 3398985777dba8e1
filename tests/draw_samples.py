"""Draw the sample images again: ``python -m tests.draw_samples [FOLDER]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.sample_drawing.chart import chart
from tests.sample_drawing.label import label
from tests.sample_drawing.night import night_scene
from tests.sample_drawing.street import street_sign
from vision_nb import samples


def draw(folder: Path) -> tuple[Path, ...]:
    """Draw the four images, always in the same way.

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
    return tuple(files)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw into the folder in the arguments, or else replace the files in the package."""
    if arguments is None:
        arguments = sys.argv[1:]
    for file in draw(Path(arguments[0]) if arguments else samples.path("chart").parent):
        sys.stdout.write(f"{file}: {file.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
